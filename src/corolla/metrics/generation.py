"""How well generated images match real ones: kernel and Fréchet distance, precision, recall, density and coverage.

All take two sets of features, those of generated images first. A distance is named after its features: `kid_lite0`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from corolla.errors import UsageError
from corolla.metrics.features import checked_pair
from corolla.metrics.intervals import Interval, half_samples, interval_of_halves, normal_interval
from corolla.metrics.neighbours import own_neighbours, squared_distances

PRECISION_RECALL_K = 3
"""The neighbour whose distance is the radius of a manifold's balls, as Kynkäänniemi et al. chose it."""
DENSITY_COVERAGE_K = 5
"""The same, as Naeem et al. chose it."""

_CHUNK_ROWS = 1024

# Neighbours kept of each row, of which about half are in a random half: that fewer than 5 of 64 are has a chance of
# 4e-14 for each row.
_KEPT = 64

_Blocks = Iterable[tuple[slice, NDArray[np.float64]]]


def kid(features_x: ArrayLike, features_y: ArrayLike) -> Interval:
    """The unbiased MMD² between two sets of features, M×D and N×D, with k(a, b) = (a·b/D + 1)³, and its interval.

    MMD² = E k(x, x') + E k(y, y') − 2·E k(x, y), each mean being over all pairs of different rows: the U-statistic of
    Bińkowski et al. 2018 (arXiv 1801.01401, sections 3 and 4). All pairs are used rather than random subsets, as fewer
    would only add noise. The standard error is the jackknife's: it leaves out each row of either set in turn. Where the
    two distributions are equal it is too large rather than too small. Being unbiased, the distance can be below
    zero where two sets are alike.
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
    return normal_interval(float(value), math.sqrt(variance))


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """The Fréchet distance between Gaussians with the moments of two sets of features, M×D and N×D; never below 0.

    ‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2·(Σ_x·Σ_y)^½) (Heusel et al. 2017, arXiv 1706.08500, eq. 6), the covariances with
    divisors M − 1 and N − 1. The trace of the root is the sum of the singular values of A·Bᵀ, where Σ_x = AᵀA and
    Σ_y = BᵀB, so that no root of a matrix that may be singular is taken, and fewer rows than columns will do.

    It is biased: sets of one distribution are at a distance above 0, and the further apart the fewer rows there are for
    each column (Bińkowski et al. 2018, arXiv 1801.01401, appendix D). Compare only distances between sets of the same
    sizes, and for small ones prefer `kid`.
    """
    x, y = checked_pair(x, y, 2)
    root_x, root_y = _covariance_root(x), _covariance_root(y)
    overlap = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    squares = np.square(root_x).sum() + np.square(root_y).sum()
    return max(0.0, float(np.square(x.mean(0) - y.mean(0)).sum() + squares - 2 * overlap))


def precision_recall(generated: ArrayLike, real: ArrayLike, *, k: int = PRECISION_RECALL_K) -> tuple[float, float]:
    """Precision and recall, improved (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2).

    A set's manifold is the union of balls around its rows, each as large as the distance to the row's k-th nearest
    other row. Precision is the share of generated rows in the manifold of the real ones, and recall the share of real
    rows in that of the generated ones. Both depend on the sizes of the sets, and one outlier can make a manifold large.
    """
    x, y = _checked_for_balls(generated, real, k)
    return _precision_recall(squared_distances(x, y), _radii(x, k), _radii(y, k))


def density_coverage(generated: ArrayLike, real: ArrayLike, *, k: int = DENSITY_COVERAGE_K) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, arXiv 2002.09797, section 3.2), which outliers disturb less.

    Density is the mean number of real rows' balls, as in `precision_recall`, that a generated row is in, divided by k;
    it can be above 1. Coverage is the share of real rows with a generated row in their ball. Of M generated and N real
    rows from one distribution, density is 1 on average, and coverage 1 − (N−1)⋯(N−k) / ((M+N−1)⋯(M+N−k)).
    """
    x, y = _checked_for_balls(generated, real, k)
    return _density_coverage(squared_distances(x, y), _radii(y, k), k)


def generation_intervals(
    generated: ArrayLike, real: ArrayLike, *, repeats: int = 100, seed: int = 0
) -> dict[str, Interval]:
    """`precision_recall` and `density_coverage` with the intervals of `bootstrap`, for little more than their own cost.

    All distances between the sets are kept: 8·M·N bytes.
    """
    x, y = checked_pair(generated, real, 2 * (DENSITY_COVERAGE_K + 1))
    near_x, near_y = (own_neighbours(rows, min(_KEPT, len(rows) - 1)) for rows in (x, y))
    across = np.concatenate([block for _, block in squared_distances(x, y)])

    def scores(i: NDArray[np.int64], j: NDArray[np.int64]) -> tuple[float, float, float, float]:
        blocks = [(slice(None), across[np.ix_(i, j)])]
        k = PRECISION_RECALL_K
        pr = _precision_recall(blocks, _radii_within(near_x, i, k), _radii_within(near_y, j, k))
        k = DENSITY_COVERAGE_K
        dc = _density_coverage(blocks, _radii_within(near_y, j, k), k)
        return *pr, *dc

    halves = half_samples([len(x), len(y)], repeats, seed)
    values, draws = scores(np.arange(len(x)), np.arange(len(y))), np.array([scores(*half) for half in halves])
    names = ("precision", "recall", "density", "coverage")
    return {
        name: interval_of_halves(value, draw) for name, value, draw in zip(names, values, draws.T.tolist(), strict=True)
    }


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


def _covariance_root(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix A, min(N, D)×D, with AᵀA the covariance of rows N×D."""
    root: NDArray[np.float64] = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    if len(x) > x.shape[1]:
        (root,) = linalg.qr(root, mode="r", overwrite_a=True, check_finite=False)
        root = root[: x.shape[1]]
    return root


def _checked_for_balls(
    generated: ArrayLike, real: ArrayLike, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if k < 1:
        raise UsageError(f"the {k}-th nearest neighbour: give k of at least 1")
    return checked_pair(generated, real, k + 1)


def _radii(x: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The squared distance from each row to its k-th nearest other row."""
    return own_neighbours(x, k)[1][:, -1]


def _radii_within(
    near: tuple[NDArray[np.int64], NDArray[np.float64]], rows: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """The same for some of the rows among themselves, from the neighbours that they have among all."""
    indices, squares = near[0][rows], near[1][rows]
    member = np.zeros(len(near[0]), bool)
    member[rows] = True
    place = (np.cumsum(member[indices], axis=1) >= k).argmax(1)
    return np.take_along_axis(squares, place[:, None], 1)[:, 0]


def _precision_recall(
    blocks: _Blocks, radii_x: NDArray[np.float64], radii_y: NDArray[np.float64]
) -> tuple[float, float]:
    """Over squared distances from some rows of x at a time to all of y."""
    precise, recalled = np.empty(len(radii_x), bool), np.zeros(len(radii_y), bool)
    for rows, squares in blocks:
        precise[rows] = (squares <= radii_y).any(1)
        recalled |= (squares <= radii_x[rows, None]).any(0)
    return float(precise.mean()), float(recalled.mean())


def _density_coverage(blocks: _Blocks, radii_y: NDArray[np.float64], k: int) -> tuple[float, float]:
    """Over the same."""
    count, inside, covered = 0, 0, np.zeros(len(radii_y), bool)
    for _, squares in blocks:
        within = squares <= radii_y
        count, inside = count + len(squares), inside + int(within.sum())
        covered |= within.any(0)
    return inside / (k * count), float(covered.mean())
