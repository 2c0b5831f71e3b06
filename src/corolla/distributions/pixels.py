"""Distributions p(x|z) over the pixels of an image: mean and log-probability.

Every log-probability is in nats per image: summed over pixels and channels, one value per image. Pixels are floats in
[0, 1]; the channels of all pixels are independent given z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from corolla.distributions.posterior import LOG_2PI

LEVELS = 256
"""Values that a channel of an 8-bit image can take."""


class PixelDistribution(Protocol):
    """p(x|z), one distribution over an image for each latent."""

    discrete: ClassVar[bool]
    """Whether `log_prob` is the probability of 8-bit pixels, so that bits per dimension are defined."""

    @property
    def mean(self) -> Tensor:
        """Expected pixels, N×C×H×W."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the images x in nats per image, N."""


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Nats per image, of a probability, as bits per dimension; an image has C·H·W dimensions."""
    return nats / (dimensions * math.log(2))


@dataclass(frozen=True)
class Bernoulli:
    """Each channel of each pixel is 1 with probability sigmoid(logits).

    On pixels between 0 and 1 `log_prob` is the negative cross-entropy, the study notebook's reconstruction term: no
    density over such pixels.
    """

    discrete: ClassVar[bool] = False  # a probability of black and white pixels, not of 256 levels

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected pixels, N×C×H×W."""
        return torch.sigmoid(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """Negative cross-entropy in nats per image, N."""
        return -_per_image(F.binary_cross_entropy_with_logits(self.logits, x, reduction="none"))


@dataclass(frozen=True)
class ContinuousBernoulli:
    """The Bernoulli's formula made a density on [0, 1] (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845).

    With λ = sigmoid(η), p(x) = C(λ)·λ^x·(1-λ)^(1-x), where C(λ) = 2·artanh(1-2λ)/(1-2λ), and 2 at λ = 1/2. In terms of
    the logit η it is p(x) = exp(η·x)·η/(exp(η) - 1), an exponential tilt of the uniform distribution. Its mean is not
    λ, but nearer to 1/2.
    """

    discrete: ClassVar[bool] = False

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected pixels, N×C×H×W: 1/(1 - exp(-η)) - 1/η."""
        return _tilted_mean(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats per image, N. Images x lie in [0, 1]; that is not checked."""
        return cast("Tensor", _TiltedLogProb.apply(self.logits, x))  # type: ignore[no-untyped-call]


_TINY = 1e-30  # in place of a logit of 0: so near to it that formulas which are 0/0 there come out as their limits
_NEAR = 0.5  # logits below this take the series


def _tilted_mean(logits: Tensor) -> Tensor:
    """Mean of the density proportional to exp(η·x) on [0, 1]: 1/(1 - exp(-t)) - 1/t at t = |η|; 1 minus that for η < 0.

    The difference loses its digits as t goes to 0, so below t = 1/2 its series stands in, with an error below 1e-10.
    """
    steepness = logits.abs()
    far = steepness.clamp_min(_NEAR)
    closed = torch.copysign(-1 / torch.expm1(-far) - 1 / far - 0.5, logits)
    near = logits.clamp(-_NEAR, _NEAR)
    square = near * near
    series = near * (1 / 12 + square * (-1 / 720 + square * (1 / 30240 + square * (-1 / 1209600))))
    # Both are finite everywhere, so that a weight of 0 or 1 can choose.
    return torch.lerp(series, closed, _positive(steepness - _NEAR)) + 0.5


class _TiltedLogProb(torch.autograd.Function):
    """Log-density of a continuous Bernoulli per image, with the gradient x - mean, where the mean keeps its digits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        # log p = η·x - max(η, 0) - log((1 - exp(-t))/t). The first two are joined, as each alone may be huge.
        tilt = _positive(logits).neg_().add_(x).mul_(logits)
        steepness = logits.abs().clamp_min_(_TINY)
        return _per_image(tilt) - _per_image((-steepness).expm1_().neg_().div_(steepness).log_())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        gradient = gradient.reshape(-1, *[1] * (x.ndim - 1))
        by_logits = gradient * (x - _tilted_mean(logits))
        return by_logits, gradient * logits if ctx.needs_input_grad[1] else None


@dataclass(frozen=True)
class Gaussian:
    """Each channel of each pixel is N(mean, sigma²); sigma is one number on the [0, 1] pixel scale."""

    discrete: ClassVar[bool] = False

    mean: Tensor
    sigma: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats per image, N."""
        squares = _per_image((x - self.mean) ** 2)
        return -0.5 * squares / self.sigma**2 - x[0].numel() * (torch.log(self.sigma) + 0.5 * LOG_2PI)


@dataclass(frozen=True)
class Laplace:
    """Each channel of each pixel has density exp(-|x - mean|/sigma)/(2·sigma), sigma on the [0, 1] pixel scale.

    Sigma is the scale, often called b: the mean absolute deviation. The standard deviation is √2 times as large.
    """

    discrete: ClassVar[bool] = False

    mean: Tensor
    sigma: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats per image, N."""
        distances = _per_image((x - self.mean).abs())
        return -distances / self.sigma - x[0].numel() * torch.log(2 * self.sigma)


@dataclass(frozen=True)
class DiscretisedLogistic:
    """Each channel of each pixel is one of the levels 0, 1/255 ... 1: a logistic variable, rounded to the nearest.

    P(x) = F(x + h) - F(x - h), where h is half a level and F the distribution function of Logistic(location, sigma),
    and the end cells reach to infinity (Salimans et al. 2017, arXiv 1701.05517, eq. 2, with one component). Sigma is
    the logistic's scale on the [0, 1] pixel scale; before rounding the standard deviation is π/√3 = 1.81 times as
    large. There are 256 levels, unless `levels` says otherwise.
    """

    discrete: ClassVar[bool] = True

    location: Tensor
    sigma: Tensor
    levels: int = LEVELS

    @property
    def mean(self) -> Tensor:
        """Expected pixels, N×C×H×W: those of the logistic variable, clipped to [0, 1] but not rounded.

        The exact value is a sum over 255 cell edges, (1/255) Σ (1 - F(edge)): the midpoint rule of this integral, from
        which it differs by at most half a level, and by less than 0.025 levels at sigma = 0.01.
        """
        # The integral is sigma·[softplus(location/sigma) - softplus((location - 1)/sigma)]; here without large terms.
        below, above = F.softplus(-self.location / self.sigma), F.softplus((self.location - 1) / self.sigma)
        return self.location + self.sigma * (below - above)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability in nats per image, N.

        Images x are on the 8-bit grid, k/255; that is not checked. Any other x counts as the level that it would be the
        middle of, and x below 1/510 or above 1 - 1/510 as 0 or 1.
        """
        # With u = (x - location)/sigma and the half cell h, F(u + h) - F(u - h) is F(u + h)·(1 - F(u - h))·(1 - e^-2h):
        # a product, so its logarithm neither cancels nor meets log(0), however far the tail or narrow the cell.
        half = 0.5 / (self.levels - 1)
        distance = (x - self.location) / self.sigma
        half_cell = half / self.sigma
        not_lowest, not_highest = _positive(x - half), _positive(1 - half - x)
        below = F.softplus(-half_cell - distance) * not_highest  # -log F(u + h)
        above = F.softplus(distance - half_cell) * not_lowest  # -log(1 - F(u - h))
        inner = _per_image(not_lowest) + _per_image(not_highest) - x[0].numel()
        return inner * torch.log(-torch.expm1(-2 * half_cell)) - _per_image(below) - _per_image(above)


def _per_image(values: Tensor) -> Tensor:
    """Sums over channels and pixels, N; to flatten images first would copy them if they are laid out channels-last."""
    return values.sum(tuple(range(1, values.ndim)))


def _positive(values: Tensor) -> Tensor:
    """1 where values are above 0, else 0; on a CPU far cheaper than a comparison that torch.where then acts on."""
    return values.sign().clamp_min_(0)
