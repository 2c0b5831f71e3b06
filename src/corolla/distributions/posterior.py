"""The posterior q(z|x) and its divergence from the standard normal prior; in nats per image, one value per image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
LOGVAR_RANGE = (-20.0, 10.0)
"""Bounds of a log-variance that an encoder gives: standard deviations from 4.5e-5 to 148 of the prior's.

A narrower draw would be lost in the rounding of its mean to float32. A wider one no decoder can use, and powers of its
variance, which the norm of DIP-VAE-II's gradient has, would soon be infinite.
"""
ACTIVE_NATS = 0.01
"""A latent whose KL is not above this, on average, carries no information: it counts as dead."""


def active_latents(kl_nats: ArrayLike) -> NDArray[np.bool_]:
    """Whether each latent carries information, by its average KL from the prior; where that is NaN, it does not."""
    return np.asarray(kl_nats, np.float64) > ACTIVE_NATS


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean, diag(exp(logvar))); mean and logvar are N×latent_dim."""

    mean: Tensor
    logvar: Tensor

    @property
    def stddev(self) -> Tensor:
        """Standard deviation, N×latent_dim."""
        return torch.exp(0.5 * self.logvar)

    def sample(self) -> Tensor:
        """One reparameterised draw for each image, N×latent_dim (Kingma & Welling 2014, eq. 10)."""
        return self.mean + self.stddev * torch.randn_like(self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of q(z|x) in nats, N."""
        square = (z - self.mean) ** 2 * torch.exp(-self.logvar)
        return -0.5 * (square + self.logvar + LOG_2PI).sum(-1)

    def kl_per_latent(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, 1)) of each latent in nats, N×latent_dim (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean**2 + torch.exp(self.logvar) - 1 - self.logvar)

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) in nats, N."""
        return self.kl_per_latent().sum(-1)


def bounded(value: Tensor, low: float, high: float) -> Tensor:
    """The value, kept in [low, high]; beyond a bound, only a gradient whose descent leads back passes.

    A plain clamp has no gradient there, so that a value which once fell outside would stay there for good; with the
    whole gradient it would be pushed ever farther.
    """
    return cast("Tensor", _Bounded.apply(value, low, high))  # type: ignore[no-untyped-call]


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(value < low, value > high)
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        below, above = ctx.saved_tensors
        gradient = torch.where(below, gradient.clamp_max(0), gradient)
        return torch.where(above, gradient.clamp_min(0), gradient), None, None
