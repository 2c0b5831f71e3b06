"""ControlVAE: β is moved until the KL is at a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian
    from corolla.objectives.companions import Controller


@register
class ControlVAE(Objective):
    """β·KL with the β at which the KL is `target_nats` (Shao et al. 2020, arXiv 2004.05988)."""

    title: ClassVar[str] = "a ControlVAE"
    target_setting: ClassVar[str | None] = "target_nats"
    stationary: ClassVar[bool] = False

    name: Literal["control_vae"] = "control_vae"
    target_nats: float = Field(25.0, gt=0.0, description="the KL that the controller finds beta for")
    control_proportional: float = Field(0.01, ge=0.0, description="the proportional gain")
    control_integral: float = Field(0.001, gt=0.0, description="the integral gain")
    control_max_beta: float = Field(1000.0, gt=0.0, description="the largest beta to try")

    def companion(self, latent_dim: int) -> Controller:
        """The controller."""
        from corolla.objectives.companions import Controller

        return Controller(self.target_nats, self.control_proportional, self.control_integral, self.control_max_beta)

    def terms(self, q: DiagonalGaussian, z: Tensor, *, companion: Controller, **_: Any) -> Mapping[str, Tensor]:
        """β·KL in nats per image, with the controller's present β."""
        return {"kl": companion.beta * q.kl().mean()}

    def effective_beta(self, rows: Sequence[Mapping[str, str]] = ()) -> float | None:
        """What the controller has come to, from the last of the rows."""
        return float(rows[-1]["beta"]) if rows and rows[-1].get("beta") else None

    def describe(self, beta: float | None) -> str:
        """The target, and the β it takes."""
        reached = "" if beta is None else f", for which it has come to beta {beta:.3g}"
        return f"KL held at {self.target_nats:g} nats{reached}"

    def off_target(self, rate: float, beta: float | None) -> tuple[str, str]:
        """Whether β is at a bound, and what to change."""
        above = rate > self.target_nats
        if beta is not None and (beta >= self.control_max_beta if above else beta <= 0):
            remedy = f"The images need no more than that, or longer training: ask for about {rate:.0f} nats."
            if above:
                remedy = f"Raise objective.control_max_beta, or ask for more than {self.target_nats:g} nats."
            return "beta at its bound", f"Beta is at its bound, {beta:g}. {remedy}"
        return "off target", "Train longer, or let the controller act faster: a larger objective.control_integral."
