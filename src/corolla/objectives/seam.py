"""The seam of the family: what an objective takes and gives, and what one that learns by itself keeps beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

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


class Regulariser(Protocol):
    """What a variant adds to the reconstruction: named terms with their weights, in nats per image."""

    def __call__(self, q: DiagonalGaussian, z: Tensor, step: int | None, data_size: int, /) -> Mapping[str, Tensor]:
        """The terms of a batch: its posterior, draws from it, optimiser step, number of training images."""


class Companion(nn.Module):
    """What an objective learns beside the model: a discriminator, a controller. It has a step of its own.

    Its parameters and buffers are saved in checkpoints but are no part of the model.
    """

    def update(self, z: Tensor, kl: Tensor) -> None:
        """Learn from the step that the model has just made: its latents N×latent_dim, detached, and its mean KL."""
        raise NotImplementedError

    def report(self) -> dict[str, float]:
        """Numbers for the record of the run."""
        raise NotImplementedError

    def complaint(self) -> str | None:
        """What is going wrong, in one line with the remedy, or None. Waits for the device."""
        raise NotImplementedError


@dataclass(frozen=True)
class Objective:
    """A pure callable `(x, q, z, p, step, data_size) -> LossTerms`: -log p(x|z) and the terms of a regulariser.

    It keeps no counters: schedules are functions of the optimiser step, and what learns is in the companion.

    Attributes:
        regulariser: the variant.
        stochastic: whether the decoder sees a draw from q(z|x) (a VAE) or its mean (an auto-encoder).
        warmup_steps: steps over which the weight of the regulariser grows linearly from zero.
        cycle_steps: steps after which the growth begins anew (Fu et al. 2019, arXiv 1903.10145); None: never.
        companion: what the objective learns beside the model.
        perceptual: weight of the distance between the images and the means of p(x|z).
        perceptual_after: steps before that distance is added.
        distance: that distance, one number for each image.
    """

    regulariser: Regulariser
    stochastic: bool = True
    warmup_steps: int = 0
    cycle_steps: int | None = None
    companion: Companion | None = None
    perceptual: float = 0.0
    perceptual_after: int = 0
    distance: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def stationary(self) -> bool:
        """Whether its values at two steps can be compared; with a companion, which changes, they cannot."""
        return self.companion is None

    def ramp(self, step: int | None) -> float:
        """The share of the regulariser's weight at an optimiser step, above 0 and up to 1."""
        if step is None:
            return 1.0
        if self.cycle_steps is not None:
            step %= self.cycle_steps
        return min(1.0, (step + 1) / (self.warmup_steps + 1))

    def __call__(
        self, x: Tensor, q: DiagonalGaussian, z: Tensor, p: PixelDistribution, step: int | None, data_size: int
    ) -> LossTerms:
        """The loss of a batch, in nats per image.

        Args:
            x: images N×C×H×W in [0, 1].
            q: q(z|x) of each.
            z: the latents that were decoded, N×latent_dim.
            p: p(x|z).
            step: the optimiser step, for schedules; None: as they are at their end.
            data_size: the number of training images, for what is estimated of all of them.
        """
        reconstruction = -p.log_prob(x).mean()
        ramp = self.ramp(step)
        weighted = {"reconstruction": reconstruction}
        weighted |= {name: ramp * term for name, term in self.regulariser(q, z, step, data_size).items()}
        if self.distance is not None:
            early = step is not None and step < self.perceptual_after
            distance = reconstruction.new_zeros(()) if early else self.distance(x, p.mean).mean()
            weighted["perceptual"] = self.perceptual * distance
        total = torch.stack(list(weighted.values())).sum()
        return LossTerms(total, reconstruction, q.kl().mean(), weighted)


def average_over_processes(values: list[Tensor]) -> None:
    """Replace each value by its mean over the processes that train together, so that their companions stay alike."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for value in values:
            torch.distributed.all_reduce(value)
            value /= torch.distributed.get_world_size()
