"""Kinds of noise; and a trained model and noisy images -> clean ones, and how much each pixel is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.special import ndtr

from corolla.apps.restoration.inpainting import decoded_means, membrane
from corolla.apps.restoration.residuals import Array, ResidualPrior, residual_prior
from corolla.errors import UsageError
from corolla.pixels import to_float, to_levels
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel, seeded_generator

Kind = Literal["gaussian", "salt_pepper"]
BATCH_SIZE = 32
DRAWS = 4
_HELD_OUT = 0.1
_TABLE = 1025
_MEANINGS: dict[Kind, tuple[str, float, float]] = {
    "gaussian": ("the standard deviation in levels of 255", 0.5, 128),
    "salt_pepper": ("the share of pixels", 0.001, 0.9),
}


@dataclass(frozen=True)
class Noise:
    """A kind of noise and its level: σ in levels of 255, or the share of pixels; None: not known."""

    kind: Kind
    level: float | None = None


def parse_noise(text: str | Noise) -> Noise:
    """Read `gaussian:25` or `salt_pepper:0.1`; without the number the level is not known."""
    if isinstance(text, Noise):
        return text
    name, colon, number = text.partition(":")
    kind = next((kind for kind in _MEANINGS if kind == name.replace("-", "_")), None)
    if kind is None:
        raise UsageError(f"noise {text!r}: no such kind; there are {', '.join(_MEANINGS)}, as in gaussian:25")
    if not colon:
        return Noise(kind)
    meaning, low, high = _MEANINGS[kind]
    try:
        level = float(number)
    except ValueError:
        level = np.nan
    if not low <= level <= high:
        raise UsageError(f"noise {text!r}: after the colon comes {meaning}, from {low:g} to {high:g}")
    return Noise(kind, level)


def corrupt(images: NDArray[np.uint8], noise: Noise, *, seed: int = 0) -> NDArray[np.uint8]:
    """Damage images N×H×W×3; the seed fixes how. Raises UsageError if the noise's level is not given.

    Gaussian noise is added to each channel, rounded and cut off at black and white, as a file would hold it. Salt and
    pepper makes whole pixels black or white, with even odds.
    """
    if noise.level is None:
        meaning, low, high = _MEANINGS[noise.kind]
        raise UsageError(f"noise {noise.kind!r}: give {meaning} after a colon, from {low:g} to {high:g}")
    rng, white = np.random.default_rng(seed), np.iinfo(images.dtype).max
    if noise.kind == "gaussian":
        noisy = images + noise.level * (white / 255) * rng.standard_normal(images.shape)
        return np.rint(noisy).clip(0, white).astype(images.dtype)
    hit = rng.random(images.shape[:3]) < noise.level
    bright = rng.random(images.shape[:3]) < 0.5
    return np.where(hit[..., None], np.where(bright, white, 0).astype(images.dtype)[..., None], images)


def unclipped(means: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Pixels in [0, 1] whose expectation, with Gaussian noise cut off at black and white, is as given.

    What is dark looks brighter than it is, as its noise can only brighten it, and what is bright darker. This is the
    inverse of x -> E[min(max(x + σ·n, 0), 1)] (Foi 2009, "Clipped noisy images", Signal Processing 89(12)).
    """
    pixels = np.linspace(0, 1, _TABLE)
    return np.interp(means, clipped_mean(pixels, sigma), pixels)


def clipped_mean(pixels: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """E[min(max(x + σ·n, 0), 1)] for standard normal n, of each pixel x: ∫ P(x + σ·n > t) over t from 0 to 1.

    The integral of the standard normal's distribution function from -∞ to u is u·Φ(u) + φ(u).
    """
    limits = pixels / sigma, (pixels - 1) / sigma
    above, below = (u * ndtr(u) + np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi) for u in limits)
    return np.asarray(sigma * (above - below))


def impulses(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that salt and pepper may have hit, H×W: black or white, and of their neighbours at most half are alike."""
    found = np.zeros(image.shape[:2], bool)
    around = np.ones((3, 3))
    around[1, 1] = 0
    there = convolve(np.ones(image.shape[:2]), around, mode="constant")
    for value in (0, 255):
        extreme = (image == value).all(-1)
        found |= extreme & (convolve(extreme.astype(float), around, mode="constant") <= there / 2)
    return found


@dataclass(frozen=True, eq=False)
class Denoised:
    """What came of noisy images."""

    observed: NDArray[np.uint8]  # the noisy images at the model's size, uint8 N×H×W×3
    images: NDArray[np.uint8]  # the clean ones, uint8 N×H×W×3
    sigma: NDArray[np.float64]  # of the noise, given or estimated, in levels of 255, N; NaN for salt and pepper
    stddev: NDArray[np.float32] | None = None  # of the error to be expected, in levels of 255, N×H×W×3, if asked for


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
    """Take noise off images; it is as `parse_noise` reads it, and without a level it is estimated for each image.

    The mean of q(z|x) of the noisy image gives the model's picture of what is there. What is left is noise and what the
    model cannot draw; the residual prior tells them apart, by default that of `residual_prior`, with its errors.
    Gaussian noise is expected to have been cut off at black and white, as in 8-bit files. Under salt and pepper, pixels
    that were hit are filled with the model's picture, joined to their neighbours without a seam; others stay as they
    are.

    With `trust`, `stddev` is worked out too: from the residual's posterior and a few draws of the latents, which the
    seed fixes; under salt and pepper, where a pixel was filled, it is the error that the same filling makes at pixels
    which are known, else 0. Raises as `parse_noise` and `TrainedModel.pixels`.
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


def _without_noise(
    model: TrainedModel,
    observed: NDArray[np.uint8],
    level: float | None,
    residuals: ResidualPrior,
    trust: bool,
    generator: torch.Generator,
) -> tuple[Array, Array, Array]:
    """Clean images, σ and standard deviations of a batch, on the [0, 1] pixel scale."""
    y = to_float(observed)
    q = model.posterior(observed)
    decoded = decoded_means(model, q.mean)
    sigma = np.array([residuals.estimate_sigma(e) if level is None else level / 255 for e in y - decoded])

    def restored(means: Array, variance: bool) -> tuple[Array, Array]:
        each = [residuals.posterior(e, s, variance=variance) for e, s in zip(y - means, sigma.tolist(), strict=True)]
        clean = [unclipped(part[0] + mean, s) for part, mean, s in zip(each, means, sigma.tolist(), strict=True)]
        return np.stack(clean), np.stack([np.zeros(0) if part[1] is None else part[1] for part in each])

    clean, variance = restored(decoded, trust)
    if trust and not model.config.objective.auto_encoder:
        for _ in range(DRAWS):
            drawn = decoded_means(model, q.mean + q.stddev * torch.randn(q.mean.shape, generator=generator))
            variance += (restored(drawn, False)[0] - clean) ** 2 / DRAWS
    return clean, sigma, np.sqrt(variance)


def _without_impulses(
    model: TrainedModel, observed: NDArray[np.uint8], trust: bool, generator: torch.Generator
) -> tuple[Array, Array, Array]:
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
