"""FactorVAE: the KL, and the total correlation as a discriminator judges it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian
    from corolla.objectives.companions import Discriminator


@register
class FactorVAE(Objective):
    """KL + γ·TC(z), with TC = E_q(z)[log D(z) - log(1 - D(z))] (Kim & Mnih 2018, arXiv 1802.05983, eqs. 2 and 3)."""

    title: ClassVar[str] = "a FactorVAE"
    stationary: ClassVar[bool] = False
    least_batch: ClassVar[int] = 4
    pressure_setting: ClassVar[str | None] = "gamma"

    name: Literal["factor_vae"] = "factor_vae"
    gamma: float = Field(10.0, ge=0.0, description="weight of the total correlation")
    discriminator_width: int = Field(1000, ge=1, le=8192, description="units in a layer")
    discriminator_layers: int = Field(5, ge=1, le=16, description="hidden layers, before that of the output")
    discriminator_learning_rate: float = Field(1e-4, gt=0.0, description="of the discriminator's own Adam")

    def companion(self, latent_dim: int) -> Discriminator:
        """The discriminator."""
        from corolla.objectives.companions import Discriminator

        size = self.discriminator_width, self.discriminator_layers
        return Discriminator(latent_dim, *size, self.discriminator_learning_rate)

    def terms(self, q: DiagonalGaussian, z: Tensor, *, companion: Discriminator, **_: Any) -> Mapping[str, Tensor]:
        """KL and the weighted total correlation in nats per image."""
        return {"kl": q.kl().mean(), "total_correlation": self.gamma * companion.log_ratio(z).mean()}

    def describe(self, beta: float | None) -> str:
        """The weight of the total correlation."""
        return f"beta 1, total correlation x {self.gamma:g} more"
