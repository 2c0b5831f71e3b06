"""How close two images are, pixel by pixel and neighbourhood by neighbourhood; and how much there is to say of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.errors import UsageError
from corolla.pixels import shown, to_float

Errors = TypeVar("Errors")

SSIM_WINDOW_PX = 11
"""Side of SSIM's window, and so of the smallest image that it can compare."""
ROUNDING_DB = 10 * math.log10(12 * 255**2)
"""PSNR of nothing but rounding to 8 bits, 58.9 dB: more, as identical images have, would mean nothing."""

_SIGMA_PX = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # (K·L)², where L, the range of the pixels, is 1
_BLOCK_PX = 64
_CHUNK_NUMBERS = 2**20
_LEVELS = 256


def psnr(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """The peak signal-to-noise ratio of each pair of images in decibels, -10·log10 of the mean squared error; N.

    The error is over the pixels and channels of an image, and the peak is white: 255 or 1. The PSNR of two identical
    images is infinite, and so is any mean that it takes part in: sum up many by their median.
    """
    a, b = _checked(a, b)
    errors = np.empty(len(a))
    for rows, x, y in _in_chunks(a, b):
        errors[rows] = np.square(x - y).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return decibels(errors, np.log10)


def mean_image_psnr(seen: ArrayLike, images: ArrayLike) -> NDArray[np.float64]:
    """The PSNR of each of N images with the mean of some others in its place, at most ROUNDING_DB.

    It is what a decoder reaches that ignores its code: the least that a model must do better.
    """
    mean = to_float(np.asarray(seen), np.float32).mean(axis=0)
    return np.minimum(psnr(images, np.broadcast_to(mean, np.shape(images))), ROUNDING_DB)


def decibels(mean_squared_error: Errors, log10: Callable[[Errors], Errors]) -> Errors:
    """PSNR of mean squared errors of pixels in [0, 1], by the logarithm of the library that holds them."""
    scaled: Any = log10(mean_squared_error)
    return cast("Errors", -10 * scaled)


def ssim(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """The structural similarity of each pair of images, in [-1, 1] and 1 where they are identical; N.

    SSIM = (2·μ_a·μ_b + C1)(2·σ_ab + C2) / ((μ_a² + μ_b² + C1)(σ_a² + σ_b² + C2)) in a Gaussian window of 11×11 pixels
    with σ = 1.5, C1 = 0.01² and C2 = 0.03² for pixels in [0, 1] (Wang et al. 2004, IEEE TIP 13(4), eq. 13 to 17). It is
    averaged over all places where the window lies inside the image, and over channels; smaller images are refused.
    """
    a, b = _checked(a, b)
    if min(a.shape[1:3]) < SSIM_WINDOW_PX:
        raise UsageError(
            f"images of {a.shape[1]}x{a.shape[2]} pixels: SSIM needs at least {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX}"
        )
    found = np.empty(len(a))
    for rows, x, y in _in_chunks(a, b):
        x, y = (np.ascontiguousarray(np.moveaxis(images, 3, 1)) for images in (x, y))
        mean_x, mean_y = _local_mean(x), _local_mean(y)
        squares, product = mean_x**2 + mean_y**2, mean_x * mean_y
        # Only the sum of the two variances is asked for, so one filter serves for both.
        variances, covariance = _local_mean(x**2 + y**2) - squares, _local_mean(x * y) - product
        similarity = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
        found[rows] = similarity.mean((1, 2, 3))
    return found


def _checked(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    images = np.asarray(a), np.asarray(b)
    shapes = images[0].shape, images[1].shape
    if shapes[0] != shapes[1] or len(shapes[0]) != 4 or min(shapes[0]) == 0:
        raise UsageError(f"images of shapes {shapes[0]} and {shapes[1]}: give two N×H×W×C of one shape")
    for one in images:
        if one.dtype in (np.uint8, np.uint16):
            continue
        if not np.issubdtype(one.dtype, np.floating):
            raise UsageError(f"images are {one.dtype}: give uint8 or uint16, or float in [0, 1]")
        if not (one.min() >= 0 and one.max() <= 1):  # said so that NaN is caught, too
            raise UsageError(f"images hold values from {one.min():.4g} to {one.max():.4g}: give float in [0, 1]")
    return images


def _in_chunks(
    a: NDArray[np.generic], b: NDArray[np.generic]
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Some images of either at a time, as float64 in [0, 1]."""
    count = max(1, _CHUNK_NUMBERS // a[0].size)
    for start in range(0, len(a), count):
        rows = slice(start, start + count)
        yield rows, to_float(a[rows]), to_float(b[rows])


def _local_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the last two axes in the window at each place where it lies inside: they become 10 shorter."""
    return np.asarray(_along_last(_along_last(x).swapaxes(-1, -2)).swapaxes(-1, -2))


def _along_last(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The window's mean along the last axis: products with a banded matrix, faster than eleven shifted sums."""
    step = _BLOCK_PX - SSIM_WINDOW_PX + 1
    blocks = [x[..., start : start + _BLOCK_PX] for start in range(0, x.shape[-1] - SSIM_WINDOW_PX + 1, step)]
    return np.concatenate([block @ _band(block.shape[-1]) for block in blocks], axis=-1)


@lru_cache(maxsize=_BLOCK_PX)
def _band(length: int) -> NDArray[np.float64]:
    """The Gaussian window at each of its places along a line, length × (length - 10)."""
    offsets = np.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    taps = np.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    band = np.zeros((length, length - SSIM_WINDOW_PX + 1))
    for place in range(band.shape[1]):
        band[place : place + SSIM_WINDOW_PX, place] = taps / taps.sum()
    return band


def complexity_nats(images: NDArray[np.uint8], *, differences: bool = True) -> NDArray[np.float64]:
    """The code length of each image in nats, N, of an ideal coder that knows how frequent its prediction errors are.

    Each value is predicted from its neighbours at the left, above, and above left by the median of left, above and
    left + above - above left (the predictor of LOCO-I, Weinberger et al. 2000); the entropy of the errors modulo 256
    is that of their histogram in the image and channel, as if that were known. With `differences`,
    green, red − green and blue − green are coded, so that a grey image costs one channel. Images of other formats are
    measured as 8-bit RGB (see `corolla.pixels.shown`).
    """
    if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"images are {images.dtype} of shape {images.shape}: complexity needs levels, N×H×W×C")
    values = shown(images).astype(np.int16)
    red, green, blue = np.moveaxis(values, 3, 0)
    channels = (green, red - green, blue - green) if differences else (red, green, blue)
    total = np.zeros(len(images))
    for channel in channels:
        errors = (channel - _predicted(channel)) % _LEVELS
        flat = errors.reshape(len(images), -1) + _LEVELS * np.arange(len(images))[:, None]
        counts = np.bincount(flat.ravel(), minlength=_LEVELS * len(images)).reshape(-1, _LEVELS)
        frequencies = counts / max(1, flat.shape[1])
        total -= (counts * np.log(np.where(counts, frequencies, 1))).sum(1)
    return total


def _predicted(channel: NDArray[np.int16]) -> NDArray[np.int16]:
    """Each value of N×H×W from those before it: 0 for the first, the neighbour at hand in the first row and column."""
    left, above, corner = (np.zeros_like(channel) for _ in range(3))
    left[:, :, 1:] = channel[:, :, :-1]
    above[:, 1:] = channel[:, :-1]
    corner[:, 1:, 1:] = channel[:, :-1, :-1]
    above[:, 0] = corner[:, 0] = left[:, 0]
    left[:, 1:, 0] = corner[:, 1:, 0] = above[:, 1:, 0]
    low, high = np.minimum(left, above), np.maximum(left, above)
    return np.asarray(np.clip(left + above - corner, low, high))
