"""IRS: how little a latent moves when anything but its own factor changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.errors import UsageError
from corolla.metrics.samples import checked_codes, checked_factors, factor_classes


@dataclass(frozen=True, eq=False)
class InterventionalRobustness:
    """IRS, at most 1, with each latent's own (D), the factor that it is best for (D), and all of them, D×K.

    A latent that does not vary has NaN, and the factor −1.
    """

    value: float
    per_latent: NDArray[np.float64]
    factor_of_latent: NDArray[np.int64]
    robustness: NDArray[np.float64]


def irs(
    codes: ArrayLike, factors: ArrayLike, *, quantile: float = 0.99, factor_bins: int | None = None
) -> InterventionalRobustness:
    """The interventional robustness score: Suter et al. 2019 (arXiv 1811.00007), for independent factors.

    For latent d and factor k, 1 − (mean over the factor's values of the deviation of z_d from its mean among the rows
    with that value) / (largest deviation of z_d from its mean among all rows). A latent takes the best factor's; IRS
    is the mean of that, weighted by the latents' largest deviations, over those that vary. If none does, it is 0.

    The deviation among rows of a value is its `quantile`, 0.99 as in Locatello et al. 2019 (arXiv 1811.12359), as the
    paper's maximum (1.0) hangs on a single row. Give a hundred rows or more for each value, as fewer make noise look
    robust. Noise does not score 0, but one minus its 0.99-quantile over its maximum; and a latent on a larger scale
    weighs more.
    """
    if not 0 < quantile <= 1:
        raise UsageError(f"quantile = {quantile:g}: give more than 0 and at most 1")
    values = checked_codes(codes)
    classes = factor_classes(checked_factors(factors, len(values)), factor_bins)
    varies = np.ptp(values, axis=0) > 0
    active = values[:, varies]
    largest = np.abs(active - active.mean(0)).max(0)
    robustness = np.full((values.shape[1], classes.shape[1]), np.nan)
    for column in range(classes.shape[1]):
        order = np.argsort(classes[:, column], kind="stable")
        groups = np.split(active[order], np.cumsum(np.bincount(classes[:, column]))[:-1])
        deviations = [np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups]
        robustness[varies, column] = 1 - np.mean(deviations, axis=0) / largest
    per_latent, factor = np.full(len(varies), np.nan), np.full(len(varies), -1, dtype=np.int64)
    per_latent[varies], factor[varies] = robustness[varies].max(1), robustness[varies].argmax(1)
    value = float(np.average(per_latent[varies], weights=largest)) if varies.any() else 0.0
    return InterventionalRobustness(value, per_latent, factor, robustness)
