"""Priors p(z): the standard normal that models are trained with."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_prior(count: int, latent_dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Draws from p(z) = N(0, I), count×latent_dim, on the CPU."""
    return torch.randn(count, latent_dim, generator=generator)
