"""Scores that need no factors: total correlation of the codes, and UDR, the agreement of several seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from corolla.errors import UsageError
from corolla.metrics.features import checked_rows, unit_columns

INFORMATIVE_NATS = 0.01
"""A latent with less KL than this, on average, is not informative: Duan et al. 2020."""


def gaussian_total_correlation(codes: ArrayLike) -> float:
    """The total correlation, in nats, of the Gaussian with the mean and covariance of codes N×D.

    KL(N(μ, Σ) ‖ Π_d N(μ_d, Σ_dd)) = −½ log det of the correlation matrix: Locatello et al. 2019 (arXiv 1811.12359,
    appendix). 0 for uncorrelated latents; infinite where a latent is a linear function of the others. Latents that do
    not vary are left out, being independent of all.
    """
    values = checked_rows(codes, "codes")
    if len(values) <= values.shape[1]:
        raise UsageError(f"{len(values)} codes of {values.shape[1]} latents: TC needs at least {values.shape[1] + 1}")
    values = values[:, np.ptp(values, axis=0) > 0]
    if values.shape[1] < 2:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(values, rowvar=False))
    if eigenvalues[0] <= 10 * len(eigenvalues) * np.finfo(np.float64).eps:
        return math.inf
    return max(0.0, -0.5 * float(np.log(eigenvalues).sum()))


def udr(codes: Sequence[ArrayLike], kl_nats: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Unsupervised disentanglement ranking of each model, 0 to 1: whether other seeds found the same latents.

    Duan et al. 2020 (arXiv 1905.12614, section 4) with Spearman's correlation (UDR_S). With R(a, b) the absolute
    correlation of latent a of model i and latent b of model j, both informative, d_i and d_j of them:

        UDR_ij = (Σ_b max_a R(a, b)² / Σ_a R(a, b) + Σ_a max_b R(a, b)² / Σ_b R(a, b)) / (d_i + d_j)

    A model's UDR is the median over the others. A model without informative latents has 0. The codes of all S models
    are of the same N images in the same order; a latent is informative whose mean KL is above 0.01 nats.
    """
    models = [checked_rows(one, "codes", rows=3) for one in codes]
    if len(models) < 2:
        raise UsageError(f"{len(models)} models: UDR compares at least 2, which differ in their seeds")
    if len(kl_nats) != len(models):
        raise UsageError(f"KL of {len(kl_nats)} models for the codes of {len(models)}: give one for each")
    ranks, owners = [], []
    for number, (values, one) in enumerate(zip(models, kl_nats, strict=True)):
        if len(values) != len(models[0]):
            raise UsageError(
                f"model {number} has {len(values)} codes, model 0 {len(models[0])}: encode the same images"
            )
        kl = np.asarray(one, dtype=np.float64)
        if kl.shape != (values.shape[1],) or not np.isfinite(kl).all():
            raise UsageError(f"KL of model {number}: give a finite one for each of its {values.shape[1]} latents")
        informative = values[:, kl > INFORMATIVE_NATS]
        ranks.append(rankdata(informative, axis=0) if informative.size else informative)
        owners += [number] * informative.shape[1]
    owner = np.array(owners, dtype=np.int64)
    unit = unit_columns(np.concatenate(ranks, axis=1))
    correlation = np.minimum(np.abs(unit.T @ unit), 1.0)

    pairs = np.full((len(models), len(models)), np.nan)
    for i in range(len(models)):
        for j in range(i):
            pairs[i, j] = pairs[j, i] = _agreement(correlation[np.ix_(owner == i, owner == j)])
    return np.asarray(np.nanmedian(pairs, axis=1))


def _agreement(correlation: NDArray[np.float64]) -> float:
    """UDR of two models from the absolute correlation of their informative latents."""
    if not correlation.size:
        return 0.0
    total = 0.0
    for axis in (0, 1):
        mass = correlation.sum(axis)
        found = mass > 0
        total += float((correlation.max(axis)[found] ** 2 / mass[found]).sum())
    return total / sum(correlation.shape)
