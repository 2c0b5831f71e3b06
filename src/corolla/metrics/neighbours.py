"""Distances between rows of features, the nearest of them, and whether what was generated was copied from training.

Distances are Euclidean. Nothing holds all of them at once: they are made some rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from corolla.errors import UsageError
from corolla.metrics.features import checked_pair

_CHUNK_ROWS, _CHUNK_NUMBERS = 1024, 2**23
# Squared distances below this part of the rows' own squared lengths are rounding: such rows are the same.
_SAME = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Neighbours:
    """The nearest references of each query, M×k, the nearest first."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


def squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Some rows of x at a time, and their squared distances to all of y; exactly 0 where rows are the same."""
    # Lengths and products are exact enough where nothing is far from the origin.
    centre = y.mean(0)
    x, y = x - centre, y - centre
    length_x, length_y = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    count = max(1, min(_CHUNK_ROWS, _CHUNK_NUMBERS // len(y)))
    for start in range(0, len(x), count):
        rows = slice(start, start + count)
        lengths = length_x[rows, None] + length_y
        found = lengths - 2 * (x[rows] @ y.T)
        found[found <= _SAME * lengths] = 0
        yield rows, found


def own_neighbours(x: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest other rows of each row and their squared distances, N×k, the nearest first."""
    indices, found = np.empty((len(x), k), np.int64), np.empty((len(x), k))
    for rows, squares in squared_distances(x, x):
        own = np.arange(len(x))[rows]
        squares[own - own[0], own] = np.inf
        indices[rows], found[rows] = _smallest(squares, k)
    return indices, found


def nearest(queries: ArrayLike, references: ArrayLike, k: int = 1) -> Neighbours:
    """The k nearest references of each query, exactly, in some features: are the samples copies of training images?"""
    x, y = checked_pair(queries, references, 1)
    if not 1 <= k <= len(y):
        raise UsageError(f"{k} nearest of {len(y)} references: give between 1 and {len(y)}")
    indices, distances = np.empty((len(x), k), np.int64), np.empty((len(x), k))
    for rows, squares in squared_distances(x, y):
        candidates, _ = _smallest(squares, k)
        exact = np.stack([np.linalg.norm(x[rows] - y[column], axis=1) for column in candidates.T], axis=1)
        order = np.argsort(exact, axis=1, kind="stable")
        indices[rows] = np.take_along_axis(candidates, order, 1)
        distances[rows] = np.take_along_axis(exact, order, 1)
    return Neighbours(indices, distances)


def data_copying(generated: ArrayLike, held_out: ArrayLike, train: ArrayLike) -> float:
    """Whether generated images are closer to training images than held-out images are (Meehan et al. 2020).

    Their statistic C_T (arXiv 2004.05675, section 3) with the whole space as its one cell: the Mann–Whitney z-score of
    the generated images' distances to their nearest training image, against those of the held-out images: below -3,
    say, generated images are too close to be new, above 3 too far away to be alike. One cell cannot tell images that
    are copied in one place and missed in another from ones that are neither; look at `nearest` as well. All three are
    features N×D.
    """
    ours, theirs = (nearest(rows, train).distances[:, 0] for rows in checked_pair(generated, held_out, 1))
    m, n = len(ours), len(theirs)
    larger = float(stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic) / (m * n)
    _, ties = np.unique(np.concatenate([ours, theirs]), return_counts=True)
    # In floats, as the cubes may be large. Where all are tied, nothing varies.
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / ((m + n) * (m + n - 1))
    variance = (m + n + 1 - tied) / (12 * m * n)
    return (larger - 0.5) / math.sqrt(variance) if variance > 1e-12 / (m * n) else 0.0


def _smallest(values: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the k smallest of each row are, in ascending order, and what they are."""
    found = np.argpartition(values, k - 1, axis=1)[:, :k]
    order = np.argsort(np.take_along_axis(values, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1)
    return found, np.take_along_axis(values, found, 1)
