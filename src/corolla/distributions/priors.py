"""Priors p(z) that latents are drawn from: the standard normal that models are trained with, and fitted ones.

What images leave behind in latent space is the aggregated posterior q(z) = 1/N Σ_n q(z|x_n). It is not quite the prior
of training, so that some draws from that prior fall where the decoder has never been. A prior fitted to q(z) after
training repairs that, and the model stays as it is (Hoffman & Johnson 2016, "ELBO surgery"; Ghosh et al. 2020,
arXiv 1903.12436).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from corolla.distributions.posterior import LOG_2PI


class LatentDistribution(Protocol):
    """p(z), on the CPU."""

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor takes beside the number of latents; with `tensors`, all that there is to save."""

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws, count×latent_dim, float32. The temperature scales standard deviations; at 0 nothing is spread."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of z, N×latent_dim, in nats, N."""

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was saved. Raises ValueError that names the tensor with values that cannot be."""


class StandardPrior:
    """N(0, I): what models are trained with."""

    def __init__(self, latent_dim: int) -> None:
        self.latent_dim = latent_dim
        self.options: dict[str, Any] = {}

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Draws from N(0, temperature²·I), count×latent_dim."""
        return temperature * torch.randn(count, self.latent_dim, generator=generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, N, in double precision."""
        return -0.5 * (z.double() ** 2 + LOG_2PI).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to take over."""
