"""A model and images -> the averages that say how good it is, in nats per image."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray

from corolla.data.batches import to_float
from corolla.distributions import bits_per_dim
from corolla.distributions.posterior import active_latents
from corolla.metrics.images import decibels
from corolla.models.vae import VAE
from corolla.objectives.loss import Loss
from corolla.trained import BATCH_SIZE


def evaluate(
    vae: VAE, loss: Loss, images: NDArray[np.uint8], rows: NDArray[np.int64], *, seed: int
) -> tuple[dict[str, float], tuple[float, ...]]:
    """Loss, reconstruction and KL in nats per image, PSNR in dB, bits per dimension, and the number of active latents.

    With these averages over the images, by name, comes the KL of each latent in nats.
    The loss is the objective's at the end of its schedules, so that one during a warm-up compares with later ones. The
    draws from q(z|x) are fixed by the seed, so that two models see the same noise. PSNR is that of the
    reconstruction from the posterior's mean, averaged over images. Bits per dimension are those of reconstruction and
    KL together, where p(x|z) is a probability of 8-bit pixels: an upper bound on -log₂ p(x) per pixel and channel.
    """
    device, points = next(vae.parameters()).device, loss.objective.auto_encoder
    vae.eval()
    totals = latent_kl = torch.zeros((), dtype=torch.float64)
    generator = torch.Generator(device=device).manual_seed(zlib.crc32(f"evaluation {seed}".encode()))
    forked = [device] if device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)  # for objectives that draw from the prior
        for start in range(0, len(rows), BATCH_SIZE):
            batch = torch.from_numpy(images[rows[start : start + BATCH_SIZE]]).permute(0, 3, 1, 2)
            x = to_float(batch.to(device))
            q = vae.encode(x)
            noise = torch.randn(q.mean.shape, generator=generator, device=device)
            z = q.mean if points else q.mean + q.stddev * noise
            p = vae.decode(z)
            terms = loss(x, q, z, p, None, len(rows))
            mean = p.mean if points else vae.decode(q.mean).mean
            psnr = decibels(((mean - x) ** 2).flatten(1).mean(1), torch.log10)
            values = torch.stack([terms.total, terms.reconstruction, terms.kl, psnr.mean()])
            totals = totals + values.cpu().double() * len(x)
            latent_kl = latent_kl + q.kl_per_latent().cpu().double().sum(0)
    names = ("loss", "reconstruction", "kl", "psnr_db")
    scores = {name: total / len(rows) for name, total in zip(names, totals.tolist(), strict=True)}
    if p.discrete and not points:  # an auto-encoder's terms bound no probability
        scores["bits_per_dim"] = bits_per_dim(scores["reconstruction"] + scores["kl"], x[0].numel())
    kl = (latent_kl / len(rows)).tolist()
    scores["active_latents"] = float(active_latents(kl).sum())
    return scores, tuple(kl)
