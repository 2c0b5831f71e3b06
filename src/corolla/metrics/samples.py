"""What the disentanglement scores are given: codes N×D and factors N×K, checked, as classes, and as rows to draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.errors import UsageError
from corolla.metrics.features import checked_rows

_ROWS_PER_CLASS = 2  # on average: with fewer, what a factor says of a row is which row it is


def codes_and_classes(
    codes: ArrayLike,
    factors: ArrayLike,
    factor_bins: int | None = None,
    *,
    rows: int = 2,
    latents: int = 1,
    least: int = 1,
    rows_per_class: int = _ROWS_PER_CLASS,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Codes as float64, N×D, and their factors as classes, N×K; at least as many of each as asked for."""
    values = checked_rows(codes, "codes", rows=rows, columns=latents)
    known = checked_factors(factors, len(values), least=least)
    return values, factor_classes(known, factor_bins, rows_per_class=rows_per_class)


def checked_factors(factors: ArrayLike, rows: int, *, least: int = 1) -> NDArray[np.float64]:
    """Factors as float64, N×K: one row for each of N codes; every column varies."""
    values = np.asarray(factors, dtype=np.float64)
    if values.ndim != 2 or len(values) != rows:
        raise UsageError(f"factors of shape {values.shape}: give {rows}×K, a row for each sample")
    if values.shape[1] < least:
        raise UsageError(f"{values.shape[1]} factors: this score needs at least {least} of them")
    if not np.isfinite(values).all():
        raise UsageError("factors hold values that are not finite: leave those rows out")
    still = np.ptp(values, axis=0) == 0 if len(values) else np.ones(values.shape[1], dtype=bool)
    if still.any():
        raise UsageError(f"factor {still.argmax()} never varies among {rows} samples: leave it out, or give others")
    return values


def discretise(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Each column's values as one of `bins` equal-width bins over its range; the highest value is in the last bin.

    A column that does not vary is in the first. Raises UsageError on fewer than two bins.
    """
    if bins < 2:
        raise UsageError(f"bins = {bins}: give at least 2")
    low, high = values.min(0), values.max(0)
    # Halved, as the range of large values of both signs may be larger than any float.
    span = high / 2 - low / 2
    share = (values / 2 - low / 2) / np.where(span > 0, span, 1.0)
    return np.asarray(np.minimum((share * bins).astype(np.int64), bins - 1))


def factor_classes(
    factors: NDArray[np.float64], factor_bins: int | None = None, *, rows_per_class: int = _ROWS_PER_CLASS
) -> NDArray[np.int64]:
    """Factors as classes 0, 1, … in the order of their values: N×K.

    Every distinct value is a class. With `factor_bins`, a factor with more distinct values than that is a real one,
    and is cut into so many equal-width bins.
    """
    classes = np.empty(factors.shape, dtype=np.int64)
    for column in range(factors.shape[1]):
        values, inverse = np.unique(factors[:, column], return_inverse=True)
        if factor_bins is not None and len(values) > factor_bins:
            binned = discretise(factors[:, column : column + 1], factor_bins)[:, 0]
            values, inverse = np.unique(binned, return_inverse=True)
        needed = rows_per_class * len(values)
        if len(factors) < needed:
            raise UsageError(
                f"factor {column} has {len(values)} classes among {len(factors)} samples: this score needs at least "
                f"{needed} samples; if the factor is a real number, give factor_bins, such as 10"
            )
        classes[:, column] = inverse
    return classes


def rows_sharing(
    classes: NDArray[np.int64], shared: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """For each factor named in `shared`, rows of classes N×K that agree in its value: len(shared)×count.

    They are drawn with replacement. The value is that of a random row, so a frequent value is drawn more often. Values
    that a single row has are not drawn, as such a row would agree with itself in every factor.
    """
    rows = np.empty((len(shared), count), dtype=np.int64)
    for factor, column in enumerate(classes.T):
        counts, order = np.bincount(column), np.argsort(column, kind="stable")
        asked = np.flatnonzero(shared == factor)
        if len(asked):
            often = np.where(counts > 1, counts, 0)
            value = rng.choice(len(counts), size=len(asked), p=often / often.sum())
            start = (np.cumsum(counts) - counts)[value]
            rows[asked] = order[start[:, None] + rng.integers(counts[value, None], size=(len(asked), count))]
    return rows
