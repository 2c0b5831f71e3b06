"""An objective of your own: a β-VAE whose β each latent has for itself, rising from `low` to `high`.

corolla --plugin examples/own_objective.py train --preset quick --objective ladder_vae --set objective.high=8
corolla --plugin examples/own_objective.py sweep --preset quick --objective ladder_vae --set objective.high=4,8
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

import corolla
from corolla.distributions import DiagonalGaussian


@corolla.register
class LadderVAE(corolla.Objective):
    """Σ_j β_j·KL_j, with β_j evenly spaced: the first latents are cheap, the last ones are used only if need be."""

    title: ClassVar[str] = "a ladder of β-VAEs"
    beta_setting: ClassVar[str | None] = "high"

    name: Literal["ladder_vae"] = "ladder_vae"
    low: float = Field(0.5, ge=0.0, description="weight of the first latent's KL")
    high: float = Field(4.0, ge=0.0, description="weight of the last latent's KL")

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """The weighted KL in nats per image."""
        weights = torch.linspace(self.low, self.high, z.shape[1], device=z.device)
        return {"kl": (weights * q.kl_per_latent()).sum(1).mean()}
