"""Kinds of noise: how each is written, put on images, and how strong it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.special import ndtr

from corolla.errors import UsageError

Kind = Literal["gaussian", "salt_pepper"]
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
