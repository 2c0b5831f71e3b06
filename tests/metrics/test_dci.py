"""DCI: entropies against a naive sum, with the bases that make 0 and 1 the limits, and forests on known codes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from corolla.errors import UsageError
from corolla.metrics import dci, importance_entropies
from corolla.metrics.dci import _gains, _shares


def _disentanglement(matrix: NDArray[np.float64]) -> float:
    """Σ_i ρ_i (1 − H_K(P_i)), number by number."""
    total, value = float(matrix.sum()), 0.0
    for row in matrix:
        mass = float(row.sum())
        if mass:
            value += mass / total * (1 + sum(r / mass * math.log(r / mass, len(row)) for r in row if r))
    return value


@pytest.mark.parametrize("shape", [(10, 7), (2, 5), (5, 2)])
def test_entropies_are_those_of_the_definition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    matrix = rng.exponential(size=shape) * (rng.random(shape) > 0.3)
    found = importance_entropies(matrix)
    assert found.disentanglement == pytest.approx(_disentanglement(matrix), abs=1e-12)
    assert found.completeness == pytest.approx(_disentanglement(matrix.T), abs=1e-12)


def test_each_score_has_its_own_base() -> None:
    """A uniform matrix scores 0 twice, whichever side is longer; a wrong base gives less or more."""
    found = importance_entropies(np.ones((10, 3)))
    assert found.disentanglement == pytest.approx(0, abs=1e-12)
    assert found.completeness == pytest.approx(0, abs=1e-12)
    half = importance_entropies([[1, 1, 0, 0], [0, 0, 1, 1]])  # two of four factors each; one latent for each factor
    assert half.disentanglement == pytest.approx(1 - math.log(2) / math.log(4))
    assert half.completeness == pytest.approx(1)
    split = importance_entropies([[1, 0], [1, 0], [0, 1], [0, 1]])  # the other way round
    assert split.disentanglement == pytest.approx(1)
    assert split.completeness == pytest.approx(1 - math.log(2) / math.log(4))


def test_what_has_no_importance_weighs_nothing() -> None:
    found = importance_entropies([[3, 0], [0, 1], [0, 0]])
    assert (found.disentanglement, found.completeness) == (1, 1)
    assert found.per_latent.tolist() == [1, 1, 0]
    nothing = importance_entropies(np.zeros((3, 2)))
    assert (nothing.disentanglement, nothing.completeness) == (0, 0)
    # Weighted by mass: a latent with a hundredth of it hardly counts, although it serves all factors.
    weighted = importance_entropies([[0.5, 0], [0, 0.49], [0.005, 0.005]])
    assert weighted.disentanglement == pytest.approx(0.99)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-6, 1e6), d=st.integers(2, 8), k=st.integers(2, 8))
def test_order_and_scale_of_importance_do_not_matter(seed: int, scale: float, d: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.exponential(size=(d, k)) * (rng.random((d, k)) > 0.5)
    one = importance_entropies(matrix)
    other = importance_entropies(scale * matrix[rng.permutation(d)][:, rng.permutation(k)])
    assert other.disentanglement == pytest.approx(one.disentanglement, abs=1e-9)
    assert other.completeness == pytest.approx(one.completeness, abs=1e-9)
    assert 0 <= one.disentanglement <= 1
    assert 0 <= one.completeness <= 1


def _factors(rows: int) -> NDArray[np.int64]:
    return np.random.default_rng(7).integers([3, 4, 5], size=(rows, 3))


def test_perfect_codes_score_one_with_whatever_tells_nothing_beside_them() -> None:
    factors = _factors(400)
    noise = np.random.default_rng(8).normal(size=(400, 1))
    for codes in (factors, -3.5 * factors[:, ::-1], np.hstack([factors, np.full((400, 1), 0.1), noise])):
        found = dci(codes, factors, trees=5)
        assert found.disentanglement == pytest.approx(1, abs=1e-9)
        assert found.completeness == pytest.approx(1, abs=1e-9)
        assert found.informativeness == 1
        assert found.importance.sum(0) == pytest.approx(np.ones(3))


def test_duplicated_latents_are_disentangled_but_not_complete() -> None:
    factors = _factors(400)
    found = dci(np.hstack([factors, factors]), factors)
    assert found.disentanglement == pytest.approx(1, abs=1e-9)
    assert found.completeness < 0.8
    assert found.informativeness == 1


def test_rotated_codes_are_informative_but_not_disentangled() -> None:
    factors = np.random.default_rng(9).integers(8, size=(2000, 2))
    found = dci(factors @ np.array([[1.0, -1.0], [1.0, 1.0]]), factors)
    assert found.disentanglement < 0.1
    assert found.completeness < 0.1
    assert found.informativeness > 0.9


def test_noise_and_constant_latents_tell_nothing() -> None:
    factors = _factors(2000)
    noise = dci(np.random.default_rng(10).normal(size=(2000, 4)), factors)
    assert noise.disentanglement < 0.05
    assert noise.completeness < 0.05
    assert noise.informativeness == pytest.approx(np.mean([1 / 3, 1 / 4, 1 / 5]), abs=0.04)
    still = dci(np.full((2000, 4), 0.1), factors)
    assert (still.disentanglement, still.completeness) == (0, 0)
    assert (still.importance == 0).all()


def test_the_seed_fixes_it() -> None:
    factors = _factors(300)
    codes = factors + np.random.default_rng(11).normal(size=(300, 3))
    one, same, other = (dci(codes, factors, trees=5, seed=seed) for seed in (1, 1, 2))
    assert (one.importance == same.importance).all()
    assert one.informativeness == same.informativeness
    assert (one.importance != other.importance).any()


def test_bad_importance_is_refused() -> None:
    for wrong in (np.ones(3), np.ones((1, 3)), np.ones((3, 1)), -np.ones((2, 2)), np.full((2, 2), np.nan)):
        with pytest.raises(UsageError, match="importance"):
            importance_entropies(wrong)
    with pytest.raises(UsageError, match="trees = 0"):
        dci(_factors(100), _factors(100), trees=0)
    with pytest.raises(UsageError, match="1 factors: this score needs at least 2"):
        dci(_factors(100), _factors(100)[:, :1])


def _noisy(rows: int, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One latent for each of seven factors with six values, in units of its standard deviation, with noise."""
    rng = np.random.default_rng(12)
    factors = rng.integers(6, size=(rows, 7))
    return (factors - 2.5) / math.sqrt(35 / 12) + sigma * rng.normal(size=factors.shape), factors


def test_noise_on_a_latent_is_not_mixing() -> None:
    codes, factors = _noisy(6000, 0.3)
    scores = dci(codes, factors)
    assert scores.disentanglement > 0.85
    assert scores.completeness > 0.85
    # The best rule rounds to the nearest value: its error is 2·(5/6)·Q(½·step/σ), where a step is √(12/35).
    best = 1 - 2 * 5 / 6 * 0.5 * math.erfc(math.sqrt(12 / 35) / 0.6 / math.sqrt(2))
    assert scores.informativeness == pytest.approx(best, abs=0.03)
    assert scores.predictable == pytest.approx(np.full(7, (best - 1 / 6) / (5 / 6)), abs=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_noise_scores_nothing_although_no_column_is_flat(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = dci(rng.normal(size=(2000, 6)), rng.integers(4, size=(2000, 5)), seed=seed)
    assert (scores.disentanglement, scores.completeness) == (0, 0)


def test_a_factor_that_nothing_predicts_weighs_nothing() -> None:
    rng = np.random.default_rng(3)
    factors = rng.integers(4, size=(4000, 3))
    scores = dci(np.hstack([factors[:, :2], rng.normal(size=(4000, 2))]), factors)
    assert scores.predictable.tolist() == [1, 1, 0]
    assert scores.disentanglement == pytest.approx(1, abs=1e-9)
    assert scores.completeness == pytest.approx(1, abs=1e-9)


def test_cut_trees_are_those_that_are_grown_no_deeper() -> None:
    """Importance and prediction at a depth against scikit-learn's own, of a tree that was grown to that depth."""
    codes, factors = _noisy(1500, 0.5)
    whole = DecisionTreeClassifier(max_depth=12, min_samples_leaf=5, random_state=0).fit(codes, factors[:, 0]).tree_
    for depth in (1, 3, 6):
        small = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=0).fit(codes, factors[:, 0])
        gains = _gains(whole, depth, 7)
        assert gains / gains.sum() == pytest.approx(small.feature_importances_, abs=1e-9)
        assert _shares([whole], codes)[depth] == pytest.approx(small.predict_proba(codes), abs=1e-9)


def test_gradient_boosting_is_an_option() -> None:
    codes, factors = _noisy(800, 0.1)
    scores = dci(codes[:, :2], factors[:, :2], predictor="boosting")
    assert scores.disentanglement > 0.9
    assert scores.informativeness > 0.95
    with pytest.raises(UsageError, match="predictor = 'oak': give forest or boosting"):
        dci(codes, factors, predictor="oak")  # type: ignore[arg-type]


def test_boosting_needs_some_rows_of_each_class() -> None:
    codes, factors = np.random.default_rng(0).normal(size=(200, 3)), np.zeros((200, 2), int)
    factors[:, 0] = np.arange(200) % 3
    factors[5, 1] = 1
    with pytest.raises(UsageError, match=r"factor 1 has a class of \d samples to learn from"):
        dci(codes, factors, predictor="boosting")
