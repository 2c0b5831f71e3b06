"""Images that are known in part or with noise -> the latents that explain what is known.

The observation is y = decode(z) + e, where e is Gaussian with a precision (one over the variance) for each pixel: 0
where nothing is known. With z ~ N(0, I) the posterior's logarithm is, up to a constant,

    -½ Σ precision·(y - decode(z))² - ½ ‖z‖².
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corolla.distributions.gaussians import GaussianPrior
from corolla.trained import TrainedModel

Decoder = Callable[[Tensor], Tensor]
"""Latents N×latent_dim to the means of p(x|z), N×C×H×W."""
LogPrior = Callable[[Tensor], Tensor]
"""Latents N×latent_dim to their log-density, N; a constant may be left out."""

STEPS = 50
LEARNING_RATE = 0.05


def decoder(model: TrainedModel) -> Decoder:
    """Latents on the CPU to the means of p(x|z) on the CPU; gradients pass."""
    return lambda z: model.vae.decode(z.to(model.device)).mean.cpu()


def decoded_means(model: TrainedModel, z: Tensor) -> NDArray[np.float64]:
    """The means of p(x|z) on the [0, 1] scale, N×H×W×3."""
    with torch.no_grad():
        return decoder(model)(z).permute(0, 2, 3, 1).double().numpy()


def latent_log_prior(model: TrainedModel, name: str = "standard") -> LogPrior:
    """The log-density of a model's latents, for `map_latents`; without a prior, of an auto-encoder, 0."""
    if name == "standard":
        return (lambda z: torch.zeros(len(z))) if model.config.objective.auto_encoder else standard_log_prior
    fitted = model.prior(name)
    return lambda z: fitted.log_prob(z).to(z.dtype)


def standard_log_prior(z: Tensor) -> Tensor:
    """-½ ‖z‖², N."""
    return -0.5 * (z**2).sum(1)


def log_posterior(decode: Decoder, log_prior: LogPrior, y: Tensor, precision: Tensor, z: Tensor) -> Tensor:
    """The logarithm of p(z|y) up to a constant, N; y is N×C×H×W, and so is precision or what spreads to it."""
    squares = (precision * (y - decode(z)) ** 2).flatten(1).sum(1)
    return log_prior(z) - 0.5 * squares


def map_latents(
    decode: Decoder,
    y: Tensor,
    precision: Tensor,
    start: Tensor,
    *,
    log_prior: LogPrior = standard_log_prior,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
) -> Tensor:
    """The latents of largest posterior density that Adam finds from a start, N×latent_dim.

    Each image keeps the best latents that were met on the way, so that none ends below its start. Adam's rate falls
    linearly to 0 over the steps.

    Args:
        decode: The decoder's mean.
        y: What was observed, N×C×H×W.
        precision: Of each value, N×C×H×W or what spreads to it; 0 where nothing is known.
        start: N×latent_dim.
        log_prior: The log-density of latents.
        steps: Of Adam.
        learning_rate: The first.
    """
    z = start.detach().clone().requires_grad_()
    best, best_value = start.detach().clone(), torch.full((len(start),), -torch.inf)
    optimiser = torch.optim.Adam([z], learning_rate)
    for step in range(steps + 1):
        value = log_posterior(decode, log_prior, y, precision, z)
        better = value.detach() > best_value
        best[better], best_value[better] = z.detach()[better], value.detach()[better].to(best_value.dtype)
        if step == steps:
            break
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        (z.grad,) = torch.autograd.grad(-value.sum(), z)
        optimiser.step()
    return best


def drawn_latents(
    decode: Decoder,
    y: Tensor,
    precision: Tensor,
    start: Tensor,
    generator: torch.Generator,
    *,
    prior: GaussianPrior | None = None,
    steps: int = STEPS,
) -> Tensor:
    """Draws from p(z|y) under the standard prior, or another Gaussian, by randomised optimisation, N×latent_dim.

    The observation is moved by a draw of its own noise, the middle of the prior by a draw from the prior, and the
    maximum found anew. For a linear decoder that is an exact draw, for others a good guess (Papandreou & Yuille 2010,
    "Gaussian sampling by local perturbations"; Bardsley et al. 2014, "Randomize-then-optimize").
    """
    noise = torch.randn(y.shape, generator=generator)
    moved = y + noise * torch.where(precision > 0, precision, 1.0).rsqrt() * (precision > 0)
    centre = torch.randn(start.shape, generator=generator) if prior is None else prior.sample(len(start), generator)

    def log_prior(z: Tensor) -> Tensor:
        if prior is None:
            return standard_log_prior(z - centre)
        return prior.log_prob(z - centre + prior.mean).to(z.dtype)

    return map_latents(decode, moved, precision, start, log_prior=log_prior, steps=steps)
