"""The loss of a batch: -log p(x|z), the terms of an objective, and a perceptual distance where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from corolla.config import Objective
from corolla.distributions import DiagonalGaussian, PixelDistribution
from corolla.errors import UsageError
from corolla.models.lite0 import PerceptualDistance
from corolla.objectives.companions import Companion


@dataclass(frozen=True)
class LossTerms:
    """The loss, in nats per image: `total`, which the optimiser minimises, is the sum of the `weighted` terms.

    The `reconstruction` -log p(x|z) and the `kl` have no weights, so that runs with different objectives compare.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    weighted: Mapping[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """A callable `(x, q, z, p, step, data_size) -> LossTerms`.

    It keeps no counters: schedules are functions of the optimiser step, and what learns is in the companion. What an
    objective draws comes from torch's global generator, which training seeds at every step.
    """

    objective: Objective
    companion: Companion | None = None
    distance: Callable[[Tensor, Tensor], Tensor] | None = None
    """Between the images and the means of p(x|z), one number for each image."""

    def ramp(self, step: int | None) -> float:
        """The share of the terms' weight at an optimiser step, above 0 and up to 1.

        It grows linearly over `warmup_steps`, once or again in each cycle (Fu et al. 2019, arXiv 1903.10145).
        """
        if step is None:
            return 1.0
        if self.objective.cycle_steps is not None:
            step %= self.objective.cycle_steps
        return min(1.0, (step + 1) / (self.objective.warmup_steps + 1))

    def __call__(
        self, x: Tensor, q: DiagonalGaussian, z: Tensor, p: PixelDistribution, step: int | None, data_size: int
    ) -> LossTerms:
        """The loss of a batch of images x, N×C×H×W in [0, 1], in nats per image; else as `Objective.terms`."""
        reconstruction = -p.log_prob(x).mean()
        ramp = self.ramp(step)
        weighted = {"reconstruction": reconstruction}
        terms = self.objective.terms(q, z, step=step, data_size=data_size, companion=self.companion)
        if taken := {"reconstruction", "perceptual"} & terms.keys():
            raise UsageError(f"{self.objective.name}: a term cannot be called {taken.pop()}; give it another name")
        weighted |= {name: ramp * term for name, term in terms.items()}
        if self.distance is not None:
            early = step is not None and step < self.objective.perceptual_after
            distance = reconstruction.new_zeros(()) if early else self.distance(x, p.mean).mean()
            weighted["perceptual"] = self.objective.perceptual * distance
        total = torch.stack(list(weighted.values())).sum()
        return LossTerms(total, reconstruction, q.kl().mean(), weighted)


def build_loss(objective: Objective, latent_dim: int) -> Loss:
    """The loss of an objective; a companion's weights come from torch's global generator. Raises as `Lite0`."""
    distance = PerceptualDistance(for_training=True) if objective.perceptual else None
    return Loss(objective, objective.companion(latent_dim), distance)
