"""Total correlation without a ceiling: closed forms of Gaussians, an integral, independence, permuted latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from corolla.errors import UsageError
from corolla.metrics import total_correlation_bound


def _gaussian(rows: int, dim: int, rho: float, seed: int) -> tuple[NDArray[np.float64], float]:
    """Draws with the same correlation between all latents, and −½ log det of the matrix: (1 − ρ)^(D−1)·(1 + (D−1)ρ)."""
    rng = np.random.default_rng(seed)
    draws = math.sqrt(rho) * rng.normal(size=(rows, 1)) + math.sqrt(1 - rho) * rng.normal(size=(rows, dim))
    return draws, -0.5 * ((dim - 1) * math.log(1 - rho) + math.log(1 + (dim - 1) * rho))


@pytest.mark.parametrize(("dim", "rho"), [(2, 0.5), (10, 0.3), (10, 0.95)])
def test_gaussians_have_the_closed_form(dim: int, rho: float) -> None:
    for seed in range(3):
        draws, expected = _gaussian(2000, dim, rho, seed)
        scores = total_correlation_bound(draws, components=(1, 2))
        price = dim**2 / 3 / 2000
        assert scores.value == pytest.approx(expected - price, abs=3.5 * scores.standard_error)
    # Maps of single latents leave it alone: exactly, as only ranks count.
    assert total_correlation_bound(np.exp(draws) * 3, components=(1, 2)) == scores


def test_no_number_of_draws_bounds_it() -> None:
    """Far more than log 1000 = 6.9 nats, of which the mixture of 1,000 posteriors could not tell more."""
    draws, expected = _gaussian(1000, 20, 0.98, 0)
    assert expected > 30
    assert total_correlation_bound(draws).value == pytest.approx(expected, abs=1)


def test_dependence_without_correlation_has_that_of_the_integral() -> None:
    """y = |x| + 0.2·e: H(y) − H(0.2·e), by numerical integration."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 4000))
    grid = np.linspace(-2, 7, 4001)
    folded = stats.norm(0, math.sqrt(1.04)).pdf(grid) * 2 * stats.norm.cdf(grid / (0.2 * math.sqrt(1.04)))
    entropy = -integrate.simpson(folded * np.log(np.maximum(folded, 1e-300)), x=grid)
    expected = float(entropy) - 0.5 * math.log(2 * math.pi * math.e * 0.04)
    scores = total_correlation_bound(np.stack([x, np.abs(x) + 0.2 * noise], 1))
    assert expected - 0.08 < scores.value < expected + 3 * scores.standard_error


def test_four_clumps_that_no_two_gaussians_tell_are_seen() -> None:
    """Signs with x·y·w > 0, in pairs independent: log 2, as the third follows from the others."""
    rng = np.random.default_rng(4)
    signs = rng.choice([-1.0, 1.0], size=(4000, 2))
    draws = np.hstack([signs, signs.prod(1, keepdims=True)]) * 4 + rng.normal(size=(4000, 3))
    scores = total_correlation_bound(draws)
    assert 0.5 * math.log(2) < scores.value < math.log(2) + 3 * scores.standard_error


def test_independent_and_permuted_latents_have_none() -> None:
    rng = np.random.default_rng(2)
    draws, _ = _gaussian(1000, 6, 0.9, 3)
    permuted = np.stack([rng.permutation(column) for column in draws.T], 1)
    for independent in (rng.normal(size=(1000, 8)), rng.exponential(size=(1000, 3)), permuted):
        assert total_correlation_bound(independent).value < 0.02
    assert total_correlation_bound(np.hstack([draws[:, :1], np.zeros((1000, 5))])).value == 0
    assert total_correlation_bound(np.zeros((10, 3))).value == 0
    with pytest.raises(UsageError, match="components"):
        total_correlation_bound(draws, components=())
