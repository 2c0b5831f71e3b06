"""KID, the kernel distance between two sets of images: the unbiased MMD² of their features, with a cubic kernel.

It is named after the features that it is measured in: `kid_lite0` in those of EfficientNet-Lite0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.metrics.features import checked_pair

_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class KernelDistance:
    """An estimate of MMD² and its standard error. Being unbiased, it can be below zero where two sets are alike."""

    value: float
    standard_error: float


def kid(features_x: ArrayLike, features_y: ArrayLike) -> KernelDistance:
    """The unbiased MMD² between two sets of features, M×D and N×D, with k(a, b) = (a·b/D + 1)³.

    MMD² = E k(x, x') + E k(y, y') − 2·E k(x, y), each mean being over all pairs of different rows: the U-statistic of
    Bińkowski et al. 2018 (arXiv 1801.01401, sections 3 and 4). All pairs are used rather than random subsets, as fewer
    would only add noise. The standard error is the jackknife's: it leaves out each row of either set in turn. Where the
    two distributions are equal it is too large rather than too small.

    Raises:
        UsageError: fewer than three rows, rows of different length, or values that are not finite.
    """
    x, y = checked_pair(features_x, features_y, 3)
    within_x, _ = _kernel_sums(x, x)
    within_y, _ = _kernel_sums(y, y)
    within_x -= _kernel(np.einsum("ij,ij->i", x, x), x.shape[1])
    within_y -= _kernel(np.einsum("ij,ij->i", y, y), y.shape[1])
    across_x, across_y = _kernel_sums(x, y)

    m, n = len(x), len(y)
    sum_x, sum_y, sum_across = within_x.sum(), within_y.sum(), across_x.sum()
    mean_x, mean_y = sum_x / (m * (m - 1)), sum_y / (n * (n - 1))
    value = mean_x + mean_y - 2 * sum_across / (m * n)
    # The same with one row less: it takes its own pairs with it, twice among its own set.
    without_x = (sum_x - 2 * within_x) / ((m - 1) * (m - 2)) + mean_y - 2 * (sum_across - across_x) / ((m - 1) * n)
    without_y = mean_x + (sum_y - 2 * within_y) / ((n - 1) * (n - 2)) - 2 * (sum_across - across_y) / (m * (n - 1))
    variance = (m - 1) * without_x.var() + (n - 1) * without_y.var()
    return KernelDistance(float(value), math.sqrt(variance))


def _kernel(products: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    kernel = products / dim + 1
    return kernel * kernel * kernel  # a power with an exponent takes fifty times as long


def _kernel_sums(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The kernel's sums over y for each x, and over x for each y, some rows of x at a time."""
    over_y, over_x = np.empty(len(x)), np.zeros(len(y))
    for start in range(0, len(x), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        kernel = _kernel(x[chunk] @ y.T, x.shape[1])
        over_y[chunk] = kernel.sum(1)
        over_x += kernel.sum(0)
    return over_y, over_x
