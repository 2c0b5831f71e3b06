"""The priors that latents can be drawn from: the standard normal, and those that are fitted to codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from corolla.config import Prior, register, registered
from corolla.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from corolla.distributions import LatentDistribution


def fitted_prior_names() -> list[str]:
    """The priors that are fitted to a trained model."""
    return [name for name, prior in registered("prior").items() if prior.fitted]


@register
class StandardNormal(Prior):
    """N(0, I), with which models are trained."""

    title: ClassVar[str] = "the standard normal"
    fitted: ClassVar[bool] = False
    name: Literal["standard"] = "standard"

    def build(self, latent_dim: int) -> LatentDistribution:
        """N(0, I)."""
        from corolla.distributions.priors import StandardPrior

        return StandardPrior(latent_dim)


@register
class Gaussian(Prior):
    """One Gaussian with a full covariance."""

    title: ClassVar[str] = "a Gaussian"
    name: Literal["gaussian"] = "gaussian"

    def build(self, latent_dim: int) -> LatentDistribution:
        """N(0, I), to be fitted."""
        from corolla.distributions.priors import GaussianPrior

        return GaussianPrior(latent_dim)

    def fit(self, codes: Tensor, **how: Any) -> LatentDistribution:
        """The Gaussian of largest likelihood."""
        from corolla.distributions.priors import GaussianPrior

        return GaussianPrior.fit(codes, **how)


@register
class Mixture(Prior):
    """A mixture of Gaussians (Ghosh et al. 2020, arXiv 1903.12436)."""

    title: ClassVar[str] = "a mixture of Gaussians"
    name: Literal["gmm"] = "gmm"
    components: int = Field(10, ge=1, description="how many; where there are fewer codes, as many by default")
    covariance: Literal["full", "diagonal"] = Field("full", description="of each component")

    def build(self, latent_dim: int) -> LatentDistribution:
        """Equal components, to be fitted."""
        from corolla.distributions.priors import MixturePrior

        return MixturePrior(latent_dim, self.components, self.covariance)

    def check(self, codes: int) -> None:
        """Raise UsageError where there are fewer codes than components that were asked for."""
        if "components" in self.model_fields_set and self.components > codes:
            problem = f"{self.components} components for {codes} codes: a mixture needs at least one code for each"
            raise UsageError(f"{problem}; take fewer components, or more draws or images")

    def fit(self, codes: Tensor, **how: Any) -> LatentDistribution:
        """Expectation-maximisation."""
        from corolla.distributions.priors import MixturePrior, code_rows

        rows = len(code_rows(codes))
        self.check(rows)
        return MixturePrior.fit(codes, components=min(self.components, rows), covariance=self.covariance, **how)


@register
class Flow(Prior):
    """A normalising flow; needs the extra `flows`."""

    title: ClassVar[str] = "a normalising flow"
    name: Literal["flow"] = "flow"
    flow: Literal["nsf", "maf"] = Field("nsf", description="splines, or affine maps")
    transforms: int = Field(3, ge=1, description="how many maps follow one another")

    def build(self, latent_dim: int) -> LatentDistribution:
        """The identity, to be fitted."""
        from corolla.distributions.flow import FlowPrior

        return FlowPrior(latent_dim, self.flow, self.transforms)

    def fit(self, codes: Tensor, **how: Any) -> LatentDistribution:
        """Maximum likelihood."""
        from corolla.distributions.flow import FlowPrior

        return FlowPrior.fit(codes, flow=self.flow, transforms=self.transforms, **how)
