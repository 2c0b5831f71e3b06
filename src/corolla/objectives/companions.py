"""What an objective learns beside the model: a module with a step of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Companion(nn.Module, ABC):
    """What an objective learns beside the model: a discriminator, a controller. It has a step of its own.

    Its parameters and buffers are saved in checkpoints but are no part of the model.
    """

    @abstractmethod
    def update(self, z: Tensor, kl: Tensor) -> None:
        """Learn from the step that the model has just made: its latents N×latent_dim, detached, and its mean KL."""

    def report(self) -> dict[str, float]:
        """Numbers for the record of the run."""
        return {}

    def complaint(self) -> str | None:
        """What is going wrong, in one line with the remedy, or None. Waits for the device."""
        return None


def average_over_processes(values: list[Tensor]) -> None:
    """Replace each value by its mean over the processes that train together, so that their companions stay alike."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for value in values:
            torch.distributed.all_reduce(value)
            value /= torch.distributed.get_world_size()
