"""InfoVAE: the aggregated posterior is drawn to the prior by a kernel's discrepancy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from corolla.config import Objective, register

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import DiagonalGaussian


def imq(square: Tensor, latent_dim: int) -> Tensor:
    """Inverse multi-quadratic kernel C / (C + ‖a - b‖²) of squared distances, with C = 2·latent_dim.

    C is the expected squared distance of two draws from the prior (Tolstikhin et al. 2018, arXiv 1711.01558, sec. 4).
    """
    return 2 * latent_dim / (2 * latent_dim + square)


def gaussian(square: Tensor, latent_dim: int) -> Tensor:
    """Gaussian kernel exp(-‖a - b‖² / 2h²) of squared distances, with the bandwidth h² = latent_dim."""
    return (-square / (2 * latent_dim)).exp()


KERNELS: Mapping[str, Callable[[Tensor, int], Tensor]] = {"imq": imq, "gaussian": gaussian}


def mmd2(a: Tensor, b: Tensor, kernel: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets of points, both N×latent_dim.

    The means of the kernel leave out a point's distance to itself (Gretton et al. 2012, eq. 3), so the estimate is 0 on
    average where the distributions agree, and can be negative. A single point has no such mean; then it is 0.
    """
    import torch

    count, latent_dim = a.shape
    if count < 2:
        return 0.0 * (a.sum() + b.sum())
    points = torch.cat([a, b])
    norms = (points**2).sum(1)
    with torch.autocast(points.device.type, enabled=False):  # a product in bfloat16 has three digits
        square = (norms[:, None] + norms - 2 * points @ points.T).clamp_min(0)
    k = kernel(square, latent_dim)
    within = [part.sum() - part.diagonal().sum() for part in (k[:count, :count], k[count:, count:])]
    return (within[0] + within[1]) / (count * (count - 1)) - 2 * k[:count, count:].mean()


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
