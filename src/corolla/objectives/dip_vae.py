"""DIP-VAE I and II: the covariance of the latents is drawn to the identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


def moment_penalties(
    q: DiagonalGaussian, off_diagonal: float, diagonal: float, *, aggregate: bool
) -> dict[str, Tensor]:
    """λ_od·Σ_{i≠j} Cov_ij² and λ_d·Σ_i (Cov_ii - 1)² of a batch (Kumar et al. 2018, arXiv 1711.00848, eqs. 6, 7).

    Cov is a covariance over the batch (divided by its size): of the means of q(z|x), or of the aggregated posterior,
    whose diagonal has the mean variance of q(z|x) added.
    """
    import torch

    centred = q.mean - q.mean.mean(0)
    with torch.autocast(centred.device.type, enabled=False):  # a product in bfloat16 has three digits
        covariance = centred.T @ centred / len(centred)
    variances = covariance.diagonal()
    others = covariance - torch.diag(variances)
    if aggregate:
        variances = variances + torch.exp(q.logvar).mean(0)
    return {"off_diagonal": off_diagonal * (others**2).sum(), "diagonal": diagonal * ((variances - 1) ** 2).sum()}


def _describe(objective: DIPVAEI | DIPVAEII) -> str:
    return f"beta 1, covariances x {objective.lambda_offdiagonal:g}, variances x {objective.lambda_diagonal:g}"


@register
class DIPVAEI(Objective):
    """KL, and penalties on the covariance of the means of q(z|x)."""

    title: ClassVar[str] = "a DIP-VAE-I"
    least_batch: ClassVar[int] = 4
    pressure_setting: ClassVar[str | None] = "lambda_offdiagonal"

    name: Literal["dip_vae_i"] = "dip_vae_i"
    lambda_offdiagonal: float = Field(10.0, ge=0.0, description="weight of the covariances")
    lambda_diagonal: float = Field(100.0, ge=0.0, description="weight of the variances' distance from 1")

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """KL, and the two weighted penalties."""
        penalties = moment_penalties(q, self.lambda_offdiagonal, self.lambda_diagonal, aggregate=False)
        return {"kl": q.kl().mean(), **penalties}

    def describe(self, beta: float | None) -> str:
        """The two weights."""
        return _describe(self)


@register
class DIPVAEII(Objective):
    """KL, and penalties on the covariance of the aggregated posterior."""

    title: ClassVar[str] = "a DIP-VAE-II"
    least_batch: ClassVar[int] = 4
    pressure_setting: ClassVar[str | None] = "lambda_offdiagonal"

    name: Literal["dip_vae_ii"] = "dip_vae_ii"
    lambda_offdiagonal: float = Field(10.0, ge=0.0, description="weight of the covariances")
    lambda_diagonal: float = Field(10.0, ge=0.0, description="weight of the variances' distance from 1")

    def terms(self, q: DiagonalGaussian, z: Tensor, **_: Any) -> Mapping[str, Tensor]:
        """KL, and the two weighted penalties."""
        penalties = moment_penalties(q, self.lambda_offdiagonal, self.lambda_diagonal, aggregate=True)
        return {"kl": q.kl().mean(), **penalties}

    def describe(self, beta: float | None) -> str:
        """The two weights."""
        return _describe(self)
