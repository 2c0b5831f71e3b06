"""The VAE and the β-VAE: the KL with a weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


@register
class VAE(Objective):
    """KL(q(z|x) ‖ N(0, I)) (Kingma & Welling 2014, arXiv 1312.6114)."""

    title: ClassVar[str] = "a VAE"

    name: Literal["vae"] = "vae"

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """The KL in nats per image."""
        return {"kl": q.kl().mean()}


@register
class BetaVAE(Objective):
    """β·KL(q(z|x) ‖ N(0, I)) (Higgins et al. 2017, eq. 4)."""

    title: ClassVar[str] = "a β-VAE"
    beta_setting: ClassVar[str | None] = "beta"

    name: Literal["beta_vae"] = "beta_vae"
    beta: float = Field(4.0, ge=0.0, description="weight of the KL")

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """β·KL in nats per image."""
        return {"kl": self.beta * q.kl().mean()}
