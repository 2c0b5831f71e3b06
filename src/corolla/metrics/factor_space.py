"""Finite spaces of factor values, of which a row is an index: what scores draw from before any image is encoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.errors import UsageError
from corolla.metrics.samples import checked_factors, factor_classes


class FactorSpace(Protocol):
    """Rows 0 to len − 1, each with one value of each factor."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each factor has."""

    def __len__(self) -> int: ...

    def factors(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of rows N: N×K, each from 0 to its size − 1."""

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows drawn uniformly, with replacement: count."""

    def sample_sharing(self, shared: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """For each factor named in `shared`, rows that agree in its value and are random otherwise: len(shared)×count.

        The value is that of a random row, so a frequent value is drawn more often.
        """


@dataclass(frozen=True)
class FactorGrid:
    """Every combination of the factors' values: row i is mixed-radix, the last factor varying fastest.

    It is never laid out in memory. Raises UsageError on no factors, on one with fewer than two values, and on more
    combinations than an int64 can count.
    """

    sizes: tuple[int, ...]

    def __init__(self, sizes: Sequence[int]) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in sizes))
        if not self.sizes:
            raise UsageError("a grid of no factors: give the number of values of each")
        for factor, size in enumerate(self.sizes):
            if size < 2:
                raise UsageError(f"factor {factor} has {size} values, so it never varies: leave it out")
        if math.prod(self.sizes) > np.iinfo(np.int64).max:
            raise UsageError(f"a grid of {math.prod(self.sizes):.3g} combinations: give a FactorTable of some of them")

    def __len__(self) -> int:
        return math.prod(self.sizes)

    @property
    def _strides(self) -> NDArray[np.int64]:
        return np.array([math.prod(self.sizes[factor + 1 :]) for factor in range(len(self.sizes))], dtype=np.int64)

    def factors(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of rows N: N×K. Raises UsageError on a row that is not there."""
        rows = _checked_rows(indices, len(self))
        return np.asarray(rows[:, None] // self._strides % np.array(self.sizes))

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows drawn uniformly, with replacement."""
        return rng.integers(len(self), size=count)

    def sample_sharing(self, shared: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """For each factor named in `shared`, rows that agree in its value: len(shared)×count."""
        _checked_shared(shared, len(self.sizes))
        values = rng.integers(self.sizes, size=(len(shared), count, len(self.sizes)))
        each = np.arange(len(shared))
        values[each, :, shared] = values[each, 0, shared, None]
        return values @ self._strides


class FactorTable:
    """The factors of the rows there are, N×K, a full grid or not; real factors are cut by `factor_bins` as in `mig`.

    Raises:
        UsageError: factors that never vary, values that are not finite, or fewer than two rows for each value of a
            factor, on average.
    """

    def __init__(self, factors: ArrayLike, *, factor_bins: int | None = None) -> None:
        values = np.asarray(factors, dtype=np.float64)
        self._classes = factor_classes(checked_factors(values, len(values) if values.ndim else 0), factor_bins)
        self._counts = [np.bincount(column) for column in self._classes.T]
        self._orders = [np.argsort(column, kind="stable") for column in self._classes.T]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each factor has."""
        return tuple(len(counts) for counts in self._counts)

    def __len__(self) -> int:
        return len(self._classes)

    def factors(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of rows N, as classes from 0: N×K. Raises UsageError on a row that is not there."""
        return self._classes[_checked_rows(indices, len(self))]

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows drawn uniformly, with replacement."""
        return rng.integers(len(self), size=count)

    def sample_sharing(self, shared: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """For each factor named in `shared`, rows that agree in its value, with replacement: len(shared)×count.

        Values that a single row has are not drawn, as such a row would agree with itself in every factor.
        """
        _checked_shared(shared, len(self.sizes))
        rows = np.empty((len(shared), count), dtype=np.int64)
        for factor, (counts, order) in enumerate(zip(self._counts, self._orders, strict=True)):
            asked = np.flatnonzero(shared == factor)
            if len(asked):
                often = np.where(counts > 1, counts, 0)
                value = rng.choice(len(counts), size=len(asked), p=often / often.sum())
                start = (np.cumsum(counts) - counts)[value]
                rows[asked] = order[start[:, None] + rng.integers(counts[value, None], size=(len(asked), count))]
        return rows


def _checked_rows(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    rows = np.asarray(indices, dtype=np.int64).reshape(-1)
    outside = (rows < 0) | (rows >= count)
    if outside.any():
        raise UsageError(f"row {rows[outside][0]}: the factor space has rows 0 to {count - 1}")
    return rows


def _checked_shared(shared: NDArray[np.int64], count: int) -> None:
    outside = (shared < 0) | (shared >= count)
    if outside.any():
        raise UsageError(f"factor {shared[outside][0]}: the factor space has factors 0 to {count - 1}")
