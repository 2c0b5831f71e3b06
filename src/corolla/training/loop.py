"""The training loop, and what moves in it: weights, their moving average, optimiser, companion.

Everything random in a step is a function of the seed, the step's number and the process.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from corolla.config import Config, DataConfig, TrainingConfig
from corolla.data.batches import Batches, augment, corrupt, to_float
from corolla.models.vae import VAE, build_model
from corolla.objectives.loss import build_loss

if TYPE_CHECKING:
    from corolla.training.recorder import Recorder


def train(
    fabric: Fabric, config: Config, state: TrainingState, batches: Batches, recorder: Recorder, *, resumed: bool
) -> None:
    """Train from the first step, or from that of the run's checkpoint, until the recorder says that it is enough.

    Each process trains on its share of a step's images, and the gradients are averaged. So an objective whose terms are
    no averages over images (beta_tcvae, capacity_vae, dip_vae_i, dip_vae_ii, factor_vae, free_bits, info_vae) has them
    of the share of each process.
    """
    model, optimizer = fabric.setup(BatchLoss(config, state, len(batches.rows), fabric.global_rank), state.optimizer)
    state.to(fabric.device)
    # A data set that fits with room to spare lives on the device, and nothing travels but an epoch's indices.
    if fabric.device.type == "cuda" and batches.nbytes < torch.cuda.mem_get_info(fabric.device)[0] // 4:
        batches = batches.to(fabric.device)
    if resumed:
        recorder.resume()
    recorder.begin()
    for batch in batches.stream(state.step):
        for group in state.optimizer.param_groups:
            group["lr"] = state.learning_rate
        loss, terms, latents = model(fabric.to_device(batch), state.step)
        optimizer.zero_grad()
        fabric.backward(loss)
        if config.training.clip_norm is not None:
            # What is not finite is found at the next evaluation; asking here would wait for the device.
            fabric.clip_gradients(model, optimizer, max_norm=config.training.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        state.advance(latents, kl=terms[2])
        if recorder.after_step(terms):
            break


class BatchLoss(nn.Module):
    """A batch of uint8 images -> the loss of a step. A module, as Fabric sets precision and processes up around one."""

    def __init__(self, config: Config, state: TrainingState, images: int, rank: int) -> None:
        super().__init__()
        self.vae, self.config, self.rank = state.vae, config, rank
        self.data_size = data_size(config.data, images)
        self.state = state  # no module: what the companion learns is not the optimiser's

    def forward(self, batch: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The loss; with it that at the end of its schedules, reconstruction and KL as one tensor, and the latents.

        All but the first are detached.
        """
        data, objective = self.config.data, self.config.objective
        entropy = (self.config.seed, step, self.rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.manual_seed(seed)
        x = to_float(augment(batch, seed=seed, flip=data.flip, shift_px=data.shift_px))
        q = self.vae.encode(corrupt(x, objective.noise, objective.mask, objective.mask_patch_px))
        z = q.mean if objective.auto_encoder else q.sample()
        p = self.vae.decode(z, x)
        terms = self.state.loss(x, q, z, p, step, self.data_size)
        return terms.total, torch.stack([terms.final, terms.reconstruction, terms.kl]).detach(), z.detach()


def data_size(data: DataConfig, images: int) -> int:
    """N, the images that a batch is drawn from: each training image in all versions that augmentation makes of it.

    q(z) is the mixture of the posteriors of what the encoder sees. Two versions of an image have two posteriors, and a
    batch hardly ever holds the same version again.
    """
    return images * (1 + data.flip) * (2 * data.shift_px + 1) ** 2


class TrainingState:
    """The model under training and all that moves with it; what a checkpoint holds, but for the record of the run.

    Weights are drawn from torch's global generator. `average` is the moving average of those of `vae`, if there is one.
    """

    def __init__(self, config: Config, steps_per_epoch: int, vae: VAE | None = None) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = config.training.max_steps or config.training.epochs * steps_per_epoch
        config = config.in_steps(self.total_steps)
        self.training = config.training
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
            "average": self.average.state_dict() if self.average else {},
            "companion": self.companion.state_dict() if self.companion else {},
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
    matrices, others = ([p for p in vae.parameters() if (p.ndim > 1) is large] for large in (True, False))
    # Decay pulls on matrices only: biases and norms have no scale to keep small.
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
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
