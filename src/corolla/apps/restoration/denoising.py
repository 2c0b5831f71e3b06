"""A trained model and noisy images -> clean images, and how much each pixel is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from corolla.apps.restoration.latents import decoded_means
from corolla.apps.restoration.membrane import membrane
from corolla.apps.restoration.noise import Noise, impulses, parse_noise, unclipped
from corolla.apps.restoration.residuals import Array, ResidualPrior, residual_prior
from corolla.pixels import to_float, to_levels
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel, seeded_generator

BATCH_SIZE = 32
DRAWS = 4
_HELD_OUT = 0.1


@dataclass(frozen=True, eq=False)
class Denoised:
    """What came of noisy images."""

    observed: NDArray[np.uint8]  # the noisy images at the model's size, uint8 N×H×W×3
    images: NDArray[np.uint8]  # the clean ones, uint8 N×H×W×3
    # the standard deviation of the noise that was given or estimated, in levels of 255, N; NaN for salt and pepper
    sigma: NDArray[np.float64]
    # the standard deviation of the error to be expected, in levels of 255, float32 N×H×W×3, if asked for
    stddev: NDArray[np.float32] | None = None


def denoise(
    model: TrainedModel,
    images: Images,
    noise: Noise | str = "gaussian",
    *,
    residuals: ResidualPrior | None = None,
    trust: bool = False,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Denoised:
    """Take noise off images.

    The mean of q(z|x) of the noisy image gives the model's picture of what is there. What is left is noise and what the
    model cannot draw; the residual prior tells them apart. Gaussian noise is expected to have been cut off at black and
    white, as in 8-bit files. Under salt and pepper, pixels that were hit are filled with the model's picture, joined to
    their neighbours without a seam, and others stay as they are.

    Args:
        model: Of any objective.
        images: Noisy, as `TrainedModel` takes images; those of another size are fitted by the model's recipe first.
        noise: A kind with its level, as `parse_noise` reads it; Gaussian noise without a level is estimated for each
            image, and salt and pepper needs none.
        residuals: Of the model; by default as `residual_prior` gives it, with its errors.
        trust: Work out `stddev` too: from the residual's posterior and a few draws of the latents; under salt and
            pepper, where a pixel was filled, the error that the same filling makes at pixels which are known, else 0.
        seed: Fixes what is drawn for `stddev`.
        progress: Called with the images that are done.

    Raises UsageError if the noise is not known; also as `TrainedModel.pixels`.
    """
    noise = parse_noise(noise)
    observed = model.levels(images)
    if residuals is None and noise.kind != "salt_pepper":
        residuals, _ = residual_prior(model)
    generator = seeded_generator(seed)
    parts = []
    for start in range(0, len(observed), BATCH_SIZE):
        batch = observed[start : start + BATCH_SIZE]
        if residuals is None or noise.kind == "salt_pepper":
            parts.append(_without_impulses(model, batch, trust, generator))
        else:
            parts.append(_without_noise(model, batch, noise.level, residuals, trust, generator))
        steps_of(progress, "denoising", len(observed))(start + len(batch))
    clean, sigma, stddev = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Denoised(
        observed,
        to_levels(clean, model.preprocessing.pixels.bits),
        255 * sigma,
        (255 * stddev).astype(np.float32) if trust else None,
    )


_Part = tuple[Array, Array, Array]


def _without_noise(
    model: TrainedModel,
    observed: NDArray[np.uint8],
    level: float | None,
    residuals: ResidualPrior,
    trust: bool,
    generator: torch.Generator,
) -> _Part:
    """Clean images, σ and standard deviations of a batch, on the [0, 1] pixel scale."""
    y = to_float(observed)
    q = model.posterior(observed)
    decoded = decoded_means(model, q.mean)
    sigma = np.array([residuals.estimate_sigma(e) if level is None else level / 255 for e in y - decoded])

    def restored(means: Array, index: int, variance: bool) -> tuple[Array, Array]:
        mean, square = residuals.posterior(y[index] - means[index], float(sigma[index]), variance=variance)
        clean = unclipped(mean + means[index], float(sigma[index]))
        return clean, np.zeros(0) if square is None else square

    found = [restored(decoded, index, trust) for index in range(len(y))]
    clean = np.stack([mean for mean, _ in found])
    stddev = np.zeros((len(y), 0))
    if trust:
        variance = np.stack([square for _, square in found])
        if not model.config.objective.auto_encoder:
            for _ in range(DRAWS):
                drawn = decoded_means(model, q.mean + q.stddev * torch.randn(q.mean.shape, generator=generator))
                others = np.stack([restored(drawn, index, False)[0] for index in range(len(y))])
                variance += (others - clean) ** 2 / DRAWS
        stddev = np.sqrt(variance)
    return clean, sigma, stddev


def _without_impulses(
    model: TrainedModel, observed: NDArray[np.uint8], trust: bool, generator: torch.Generator
) -> _Part:
    """As `_without_noise`, where pixels are either untouched or lost."""
    y = to_float(observed)
    known = ~np.stack([impulses(image) for image in observed])
    filled = np.stack([membrane(image, mask) for image, mask in zip(y, known, strict=True)])
    decoded = decoded_means(model, model.posterior(filled.astype(np.float32)).mean)
    clean = np.stack([d + membrane(image - d, mask) for image, d, mask in zip(y, decoded, known, strict=True)])
    clean = np.where(known[..., None], y, clean)
    stddev = np.zeros((len(y), 0))
    if trust:
        held_out = known & (torch.rand(known.shape, generator=generator).numpy() < _HELD_OUT)
        stddev = np.zeros(y.shape)
        for index, (image, d) in enumerate(zip(y, decoded, strict=True)):
            again = d + membrane(image - d, known[index] & ~held_out[index])
            error = (again - image)[held_out[index]]
            stddev[index][~known[index]] = np.sqrt((error**2).mean()) if error.size else 0.0
    return clean, np.full(len(y), np.nan), stddev
