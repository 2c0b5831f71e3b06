"""The auto-encoder and the denoising auto-encoder, whose codes are points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian

_IDLE = frozenset({"warmup_steps", "cycle_steps"})


@register
class AutoEncoder(Objective):
    """-log p(x|z) alone, with z the mean of q(z|x)."""

    title: ClassVar[str] = "an auto-encoder"
    auto_encoder: ClassVar[bool] = True
    idle: ClassVar[frozenset[str]] = _IDLE

    name: Literal["ae"] = "ae"

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """0·KL, so that the encoder's log-variance, which nothing uses, has a gradient: zero."""
        return {"kl": 0.0 * q.kl().mean()}


@register
class DenoisingAutoEncoder(Objective):
    """An auto-encoder that sees damaged images and returns whole ones (Vincent et al. 2008)."""

    title: ClassVar[str] = "a denoising auto-encoder"
    auto_encoder: ClassVar[bool] = True
    idle: ClassVar[frozenset[str]] = _IDLE

    name: Literal["dae"] = "dae"
    noise: float = Field(0.1, ge=0.0, le=1.0, description="standard deviation of the noise on the encoder's input")

    @model_validator(mode="after")
    def _damages_something(self) -> DenoisingAutoEncoder:
        if not self.noise and not self.mask:
            raise ValueError("dae needs noise or mask above 0; without them it is ae")
        return self

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """0·KL, so that the encoder's log-variance, which nothing uses, has a gradient: zero."""
        return {"kl": 0.0 * q.kl().mean()}
