"""The posterior and its KL against integrals computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from corolla.distributions import DiagonalGaussian
from corolla.distributions.posterior import bounded

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


def test_beyond_a_bound_only_the_way_back_has_a_gradient() -> None:
    value = torch.tensor([-5.0, -1.0, 0.5, 2.0, 7.0, -torch.inf, torch.inf], requires_grad=True)
    kept = bounded(value, -1, 2)
    assert kept.tolist() == [-1, -1, 0.5, 2, 2, -1, 2]
    for sign, expected in ((1.0, [0, 1, 1, 1, 1, 0, 1]), (-1.0, [-1, -1, -1, -1, 0, -1, 0])):
        (gradient,) = torch.autograd.grad(kept, value, torch.full((7,), sign), retain_graph=True)
        assert gradient.tolist() == expected  # descent moves against it
