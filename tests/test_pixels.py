"""Distributions over pixels against integrals, exhaustive sums and values in hundreds of digits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from corolla.data.batches import to_float
from corolla.distributions.pixels import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    Laplace,
    PixelDistribution,
    bits_per_dim,
)

FAMILY: dict[str, Callable[[Tensor], PixelDistribution]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": lambda raw: Gaussian(torch.sigmoid(raw), torch.tensor(0.1, dtype=raw.dtype)),
    "laplace": lambda raw: Laplace(torch.sigmoid(raw), torch.tensor(0.07, dtype=raw.dtype)),
    "discretised_logistic": lambda raw: DiscretisedLogistic(torch.sigmoid(raw), torch.tensor(0.05, dtype=raw.dtype)),
}
LEVELS = to_float(torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1))
some = limits(max_examples=25)


def pixels(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images of one pixel."""
    return torch.tensor(values, dtype=dtype).reshape(-1, 1, 1, 1)


def density(p: PixelDistribution) -> Callable[[float], float]:
    """Of a distribution over one pixel."""
    return lambda x: float(p.log_prob(pixels(x)).exp())


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_log_probability_of_an_image_is_the_sum_over_its_pixels(name: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    raw = torch.randn(3, 2, 4, 5).double().contiguous(memory_format=layout)
    x = torch.randint(256, (3, 2, 4, 5)).double().div(255).contiguous(memory_format=layout)
    alone = FAMILY[name](raw.reshape(-1, 1, 1, 1)).log_prob(x.reshape(-1, 1, 1, 1))
    whole = FAMILY[name](raw).log_prob(x)
    assert whole.shape == (3,)
    assert torch.allclose(whole, alone.reshape(3, -1).sum(1), rtol=1e-12)


@pytest.mark.parametrize("name", FAMILY)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    torch.manual_seed(1)
    x = torch.tensor([0, 1 / 255, 0.2, 128 / 255, 254 / 255, 1]).double().reshape(1, 1, 2, 3)
    raw = torch.tensor([0.0, -0.499, 0.501, 2.0, -7.0, 30.0]).double().reshape(1, 1, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: FAMILY[name](raw).log_prob(x), raw)
    assert torch.autograd.gradcheck(lambda raw: FAMILY[name](raw).mean, raw)


@pytest.mark.parametrize("kind", [Gaussian, Laplace, DiscretisedLogistic])
def test_the_gradient_of_the_scale_agrees_with_finite_differences(
    kind: Callable[[Tensor, Tensor], PixelDistribution],
) -> None:
    x = torch.tensor([0, 1 / 255, 0.2, 128 / 255, 254 / 255, 1]).double().reshape(1, 1, 2, 3)
    location = torch.tensor([0.1, 0.01, 0.25, 0.9, 0.98, 0.7]).double().reshape(1, 1, 2, 3)
    for sigma in (0.003, 0.05, 1.0):
        scale = torch.tensor(sigma).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda scale: kind(location, scale).log_prob(x), scale)


@pytest.mark.parametrize("name", FAMILY)
def test_decoders_in_bfloat16_stay_finite(name: str) -> None:
    ends = torch.tensor([-1e30, -1e4, -200, -20, -0.5, -1e-3, -1e-38, 0, 1e-20, 0.5, 3, 90, 1e4, 1e30])
    raw = ends.bfloat16().float().reshape(-1, 1, 1, 1).repeat(1, 1, 1, 3).requires_grad_()
    x = torch.tensor([0, 0.4980392, 1]).expand(len(ends), 1, 1, 3)
    p = FAMILY[name](raw)
    log_prob = p.log_prob(x)
    (gradient,) = torch.autograd.grad(log_prob.sum() + p.mean.sum(), raw)
    for values in (log_prob, gradient, p.mean):
        assert torch.isfinite(values).all()


def test_only_the_probability_of_8_bit_pixels_has_bits_per_dimension() -> None:
    assert [name for name, kind in FAMILY.items() if kind(torch.zeros(1, 3, 2, 2)).discrete] == ["discretised_logistic"]


def test_guessing_a_level_costs_eight_bits_for_each_number_of_an_image() -> None:
    assert bits_per_dim(3 * 64 * 64 * math.log(256), 3 * 64 * 64) == pytest.approx(8.0, rel=1e-12)


# --- Bernoulli --------------------------------------------------------------------------------------------------------


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


# --- continuous Bernoulli ---------------------------------------------------------------------------------------------

LOGITS = [
    0.0,
    1e-30,
    1e-12,
    1e-6,
    1e-4,
    0.01,
    0.1,
    0.3,
    0.499,
    0.5,
    0.501,
    1.0,
    3.0,
    10.0,
    30.0,
    88.0,
    89.0,
    104.0,
    1e3,
]


@given(logit=st.floats(-60, 60))
@some
def test_continuous_bernoulli_integrates_to_one_and_to_its_mean(logit: float) -> None:
    p = ContinuousBernoulli(pixels(logit))
    total, _ = integrate.quad(density(p), 0, 1)
    mean, _ = integrate.quad(lambda x: x * density(p)(x), 0, 1)
    assert total == pytest.approx(1.0, abs=1e-9)
    assert float(p.mean) == pytest.approx(mean, abs=1e-9)


def exact_continuous_bernoulli(logit: float, x: float) -> tuple[float, float]:
    """Log-density and mean as functions of λ, as in the paper, in digits enough for every cancellation."""
    with mp.workdps(1000):
        chance = 1 / (1 + mp.exp(-mp.mpf(logit)))
        if logit == 0:
            return math.log(2 * 0.5), 0.5
        normaliser = 2 * mp.atanh(1 - 2 * chance) / (1 - 2 * chance)
        log_prob = mp.log(normaliser) + x * mp.log(chance) + (1 - x) * mp.log(1 - chance)
        return float(log_prob), float(chance / (2 * chance - 1) + 1 / (2 * mp.atanh(1 - 2 * chance)))


@pytest.mark.parametrize(
    ("dtype", "log_prob_error", "mean_error"), [(torch.float32, 1e-6, 1e-6), (torch.float64, 1e-14, 1e-10)]
)
def test_continuous_bernoulli_is_exact_near_one_half_and_at_the_extremes(
    dtype: torch.dtype, log_prob_error: float, mean_error: float
) -> None:
    for logit, sign, x in itertools.product(LOGITS, (-1, 1), (0.0, 0.25, 1.0)):
        logits = pixels(sign * logit, dtype=dtype).requires_grad_()
        log_prob = ContinuousBernoulli(logits).log_prob(pixels(x, dtype=dtype))
        (gradient,) = torch.autograd.grad(log_prob, logits)
        expected, mean = exact_continuous_bernoulli(logits.item(), x)
        assert log_prob.item() == pytest.approx(expected, rel=log_prob_error, abs=log_prob_error)
        assert ContinuousBernoulli(logits).mean.item() == pytest.approx(mean, abs=mean_error)
        assert float(gradient) == pytest.approx(x - mean, abs=mean_error)


def test_continuous_bernoulli_agrees_with_torchs_own() -> None:
    logits = torch.cat([torch.linspace(-12, -1, 50), torch.linspace(1, 12, 50)]).double().reshape(-1, 1, 1, 1)
    x = torch.rand(100, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    theirs: Any = torch.distributions.ContinuousBernoulli(logits=logits)
    assert torch.allclose(ContinuousBernoulli(logits).log_prob(x), theirs.log_prob(x).flatten(), atol=1e-10)
    assert torch.allclose(ContinuousBernoulli(logits).mean, theirs.mean, atol=1e-10)


def test_the_mean_of_a_continuous_bernoulli_is_not_lambda() -> None:
    # At λ = 0.9, λ/(2λ - 1) + 1/(2·artanh(1 - 2λ)) = 1.125 - 1/ln 9.
    assert float(ContinuousBernoulli(torch.logit(pixels(0.9))).mean) == pytest.approx(
        1.125 - 1 / math.log(9), abs=1e-12
    )


# --- Gaussian and Laplace ---------------------------------------------------------------------------------------------


@given(mean=st.floats(0, 1), sigma=st.floats(0.02, 2))
@some
@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_densities_on_the_line_integrate_to_one(
    kind: Callable[[Tensor, Tensor], PixelDistribution], mean: float, sigma: float
) -> None:
    p = kind(pixels(mean), torch.tensor(sigma, dtype=torch.float64))
    total, _ = integrate.quad(density(p), mean - 40 * sigma, mean + 40 * sigma, points=[mean])
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("kind", "theirs"), [(Gaussian, stats.norm), (Laplace, stats.laplace)])
def test_densities_on_the_line_agree_with_scipy(
    kind: Callable[[Tensor, Tensor], PixelDistribution], theirs: stats.rv_continuous
) -> None:
    torch.manual_seed(2)
    mean, x = torch.rand(3, 2, 4, 5).double(), torch.rand(3, 2, 4, 5).double()
    expected = theirs(mean.numpy(), 0.3).logpdf(x.numpy()).reshape(3, -1).sum(1)
    assert np.allclose(kind(mean, torch.tensor(0.3, dtype=torch.float64)).log_prob(x).numpy(), expected)


# --- discretised logistic ---------------------------------------------------------------------------------------------


def masses(location: float, sigma: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The probability of each level, from the distribution function and, past the middle, from its complement."""
    edges = (np.arange(255) + 0.5) / 255
    logistic = stats.logistic(location, sigma)
    from_below = np.diff(np.concatenate([[0], logistic.cdf(edges), [1]]))
    from_above = -np.diff(np.concatenate([[1], logistic.sf(edges), [0]]))
    return np.where(np.arange(256) / 255 < location, from_below, from_above)


def levels_of(location: float, sigma: float, dtype: torch.dtype) -> tuple[DiscretisedLogistic, Tensor]:
    p = DiscretisedLogistic(torch.full((256, 1, 1, 1), location, dtype=dtype), torch.tensor(sigma, dtype=dtype))
    x = LEVELS if dtype == torch.float32 else torch.arange(256, dtype=dtype).reshape(256, 1, 1, 1) / 255
    return p, x


locations = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 127 / 255, 0.5 / 255]), st.floats(0, 1))
scales = st.floats(math.log(1e-4), math.log(10)).map(math.exp)


@given(location=locations, sigma=scales)
@limits(max_examples=100)
def test_discretised_logistic_sums_to_one_over_the_256_levels(location: float, sigma: float) -> None:
    p, x = levels_of(location, sigma, torch.float64)
    log_prob = p.log_prob(x)
    assert float(log_prob.exp().sum()) == pytest.approx(1.0, abs=1e-7)
    assert np.allclose(log_prob.exp().numpy(), masses(location, sigma), atol=1e-8)
    # In float32 a level is known to 3e-8, which is 3e-4 of the smallest scale.
    p, x = levels_of(location, sigma, torch.float32)
    assert float(p.log_prob(x).exp().sum()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("sigma", [1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0])
def test_discretised_logistic_is_exact_in_its_tails(sigma: float) -> None:
    for location, level in itertools.product([0.0, 1e-3, 0.5, 1.0], [0, 1, 127, 128, 254, 255]):
        with mp.workdps(6000 if sigma < 1e-3 else 600):
            scaled = [(mp.mpf(level) + shift - 255 * mp.mpf(location)) / 255 / mp.mpf(sigma) for shift in (-0.5, 0.5)]
            lower, upper = (1 / (1 + mp.exp(-value)) for value in scaled)
            mass = (1 if level == 255 else upper) - (0 if level == 0 else lower)
            expected = float(mp.log(mass))
        for dtype, error in [(torch.float32, 1e-5), (torch.float64, 1e-12)]:
            p, x = levels_of(location, sigma, dtype)
            # The second tolerance is what a rounded level or location leaves open.
            rounding = 8 * torch.finfo(dtype).eps / sigma + 1e-8
            assert float(p.log_prob(x)[level]) == pytest.approx(expected, rel=error, abs=rounding)


def test_a_pixel_far_from_the_location_pulls_with_the_gradient_of_the_tail() -> None:
    for dtype, sigma in itertools.product([torch.float32, torch.float64], [1e-4, 1e-3, 1e-2]):
        location = pixels(0.0, 1.0, dtype=dtype).requires_grad_()
        scale = torch.tensor(sigma, dtype=dtype, requires_grad=True)
        log_prob = DiscretisedLogistic(location, scale).log_prob(pixels(1.0, 0.0, dtype=dtype))
        by_location, by_scale = torch.autograd.grad(log_prob.sum(), [location, scale])
        # log P of an end cell is -(1 - 1/510)/sigma there, to within e^-99.
        assert by_location.flatten().tolist() == pytest.approx([1 / sigma, -1 / sigma], rel=1e-5)
        assert float(by_scale) == pytest.approx(2 * (1 - 1 / 510) / sigma**2, rel=1e-5)


@given(location=locations, sigma=scales)
@limits(max_examples=100)
def test_the_mean_of_a_discretised_logistic_is_within_its_bound_of_the_exact_sum(location: float, sigma: float) -> None:
    exact = float((masses(location, sigma) * np.arange(256)).sum() / 255)
    bound = min(1 / 510, 1 / (16 * 255**2 * sigma))
    for dtype, rounding in [(torch.float64, 1e-8), (torch.float32, 2e-6)]:
        p, _ = levels_of(location, sigma, dtype)
        assert abs(float(p.mean[0]) - exact) <= bound + rounding


def test_the_bound_of_the_mean_is_reached_where_a_narrow_logistic_lies_by_the_edge_of_a_cell() -> None:
    location = 100.49 / 255
    error = float(levels_of(location, 1e-6, torch.float64)[0].mean[0]) - 100 / 255
    assert 0.9 / 510 < error < 1 / 510
