"""Scores from the mutual information of each latent and each factor: MIG, modularity, and the one between latents.

Information is in nats, by the plug-in estimate: that of the histogram. It is biased upwards by about
(bins − 1)·(classes − 1) / 2N, so that noise has a little of it where samples are few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from corolla.errors import UsageError
from corolla.metrics.features import checked_rows
from corolla.metrics.samples import codes_and_classes, discretise

BINS = 20
"""Equal-width bins for each latent, as in Locatello et al. 2019 (arXiv 1811.12359, appendix)."""
_CHANCE = 0.01


@dataclass(frozen=True, eq=False)
class InformationGap:
    """MIG, 0 to 1, as the mean of the factors' gaps (K), with what they come from: I(z; v) D×K and H(v) K, in nats."""

    value: float
    gaps: NDArray[np.float64]
    information_nats: NDArray[np.float64]
    entropy_nats: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Modularity:
    """Modularity, 0 to 1, as the mean over the latents that tell anything; those that tell nothing are NaN (D)."""

    value: float
    per_latent: NDArray[np.float64]


def mig(codes: ArrayLike, factors: ArrayLike, *, bins: int = BINS, factor_bins: int | None = None) -> InformationGap:
    """The mutual information gap: how much more the best latent says about a factor than the next best.

    MIG = mean over k of (I(z_a; v_k) − I(z_b; v_k)) / H(v_k), a and b being the two latents that tell most of factor
    k: Chen et al. 2018 (arXiv 1802.04942, section 4), on latents in `bins` equal-width bins.
    """
    values, classes = codes_and_classes(codes, factors, factor_bins, latents=2)
    information = mutual_information(discretise(values, bins), classes)
    entropy = np.array([_entropy(classes[:, column]) for column in range(classes.shape[1])])
    ranked = np.sort(information, axis=0)
    gaps = (ranked[-1] - ranked[-2]) / entropy
    return InformationGap(float(gaps.mean()), gaps, information, entropy)


def modularity(codes: ArrayLike, factors: ArrayLike, *, bins: int = BINS, factor_bins: int | None = None) -> Modularity:
    """Whether each latent informs about one factor only, whichever others do too, by `modularity_of`.

    Information that a histogram of independent rows has in more than one of a hundred such matrices counts as none
    (2N times it is about χ², with (bins − 1)·(classes − 1) degrees of freedom over the bins in use): so latents that
    are noise are left out.
    """
    values, classes = codes_and_classes(codes, factors, factor_bins, least=2)
    binned = discretise(values, bins)
    information = mutual_information(binned, classes)
    used = np.array([len(np.unique(column)) for column in binned.T])
    freedom = np.maximum(np.outer(used - 1, classes.max(0)), 1)
    noise = chi2.ppf(1 - _CHANCE / information.size, freedom) / (2 * len(values))
    return modularity_of(np.where(information > noise, information, 0.0))


def modularity_of(information_nats: ArrayLike) -> Modularity:
    """Modularity from the mutual information of latents and factors, D×K.

    1 − Σ_k (m_ik − t_ik)² / (θ_i²·(K − 1)) for latent i, where θ_i is its largest information and t_ik is θ_i at that
    factor and 0 elsewhere: Ridgeway & Mozer 2018 (arXiv 1802.05312, section 3). A latent without any information is
    left out of the mean, being neither; Locatello et al. count it as 0. Where no latent has any, the value is 0.
    """
    information = np.asarray(information_nats, dtype=np.float64)
    if information.ndim != 2 or information.shape[1] < 2:
        raise UsageError(f"information of shape {information.shape}: give latents × factors, with two factors or more")
    if not (np.isfinite(information) & (information >= 0)).all():
        raise UsageError("information below zero or not finite: give it in nats, as mutual_information does")
    largest = information.max(1)
    tells = largest > 0
    per_latent = np.full(len(information), np.nan)
    shares = information[tells] / largest[tells, None]  # the largest is exactly 1
    per_latent[tells] = 1 - ((shares**2).sum(1) - 1) / (information.shape[1] - 1)
    value = float(per_latent[tells].mean()) if tells.any() else 0.0
    return Modularity(value, per_latent)


def mutual_information_score(codes: ArrayLike, *, bins: int = BINS) -> float:
    """The mean mutual information of two different latents that vary, in nats: 0 where they are independent in pairs.

    Locatello et al. 2019 (arXiv 1811.12359, appendix), on latents in `bins` equal-width bins.
    It has no upper limit but log(bins).
    """
    rows = checked_rows(codes, "codes", columns=2)
    values = discretise(rows[:, np.ptp(rows, axis=0) > 0], bins)
    if values.shape[1] < 2:
        return 0.0
    information = mutual_information(values, values)
    pairs = ~np.eye(len(information), dtype=bool)
    return float(information[pairs].mean())


def mutual_information(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """I(x_d; y_k) in nats of classes N×D and N×K, from 0 each: D×K. Exactly zero where one of them never varies."""
    rows, columns = x.shape
    x_size, y_size = int(x.max()) + 1, int(y.max()) + 1
    cells = (x + np.arange(columns) * x_size) * y_size
    information = np.empty((columns, y.shape[1]))
    for column in range(y.shape[1]):
        cell = (cells + y[:, column : column + 1]).ravel()
        joint = np.bincount(cell, minlength=columns * x_size * y_size).reshape(columns, x_size, y_size)
        d, i, j = joint.nonzero()
        found = joint[d, i, j]
        # Products of counts are exact, so independence is exactly zero.
        ratio = (found * rows) / (joint.sum(2)[d, i] * joint.sum(1)[d, j])
        information[:, column] = np.bincount(d, found / rows * np.log(ratio), minlength=columns)
    return np.maximum(information, 0.0)


def _entropy(classes: NDArray[np.int64]) -> float:
    share = np.bincount(classes) / len(classes)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())
