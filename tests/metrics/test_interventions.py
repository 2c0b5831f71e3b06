"""IRS against groups taken one by one, and codes whose deviations are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import irs

_GRID = np.array(list(itertools.product(range(3), range(4), range(5))), dtype=float)  # 60 rows


def _irs(codes: NDArray[np.float64], factors: NDArray[np.float64], quantile: float) -> float:
    best, weights = [], []
    for latent in codes.T:
        largest = max(abs(z - latent.mean()) for z in latent)
        robust = []
        for factor in factors.T:
            groups = [latent[factor == value] for value in sorted(set(factor))]
            deviations = [np.quantile([abs(z - group.mean()) for z in group], quantile) for group in groups]
            robust.append(1 - float(np.mean(deviations)) / largest)
        best.append(max(robust))
        weights.append(largest)
    return float(sum(b * w for b, w in zip(best, weights, strict=True)) / sum(weights))


@pytest.mark.parametrize("quantile", [0.99, 1.0, 0.5])
def test_it_is_the_mean_of_its_definition(quantile: float) -> None:
    rng = np.random.default_rng(1)
    codes = _GRID @ rng.normal(size=(3, 4)) + rng.normal(size=(60, 4))
    assert irs(codes, _GRID, quantile=quantile).value == pytest.approx(_irs(codes, _GRID, quantile), abs=1e-12)


def test_perfect_codes_score_one_however_often_they_come() -> None:
    constant = np.full((60, 1), 0.1)
    for codes in (_GRID, -4.5 * _GRID[:, ::-1], np.hstack([_GRID, _GRID]), np.hstack([_GRID, constant])):
        assert irs(codes, _GRID).value == pytest.approx(1)
    found = irs(np.hstack([_GRID[:, ::-1], constant]), _GRID)
    assert found.factor_of_latent.tolist() == [2, 1, 0, -1]
    assert np.isnan(found.per_latent[3])
    assert irs(constant, _GRID).value == 0


def test_a_latent_of_two_factors_is_half_robust() -> None:
    """z = a + b, both ±1: at either value of a it deviates by 1 from its mean there, and by 2 at most from its mean."""
    factors = np.tile(np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]), (50, 1))
    assert irs(factors.sum(1, keepdims=True), factors).value == pytest.approx(0.5)


def test_noise_has_the_quantile_over_the_maximum() -> None:
    rng = np.random.default_rng(2)
    factors = rng.integers(4, size=(40_000, 1))
    noise = rng.uniform(-1, 1, size=(40_000, 1))
    assert irs(noise, factors).value == pytest.approx(1 - 0.99, abs=0.003)
    assert irs(noise, factors, quantile=1.0).value == pytest.approx(0, abs=0.003)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(4)), scale=st.floats(1e-6, 1e6))
def test_order_and_a_common_scale_do_not_matter(seed: int, order: list[int], scale: float) -> None:
    codes = _GRID[:, [0, 1, 2, 0]] + np.random.default_rng(seed).normal(size=(60, 4))
    one = irs(codes, _GRID).value
    assert irs(-scale * codes[:, order] + 3, _GRID[:, ::-1]).value == pytest.approx(one, abs=1e-7)
    assert one <= 1


@pytest.mark.parametrize("quantile", [0.0, 1.5, float("nan")])
def test_a_quantile_out_of_range_is_refused(quantile: float) -> None:
    with pytest.raises(UsageError, match="quantile"):
        irs(_GRID, _GRID, quantile=quantile)
