"""What training minimises: pure callables `(x, q, z, p, step, data_size) -> LossTerms`, in nats per image.

An objective keeps no counters: a schedule is a function of the optimiser step. The terms are averages over the batch of
sums over pixels, channels and latents, so the weight of the KL means the same for every likelihood, size and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from corolla.config import ObjectiveConfig
from corolla.distributions import DiagonalGaussian, PixelDistribution


@dataclass(frozen=True)
class LossTerms:
    """The loss and what it is made of, in nats per image.

    `total` is what the optimiser minimises: the sum of `weighted`. `reconstruction` is -log p(x|z) and `kl` is
    KL(q(z|x) ‖ p(z)), both without weights, so that runs with different objectives can be compared.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    weighted: Mapping[str, Tensor]


class Objective(Protocol):
    """The seam of the family: a variant is its regulariser and nothing else."""

    @property
    def stochastic(self) -> bool:
        """Whether the decoder sees a draw from q(z|x) (a VAE) or its mean (an auto-encoder)."""

    def __call__(
        self, x: Tensor, q: DiagonalGaussian, z: Tensor, p: PixelDistribution, step: int, data_size: int
    ) -> LossTerms:
        """The loss of a batch: images, posterior, latents, p(x|z), optimiser step, number of training images."""


@dataclass(frozen=True)
class AutoEncoder:
    """Reconstruction only: the decoder sees the mean, without noise, and the KL is reported but not minimised."""

    stochastic: bool = False

    def __call__(
        self,
        x: Tensor,
        q: DiagonalGaussian,
        z: Tensor,  # noqa: ARG002
        p: PixelDistribution,
        step: int,  # noqa: ARG002
        data_size: int,  # noqa: ARG002
    ) -> LossTerms:
        """-log p(x|z), in nats per image."""
        reconstruction = -p.log_prob(x).mean()
        return LossTerms(reconstruction, reconstruction, q.kl().mean(), {"reconstruction": reconstruction})


@dataclass(frozen=True)
class BetaVAE:
    """-log p(x|z) + β·KL(q(z|x) ‖ N(0, I)) (Higgins et al. 2017, eq. 4); β = 1 is the VAE of Kingma & Welling 2014.

    Over the first `warmup_steps` optimiser steps the weight grows linearly from zero to β.
    """

    beta: float = 1.0
    warmup_steps: int = 0
    stochastic: bool = True

    def __call__(
        self,
        x: Tensor,
        q: DiagonalGaussian,
        z: Tensor,  # noqa: ARG002
        p: PixelDistribution,
        step: int,
        data_size: int,  # noqa: ARG002
    ) -> LossTerms:
        """-log p(x|z) + β(step)·KL, in nats per image."""
        reconstruction = -p.log_prob(x).mean()
        kl = q.kl().mean()
        beta = self.beta * min(1.0, (step + 1) / (self.warmup_steps + 1))
        weighted = {"reconstruction": reconstruction, "kl": beta * kl}
        return LossTerms(reconstruction + weighted["kl"], reconstruction, kl, weighted)


OBJECTIVES: Mapping[str, Callable[[ObjectiveConfig], Objective]] = {
    "ae": lambda _config: AutoEncoder(),
    "vae": lambda config: BetaVAE(1.0, config.warmup_steps),
    "beta_vae": lambda config: BetaVAE(config.beta, config.warmup_steps),
}


def build_objective(config: ObjectiveConfig) -> Objective:
    """The objective that a configuration names."""
    return OBJECTIVES[config.name](config)
