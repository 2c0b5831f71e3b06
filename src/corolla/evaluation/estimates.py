"""A model and images -> estimates with standard errors: how likely the images are, and what the latents know.

Everything is in nats per image: summed over pixels and channels or over latents, and averaged over images.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corolla.data import spread_rows
from corolla.data.batches import to_batch
from corolla.distributions import DiagonalGaussian, bits_per_dim, kl_terms, log_importance_weights
from corolla.distributions.posterior import active_latents
from corolla.errors import ModelError, UsageError
from corolla.metrics import total_correlation_bound
from corolla.models.vae import VAE
from corolla.progress import OnProgress, steps_of

ACTIVE_VARIANCE = 0.01
"""Burda's criterion: a latent is active if the posterior's mean varies more than this over the images."""

# What is held at a time: images, decoded draws, numbers in those, and numbers in draws × posteriors × latents.
_IMAGES, _DECODES, _NUMBERS, _PAIRS = 32, 256, 2**22, 2**22
SATURATED_NATS = 0.5
"""Where the mutual information is this near to log N, the total correlation of the mixture is no dependence."""
_BOUND_IMAGES = 4096
WITHOUT_IMAGES = 256
"""Images, spread over all, on which the distortion without each latent is measured; each takes a decoding a latent."""


@dataclass(frozen=True)
class Average:
    """An average over images, and the standard error that it has as an estimate of the average over many more."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class Estimates:
    """What `estimate` finds, in nats per image.

    The mutual information, total correlation and dimension-wise KL are those of the N images at hand: q(z) is the
    mixture of their N posteriors. An image that is one of N cannot be told with more than log N nats, so the mutual
    information is at most that. Close to it the total correlation is rate − log N − dimension-wise KL, whatever
    the latents know about each other: it is then no estimate of their dependence (`saturated`).
    """

    images: int
    """N, over which everything is averaged."""
    importance_samples: int
    """K, the draws for each image."""
    elbo_nats: Average
    """The evidence lower bound, -distortion - rate (Kingma & Welling 2014, eq. 3)."""
    log_likelihood_nats: Average
    """The importance-weighted bound on log p(x) with K draws (Burda et al. 2016, arXiv 1509.00519)."""
    effective_samples: Average
    """(Σ w)²/Σ w² of the K importance weights. Near 1 the bound is loose, and larger K tightens it."""
    distortion_nats: Average
    """-E log p(x|z), over K draws z ~ q(z|x)."""
    rate_nats: Average
    """KL(q(z|x) ‖ N(0, I)), in closed form."""
    mutual_information_nats: Average
    """E[log q(z|x) - log q(z)], between the latents and which of the N images it is."""
    mutual_information_ceiling_nats: float
    """log N."""
    total_correlation_nats: Average
    """E[log q(z) - Σ_j log q(z_j)]: how much the latents know about each other, unless `saturated`."""
    total_correlation_bound_nats: Average
    """What it is at least, by `corolla.metrics.total_correlation_bound` of one draw for each image."""
    dimension_wise_kl_nats: Average
    """E[Σ_j log q(z_j) - log p(z)]: how far single latents are from the prior."""
    latent_rate_nats: tuple[float, ...]
    """KL(q(z_j|x) ‖ N(0, 1)) of each latent, in closed form."""
    latent_distortion_nats: tuple[float, ...]
    """How much the distortion rises where the decoder gets 0, the prior's mean, for a latent: what its rate buys."""
    latent_mean_variance: tuple[float, ...]
    """Variance over the images of each latent's posterior mean."""
    elbo_bits_per_dim: Average | None
    """-ELBO in bits for each number of an image, where the likelihood is a probability of 8-bit pixels, else None."""
    log_likelihood_bits_per_dim: Average | None
    """-log p(x) likewise."""
    source: str = ""
    """The images, with their `split`, the `seed` of the draws, and the `likelihood` of the model, if `estimate_folder`
    found them."""
    split: str = ""
    seed: int = 0
    likelihood: str = ""

    @property
    def saturated(self) -> bool:
        """Whether the latents tell nearly all N images apart."""
        return self.mutual_information_ceiling_nats - self.mutual_information_nats.mean < SATURATED_NATS

    @property
    def active_latents(self) -> int:
        """Latents with a rate of more than 0.01 nats."""
        return int(active_latents(self.latent_rate_nats).sum())

    @property
    def active_units(self) -> int:
        """Latents whose posterior mean has a variance of more than 0.01 over the images (Burda et al. 2016)."""
        return sum(variance > ACTIVE_VARIANCE for variance in self.latent_mean_variance)


def estimate(
    vae: VAE,
    images: NDArray[np.uint8] | NDArray[np.float32],
    rows: NDArray[np.int64] | None = None,
    *,
    importance_samples: int = 100,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Estimates:
    """Estimate the likelihood of images and the information in their latents; the model is left in evaluation mode.

    K = importance_samples are drawn from q(z|x) for each image. Memory does not grow with K; time does, with
    N·K decoded images, and for the parts of the KL with N².

    Raises UsageError for fewer than two images or one draw, and ModelError where the likelihood of an image is not a
    finite number.
    """
    rows = np.arange(len(images)) if rows is None else rows
    if importance_samples < 1:
        raise UsageError(f"{importance_samples} importance samples: give at least 1")
    if len(rows) < 2:
        raise UsageError(f"{len(rows)} images: averages over images need at least 2")
    device = next(vae.parameters()).device
    vae.eval()
    generator = torch.Generator(device=device).manual_seed(zlib.crc32(f"estimates {seed}".encode()))
    values = int(np.prod(images.shape[1:]))
    decodes = max(1, min(_DECODES, _NUMBERS // values))
    batch_size = min(_IMAGES, decodes)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            x = to_batch(images[rows[start : start + batch_size]], device)
            parts.append(_weigh(vae, x, importance_samples, decodes // batch_size, generator))
            steps_of(progress, "likelihood", len(rows))(start + len(x))
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        split = _split(joined, progress)
        chosen = spread_rows(np.arange(len(rows)), WITHOUT_IMAGES)
        bought = _without_each(vae, images[rows[chosen]], joined["z"][torch.from_numpy(chosen)], batch_size, progress)
        discrete = vae.decode(joined["z"][:1]).discrete
    q = DiagonalGaussian(joined["mean"], joined["logvar"])
    elbo = -joined["distortion"] - joined["rate"]
    if not (torch.isfinite(elbo).all() and torch.isfinite(joined["log_likelihood"]).all()):
        raise ModelError("the likelihood of some images is not a finite number; train the model again")
    per_dim = -bits_per_dim(1.0, values)
    latent_rates = q.kl_per_latent().double().mean(0).numpy(force=True)
    draws = joined["z"].numpy(force=True)[spread_rows(np.arange(len(rows)), _BOUND_IMAGES)]
    bound = total_correlation_bound(np.where(active_latents(latent_rates), draws, 0), seed=seed)
    return Estimates(
        images=len(rows),
        importance_samples=importance_samples,
        elbo_nats=_average(elbo),
        log_likelihood_nats=_average(joined["log_likelihood"]),
        effective_samples=_average(joined["effective_samples"]),
        distortion_nats=_average(joined["distortion"]),
        rate_nats=_average(joined["rate"]),
        mutual_information_nats=_average(split[0]),
        mutual_information_ceiling_nats=math.log(len(rows)),
        total_correlation_nats=_average(split[1]),
        total_correlation_bound_nats=Average(bound.value, bound.standard_error),
        dimension_wise_kl_nats=_average(split[2]),
        latent_rate_nats=tuple(latent_rates.tolist()),
        latent_distortion_nats=tuple(bought.tolist()),
        latent_mean_variance=tuple(q.mean.double().var(0, correction=0).tolist()),
        elbo_bits_per_dim=_average(elbo * per_dim) if discrete else None,
        log_likelihood_bits_per_dim=_average(joined["log_likelihood"] * per_dim) if discrete else None,
    )


def _weigh(vae: VAE, x: Tensor, samples: int, at_a_time: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Of some images the posteriors, one draw from each, and numbers; only sums over the K draws are kept."""
    q = vae.encode(x)
    first: Tensor | None = None
    prior = DiagonalGaussian(torch.zeros_like(q.mean[0]), torch.zeros_like(q.mean[0]))
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    log_sum, log_square_sum = zero - math.inf, zero - math.inf
    log_pixels = zero
    for done in range(0, samples, at_a_time):
        draws = min(at_a_time, samples - done)
        noise = torch.randn((draws, *q.mean.shape), generator=generator, device=x.device)
        z = q.mean + q.stddev * noise
        flat = z.flatten(0, 1)
        likelihood = vae.decode(flat).log_prob(x.repeat(draws, 1, 1, 1)).double().view(draws, -1)
        ratio = q.log_prob(z).double() - prior.log_prob(flat).double().view(draws, -1)
        # log of the weights p(x|z)·p(z)/q(z|x), whose average is p(x)
        log_weights = likelihood - ratio
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weights, 0))
        log_square_sum = torch.logaddexp(log_square_sum, torch.logsumexp(2 * log_weights, 0))
        log_pixels = log_pixels + likelihood.sum(0)
        first = z[0] if first is None else first
    assert first is not None
    return {
        "mean": q.mean,
        "logvar": q.logvar,
        "z": first,
        "log_likelihood": log_sum - math.log(samples),
        "effective_samples": torch.exp(2 * log_sum - log_square_sum),
        "distortion": -log_pixels / samples,
        "rate": q.kl().double(),
    }


def _split(weighed: dict[str, Tensor], progress: OnProgress | None) -> tuple[Tensor, Tensor, Tensor]:
    """The three parts of the KL for one draw of each image, against the mixture of all posteriors; some at a time."""
    everyone = DiagonalGaussian(weighed["mean"], weighed["logvar"])
    count, latent_dim = weighed["mean"].shape
    at_a_time = max(1, _PAIRS // (count * latent_dim))
    parts = []
    for start in range(0, count, at_a_time):
        some = slice(start, start + at_a_time)
        z = weighed["z"][some]
        terms = kl_terms(
            DiagonalGaussian(weighed["mean"][some], weighed["logvar"][some]),
            z,
            log_importance_weights(len(z), count, "exact", device=z.device),
            posteriors=everyone,
        )
        parts.append(torch.stack([terms.mutual_information, terms.total_correlation, terms.dimension_wise]).double())
        steps_of(progress, "mutual information", count)(start + len(z))
    mutual_information, total_correlation, dimension_wise = torch.cat(parts, dim=1)
    return mutual_information, total_correlation, dimension_wise


def _without_each(vae: VAE, images: NDArray[Any], z: Tensor, at_a_time: int, progress: OnProgress | None) -> Tensor:
    """The mean rise of -log p(x|z) where each latent in turn is 0, for one draw of each image: latent_dim."""
    count, latent_dim = z.shape
    rise = torch.zeros(latent_dim, dtype=torch.float64, device=z.device)
    for start in range(0, count, at_a_time):
        some = slice(start, start + at_a_time)
        x = to_batch(images[some], z.device)
        whole = vae.decode(z[some]).log_prob(x).double()
        for latent in range(latent_dim):
            without = z[some].clone()
            without[:, latent] = 0
            rise[latent] += (whole - vae.decode(without).log_prob(x).double()).sum()
        steps_of(progress, "distortion without each latent", count)(start + len(x))
    return rise / count


def _average(values: Tensor) -> Average:
    return Average(float(values.mean()), float(values.std()) / math.sqrt(len(values)))
