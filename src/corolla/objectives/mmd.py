"""The maximum mean discrepancy of two sets of points, and its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


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
