"""One optimiser step on Lightning: batch -> loss, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from corolla.config import Config
from corolla.data import ImageCache, select_rows
from corolla.data.batches import Batches, augment, corrupt, to_float
from corolla.models.vae import VAE
from corolla.objectives.loss import build_loss


class _Stream:
    """The training batches from the current step on; Lightning takes any iterable and starts it once."""

    def __init__(self, batches: Batches, step: Callable[[], int]) -> None:
        self._batches, self._step = batches, step

    def __iter__(self) -> Iterator[Tensor]:
        return self._batches.stream(self._step())


class TrainingModule(pl.LightningModule):
    """The model under training. Everything random in a step is a function of the seed and the step's number."""

    def __init__(self, config: Config, vae: VAE, data: ImageCache) -> None:
        super().__init__()
        self.config = config
        self.vae = vae
        self.averaged = copy.deepcopy(vae).requires_grad_(False) if config.training.ema_decay else None
        self.loss = build_loss(config.objective, config.network.latent_dim)
        self.companion = self.loss.companion
        # Lightning must not average its gradients with the model's: it has a step of its own.
        self._ddp_params_and_buffers_to_ignore = [
            f"companion.{name}" for name in (self.companion.state_dict() if self.companion else ())
        ]
        self._latest: tuple[Tensor, Tensor] | None = None
        self.data = data
        self.train_rows = select_rows(data.splits, config.data.train_split)
        self.eval_rows = select_rows(data.splits, config.data.eval_split)
        self.plan(world_size=1)
        self.terms: Tensor | None = None
        """Loss, reconstruction and KL of the latest batch, on its device."""

    @property
    def best_weights(self) -> VAE:
        """The weights that are evaluated and saved: the moving average where there is one."""
        return self.averaged if self.averaged is not None else self.vae

    def plan(self, world_size: int) -> None:
        """Count the steps; several devices share the images of an epoch."""
        training = self.config.training
        self.steps_per_epoch = -(-len(self.train_rows) // (training.batch_size * world_size))
        self.total_steps = training.max_steps or training.epochs * self.steps_per_epoch

    def setup(self, stage: str) -> None:  # noqa: ARG002, D102
        self.plan(self.trainer.world_size)

    def on_fit_start(self) -> None:  # noqa: D102
        if isinstance(self.loss.distance, torch.nn.Module):  # not a part of what is saved, so not of this module
            self.loss.distance.to(self.device)

    def train_dataloader(self) -> Any:  # noqa: D102
        world_size = self.trainer.world_size
        batches = Batches(
            self.data.images,
            self.train_rows,
            self.config.training.batch_size,
            seed=self.config.seed,
            rank=self.trainer.global_rank,
            world_size=world_size,
        )
        # A data set that fits with room to spare lives on the device, and nothing travels but an epoch's indices.
        if self.device.type == "cuda" and batches.nbytes < torch.cuda.mem_get_info(self.device)[0] // 4:
            batches = batches.to(self.device)
        return _Stream(batches, lambda: self.trainer.global_step)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:  # noqa: ARG002, D102
        step, data = self.trainer.global_step, self.config.data
        entropy = (self.config.seed, step, self.trainer.global_rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.manual_seed(seed)
        x = to_float(augment(batch, seed=seed, flip=data.flip, shift_px=data.shift_px))
        objective = self.config.objective
        q = self.vae.encode(corrupt(x, objective.noise, objective.mask, objective.mask_patch_px))
        z = q.mean if objective.auto_encoder else q.sample()
        p = self.vae.decode(z, x)
        terms = self.loss(x, q, z, p, step, len(self.train_rows))
        self.terms = torch.stack([terms.total, terms.reconstruction, terms.kl]).detach()
        self._latest = z.detach(), terms.kl.detach()
        return terms.total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        super().optimizer_step(*args, **kwargs)
        if self.companion is not None and self._latest is not None:
            mixed = self.config.training.precision == "bf16-mixed"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
                self.companion.update(*self._latest)
        decay = self.config.training.ema_decay
        if self.averaged is None or decay is None:
            return
        # A young average follows quickly, so that it does not remember the random start.
        step = self.trainer.global_step
        decay = min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.vae.parameters()), 1 - decay)
            for average, current in zip(self.averaged.buffers(), self.vae.buffers(), strict=True):
                average.copy_(current)

    def configure_optimizers(self) -> Any:  # noqa: D102
        training = self.config.training
        kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.vae.parameters() if p.ndim > 1]},
            # Decay pulls on matrices only: biases and norms have no scale to keep small.
            {"params": [p for p in self.vae.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = kind(
            groups,
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            # The fused step cannot clip gradients that a float16 scaler still has to unscale.
            fused=training.precision != "16-mixed",
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate_factor(self, step: int) -> float:
        """Linear warm-up, a plateau, then half a cosine down to zero: a function of the step alone."""
        training = self.config.training
        warmup = min(1.0, (step + 1) / (training.warmup_steps + 1))
        if training.schedule == "constant":
            return warmup
        start = training.decay_start * self.total_steps
        done = max(0.0, step - start) / max(1.0, self.total_steps - start)
        return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
