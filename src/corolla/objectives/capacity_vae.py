"""The β-VAE with a capacity that grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


@register
class CapacityVAE(Objective):
    """γ·|KL - C(step)|, where C grows linearly to `capacity_nats` (Burgess et al. 2018, arXiv 1804.03599, eq. 8)."""

    title: ClassVar[str] = "a β-VAE with a capacity"
    target_setting: ClassVar[str | None] = "capacity_nats"
    warmup_settings: ClassVar[tuple[str, ...]] = ("warmup_steps", "capacity_steps")

    name: Literal["capacity_vae"] = "capacity_vae"
    gamma: float = Field(1000.0, ge=0.0, description="weight of the KL's distance from the capacity")
    capacity_nats: float = Field(25.0, ge=0.0, description="the KL it is led to")
    capacity_steps: int = Field(2000, ge=1, description="steps over which that KL is let in")

    def terms(self, q: DiagonalGaussian, z: Tensor, *, step: int | None, **_: Any) -> Mapping[str, Tensor]:
        """γ·|KL - C(step)| in nats per image, of the batch's mean KL."""
        share = 1.0 if step is None else min(1.0, step / self.capacity_steps)
        capacity = share * self.capacity_nats
        return {"capacity": self.gamma * (q.kl().mean() - capacity).abs()}

    def describe(self, beta: float | None) -> str:
        """The capacity and its weight."""
        return f"KL led to {self.capacity_nats:g} nats, gamma {self.gamma:g}"

    def off_target(self, rate: float, beta: float | None) -> tuple[str, str]:
        """What brings the rate nearer to the capacity."""
        above = rate > self.capacity_nats
        remedy = "a larger objective.gamma" if above else "more latents, or a smaller objective.capacity_nats"
        return "off target", f"Train longer, or try {remedy}."
