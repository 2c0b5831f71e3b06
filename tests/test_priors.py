"""Priors against scipy, scikit-learn, moments and integrals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.mixture import GaussianMixture
from torch import Tensor

from corolla.config.choosing import make
from corolla.config.registry import find
from corolla.distributions import LatentDistribution
from corolla.distributions.flow import FlowPrior
from corolla.distributions.priors import RIDGE, GaussianPrior, MixturePrior, StandardPrior
from corolla.errors import UsageError
from corolla.models.priors import fitted_prior_names

COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 0.5, -0.2], [0.0, -0.2, 2.0]])
MEAN = np.array([0.5, -1.0, 3.0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated(count: int = 400, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).multivariate_normal(MEAN, COVARIANCE, count).astype(np.float32))


def two_clusters(count: int = 600, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    right = rng.random(count) < 0.25
    centres = np.where(right[:, None], [4.0, 0.0], [-2.0, 1.0])
    spread = np.where(right[:, None], [0.3, 1.0], [0.8, 0.4])
    return torch.from_numpy((centres + spread * rng.normal(size=(count, 2))).astype(np.float32))


def banana(count: int = 2000, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    return torch.from_numpy(np.stack([x, x**2 + 0.3 * rng.normal(size=count)], 1).astype(np.float32))


@pytest.fixture(scope="module")
def flow() -> FlowPrior:
    return FlowPrior.fit(banana(), seed=1, transforms=2)


# --- the Gaussian -----------------------------------------------------------------------------------------------------


def test_the_gaussian_has_the_moments_of_the_codes_and_the_density_of_scipy() -> None:
    z = correlated()
    prior = GaussianPrior.fit(z)
    codes = z.double().numpy()
    np.testing.assert_allclose(prior.mean.numpy(), codes.mean(0), rtol=1e-12)
    covariance = (prior.scale_tril @ prior.scale_tril.T).numpy()
    expected = np.cov(codes.T, bias=True)
    ridge = RIDGE * np.trace(expected) / 3
    np.testing.assert_allclose(covariance, expected + ridge * np.eye(3), rtol=1e-9, atol=1e-12)
    reference = stats.multivariate_normal(codes.mean(0), covariance).logpdf(codes)
    np.testing.assert_allclose(prior.log_prob(z).numpy(), reference, rtol=1e-9)


def test_no_other_gaussian_has_a_larger_likelihood() -> None:
    z = correlated()
    best = float(GaussianPrior.fit(z).log_prob(z).mean())
    codes = z.double().numpy()
    for shift, factor in [(0.05, 1.0), (-0.05, 1.0), (0.0, 1.05), (0.0, 0.95)]:
        other = stats.multivariate_normal(codes.mean(0) + shift, factor * np.cov(codes.T, bias=True))
        assert other.logpdf(codes).mean() < best


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_gaussian_stands_fewer_codes_than_latents(count: int) -> None:
    z = torch.randn(count, 20, generator=generator())
    prior = GaussianPrior.fit(z)
    assert torch.isfinite(prior.log_prob(z)).all()
    assert (prior.scale_tril.diagonal() > 0).all()


def test_draws_of_one_image_count_like_others() -> None:
    z = correlated()
    assert torch.equal(GaussianPrior.fit(z.reshape(100, 4, 3)).scale_tril, GaussianPrior.fit(z).scale_tril)


# --- the mixture ------------------------------------------------------------------------------------------------------


def scipy_mixture(prior: MixturePrior, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-density of the mixture, its densities added up as they are."""
    density = np.zeros(len(z))
    for weight, mean, scale in zip(prior.weights.numpy(), prior.means.numpy(), prior.scales.numpy(), strict=True):
        covariance = scale @ scale.T if prior.covariance == "full" else np.diag(scale**2)
        density += weight * stats.multivariate_normal(mean, covariance).pdf(z)
    return np.asarray(np.log(density))


@pytest.mark.parametrize(("covariance", "kind"), [("full", "full"), ("diagonal", "diag")])
def test_the_mixture_is_that_of_scikit_learn(covariance: Any, kind: str) -> None:
    z = two_clusters()
    codes = z.double().numpy()
    prior = MixturePrior.fit(z, seed=3, components=3, covariance=covariance)
    reg_covar = RIDGE * codes.var(0).mean()
    theirs = GaussianMixture(3, covariance_type=kind, reg_covar=reg_covar, random_state=3, max_iter=500).fit(codes)
    ours = prior.log_prob(z).numpy()
    np.testing.assert_allclose(ours, theirs.score_samples(codes), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours, scipy_mixture(prior, codes), rtol=1e-9)
    assert float(prior.weights.sum()) == pytest.approx(1)


def test_the_mixture_finds_two_clusters_and_draws_from_them() -> None:
    prior = MixturePrior.fit(two_clusters(4000), components=2)
    order = prior.means[:, 0].argsort()
    assert prior.weights[order].tolist() == pytest.approx([0.75, 0.25], abs=0.03)
    assert prior.means[order].flatten().tolist() == pytest.approx([-2, 1, 4, 0], abs=0.1)
    draws = prior.sample(40_000, generator())
    right = draws[:, 0] > 1.5
    assert float(right.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert draws[right].std(0).tolist() == pytest.approx([0.3, 1.0], rel=0.1)
    assert draws[~right].std(0).tolist() == pytest.approx([0.8, 0.4], rel=0.1)


def test_the_mixture_takes_as_many_components_as_there_are_codes_and_no_more() -> None:
    z = torch.randn(6, 2, generator=generator())
    assert make("prior", "gmm").fit(z).options["components"] == 6
    assert make("prior", "gmm", components=6).fit(z).options["components"] == 6
    with pytest.raises(UsageError, match=r"7 components for 6 codes: .* fewer components"):
        make("prior", "gmm", components=7).fit(z)
    for settings, words in (({"components": 0}, "components = 0"), ({"covariance": "tied"}, "covariance = 'tied'")):
        with pytest.raises(UsageError, match=words):
            make("prior", "gmm", **settings)


# --- the flow ---------------------------------------------------------------------------------------------------------


def test_the_flow_s_density_integrates_to_one(flow: FlowPrior) -> None:
    # The midpoint rule over a box that holds all but a negligible part.
    x, y = np.linspace(-6, 6, 241), np.linspace(-6, 22, 561)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)).float()
    with torch.no_grad():
        mass = float(flow.log_prob(grid).exp().sum()) * (x[1] - x[0]) * (y[1] - y[0])
    assert mass == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("kind", ["nsf", "maf"])
def test_a_flow_of_one_latent_integrates_to_one(kind: Any) -> None:
    rng = np.random.default_rng(0)
    codes = np.where(rng.random(500) < 0.5, -20.0, 10.0) + rng.normal(size=500)
    prior = FlowPrior.fit(torch.from_numpy(codes.astype(np.float32))[:, None], flow=kind, transforms=1)
    z = torch.linspace(-150, 150, 60_001)[:, None]
    with torch.no_grad():
        mass = float(prior.log_prob(z).exp().sum()) * 300 / 60_000
    assert mass == pytest.approx(1, abs=2e-3)


def test_the_flow_beats_the_gaussian_where_codes_lie_on_a_banana(flow: FlowPrior) -> None:
    train, test = banana(), banana(5000, seed=9)
    with torch.no_grad():
        reached = float(flow.log_prob(test).mean())
    # The entropy of the banana itself, which no density can beat by more than chance.
    truth = -(1 + np.log(2 * np.pi) + np.log(0.3))
    gaussian = float(GaussianPrior.fit(train).log_prob(test).mean())
    assert gaussian < truth - 0.8
    assert truth - 0.25 < reached < truth + 0.05


def test_the_flow_s_draws_lie_on_the_banana(flow: FlowPrior) -> None:
    draws = flow.sample(5000, generator()).double()
    off = draws[:, 1] - draws[:, 0] ** 2
    assert float(off.mean()) == pytest.approx(0, abs=0.15)
    assert float(off.median()) == pytest.approx(0, abs=0.1)
    assert float(draws[:, 0].std()) == pytest.approx(1, abs=0.1)


def test_the_flow_starts_as_the_gaussian() -> None:
    prior = FlowPrior(3)
    z = torch.randn(50, 3, generator=generator())
    expected = stats.multivariate_normal(np.zeros(3)).logpdf(z.numpy())
    np.testing.assert_allclose(prior.log_prob(z).detach().numpy(), expected, atol=1e-4)


def test_the_flow_is_no_worse_than_the_gaussian_where_the_codes_are_one() -> None:
    z = torch.from_numpy(np.random.default_rng(5).multivariate_normal(MEAN, COVARIANCE, 300).astype(np.float32))
    test = correlated(5000, seed=6)
    exact = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(test.numpy()).mean()
    with torch.inference_mode():  # fitting asks for gradients by itself
        assert float(FlowPrior.fit(z).log_prob(test).mean()) > exact - 0.1


def test_the_flow_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"9 images: .* needs 10"):
        FlowPrior.fit(correlated(9))
    with pytest.raises(UsageError, match=r"flow = 'planar': .*nsf.* or .*maf"):
        make("prior", "flow", flow="planar")
    with pytest.raises(UsageError, match="transforms = 0"):
        make("prior", "flow", transforms=0)


def test_a_missing_extra_is_one_line_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(UsageError, match=r"pip install -e '.\[flows\]'"):
        FlowPrior.fit(correlated())


# --- all of them ------------------------------------------------------------------------------------------------------

SMALL: dict[str, Callable[[], LatentDistribution]] = {
    "standard": lambda: StandardPrior(3),
    "gaussian": lambda: GaussianPrior.fit(correlated()),
    "gmm": lambda: MixturePrior.fit(correlated(), components=4),
    "gmm, diagonal": lambda: MixturePrior.fit(correlated(), components=4, covariance="diagonal"),
    "flow": lambda: FlowPrior.fit(correlated(60), transforms=1),
    "flow, affine": lambda: FlowPrior.fit(correlated(60), transforms=1, flow="maf"),
}


@pytest.fixture(scope="module")
def fitted() -> dict[str, LatentDistribution]:
    return {name: build() for name, build in SMALL.items()}


def same(first: LatentDistribution, second: LatentDistribution) -> bool:
    ours, theirs = first.tensors(), second.tensors()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_fits_the_same_prior_bit_for_bit(fitted: dict[str, LatentDistribution], name: str) -> None:
    before = torch.random.get_rng_state()
    assert same(SMALL[name](), fitted[name])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", SMALL)
def test_draws_follow_the_generator_and_are_single_precision(fitted: dict[str, LatentDistribution], name: str) -> None:
    prior = fitted[name]
    draws = prior.sample(5, generator(7))
    assert (draws.shape, draws.dtype) == ((5, 3), torch.float32)
    assert torch.equal(draws, prior.sample(5, generator(7)))
    assert not torch.equal(draws, prior.sample(5, generator(8)))
    assert prior.log_prob(draws).shape == (5,)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "standard"])
def test_draws_have_the_moments_of_the_codes(fitted: dict[str, LatentDistribution], name: str) -> None:
    codes, draws = correlated(60 if name.startswith("flow") else 400), fitted[name].sample(100_000, generator())
    tolerance = 0.3 if name.startswith("flow") else 0.03
    np.testing.assert_allclose(draws.mean(0), codes.mean(0), atol=tolerance)
    # Diagonal covariances of components keep every latent's variance, but not the covariances.
    kept = np.eye(3) if name == "gmm, diagonal" else np.ones((3, 3))
    expected = kept * np.cov(codes.T.numpy())
    np.testing.assert_allclose(kept * np.cov(draws.T.numpy()), expected, atol=2 * tolerance)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_scales_standard_deviations(fitted: dict[str, LatentDistribution], temperature: float) -> None:
    for name in ("standard", "gaussian"):
        usual, other = (fitted[name].sample(20_000, generator(), t).double() for t in (1.0, temperature))
        np.testing.assert_allclose(
            np.cov(other.T.numpy()), temperature**2 * np.cov(usual.T.numpy()), rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(other.mean(0), usual.mean(0), atol=0.05)
    mixture = MixturePrior.fit(two_clusters(4000), components=2)
    draws = mixture.sample(40_000, generator(), temperature).double()
    # Var = Σ w (T²·S + m mᵀ) - (Σ w m)(Σ w m)ᵀ: within components it is scaled, between them it is not.
    covariances = mixture.scales @ mixture.scales.mT
    mean = mixture.weights @ mixture.means
    between = torch.einsum("k,ki,kj->ij", mixture.weights, mixture.means - mean, mixture.means - mean)
    within = torch.einsum("k,kij->ij", mixture.weights, covariances)
    np.testing.assert_allclose(np.cov(draws.T.numpy()), temperature**2 * within + between, rtol=0.03, atol=0.03)


def test_at_temperature_zero_nothing_is_spread(fitted: dict[str, LatentDistribution]) -> None:
    assert not fitted["standard"].sample(4, generator(), 0.0).any()
    gaussian = fitted["gaussian"]
    assert torch.equal(gaussian.sample(4, generator(), 0.0), gaussian.tensors()["mean"].float().expand(4, 3))
    mixture = MixturePrior.fit(two_clusters(), components=2)
    drawn = {tuple(draw) for draw in mixture.sample(100, generator(), 0.0).tolist()}
    assert drawn == {tuple(mean) for mean in mixture.means.float().tolist()}
    assert len({tuple(draw) for draw in fitted["flow"].sample(100, generator(), 0.0).tolist()}) == 1


def test_the_flow_s_temperature_is_that_of_its_noise(flow: FlowPrior) -> None:
    calm = flow.sample(4000, generator(), 0.5)
    with torch.no_grad():
        noise = flow.flow().transform(flow.gaussian.whiten(calm).float())
    assert noise.std(0).tolist() == pytest.approx([0.5, 0.5], rel=0.05)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "standard"])
def test_what_is_saved_restores_the_prior(fitted: dict[str, LatentDistribution], name: str) -> None:
    prior = fitted[name]
    again = make("prior", name.split(",")[0], **prior.options).build(3)
    assert not same(prior, again)
    again.restore({key: tensor.clone() for key, tensor in prior.tensors().items()})
    assert same(prior, again)
    z = correlated(20)
    assert torch.equal(again.log_prob(z), prior.log_prob(z))


@pytest.mark.parametrize("name", fitted_prior_names())
@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (torch.full((20, 3), float("nan")), "not finite"),
        (torch.ones(20, 3), "do not differ"),
        (torch.randn(1, 3), "1 codes do not differ"),
        (torch.randn(20), "shape"),
    ],
)
def test_codes_that_cannot_be_fitted_are_refused(name: str, codes: Tensor, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make("prior", name).fit(codes)


def test_an_unknown_prior_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="no such prior as 'vamp'; there are standard, gaussian, gmm, flow"):
        find("prior", "vamp")
