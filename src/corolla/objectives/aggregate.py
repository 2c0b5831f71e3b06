"""Regularisers of the aggregated posterior q(z) = E_x[q(z|x)]: independent latents, or a match with the prior.

They look at a whole batch at a time: their terms are estimates, which get better with the batch's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from corolla.distributions import DiagonalGaussian
from corolla.distributions.aggregate import AggregateEstimator, kl_terms, log_importance_weights


@dataclass(frozen=True)
class DecomposedRate:
    """α·I(x; z) + β·TC(z) + γ·Σ_j KL(q(z_j) ‖ p(z_j)) of β-TCVAE (Chen et al. 2018, arXiv 1802.04942, eq. 4).

    The mutual information, the total correlation and the dimension-wise KL add up to the KL. Each needs log q(z), which
    a batch can only estimate: stratified (their appendix C.2) or weighted sampling (C.1).
    """

    alpha: float
    beta: float
    gamma: float
    estimator: AggregateEstimator = "stratified"

    def __call__(self, q: DiagonalGaussian, z: Tensor, _step: int | None, data_size: int, /) -> Mapping[str, Tensor]:
        """The three weighted terms in nats per image."""
        weights = log_importance_weights(len(z), data_size, self.estimator, device=z.device, dtype=z.dtype)
        terms = kl_terms(q, z, weights)
        return {
            "mutual_information": self.alpha * terms.mutual_information.mean(),
            "total_correlation": self.beta * terms.total_correlation.mean(),
            "dimension_wise_kl": self.gamma * terms.dimension_wise.mean(),
        }


@dataclass(frozen=True)
class MomentMatching:
    """KL + λ_od·Σ_{i≠j} Cov_ij² + λ_d·Σ_i (Cov_ii - 1)² of DIP-VAE (Kumar et al. 2018, arXiv 1711.00848, eqs. 6, 7).

    Cov is a covariance over the batch (divided by its size): of the means of q(z|x) for DIP-VAE-I, of the aggregated
    posterior for DIP-VAE-II, whose diagonal has the mean variance of q(z|x) added.
    """

    lambda_offdiagonal: float
    lambda_diagonal: float
    of: Literal["means", "aggregate"]

    def __call__(self, q: DiagonalGaussian, _z: Tensor, _step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """KL, and the two weighted penalties."""
        centred = q.mean - q.mean.mean(0)
        with torch.autocast(centred.device.type, enabled=False):  # a product in bfloat16 has three digits
            covariance = centred.T @ centred / len(centred)
        variances = covariance.diagonal()
        off_diagonal = covariance - torch.diag(variances)
        if self.of == "aggregate":
            variances = variances + torch.exp(q.logvar).mean(0)
        return {
            "kl": q.kl().mean(),
            "off_diagonal": self.lambda_offdiagonal * (off_diagonal**2).sum(),
            "diagonal": self.lambda_diagonal * ((variances - 1) ** 2).sum(),
        }


def imq(square: Tensor, latent_dim: int) -> Tensor:
    """Inverse multi-quadratic kernel C / (C + ‖a - b‖²) of squared distances, with C = 2·latent_dim.

    C is the expected squared distance of two draws from the prior (Tolstikhin et al. 2018, arXiv 1711.01558, sec. 4).
    """
    return 2 * latent_dim / (2 * latent_dim + square)


def gaussian(square: Tensor, latent_dim: int) -> Tensor:
    """Gaussian kernel exp(-‖a - b‖² / 2h²) of squared distances, with the bandwidth h² = latent_dim."""
    return torch.exp(-square / (2 * latent_dim))


KERNELS: Mapping[str, Callable[[Tensor, int], Tensor]] = {"imq": imq, "gaussian": gaussian}


def mmd2(a: Tensor, b: Tensor, kernel: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets of points, both N×latent_dim.

    The means of the kernel leave out a point's distance to itself (Gretton et al. 2012, eq. 3), so the estimate is 0 on
    average where the distributions agree, and can be negative. A single point has no such mean; then it is 0.
    """
    count, latent_dim = a.shape
    if count < 2:
        return 0.0 * (a.sum() + b.sum())
    points = torch.cat([a, b])
    norms = (points**2).sum(1)
    with torch.autocast(points.device.type, enabled=False):  # a product in bfloat16 has three digits
        square = (norms[:, None] + norms - 2 * points @ points.T).clamp_min(0)
    k = kernel(square, latent_dim)
    within = [part.sum() - part.diagonal().sum() for part in (k[:count, :count], k[count:, count:])]
    return (within[0] + within[1]) / (count * (count - 1)) - 2 * k[:count, count:].mean()


@dataclass(frozen=True)
class PriorMatching:
    """(1 - α)·KL + (α + λ - 1)·MMD²(q(z), p(z)) of InfoVAE (Zhao et al. 2019, arXiv 1706.02262, eq. 6).

    The discrepancy is between the batch's draws from q(z|x) and as many draws from the prior.
    """

    alpha: float
    lambda_mmd: float
    kernel: Literal["imq", "gaussian"] = "imq"

    def __call__(self, q: DiagonalGaussian, z: Tensor, _step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """The two weighted terms."""
        discrepancy = mmd2(z, torch.randn_like(z), KERNELS[self.kernel])
        return {
            "kl": (1 - self.alpha) * q.kl().mean(),
            "mmd": (self.alpha + self.lambda_mmd - 1) * discrepancy,
        }
