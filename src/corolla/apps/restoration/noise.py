"""Kinds of noise: how each is written, put on images, and how strong it is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve
from scipy.special import ndtr

from corolla.errors import UsageError

Kind = Literal["gaussian", "salt_pepper", "jpeg"]
_TABLE = 1025
_MEANINGS: dict[Kind, tuple[str, float, float]] = {
    "gaussian": ("the standard deviation in levels of 255", 0.5, 128),
    "salt_pepper": ("the share of pixels", 0.001, 0.9),
    "jpeg": ("the quality", 1, 95),
}


@dataclass(frozen=True)
class Noise:
    """A kind of noise and its level: σ in levels of 255, the share of pixels, or JPEG's quality; None: not known."""

    kind: Kind
    level: float | None = None


def parse_noise(text: str | Noise) -> Noise:
    """Read `gaussian:25`, `salt_pepper:0.1` or `jpeg:10`; without the number the level is not known."""
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


def needed_level(noise: Noise) -> float:
    """The level. Raises UsageError if it is not known."""
    if noise.level is None:
        meaning, low, high = _MEANINGS[noise.kind]
        raise UsageError(f"noise {noise.kind!r}: give {meaning} after a colon, from {low:g} to {high:g}")
    return noise.level


def corrupt(images: NDArray[np.uint8], noise: Noise, *, seed: int = 0) -> NDArray[np.uint8]:
    """Damage images N×H×W×3; the seed fixes how. Raises UsageError if the noise's level is not given.

    Gaussian noise is added to each channel, rounded and cut off at black and white, as a file would hold it. Salt and
    pepper makes whole pixels black or white, with even odds. JPEG compresses and decodes by Pillow.
    """
    level = needed_level(noise)
    rng = np.random.default_rng(seed)
    if noise.kind == "gaussian":
        noisy = images + level * rng.standard_normal(images.shape)
        return np.rint(noisy).clip(0, 255).astype(np.uint8)
    if noise.kind == "salt_pepper":
        hit = rng.random(images.shape[:3]) < level
        white = rng.random(images.shape[:3]) < 0.5
        return np.where(hit[..., None], np.where(white, 255, 0).astype(np.uint8)[..., None], images)
    return np.stack([_through_jpeg(image, round(level)) for image in images])


def jpeg_sigma(image: NDArray[np.uint8], quality: int) -> float:
    """The root mean square error that JPEG left in an image H×W×3, on the [0, 1] pixel scale, guessed from the image.

    It is what compressing it again does, with blocks that lie 4 pixels aside, so that what was rounded once is rounded
    along other lines.
    """
    shifted = np.roll(image, (4, 4), (0, 1))
    error = _through_jpeg(shifted, quality) / 255.0 - shifted / 255.0
    return float(np.sqrt((error**2).mean()))


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


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
