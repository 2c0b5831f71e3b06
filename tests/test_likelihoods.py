"""Likelihoods by name: what they make of raw output, and where their scales come from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from corolla.config import Config, registered
from corolla.distributions.likelihoods import ScaledLikelihood
from corolla.distributions.pixels import Gaussian, Laplace
from corolla.errors import UsageError
from corolla.models.vae import build_model
from corolla.objectives.loss import build_loss
from corolla.training.recorder import evaluate

CALIBRATED: dict[str, tuple[Any, int]] = {"gaussian": (Gaussian, 2), "laplace": (Laplace, 1)}
EVERY: list[tuple[str, Any]] = [
    ("bernoulli", None),
    ("continuous_bernoulli", None),
    *((name, sigma) for name in ("gaussian", "laplace") for sigma in (None, 0.1, "calibrated", "learned")),
    *(("discretised_logistic", sigma) for sigma in (None, 0.1, "learned")),
]


def batch(seed: int = 0, sigma: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw output, and 8-bit images about as far from it as sigma says."""
    torch.manual_seed(seed)
    raw = torch.randn(4, 3, 8, 8)
    x = (torch.sigmoid(raw) + sigma * torch.randn(4, 3, 8, 8)).clamp(0, 1)
    return raw, (255 * x).round() / 255


def built(name: str, sigma: Any) -> Any:
    """The likelihood's module; None leaves its scale at the default."""
    return registered("likelihood")[name](**({} if sigma is None else {"sigma": sigma})).build()


def scaled(name: str, sigma: Any) -> ScaledLikelihood:
    likelihood = built(name, sigma)
    assert isinstance(likelihood, ScaledLikelihood)
    return likelihood


def test_each_likelihood_is_tried_here() -> None:
    assert {name for name, _ in EVERY} == set(registered("likelihood"))


@pytest.mark.parametrize(("name", "sigma"), EVERY)
def test_each_gives_a_value_and_a_gradient_for_every_image(name: str, sigma: Any) -> None:
    likelihood = built(name, sigma)
    raw, x = batch()
    raw.requires_grad_()
    p = likelihood(raw, x)
    assert p.log_prob(x).shape == (4,)
    assert p.mean.shape == x.shape
    gradients = torch.autograd.grad(p.log_prob(x).sum(), [raw, *likelihood.parameters()])
    assert all(torch.isfinite(gradient).all() and gradient.any() for gradient in gradients)
    assert torch.allclose(likelihood(torch.zeros(2, 3, 4, 4)).mean, torch.full((2, 3, 4, 4), 0.5))


@pytest.mark.parametrize(("name", "kind"), [("gaussian", "calibrated"), ("laplace", "calibrated")])
def test_an_open_sigma_is_calibrated(name: str, kind: str) -> None:
    raw, x = batch()
    assert torch.equal(scaled(name, None)(raw, x).log_prob(x), scaled(name, kind)(raw, x).log_prob(x))
    assert not list(built(name, None).parameters())


def test_an_open_sigma_is_learned_where_it_cannot_be_calibrated() -> None:
    assert list(built("discretised_logistic", None).state_dict()) == ["log_sigma"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "bernoulli", "sigma": 0.1}, "likelihood.sigma: bernoulli has no such setting"),
        ({"name": "continuous_bernoulli", "sigma": "learned"}, "continuous_bernoulli has no such setting"),
        ({"name": "discretised_logistic", "sigma": "calibrated"}, "no calibrated sigma here; give a number or learned"),
        (
            {"name": "gaussian", "sigma": "wide"},
            "likelihood.sigma = 'wide': should be calibrated, learned, or a number",
        ),
        ({"name": "laplace", "sigma": 1e-5}, "likelihood.sigma = 1e-05: should be calibrated, learned, or a number"),
        ({"name": "laplace", "sigma": True}, "likelihood.sigma = True: should be calibrated, learned, or a number"),
        ({"name": "normal"}, "likelihood.name: no such likelihood as 'normal'"),
    ],
)
def test_a_likelihood_that_cannot_be_is_refused_in_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config.from_dict({"likelihood": values})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "discretised_logistic"])
@pytest.mark.parametrize("sigma", [1e-4, 0.07, 10.0])
def test_a_fixed_sigma_is_the_one_that_is_used(name: str, sigma: float) -> None:
    raw, x = batch()
    for likelihood in (scaled(name, sigma).train(), scaled(name, sigma).eval()):
        assert float(likelihood(raw, x).sigma) == pytest.approx(sigma, rel=1e-6)


# --- calibrated -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_sigma_maximises_the_likelihood_of_the_batch(name: str) -> None:
    kind, _ = CALIBRATED[name]
    raw, x = batch(3)
    p = scaled(name, "calibrated").train()(raw, x)
    best = float(p.log_prob(x).mean())
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert float(kind(p.mean, p.sigma * factor).log_prob(x).mean()) < best


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_sigma_is_known_from_the_first_batch_on(name: str) -> None:
    _, power = CALIBRATED[name]
    raw, x = batch(5)
    likelihood = scaled(name, "calibrated").train()
    error = float((torch.sigmoid(raw) - x).abs().pow(power).mean())
    for _ in range(3):
        likelihood(raw, x)
    assert float(likelihood.moment) == pytest.approx(error, rel=1e-5)
    assert float(likelihood.eval()(raw, x).sigma) == pytest.approx(error ** (1 / power), rel=1e-5)


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_sigma_is_first_the_mean_over_batches_and_later_a_moving_average(name: str) -> None:
    _, power = CALIBRATED[name]
    likelihood = scaled(name, "calibrated").train()
    errors = []
    for seed in range(5):
        raw, x = batch(seed, sigma=0.05 * (seed + 1))
        likelihood(raw, x)
        errors.append(float((torch.sigmoid(raw) - x).abs().pow(power).mean()))
    assert float(likelihood.moment) == pytest.approx(np.mean(errors), rel=1e-5)
    likelihood.seen.fill_(10_000)
    raw, x = batch(9)
    likelihood(raw, x)
    newest = float((torch.sigmoid(raw) - x).abs().pow(power).mean())
    assert float(likelihood.moment) == pytest.approx(0.98 * np.mean(errors) + 0.02 * newest, rel=1e-5)


@pytest.mark.parametrize("name", CALIBRATED)
def test_calibrated_sigma_does_not_collapse_on_perfect_reconstructions(name: str) -> None:
    raw, _ = batch()
    p = scaled(name, "calibrated").train()(raw, torch.sigmoid(raw))
    assert float(p.sigma) == pytest.approx(1e-3, rel=1e-5)


# --- learned ----------------------------------------------------------------------------------------------------------


def most_likely_sigma(name: str, raw: torch.Tensor, x: torch.Tensor) -> float:
    """The maximum-likelihood scale: in closed form, or by search over probabilities from SciPy."""
    location, pixels = torch.sigmoid(raw).double().numpy(), x.double().numpy()
    if name == "gaussian":
        return float(np.sqrt(((location - pixels) ** 2).mean()))
    if name == "laplace":
        return float(np.abs(location - pixels).mean())

    def cost(log_sigma: float) -> float:
        logistic = stats.logistic(location, math.exp(log_sigma))
        upper = np.where(pixels > 0.999, 1, logistic.cdf(pixels + 0.5 / 255))
        lower = np.where(pixels < 0.001, 0, logistic.cdf(pixels - 0.5 / 255))
        return float(-np.log(upper - lower).sum())

    return math.exp(float(optimize.minimize_scalar(cost, bounds=(-5, 0), method="bounded").x))


@pytest.mark.parametrize("name", ["gaussian", "laplace", "discretised_logistic"])
@pytest.mark.parametrize("spread", [0.03, 0.3])
def test_a_learned_sigma_finds_the_most_likely_one(name: str, spread: float) -> None:
    raw, x = batch(7, spread)
    likelihood = scaled(name, "learned").train()
    (parameter,) = likelihood.parameters()
    assert (parameter.ndim, parameter.dtype) == (0, torch.float32)
    optimiser = torch.optim.Adam([parameter], lr=0.03)
    for step in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 0.03 * (1 - step / 300)
        optimiser.zero_grad()
        (-likelihood(raw, x).log_prob(x).mean()).backward()
        optimiser.step()
    assert likelihood(raw).sigma.item() == pytest.approx(most_likely_sigma(name, raw, x), rel=2e-3)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "discretised_logistic"])
def test_a_learned_sigma_stops_at_its_floor_and_comes_back_from_it(name: str) -> None:
    likelihood = scaled(name, "learned").train()
    with torch.no_grad():
        likelihood.log_sigma.fill_(math.log(1e-5))
    raw, x = batch()
    perfect = torch.logit(x.clamp(1e-7, 1 - 1e-7))
    for images, direction in [(perfect, 0), (raw, -1)]:
        p = likelihood(images, x)
        assert p.sigma.item() == pytest.approx(1e-3, rel=1e-5)
        (gradient,) = torch.autograd.grad(-p.log_prob(x).mean(), list(likelihood.parameters()))
        assert float(gradient.sign()) == direction  # a step goes against the gradient, so -1 raises sigma


def test_a_learned_sigma_falls_to_its_floor_and_no_further_while_it_pays() -> None:
    likelihood = scaled("gaussian", "learned").train()
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    raw, _ = batch()
    for _ in range(200):
        optimiser.zero_grad()
        (-likelihood(raw).log_prob(torch.sigmoid(raw)).mean()).backward()
        optimiser.step()
    assert math.log(1e-3) - 2 < likelihood.log_sigma.item() < math.log(1e-3)
    for _ in range(60):
        optimiser.zero_grad()
        (-likelihood(raw).log_prob(torch.sigmoid(raw) + 0.1).mean()).backward()
        optimiser.step()
    assert likelihood(raw).sigma.item() > 0.01


# --- in a model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("likelihood", "objective", "defined"),
    [("discretised_logistic", "vae", True), ("discretised_logistic", "ae", False), ("laplace", "vae", False)],
)
def test_bits_per_dimension_are_scored_where_they_are_defined(likelihood: str, objective: str, defined: bool) -> None:
    config = Config.from_dict(
        {
            "data": {"size": 16},
            "network": {"latent_dim": 3, "width": 8, "patch": 4},
            "likelihood": {"name": likelihood},
            "objective": {"name": objective},
        }
    )
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    scores, _ = evaluate(build_model(config), build_loss(config.objective, 3), images, np.arange(20), seed=0)
    assert ("bits_per_dim" in scores) == defined
    if defined:
        # Noise of 256 equally likely levels cannot be said in fewer than 8 bits.
        assert scores["bits_per_dim"] > 8
        nats = scores["reconstruction"] + scores["kl"]
        assert 16 * 16 * 3 * scores["bits_per_dim"] == pytest.approx(nats / 0.6931471805599453, rel=1e-9)
