"""The Fréchet distance against closed forms; precision, recall, density and coverage against ball-by-ball loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import linalg

from corolla.errors import UsageError
from corolla.metrics import density_coverage, frechet_distance, generation_intervals, neighbours, precision_recall


def _with_moments(rng: np.random.Generator, mean: list[float], deviations: list[float], n: int) -> NDArray[np.float64]:
    """Rows with exactly this mean and these uncorrelated standard deviations."""
    raw = rng.normal(size=(n, len(mean)))
    raw -= raw.mean(0)
    white = np.linalg.svd(raw, full_matrices=False)[0] * math.sqrt(n - 1)
    rows: NDArray[np.float64] = np.asarray(mean) + white * np.asarray(deviations)
    return rows


def _ball_by_ball(x: NDArray[np.float64], y: NDArray[np.float64], k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage as their papers define them; x is generated."""

    def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return math.dist(a, b)

    def radius(rows: NDArray[np.float64], own: int) -> float:
        return sorted(distance(rows[own], rows[other]) for other in range(len(rows)) if other != own)[k - 1]

    radii_x, radii_y = ([radius(rows, i) for i in range(len(rows))] for rows in (x, y))
    in_real = [[distance(a, b) <= r for b, r in zip(y, radii_y, strict=True)] for a in x]
    in_generated = [[distance(a, b) <= r for a, r in zip(x, radii_x, strict=True)] for b in y]
    precision, recall = (sum(map(any, inside)) / len(inside) for inside in (in_real, in_generated))
    density = sum(map(sum, in_real)) / (k * len(x))
    coverage = sum(any(inside[j] for inside in in_real) for j in range(len(y))) / len(y)
    return precision, recall, density, coverage


# --- the Fréchet distance ---------------------------------------------------------------------------------------------


def test_gaussians_with_diagonal_covariances_have_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    x = _with_moments(rng, [0, 1, -2], [1, 2, 0.5], 20)
    y = _with_moments(rng, [3, 1, 0], [4, 0.1, 0.5], 35)
    exact = 3**2 + 2**2 + (1 - 4) ** 2 + (2 - 0.1) ** 2
    assert frechet_distance(x, y) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize(("m", "n"), [(50, 40), (5, 40), (5, 7)])
def test_the_trace_is_that_of_the_matrix_root(m: int, n: int) -> None:
    """Against Schur's method on the product itself; with fewer rows than columns the covariances are singular."""
    rng = np.random.default_rng(2)
    mix = rng.normal(size=(8, 8))
    x, y = rng.normal(size=(m, 8)), 1 + rng.normal(size=(n, 8)) @ mix
    a, b = np.cov(x.T), np.cov(y.T)
    # Schur's method fails on singular matrices: a little of the unit matrix, as is common.
    root = linalg.sqrtm((a + 1e-9 * np.eye(8)) @ (b + 1e-9 * np.eye(8)))
    exact = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * np.trace(root).real
    assert frechet_distance(x, y) == pytest.approx(exact, rel=1e-4)


def test_it_is_zero_for_the_same_and_biased_for_the_alike() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 50))
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-11)
    few, many = (frechet_distance(*rng.normal(size=(2, count, 8))) for count in (30, 3000))
    assert few > 20 * many > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_it_is_symmetric_and_keeps_its_laws(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, 5)), rng.normal(1, 2, size=(12, 5))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    found = frechet_distance(x, y)
    assert frechet_distance(y, x) == pytest.approx(found, rel=1e-9)
    assert frechet_distance(rng.permutation(x) @ rotation + 3, y @ rotation + 3) == pytest.approx(found, rel=1e-9)
    assert frechet_distance(scale * x, scale * y) == pytest.approx(scale**2 * found, rel=1e-9)
    step = rng.normal(size=5)
    assert frechet_distance(x, x + step) == pytest.approx(step @ step, rel=1e-6)


# --- balls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_four_are_what_their_definitions_say(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_CHUNK_ROWS", 7)
    rng = np.random.default_rng(4)
    x, y = rng.normal(0.5, 1, size=(25, 3)), rng.normal(size=(33, 3))
    pr, dc = precision_recall(x, y, k=k), density_coverage(x, y, k=k)
    found = *pr, *dc
    assert found == pytest.approx(_ball_by_ball(x, y, k), rel=1e-12)
    assert len({round(value, 6) for value in found}) > 2  # a case that tells them apart


def test_a_set_is_its_own_best_copy_and_strangers_share_nothing() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 4))
    same, apart = precision_recall(x, x), precision_recall(x, x + 1000)
    assert (same[0], same[1], apart[0], apart[1]) == (1, 1, 0, 0)
    assert density_coverage(x, x)[1] == 1
    away = density_coverage(x, x + 1000)
    assert (away[0], away[1]) == (0, 0)


def test_a_collapsed_generator_is_precise_but_covers_little() -> None:
    rng = np.random.default_rng(6)
    real = rng.normal(size=(200, 3))
    collapsed = 0.05 * rng.normal(size=(200, 3))
    pr = precision_recall(collapsed, real)
    assert pr[0] == 1
    assert pr[1] < 0.1
    assert density_coverage(collapsed, real)[1] < 0.2
    # The other way round, the generator reaches all that is real, and much that is not.
    pr = precision_recall(real, collapsed)
    assert pr[0] < 0.1
    assert pr[1] == 1


def test_all_rows_the_same_are_in_each_others_balls() -> None:
    x = np.full((20, 100), 0.1)
    pr, dc = precision_recall(x, x), density_coverage(x, x)
    assert (*pr, *dc) == (1, 1, 4, 1)  # 20 balls of 5
    # Ten heaps of twins, whose balls have no size: what is rounded must not tell twins apart.
    heaps = np.random.default_rng(10).normal(size=(10, 300))
    x, y = np.repeat(heaps, 7, axis=0), np.repeat(heaps[::-1], 9, axis=0)
    pr, dc = precision_recall(x, y), density_coverage(x, y)
    assert (pr[0], pr[1], dc[1]) == (1, 1, 1)
    assert dc[0] == pytest.approx(9 / 5)


def test_they_are_the_same_far_from_the_origin() -> None:
    rng = np.random.default_rng(11)
    x, y = np.round(100 * rng.normal(size=(40, 3))), np.round(100 * rng.normal(size=(50, 3)))
    far = 2.0**32
    assert precision_recall(x + far, y + far) == precision_recall(x, y)
    assert density_coverage(x + far, y + far) == density_coverage(x, y)


@pytest.mark.parametrize("dim", [1, 6])
def test_at_equal_distributions_density_and_coverage_are_as_expected(dim: int) -> None:
    """Naeem et al. 2020, appendix: whatever the distribution. Of M + N - 1 others, the k nearest must all be real."""
    m, n, k = 30, 20, 5
    expected = 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))
    rng = np.random.default_rng(7)
    found = [density_coverage(rng.normal(size=(m, dim)), rng.normal(size=(n, dim)), k=k) for _ in range(400)]
    for values, exact in (([one[1] for one in found], expected), ([one[0] for one in found], 1)):
        assert abs(np.mean(values) - exact) < 3 * np.std(values) / 20
        assert np.std(values) < 0.4  # so that the mean is known to 0.06


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_the_four_know_no_rotation_shift_scale_or_order(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(14, 4)), rng.normal(0.3, 1, size=(17, 4))
    rotation = scale * np.linalg.qr(rng.normal(size=(4, 4)))[0]
    u, v = rng.permutation(x) @ rotation + scale, rng.permutation(y) @ rotation + scale
    assert precision_recall(x, y) == precision_recall(u, v)
    assert density_coverage(x, y) == density_coverage(u, v)
    # Precision of one in the other is recall of the other in the one.
    assert precision_recall(x, y)[0] == precision_recall(y, x)[1]


# --- their intervals --------------------------------------------------------------------------------------------------


def test_intervals_hold_the_scores_and_their_halves() -> None:
    """The halves' scores, from neighbours kept once, are those of the halves themselves."""
    rng = np.random.default_rng(8)
    x, y = rng.normal(0.5, 1, size=(150, 3)), rng.normal(size=(171, 3))
    found = generation_intervals(x, y, repeats=20, seed=3)
    pr, dc = precision_recall(x, y), density_coverage(x, y)
    whole = [*pr, *dc]
    assert list(found) == ["precision", "recall", "density", "coverage"]
    intervals = list(found.values())
    assert [one.value for one in intervals] == pytest.approx(whole, rel=1e-12)
    draws, again = [], np.random.default_rng(3)
    for _ in range(20):
        u, v = (rows[again.permutation(len(rows))[: len(rows) // 2]] for rows in (x, y))
        pr, dc = precision_recall(u, v), density_coverage(u, v)
        draws.append([*pr, *dc])
    assert [one.standard_error for one in intervals] == pytest.approx(np.std(draws, axis=0, ddof=1), rel=1e-9)


@pytest.mark.slow
def test_intervals_cover_what_such_sets_give_on_average() -> None:
    rng = np.random.default_rng(9)

    def sets() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return rng.normal(0.7, 1, size=(200, 3)), rng.normal(size=(300, 3))

    many = []
    for _ in range(600):
        x, y = sets()
        pr, dc = precision_recall(x, y), density_coverage(x, y)
        many.append([*pr, *dc])
    found = [list(generation_intervals(*sets(), repeats=60, seed=seed).values()) for seed in range(200)]
    for which, exact in enumerate(np.mean(many, axis=0)):
        share = np.mean([one[which].low <= exact <= one[which].high for one in found])
        assert 0.89 <= share <= 0.995, (which, share)  # 95 % within 3 standard errors of 200 trials, and a little more


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (np.zeros(5), np.zeros((9, 3)), "N×D"),
        (np.zeros((9, 3)), np.zeros((9, 4)), "3 and 4 values"),
        (np.full((9, 3), np.nan), np.zeros((9, 3)), "not finite"),
        (np.zeros((9, 3)), np.zeros((1, 3)), "at least"),
    ],
)
def test_what_is_not_two_sets_of_features_is_refused(x: NDArray[np.float64], y: NDArray[np.float64], word: str) -> None:
    for score in (frechet_distance, precision_recall, density_coverage):
        with pytest.raises(UsageError, match=word) as caught:
            score(x, y)
        assert "\n" not in str(caught.value)


def test_too_few_rows_are_refused_with_how_many_are_needed() -> None:
    x, y = np.zeros((5, 2)), np.zeros((20, 2))
    with pytest.raises(UsageError, match=r"shape \(5, 2\).*at least 6 rows"):
        density_coverage(x, y)
    with pytest.raises(UsageError, match="at least 6 rows"):
        precision_recall(y, x, k=5)
    with pytest.raises(UsageError, match="at least 12 rows"):
        generation_intervals(y, x)
    with pytest.raises(UsageError, match="0-th nearest"):
        precision_recall(x, y, k=0)
    with pytest.raises(UsageError, match="at least 2 rows"):
        frechet_distance(x[:1], y)
