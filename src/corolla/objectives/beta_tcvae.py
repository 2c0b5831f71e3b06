"""β-TCVAE: the KL in three parts, with a weight each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


@register
class BetaTCVAE(Objective):
    """α·I(x; z) + β·TC(z) + γ·Σ_j KL(q(z_j) ‖ p(z_j)) (Chen et al. 2018, arXiv 1802.04942, eq. 4).

    The mutual information, the total correlation and the dimension-wise KL add up to the KL. Each needs log q(z), which
    a batch can only estimate: stratified (their appendix C.2) or weighted sampling (C.1).
    """

    title: ClassVar[str] = "a β-TCVAE"
    least_batch: ClassVar[int] = 4
    beta_setting: ClassVar[str | None] = "beta"

    name: Literal["beta_tcvae"] = "beta_tcvae"
    alpha: float = Field(1.0, ge=0.0, description="weight of the mutual information")
    beta: float = Field(4.0, ge=0.0, description="weight of the total correlation")
    gamma: float = Field(1.0, ge=0.0, description="weight of the dimension-wise KL")
    tc_estimator: Literal["stratified", "weighted"] = Field(
        "stratified", description="how a batch stands for all training images"
    )

    def terms(self, q: DiagonalGaussian, z: Tensor, *, data_size: int, **_: Any) -> Mapping[str, Tensor]:
        """The three weighted terms in nats per image."""
        from corolla.distributions import kl_terms, log_importance_weights

        weights = log_importance_weights(len(z), data_size, self.tc_estimator, device=z.device, dtype=z.dtype)
        terms = kl_terms(q, z, weights)
        return {
            "mutual_information": self.alpha * terms.mutual_information.mean(),
            "total_correlation": self.beta * terms.total_correlation.mean(),
            "dimension_wise_kl": self.gamma * terms.dimension_wise.mean(),
        }

    def describe(self, beta: float | None) -> str:
        """The three weights."""
        others = f"mutual information x {self.alpha:g}, total correlation x {self.beta:g} (its beta)"
        return f"{others}, dimension-wise KL x {self.gamma:g}"
