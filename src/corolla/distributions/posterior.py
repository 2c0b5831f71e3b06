"""The posterior q(z|x) of an image, and q(z) of all; in nats, one value per image or draw.

q(z) = 1/N Σ_n q(z|x_n) is the mixture of the posteriors of all N images. With it the KL of a draw z from q(z|x) is a
sum of three parts (Chen et al. 2018, arXiv 1802.04942, eq. 2): mutual information, total correlation, dimension-wise
KL. The sum is the same whatever is put in place of q(z), so it does not tell whether an estimate of q(z) is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from corolla.errors import UsageError

LOG_2PI = math.log(2 * math.pi)
LOGVAR_RANGE = (-20.0, 10.0)
"""Bounds of a log-variance that an encoder gives: standard deviations from 4.5e-5 to 148 of the prior's.

A narrower draw would be lost in the rounding of its mean to float32. A wider one no decoder can use, and powers of its
variance, which the norm of DIP-VAE-II's gradient has, would soon be infinite.
"""
ACTIVE_NATS = 0.01
"""A latent whose KL is not above this, on average, carries no information: it counts as dead."""


def active_latents(kl_nats: ArrayLike) -> NDArray[np.bool_]:
    """Whether each latent carries information, by its average KL from the prior; where that is NaN, it does not."""
    return np.asarray(kl_nats, np.float64) > ACTIVE_NATS


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean, diag(exp(logvar))); mean and logvar are N×latent_dim."""

    mean: Tensor
    logvar: Tensor

    @property
    def stddev(self) -> Tensor:
        """Standard deviation, N×latent_dim."""
        return torch.exp(0.5 * self.logvar)

    def sample(self) -> Tensor:
        """One reparameterised draw for each image, N×latent_dim (Kingma & Welling 2014, eq. 10)."""
        return self.mean + self.stddev * torch.randn_like(self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of q(z|x) in nats, N."""
        square = (z - self.mean) ** 2 * torch.exp(-self.logvar)
        return -0.5 * (square + self.logvar + LOG_2PI).sum(-1)

    def kl_per_latent(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, 1)) of each latent in nats, N×latent_dim (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean**2 + torch.exp(self.logvar) - 1 - self.logvar)

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) in nats, N."""
        return self.kl_per_latent().sum(-1)


def bounded(value: Tensor, low: float, high: float) -> Tensor:
    """The value, kept in [low, high]; beyond a bound, only a gradient whose descent leads back passes.

    A plain clamp has no gradient there, so that a value which once fell outside would stay there for good; with the
    whole gradient it would be pushed ever farther.
    """
    return cast("Tensor", _Bounded.apply(value, low, high))  # type: ignore[no-untyped-call]


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(value < low, value > high)
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        below, above = ctx.saved_tensors
        gradient = torch.where(below, gradient.clamp_max(0), gradient)
        return torch.where(above, gradient.clamp_min(0), gradient), None, None


AggregateEstimator = Literal["exact", "stratified", "weighted"]


@dataclass(frozen=True)
class KLTerms:
    """The KL of each draw z ~ q(z|x), in three parts: nats, N each. Single draws may be negative; averages matter.

    They are what the latents know about which image it is, log q(z|x) - log q(z), and about each other,
    log q(z) - Σ_j log q(z_j), and how far they, one by one, are from the prior, Σ_j log q(z_j) - log p(z).
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def log_importance_weights(
    batch_size: int,
    data_size: int,
    estimator: AggregateEstimator,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Log-weights log w_in, with which Σ_n w_in q(z|x_n) stands for q(z) at a draw z from image i's own posterior.

    - `exact`: each of all N posteriors weighs 1/N: batch_size×data_size; the others are batch_size×batch_size.
    - `stratified` (Chen et al. 2018, appendix C.2): with M = batch_size - 1, image i's own posterior weighs 1/N, the
      next one's (N - M)/(N·M), the remaining ones' 1/M. A row sums to 1, and over batches drawn without replacement
      the estimate of the density q(z) has no bias; its logarithm is too low on average.
    - `weighted` (appendix C.1): each weighs 1/(batch_size·N). The logarithm is too low by log N, up to the excess
      weight of image i's own posterior. Gradients do not see that, but the terms do: the mutual information is too
      high by log N, the total correlation by (latent_dim - 1)·log N, the dimension-wise KL too low by latent_dim·log N.

    A batch as large as the data set is taken for it: its stratified weights are 1/batch_size, the weighted ones
    1/batch_size². The stratified weight of a lone image is 1: no mutual information, no total correlation.
    """
    if batch_size < 1 or data_size < 1:
        raise UsageError(f"a batch of {batch_size} from {data_size} images cannot be; both must be at least 1")
    full = partial(torch.full, device=device, dtype=dtype)
    square, count = (batch_size, batch_size), max(data_size, batch_size)
    if estimator == "exact":
        return full((batch_size, data_size), -math.log(data_size))
    if estimator == "weighted":
        return full(square, -math.log(batch_size * count))
    if estimator != "stratified":
        raise UsageError(f"{estimator}: no such estimator of q(z); there are exact, stratified, weighted")
    if batch_size in (1, count):
        return full(square, -math.log(batch_size))
    others = batch_size - 1
    weights = full(square, -math.log(others))
    # The true diagonal: in the flat tensor its entries are batch_size + 1 apart.
    weights.fill_diagonal_(-math.log(count))
    stand_in = math.log(count - others) - math.log(count) - math.log(others)
    weights[:-1, 1:].fill_diagonal_(stand_in)
    weights[-1, 0] = stand_in
    return weights


def pairwise_log_density(q: DiagonalGaussian, z: Tensor) -> Tensor:
    """Log-density log q(z_ij | x_n) of every draw under every posterior, latent by latent, in nats.

    z is B×latent_dim, the posteriors are N; the result is B×N×latent_dim, so mind the memory.
    """
    square = (z[:, None] - q.mean).square()
    return torch.addcmul(-0.5 * (q.logvar + LOG_2PI), square, torch.exp(-q.logvar), value=-0.5)


def log_aggregate(q: DiagonalGaussian, z: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Both log q(z) and log Π_j q(z_j) of draws z, B×latent_dim, under the weighted mixture of N posteriors.

    In nats, B each. The second is the density if the latents were independent. log_weights is B×N, from
    `log_importance_weights`.
    """
    density = pairwise_log_density(q, z)
    joint = torch.logsumexp(density.sum(-1) + log_weights, 1)
    # log-sum-exp over the posteriors by hand: this is the costly pass of a training step, and torch's takes longer.
    weighted = density + log_weights[:, :, None]
    largest = weighted.detach().amax(1, keepdim=True)
    marginals = (weighted - largest).exp().sum(1).log() + largest.squeeze(1)
    return joint, marginals.sum(-1)


def kl_terms(
    q: DiagonalGaussian,
    z: Tensor,
    log_weights: Tensor,
    *,
    posteriors: DiagonalGaussian | None = None,
    log_prior: Tensor | None = None,
) -> KLTerms:
    """The KL in three parts (Chen et al. 2018, eq. 2); their sum is log q(z|x) - log p(z) of each draw.

    z, B×latent_dim, holds one draw from each posterior of q. q(z) is mixed from the N `posteriors`, by default those of
    q, and log p(z), B, is by default the standard normal's.
    """
    log_joint, log_product = log_aggregate(q if posteriors is None else posteriors, z, log_weights)
    if log_prior is None:
        log_prior = -0.5 * (z.square() + LOG_2PI).sum(-1)
    return KLTerms(q.log_prob(z) - log_joint, log_joint - log_product, log_product - log_prior)
