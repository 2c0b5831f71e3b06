"""Total correlation that does not saturate: how much more likely draws are together than one by one."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from corolla.errors import UsageError
from corolla.metrics.features import checked_rows
from corolla.metrics.intervals import Interval, normal_interval

_FOLDS, _LEAST_VARIANCE = 4, 1e-4


def total_correlation_bound(
    draws: ArrayLike, *, components: tuple[int, ...] = (1, 2, 4, 8, 16, 32), seed: int = 0
) -> Interval:
    """What the total correlation of draws N×D is at least, in nats, with its interval over the draws.

    Each latent is mapped to a standard normal by its ranks, which leaves the total correlation as it is. Then it is
    E log q(z) − E log Π_j N(z_j; 0, 1), and a density p in place of q can only lower it, by KL(q ‖ p). Here p is a
    mixture of Gaussians, fitted to three quarters of the draws and measured on the fourth, each in turn; more
    components are tried until they no longer help, and none, which is 0, is one choice.

    A Gaussian's is found but for the price of its covariance, about D²/3N nats, 0.01 for 10 latents and 3,000 draws.
    No log N bounds it, as it bounds what the mixture of N posteriors says. The draws have to be of different images.
    Latents that do not vary are left out.
    """
    values = checked_rows(draws, "draws")
    if not components or min(components) < 1:
        raise UsageError(f"components = {components}: give at least one number, from 1")
    values = values[:, np.ptp(values, axis=0) > 0]
    rows, dim = values.shape
    normal = norm.ppf((rankdata(values, axis=0) - 0.5) / rows) if dim else values
    apart = norm.logpdf(normal).sum(1)
    fold = np.random.default_rng(seed).permutation(rows) % _FOLDS
    gain: NDArray[np.float64] = np.zeros(rows)
    for place, count in enumerate(components):
        if dim < 2 or rows * (1 - 1 / _FOLDS) < count * (dim + 2):
            break
        together = np.empty(rows)
        for number in range(_FOLDS):
            mixture = GaussianMixture(count, reg_covar=_LEAST_VARIANCE, random_state=seed)
            with warnings.catch_warnings():  # any density will do
                warnings.simplefilter("ignore", ConvergenceWarning)
                mixture.fit(normal[fold != number])
            together[fold == number] = mixture.score_samples(normal[fold == number])
        if (together - apart).mean() > gain.mean():
            gain = together - apart
        elif place > 1:  # one component sees correlation only, and two not every other shape
            break
    return normal_interval(float(gain.mean()), float(gain.std(ddof=1)) / rows**0.5)
