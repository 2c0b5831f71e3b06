"""SAP against regressions and against all thresholds there are; explicitness against pairs of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from corolla.errors import UsageError
from corolla.metrics import explicitness, sap
from corolla.metrics.predictors import _area, _split, _standardised

_GRID = np.array(list(itertools.product(range(3), range(4), range(5))), dtype=float)  # 60 rows


def _best_thresholds(latent: NDArray[np.float64], known: NDArray[np.int64]) -> float:
    """The best balanced accuracy of all choices of C − 1 thresholds and of all classes for the intervals."""
    classes, values = sorted(set(known.tolist())), sorted(set(latent.tolist()))
    best = 0.0
    for thresholds in itertools.combinations_with_replacement([*values, np.inf], len(classes) - 1):
        interval = np.array([sum(value >= threshold for threshold in thresholds) for value in latent])
        for answer in itertools.product(classes, repeat=len(classes)):
            guess = np.array(answer)[interval]
            best = max(best, float(np.mean([(guess[known == one] == one).mean() for one in classes])))
    return best


def test_ordered_factors_are_scored_by_regression() -> None:
    rng = np.random.default_rng(1)
    codes = _GRID @ rng.normal(size=(3, 5)) + rng.normal(size=(60, 5))
    found = sap(codes, _GRID)
    for latent, factor in itertools.product(range(5), range(3)):
        x, y = codes[:, latent : latent + 1], _GRID[:, factor]
        assert found.scores[latent, factor] == pytest.approx(LinearRegression().fit(x, y).score(x, y), abs=1e-12)
    gaps = [sorted(column)[-1] - sorted(column)[-2] for column in found.scores.T.tolist()]
    assert found.value == pytest.approx(np.mean(gaps), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [2, 3])
def test_categorical_factors_are_scored_by_the_best_thresholds(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    known = np.concatenate([np.arange(classes), rng.integers(classes, size=9)])[:, None]
    codes = np.hstack([rng.normal(size=(len(known), 2)), rng.integers(4, size=(len(known), 1))])  # the last has ties
    found = sap(codes, np.hstack([known, known]), categorical=[1])
    exact = [_best_thresholds(latent, known[:, 0]) for latent in codes.T]
    assert found.scores[:, 1] == pytest.approx(exact, abs=1e-12)
    assert found.scores[:, 0] == pytest.approx([np.corrcoef(latent, known[:, 0])[0, 1] ** 2 for latent in codes.T])


def test_a_category_without_order_is_found_by_thresholds_only() -> None:
    """Two classes at either end, one in the middle: no line tells them apart, two thresholds do."""
    known = np.repeat([0, 1, 2], 20)[:, None]
    latent = np.array([5.0, -5.0, 0.0])[known[:, 0]][:, None]
    codes = np.hstack([latent, np.zeros((60, 1))])
    assert sap(codes, known, categorical=[0]).value == pytest.approx(1)
    assert sap(codes, known).value == pytest.approx(0.25)  # ρ² of (0, 1, 2) and (5, −5, 0)


def test_sap_of_known_codes() -> None:
    rng = np.random.default_rng(2)
    constant = np.full((60, 1), 0.1)
    assert sap(_GRID, _GRID).value == pytest.approx(1)
    assert sap(_GRID[:, ::-1] * [-1e-8, 3, 1e9] + 4, _GRID).value == pytest.approx(1)
    assert sap(np.hstack([_GRID, constant]), _GRID).value == pytest.approx(1)
    assert sap(np.hstack([_GRID, _GRID]), _GRID).value == pytest.approx(0, abs=1e-12)
    assert sap(np.hstack([constant, constant]), _GRID, categorical=[0, 1, 2]).value == 0
    factors = rng.integers(10, size=(5000, 2))
    assert sap(factors @ np.array([[1.0, -1.0], [1.0, 1.0]]), factors).value < 0.05
    assert sap(rng.normal(size=(5000, 5)), factors).value < 0.005
    # Perfect for three classes beside a latent that tells nothing of them: 1 − 1/3.
    assert sap(_GRID, _GRID, categorical=[0]).gaps[0] == pytest.approx(2 / 3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.permutations(range(4)),
    scales=st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4),
    shift=st.floats(-100, 100),
)
def test_order_and_scale_do_not_matter(seed: int, order: list[int], scales: list[float], shift: float) -> None:
    rng = np.random.default_rng(seed)
    factors = np.stack([np.arange(40) % 3, rng.permutation(40) % 5], 1)
    codes = factors[:, [0, 1, 0, 1]] + rng.normal(size=(40, 4))
    other = (codes * scales * [1, -1, 1, -1])[:, order] + shift
    for categorical in ((), (0, 1)):
        one = sap(codes, factors, categorical=categorical).value
        assert sap(other, factors, categorical=categorical).value == pytest.approx(one, abs=1e-7)
        assert 0 <= one <= 1


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(3)))
def test_order_and_scale_do_not_matter_to_explicitness(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    factors = np.arange(40)[:, None] % 3
    codes = factors + rng.normal(size=(40, 3))
    other = (codes * [1e-3, -5, 1e3])[:, order] + 7
    # Not exactly, as two areas differ by a pair of rows where the solver stops a little elsewhere.
    assert explicitness(other, factors).value == pytest.approx(explicitness(codes, factors).value, abs=0.02)


def test_explicitness_of_known_codes() -> None:
    rng = np.random.default_rng(3)
    factors = rng.integers(4, size=(800, 2))
    one_hot = np.eye(4)[factors].reshape(800, 8)
    found = explicitness(one_hot, factors)
    assert found.value == 1
    assert explicitness(one_hot @ rng.normal(size=(8, 8)), factors).value == 1  # a rotation hides nothing
    constant = explicitness(np.full((800, 3), 0.1), factors)
    assert constant.value == 0.5
    assert explicitness(rng.normal(size=(800, 5)), factors).value == pytest.approx(0.5, abs=0.05)
    # On one ordered latent the outer classes are separable, and a line cannot single out the inner ones.
    ordered = explicitness(factors, factors)
    assert 0.65 < ordered.value < 0.95
    assert ordered.per_factor == pytest.approx([ordered.value] * 2, abs=0.05)


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(4)
    known = rng.integers(3, size=90)
    codes = rng.normal(size=(90, 2)) + known[:, None]
    train, test = _split(known, np.bincount(known), np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(90))
    assert np.bincount(known[test]).tolist() == [-(-count // 4) for count in np.bincount(known)]
    scaled = _standardised(codes, train)
    assert scaled[train].std(0) == pytest.approx([1, 1])
    # One latent keeps its order under a logistic regression, so the area is that of the latent itself.
    area = _area(scaled[:, :1], known == 2, train, test)
    mine, others = codes[test, 0][known[test] == 2], codes[test, 0][known[test] != 2]
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(mine, others)]
    assert area == pytest.approx(np.mean(pairs))


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="categorical = 3: the factors' columns are 0 to 2"):
        sap(_GRID, _GRID, categorical=[3])
    rare = np.zeros((60, 1))
    rare[:3] = 1
    with pytest.raises(UsageError, match="a class of 3 samples: explicitness needs at least 4"):
        explicitness(_GRID, rare)
