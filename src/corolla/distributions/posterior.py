"""The posterior q(z|x) and its divergence from the standard normal prior; in nats per image, one value per image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
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
