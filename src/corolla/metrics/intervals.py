"""How much a score would differ with other samples: intervals that hold for neighbours and pairs, too.

The usual bootstrap draws rows with replacement. Twins at distance zero are what scores over neighbours or pairs cannot
bear: every set then seems to be its own best copy. So halves are drawn without replacement. For a mean that gives the
same standard error, and it is right for whatever varies as 1/√n, smooth or not (Politis & Romano 1994, Annals of
Statistics 22(4); with these halves, Shao & Wu 1989, Annals of Statistics 17(3), the delete-d jackknife with d = n/2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from corolla.errors import UsageError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A score, its standard error, and the bounds of its 95% interval."""

    value: float
    standard_error: float
    low: float
    high: float


def normal_interval(value: float, standard_error: float) -> Interval:
    """The 95% interval value ± z·standard_error, where z = 1.96 is the standard normal's quantile."""
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * standard_error
    return Interval(value, standard_error, value - reach, value + reach)


def bootstrap(statistic: Callable[..., float], *samples: ArrayLike, repeats: int = 100, seed: int = 0) -> Interval:
    """A statistic of samples with an interval, from its spread over random halves of each of them.

    A half has twice the variance of the whole, half of which it shares with the whole: so the spread of the halves is
    the standard error. The interval is for what sets of this size give on average: it says nothing about a bias that
    comes with the size, as the Fréchet distance has it. Where the statistic is the same on all halves, as a precision
    of 1 may be, the interval is a point, which is too little; where two distributions are equal, that of their kernel
    distance is too wide. The relative error of the standard error itself is about 1/√(2·repeats).

    Samples have at least four rows each, and are drawn from independently. To spare work, they can be row numbers, and
    the statistic can look up what was computed once for all rows.
    """
    arrays = [np.asarray(sample) for sample in samples]
    halves = half_samples([len(array) for array in arrays], repeats, seed)
    value = float(statistic(*arrays))
    draws = [float(statistic(*(array[rows] for array, rows in zip(arrays, half, strict=True)))) for half in halves]
    return interval_of_halves(value, draws)


def parts_of(count: int, parts: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers in a random order, cut into parts of nearly equal size."""
    return np.array_split(np.random.default_rng(seed).permutation(count), parts)


def interval_of_parts(value: float, in_parts: Sequence[float]) -> Interval:
    """The interval of a score from those of disjoint parts of its samples: for scores that take long.

    A score that varies as 1/√n has √parts times its standard error in each. With Student's t, as parts are few.
    """
    if len(in_parts) < 2:
        raise UsageError(f"{len(in_parts)} parts: an interval needs at least 2, and 8 to be of use")
    standard_error = float(np.std(in_parts, ddof=1)) / math.sqrt(len(in_parts))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(in_parts) - 1)) * standard_error
    return Interval(value, standard_error, value - reach, value + reach)


def proportion_interval(value: float, count: int) -> Interval:
    """Wilson's 95% interval of a share of `count` independent trials."""
    low, high = stats.binomtest(round(value * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(value, math.sqrt(value * (1 - value) / count), float(low), float(high))


def half_samples(sizes: Sequence[int], repeats: int, seed: int) -> Iterator[list[NDArray[np.int64]]]:
    """The rows of random halves of samples, without replacement; of an odd number of rows, the smaller half."""
    if not sizes or min(sizes) < 4:
        raise UsageError(f"samples of {', '.join(map(str, sizes)) or 'no'} rows: an interval needs at least 4 of each")
    if repeats < 2:
        raise UsageError(f"{repeats} repeats: an interval needs at least 2, and 50 to be of use")
    rng = np.random.default_rng(seed)
    return ([rng.permutation(size)[: size // 2] for size in sizes] for _ in range(repeats))


def interval_of_halves(value: float, draws: Sequence[float]) -> Interval:
    """The interval of a statistic, from its values on `half_samples`."""
    if not (math.isfinite(value) and np.isfinite(draws).all()):
        raise UsageError(f"a statistic of {value} that is not finite on all halves has no interval")
    return normal_interval(value, float(np.std(draws, ddof=1)))
