"""Likelihoods: modules that read the decoder's raw output as a distribution p(x|z), and hold its scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corolla.distributions.pixels import PixelDistribution
from corolla.distributions.posterior import bounded

MIN_SIGMA = 1e-3
"""The smallest scale that is calibrated or learned: rounding to 8 bits alone leaves a root mean square error of 1.1e-3
and a mean absolute one of 1e-3, and a smaller scale would be rewarded without limit for describing that."""

_START_SIGMA = 0.1  # between untrained and trained models: its logarithm moves by about one learning rate in a step
_SLOWEST = 0.02  # the moving average's smallest weight for the newest batch


class LogitLikelihood(nn.Module):
    """Raw decoder output as the logit of each channel; there is no scale."""

    def __init__(self, distribution: Callable[[Tensor], PixelDistribution]) -> None:
        super().__init__()
        self.distribution = distribution

    def forward(self, raw: Tensor, x: Tensor | None = None) -> PixelDistribution:  # noqa: ARG002
        """p(x|z) from the decoder's raw output, N×C×H×W."""
        return self.distribution(raw)


class ScaledLikelihood(nn.Module):
    """Raw decoder output as the logit of the location; one scale for all pixels: fixed, calibrated or learned.

    Calibrated (Rybkin et al. 2021, arXiv 2006.13202, eq. 6): in training sigma is the maximum-likelihood value of each
    batch, sigma^power = mean |x - location|^power. A moving average of that moment is kept for use without the images.

    Learned: the parameter `log_sigma`, in the optimiser's hands like any weight. It has a floor, at `MIN_SIGMA`.
    """

    moment: Tensor
    seen: Tensor

    def __init__(
        self, distribution: Callable[[Tensor, Tensor], PixelDistribution], sigma: float | str, power: int = 1
    ) -> None:
        super().__init__()
        self.distribution, self.power = distribution, power
        self.calibrated, self.learned = sigma == "calibrated", sigma == "learned"
        if self.learned:
            self.log_sigma = nn.Parameter(torch.tensor(math.log(_START_SIGMA)))
            return
        self.register_buffer("moment", torch.tensor(1.0 if isinstance(sigma, str) else float(sigma) ** power))
        self.register_buffer("seen", torch.tensor(0.0))

    def forward(self, raw: Tensor, x: Tensor | None = None) -> PixelDistribution:
        """p(x|z) from the decoder's raw output, N×C×H×W; the images x calibrate sigma while training."""
        location = torch.sigmoid(raw)
        if self.learned:
            sigma = torch.exp(bounded(self.log_sigma, math.log(MIN_SIGMA), math.inf))
        elif self.calibrated and self.training and x is not None:
            sigma = self._calibrated(location, x) ** (1 / self.power)
        else:
            sigma = self.moment ** (1 / self.power)
        return self.distribution(location, sigma)

    @torch.no_grad()  # at the optimum the derivative by sigma is zero
    def _calibrated(self, location: Tensor, x: Tensor) -> Tensor:
        error = F.l1_loss if self.power == 1 else F.mse_loss
        moment = error(location, x).clamp_min(MIN_SIGMA**self.power)
        self.seen += 1
        # A young average is the plain mean, so that it does not remember where it started.
        self.moment.lerp_(moment, (1 / self.seen).clamp_min(_SLOWEST))
        return moment
