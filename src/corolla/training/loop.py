"""The training loop. Everything random in a step is a function of the seed, the step's number and the process."""

from __future__ import annotations

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from corolla.config import Config
from corolla.data.batches import Batches, augment, corrupt, to_float
from corolla.training.recorder import Recorder
from corolla.training.state import TrainingState


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

    def __init__(self, config: Config, state: TrainingState, data_size: int, rank: int) -> None:
        super().__init__()
        self.vae = state.vae
        self.state = state  # no module: what the companion learns is not the optimiser's
        self.config = config
        self.data_size, self.rank = data_size, rank

    def forward(self, batch: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The loss; with it loss, reconstruction and KL as one tensor, and the latents, both detached."""
        data, objective = self.config.data, self.config.objective
        entropy = (self.config.seed, step, self.rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.manual_seed(seed)
        x = to_float(augment(batch, seed=seed, flip=data.flip, shift_px=data.shift_px))
        q = self.vae.encode(corrupt(x, objective.noise, objective.mask, objective.mask_patch_px))
        z = q.mean if objective.auto_encoder else q.sample()
        p = self.vae.decode(z, x)
        terms = self.state.loss(x, q, z, p, step, self.data_size)
        return terms.total, torch.stack([terms.total, terms.reconstruction, terms.kl]).detach(), z.detach()
