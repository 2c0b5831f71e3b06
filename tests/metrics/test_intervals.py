"""Intervals by halves: the classical standard error where there is one, and simulated coverage where there is none."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import bootstrap, frechet_distance, kid, normal_interval
from corolla.metrics.intervals import half_samples, interval_of_parts, parts_of, proportion_interval


def test_over_all_halves_it_is_the_classical_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(size=10)
    means = [np.mean(half) for half in itertools.combinations(values, 5)]
    assert np.std(means) == pytest.approx(values.std(ddof=1) / 10**0.5, rel=1e-12)
    found = bootstrap(np.mean, values, repeats=3000)
    assert found.value == values.mean()
    assert found.standard_error == pytest.approx(np.std(means), rel=0.05)


def test_two_samples_add_their_variances() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=40), rng.normal(0, 3, size=60)
    exact = (x.var(ddof=1) / 40 + y.var(ddof=1) / 60) ** 0.5
    found = bootstrap(lambda a, b: float(a.mean() - b.mean()), x, y, repeats=2000)
    assert found.standard_error == pytest.approx(exact, rel=0.06)


def test_halves_are_different_rows_and_the_seed_fixes_them() -> None:
    first, again, other = (list(half_samples([9, 4], 5, seed)) for seed in (0, 0, 1))
    for rows, same in zip(first, again, strict=True):
        assert [len(set(one.tolist())) for one in rows] == [4, 2]
        assert all((a == b).all() for a, b in zip(rows, same, strict=True))
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))
    values = np.arange(20.0)
    assert bootstrap(np.mean, values, seed=4) == bootstrap(np.mean, values, seed=4)
    assert bootstrap(np.mean, values, seed=4) != bootstrap(np.mean, values, seed=5)


def test_a_statistic_may_look_up_rows_by_number() -> None:
    values = np.random.default_rng(3).normal(size=(30, 2))
    by_rows = bootstrap(lambda rows: float(np.ptp(values[rows])), np.arange(30))
    assert by_rows == bootstrap(lambda own: float(np.ptp(own)), values)


def test_the_normal_interval() -> None:
    found = normal_interval(2.0, 0.5)
    assert (found.value, found.standard_error) == (2.0, 0.5)
    assert (found.low, found.high) == pytest.approx((2 - 0.98, 2 + 0.98), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["kid", "frechet"])
def test_intervals_cover_what_such_sets_give_on_average(score: str) -> None:
    """Of a U-statistic, and of a biased one: 200 intervals of 95 %, each from sets of its own."""

    def statistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return kid(x, y).value if score == "kid" else frechet_distance(x, y)

    rng = np.random.default_rng(4)

    def sets() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return rng.normal(0.5, 1.2, size=(80, 4)), rng.normal(size=(120, 4))

    exact = np.mean([statistic(*sets()) for _ in range(2000)])
    found = [bootstrap(statistic, *sets(), repeats=60, seed=seed) for seed in range(200)]
    share = np.mean([one.low <= exact <= one.high for one in found])
    assert 0.89 <= share <= 0.995


def test_what_has_no_interval_is_refused() -> None:
    values = np.arange(20.0)
    with pytest.raises(UsageError, match="samples of 20, 3 rows: an interval needs at least 4 of each"):
        bootstrap(lambda a, b: float(a.sum() + b.sum()), values, values[:3])
    with pytest.raises(UsageError, match="samples of no rows"):
        bootstrap(lambda: 1.0)
    with pytest.raises(UsageError, match="1 repeats"):
        bootstrap(np.mean, values, repeats=1)
    with pytest.raises(UsageError, match="not finite on all halves"):
        bootstrap(np.mean, np.array([1.0, np.inf, 2.0, 3.0]))


def test_parts_give_the_classical_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=800)
    rows = parts_of(800, 400, seed=1)
    assert np.sort(np.concatenate(rows)).tolist() == list(range(800))
    interval = interval_of_parts(float(values.mean()), [float(values[part].mean()) for part in rows])
    assert interval.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(800), rel=0.1)
    # Of eight parts, Student's t with seven degrees of freedom reaches 2.3646 standard errors.
    interval = interval_of_parts(1.0, [0.0, 2.0] * 4)
    assert interval.standard_error == pytest.approx(math.sqrt(8 / 7) / math.sqrt(8))
    assert interval.high == pytest.approx(1 + 2.3646 * math.sqrt(1 / 7), abs=1e-4)
    with pytest.raises(UsageError, match="1 parts"):
        interval_of_parts(1.0, [1.0])


def test_intervals_of_parts_hold_the_truth_as_often_as_they_say() -> None:
    """Of a variance, which is no mean, from 95 in a hundred sets, within what 400 of them can say."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        values = rng.normal(size=400)
        in_parts = [float(values[rows].var(ddof=1)) for rows in parts_of(400, 8, seed=0)]
        interval = interval_of_parts(float(values.var(ddof=1)), in_parts)
        held += interval.low <= 1 <= interval.high
    assert held / 400 == pytest.approx(0.95, abs=0.035)


def test_a_share_has_wilsons_interval() -> None:
    for value, count in ((0.7, 50), (0.0, 20), (1.0, 20)):
        z = 1.959964
        centre = (value + z**2 / (2 * count)) / (1 + z**2 / count)
        reach = z / (1 + z**2 / count) * math.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
        interval = proportion_interval(value, count)
        assert (interval.low, interval.high) == pytest.approx((centre - reach, centre + reach), abs=1e-6)
