"""InfoVAE: the aggregated posterior is drawn to the prior by a kernel's discrepancy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


@register
class InfoVAE(Objective):
    """(1 - α)·KL + (α + λ - 1)·MMD²(q(z), p(z)) (Zhao et al. 2019, arXiv 1706.02262, eq. 6).

    The discrepancy is between the batch's draws from q(z|x) and as many draws from the prior.
    """

    title: ClassVar[str] = "an InfoVAE"
    least_batch: ClassVar[int] = 4

    name: Literal["info_vae"] = "info_vae"
    alpha: float = Field(0.0, ge=0.0, description="1 - weight of the KL")
    lambda_mmd: float = Field(1000.0, ge=0.0, description="weight of the prior's match, as in the paper")
    kernel: Literal["imq", "gaussian"] = Field(
        "imq", description="inverse multi-quadratic, or Gaussian; see the docs for the bandwidth"
    )

    @model_validator(mode="after")
    def _weighs_nothing_below_zero(self) -> InfoVAE:
        if self.alpha + self.lambda_mmd < 1:
            raise ValueError("lambda_mmd: alpha + lambda_mmd - 1 weighs the divergence and must not be below 0")
        if self.alpha > 1:
            raise ValueError(f"alpha {self.alpha:g}: 1 - alpha weighs the KL of info_vae and must not be below 0")
        return self

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """The two weighted terms."""
        import torch

        from corolla.objectives.mmd import KERNELS, mmd2

        discrepancy = mmd2(z, torch.randn_like(z), KERNELS[self.kernel])
        return {"kl": (1 - self.alpha) * q.kl().mean(), "mmd": (self.alpha + self.lambda_mmd - 1) * discrepancy}

    def effective_beta(self, rows: Sequence[Mapping[str, str]] = ()) -> float | None:
        """1 - α."""
        return 1.0 - self.alpha

    def describe(self, beta: float | None) -> str:
        """The two weights."""
        return f"beta {beta or 0:g}, divergence x {self.alpha + self.lambda_mmd - 1:g}"

    def loosen(self) -> str:
        """A smaller weight of the KL."""
        return "an objective.alpha nearer to 1"
