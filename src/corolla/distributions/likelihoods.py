"""Likelihoods p(x|z): how the decoder's raw output describes pixels.

Every log-probability is in nats per image: summed over pixels and channels, one value per image. Pixels are floats in
[0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corolla.distributions.posterior import LOG_2PI


class PixelDistribution(Protocol):
    """p(x|z), one distribution over an image for each latent."""

    @property
    def mean(self) -> Tensor:
        """Expected pixels, N×C×H×W."""

    def sample(self) -> Tensor:
        """Drawn pixels, N×C×H×W."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the images x in nats per image, N."""


@dataclass(frozen=True)
class Bernoulli:
    """Each channel of each pixel is 1 with probability sigmoid(logits).

    On pixels between 0 and 1 `log_prob` is the negative cross-entropy, the study notebook's reconstruction term.
    That is not a density over such pixels, and it never rises above minus the pixels' own entropy.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected pixels, N×C×H×W."""
        return torch.sigmoid(self.logits)

    def sample(self) -> Tensor:
        """Drawn pixels, each 0 or 1, N×C×H×W."""
        return torch.bernoulli(self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        """Negative cross-entropy in nats per image, N."""
        return -F.binary_cross_entropy_with_logits(self.logits, x, reduction="none").flatten(1).sum(1)


@dataclass(frozen=True)
class Gaussian:
    """Each channel of each pixel is N(mean, sigma²); sigma is one number on the [0, 1] pixel scale."""

    mean: Tensor
    sigma: Tensor

    def sample(self) -> Tensor:
        """Drawn pixels, unbounded, N×C×H×W."""
        return self.mean + self.sigma * torch.randn_like(self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats per image, N."""
        square = ((x - self.mean) / self.sigma) ** 2
        return -0.5 * (square + LOG_2PI).flatten(1).sum(1) - x[0].numel() * torch.log(self.sigma)


class BernoulliLikelihood(nn.Module):
    """Raw decoder output as the logit of each channel."""

    def forward(self, raw: Tensor, x: Tensor | None = None) -> Bernoulli:  # noqa: ARG002
        """p(x|z) from the decoder's raw output, N×C×H×W."""
        return Bernoulli(raw)


class GaussianLikelihood(nn.Module):
    """Raw decoder output as the logit of the mean; a fixed or a calibrated standard deviation.

    Calibrated (Rybkin et al. 2021, arXiv 2006.13202, eq. 6): in training sigma is the maximum-likelihood value of each
    batch, the root mean square error. A moving average of its square is kept for use without the images.
    """

    variance: Tensor
    seen: Tensor

    def __init__(self, sigma: float | Literal["calibrated"]) -> None:
        super().__init__()
        self.calibrated = sigma == "calibrated"
        start = 1.0 if isinstance(sigma, str) else sigma**2
        self.register_buffer("variance", torch.tensor(start))
        self.register_buffer("seen", torch.tensor(0.0))

    def forward(self, raw: Tensor, x: Tensor | None = None) -> Gaussian:
        """p(x|z) from the decoder's raw output; the images x calibrate sigma while training."""
        mean = torch.sigmoid(raw)
        if not (self.calibrated and self.training and x is not None):
            return Gaussian(mean, torch.sqrt(self.variance))
        # At the optimum the derivative by sigma is zero, so no gradient is lost by leaving it out.
        variance = F.mse_loss(mean.detach(), x).clamp_min(1e-6)
        with torch.no_grad():
            self.seen += 1
            # A young average is the plain mean, so that it does not remember where it started.
            self.variance.lerp_(variance, (1 / self.seen).clamp_min(0.02))
        return Gaussian(mean, torch.sqrt(variance))


Likelihood = BernoulliLikelihood | GaussianLikelihood

LIKELIHOODS: Mapping[str, Callable[[float | Literal["calibrated"]], Likelihood]] = {
    "bernoulli": lambda _sigma: BernoulliLikelihood(),
    "gaussian": GaussianLikelihood,
}
