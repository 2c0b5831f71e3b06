"""How the decoder's raw output describes pixels: the likelihoods that a configuration can name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from corolla.config import Likelihood, register

if TYPE_CHECKING:
    from torch import nn


def _parse_sigma(value: Any) -> Any:
    """Read a scale: a number, or how to find one. The bounds are those between which float32 loses no digits."""
    if value in ("calibrated", "learned"):
        return value
    try:
        if not isinstance(value, bool) and 1e-4 <= float(value) <= 10:
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ValueError("should be calibrated, learned, or a number from 0.0001 to 10")


def _parse_uncalibrated(value: Any) -> Any:
    if value == "calibrated":
        raise ValueError("there is no calibrated sigma here; give a number or learned")
    return _parse_sigma(value)


Sigma = Annotated[float | Literal["calibrated", "learned"], BeforeValidator(_parse_sigma)]
_SIGMA = "scale on the [0, 1] pixel scale: a number, found from each batch (calibrated), or learned with the weights"


@register
class BernoulliLikelihood(Likelihood):
    """The cross-entropy of each channel; the notebook's."""

    title: ClassVar[str] = "Bernoulli"
    name: Literal["bernoulli"] = "bernoulli"

    def build(self, levels: int = 256) -> nn.Module:  # noqa: ARG002
        """Raw output as logits."""
        from corolla.distributions import likelihoods, pixels

        return likelihoods.LogitLikelihood(pixels.Bernoulli)


@register
class ContinuousBernoulliLikelihood(Likelihood):
    """The Bernoulli, normalised on [0, 1] (Loaiza-Ganem & Cunningham 2019)."""

    title: ClassVar[str] = "continuous Bernoulli"
    name: Literal["continuous_bernoulli"] = "continuous_bernoulli"

    def build(self, levels: int = 256) -> nn.Module:  # noqa: ARG002
        """Raw output as logits."""
        from corolla.distributions import likelihoods, pixels

        return likelihoods.LogitLikelihood(pixels.ContinuousBernoulli)


@register
class GaussianLikelihood(Likelihood):
    """A Gaussian of one width for all pixels (calibrated: Rybkin et al. 2021, arXiv 2006.13202)."""

    title: ClassVar[str] = "Gaussian"
    name: Literal["gaussian"] = "gaussian"
    sigma: Sigma = Field("calibrated", description=_SIGMA)

    def build(self, levels: int = 256) -> nn.Module:  # noqa: ARG002
        """Raw output as the logit of the mean."""
        from corolla.distributions import likelihoods, pixels

        return likelihoods.ScaledLikelihood(pixels.Gaussian, self.sigma, power=2)


@register
class LaplaceLikelihood(Likelihood):
    """A Laplace distribution of one scale for all pixels."""

    title: ClassVar[str] = "Laplace"
    name: Literal["laplace"] = "laplace"
    sigma: Sigma = Field("calibrated", description=_SIGMA)

    def build(self, levels: int = 256) -> nn.Module:  # noqa: ARG002
        """Raw output as the logit of the median."""
        from corolla.distributions import likelihoods, pixels

        return likelihoods.ScaledLikelihood(pixels.Laplace, self.sigma, power=1)


@register
class DiscretisedLogisticLikelihood(Likelihood):
    """The probability of the levels of pixels under a logistic distribution, for bits per dimension."""

    title: ClassVar[str] = "discretised logistic"
    name: Literal["discretised_logistic"] = "discretised_logistic"
    sigma: Annotated[float | Literal["learned"], BeforeValidator(_parse_uncalibrated)] = Field(
        "learned", description="scale on the [0, 1] pixel scale: a number, or learned with the weights"
    )

    def build(self, levels: int = 256) -> nn.Module:
        """Raw output as the logit of the location."""
        from corolla.distributions import likelihoods, pixels

        return likelihoods.ScaledLikelihood(partial(pixels.DiscretisedLogistic, levels=levels), self.sigma)
