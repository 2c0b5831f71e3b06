"""Free bits: the first nats of each latent cost nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


@register
class FreeBits(Objective):
    """Σ_j max(λ, KL_j), KL_j averaged over the batch (Kingma et al. 2016, arXiv 1606.04934, appendix C.8).

    A latent whose KL is below λ = `free_nats` costs the same whatever it says, so nothing pushes it to say less.
    """

    title: ClassVar[str] = "a VAE with free bits"

    name: Literal["free_bits"] = "free_bits"
    free_nats: float = Field(0.5, ge=0.0, description="the KL of each latent that costs nothing")

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """Σ_j max(λ, KL_j) in nats per image."""
        return {"kl": q.kl_per_latent().mean(0).clamp_min(self.free_nats).sum()}

    def describe(self, beta: float | None) -> str:
        """What is free."""
        return f"beta 1, {self.free_nats:g} nats of each latent free"

    def loosen(self) -> str:
        """More free nats."""
        return f"more objective.free_nats than {self.free_nats:g}"

    @property
    def free_nats_per_latent(self) -> float:
        """λ."""
        return self.free_nats
