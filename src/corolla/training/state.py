"""What moves while a model is trained, at a step: weights, their moving average, optimiser, companion."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from corolla.config import Config, TrainingConfig
from corolla.models.vae import VAE, build_model
from corolla.objectives.loss import build_loss


class TrainingState:
    """The model under training and all that moves with it; what a checkpoint holds, but for the record of the run.

    Weights are drawn from torch's global generator. `average` is the moving average of those of `vae`, if there is one.
    """

    def __init__(self, config: Config, steps_per_epoch: int, vae: VAE | None = None) -> None:
        self.training = config.training
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = config.training.max_steps or config.training.epochs * steps_per_epoch
        self.step = 0
        self.vae = build_model(config) if vae is None else vae
        self.average = copy.deepcopy(self.vae).requires_grad_(False) if config.training.ema_decay else None
        self.loss = build_loss(config.objective, config.network.latent_dim)
        self.companion = self.loss.companion
        self.optimizer = _optimizer(self.vae, config.training)

    @property
    def best_weights(self) -> VAE:
        """The weights that are evaluated and saved: the moving average where there is one."""
        return self.vae if self.average is None else self.average

    def to(self, device: torch.device) -> None:
        """Move all but the model and its optimiser, which Fabric moves."""
        for part in (self.average, self.companion, self.loss.distance):
            if isinstance(part, nn.Module):
                part.to(device)

    @property
    def learning_rate(self) -> float:
        """That of the step to come."""
        return self.training.learning_rate * schedule(self.training, self.step, self.total_steps)

    def advance(self, latents: Tensor, kl: Tensor) -> None:
        """Let the companion and the average follow a step of the optimiser, and count it."""
        if self.companion is not None:
            mixed = self.training.precision == "bf16-mixed"
            with torch.autocast(latents.device.type, torch.bfloat16, enabled=mixed):
                self.companion.update(latents, kl)
        if self.average is not None:
            assert self.training.ema_decay is not None
            # A young average follows quickly, so that it does not remember the random start.
            decay = min(self.training.ema_decay, (1 + self.step) / (10 + self.step))
            averaged = list(self.average.parameters())
            get_ema_multi_avg_fn(decay)(averaged, list(self.vae.parameters()), None)  # type: ignore[no-untyped-call]
            for average, current in zip(self.average.buffers(), self.vae.buffers(), strict=True):
                average.copy_(current)
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """All that a later process needs to go on from this step."""
        return {
            "step": self.step,
            "model": self.vae.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "companion": self.companion.state_dict() if self.companion is not None else {},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the step of a saved state."""
        self.step = state["step"]
        for name, part in (("model", self.vae), ("average", self.average), ("companion", self.companion)):
            if part is not None:
                part.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])


def _optimizer(vae: VAE, training: TrainingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    groups: list[dict[str, Any]] = [
        {"params": [p for p in vae.parameters() if p.ndim > 1]},
        # Decay pulls on matrices only: biases and norms have no scale to keep small.
        {"params": [p for p in vae.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # The fused step cannot clip gradients that a float16 scaler still has to unscale.
    fused = training.precision != "16-mixed"
    return kind(groups, lr=training.learning_rate, weight_decay=training.weight_decay, fused=fused)


def schedule(training: TrainingConfig, step: int, total_steps: int) -> float:
    """The factor of the learning rate at a step: linear warm-up, a plateau, then half a cosine down to zero."""
    warmup = min(1.0, (step + 1) / (training.warmup_steps + 1))
    if training.schedule == "constant":
        return warmup
    start = training.decay_start * total_steps
    done = max(0.0, step - start) / max(1.0, total_steps - start)
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
