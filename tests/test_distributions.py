"""Likelihoods and KL against integrals and sums computed another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from corolla.distributions import (
    LIKELIHOODS,
    Bernoulli,
    BernoulliLikelihood,
    DiagonalGaussian,
    Gaussian,
    GaussianLikelihood,
    sample_prior,
)

moderate = st.floats(-3, 3)


@given(mean=moderate, logvar=st.floats(-4, 2))
@settings(deadline=None, max_examples=25)
def test_kl_is_the_integral_of_its_definition(mean: float, logvar: float) -> None:
    q = stats.norm(mean, np.exp(logvar / 2))
    p = stats.norm()
    spread = 12 * q.std()
    expected, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), mean - spread, mean + spread, points=[mean], limit=200
    )
    ours = DiagonalGaussian(torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[logvar]], dtype=torch.float64))
    assert float(ours.kl()[0]) == pytest.approx(expected, abs=1e-6)


def test_kl_adds_up_over_latents_and_vanishes_at_the_prior() -> None:
    torch.manual_seed(0)
    q = DiagonalGaussian(torch.randn(5, 3), torch.randn(5, 3))
    assert q.kl_per_latent().shape == (5, 3)
    assert torch.allclose(q.kl(), torch.stack([q.kl_per_latent()[:, i] for i in range(3)]).sum(0))
    prior = DiagonalGaussian(torch.zeros(2, 4), torch.zeros(2, 4))
    assert torch.equal(prior.kl(), torch.zeros(2))


def test_posterior_density_agrees_with_scipy_and_its_draws_have_its_moments() -> None:
    q = DiagonalGaussian(
        torch.tensor([[1.0, -2.0]], dtype=torch.float64), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    )
    z = torch.tensor([[0.3, -1.5]], dtype=torch.float64)
    expected = sum(stats.norm(m, np.exp(v / 2)).logpdf(x) for m, v, x in [(1.0, 0.5, 0.3), (-2.0, -1.0, -1.5)])
    assert float(q.log_prob(z)[0]) == pytest.approx(expected, abs=1e-12)
    torch.manual_seed(0)
    many = DiagonalGaussian(q.mean.expand(200_000, 2), q.logvar.expand(200_000, 2)).sample()
    assert torch.allclose(many.mean(0), q.mean[0], atol=0.02)
    assert torch.allclose(many.std(0), q.stddev[0], rtol=0.02)


def test_gradients_of_the_posterior_agree_with_finite_differences() -> None:
    torch.manual_seed(6)
    mean, logvar, z, noise = torch.randn(4, 3, 5, dtype=torch.float64).unbind()

    def every(mean: torch.Tensor, logvar: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q = DiagonalGaussian(mean, logvar)
        return q.log_prob(z), q.log_prob(q.mean + q.stddev * noise), q.kl_per_latent(), q.kl()

    assert torch.autograd.gradcheck(every, tuple(value.requires_grad_() for value in (mean, logvar, z)))


def test_a_draw_passes_its_gradient_to_the_posterior() -> None:
    mean = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    logvar = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def draw(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return DiagonalGaussian(mean, logvar).sample()

    assert torch.autograd.gradcheck(draw, (mean, logvar))


def test_bernoulli_sums_to_one_over_all_binary_images() -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, 1, 2, 3).double()
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))).double().reshape(-1, 1, 2, 3)
    total = Bernoulli(logits.expand(64, 1, 2, 3)).log_prob(images).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-12)


def test_bernoulli_on_grey_pixels_is_the_cross_entropy() -> None:
    x = torch.tensor([0.25, 0.8], dtype=torch.float64).reshape(1, 1, 1, 2)
    mean = torch.tensor([0.4, 0.7], dtype=torch.float64).reshape(1, 1, 1, 2)
    expected = sum(a * np.log(b) + (1 - a) * np.log(1 - b) for a, b in [(0.25, 0.4), (0.8, 0.7)])
    assert float(Bernoulli(torch.logit(mean)).log_prob(x)[0]) == pytest.approx(expected, abs=1e-12)


@given(mean=st.floats(0, 1), sigma=st.floats(0.02, 2))
@settings(deadline=None, max_examples=25)
def test_gaussian_integrates_to_one(mean: float, sigma: float) -> None:
    p = Gaussian(torch.full((1, 1, 1, 1), mean, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64))
    total, _ = integrate.quad(
        lambda x: float(p.log_prob(torch.full((1, 1, 1, 1), x, dtype=torch.float64)).exp()),
        mean - 10 * sigma,
        mean + 10 * sigma,
        points=[mean],
    )
    assert total == pytest.approx(1.0, abs=1e-6)


def test_gaussian_density_of_an_image_is_the_product_over_its_pixels() -> None:
    torch.manual_seed(2)
    mean, x = torch.rand(3, 2, 4, 5).double(), torch.rand(3, 2, 4, 5).double()
    expected = stats.norm(mean.numpy(), 0.3).logpdf(x.numpy()).reshape(3, -1).sum(1)
    assert np.allclose(Gaussian(mean, torch.tensor(0.3, dtype=torch.float64)).log_prob(x).numpy(), expected)


def test_calibrated_sigma_maximises_the_likelihood_of_the_batch() -> None:
    torch.manual_seed(3)
    likelihood = GaussianLikelihood("calibrated").train()
    raw, x = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    p = likelihood(raw, x)
    best = float(p.log_prob(x).mean())
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert float(Gaussian(p.mean, p.sigma * factor).log_prob(x).mean()) < best
    kept = float(likelihood.variance)
    assert likelihood.eval()(raw).sigma == pytest.approx(kept**0.5)


def test_draws_have_the_mean_that_is_stated() -> None:
    torch.manual_seed(4)
    raw = torch.randn(1, 3, 4, 4).expand(4000, 3, 4, 4)
    for likelihood in (BernoulliLikelihood(), GaussianLikelihood(0.2)):
        p = likelihood(raw)
        assert torch.allclose(p.sample().mean(0), p.mean[0], atol=0.05)


def test_every_likelihood_by_name_gives_one_value_per_image() -> None:
    for build in LIKELIHOODS.values():
        p = build(0.1)(torch.zeros(2, 3, 4, 4))
        assert p.log_prob(torch.rand(2, 3, 4, 4)).shape == (2,)
        assert torch.equal(p.mean, torch.full((2, 3, 4, 4), 0.5))


def test_prior_draws_follow_the_generator() -> None:
    first = sample_prior(4, 3, torch.Generator().manual_seed(7))
    assert torch.equal(first, sample_prior(4, 3, torch.Generator().manual_seed(7)))
    assert first.shape == (4, 3)


def test_calibrated_sigma_is_known_from_the_first_batch_on() -> None:
    torch.manual_seed(5)
    likelihood = GaussianLikelihood("calibrated").train()
    raw, x = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    error = float(((torch.sigmoid(raw) - x) ** 2).mean())
    for _ in range(3):
        likelihood(raw, x)
    assert float(likelihood.variance) == pytest.approx(error, rel=1e-5)
