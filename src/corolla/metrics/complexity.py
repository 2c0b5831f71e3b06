"""How much there is to say about an image, without a model of its kind: what a simple lossless coder needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corolla.errors import UsageError

_LEVELS = 256


def complexity_nats(images: NDArray[np.uint8], *, differences: bool = True) -> NDArray[np.float64]:
    """The code length of each image in nats, N, of an ideal coder that knows how frequent its prediction errors are.

    Each value is predicted from its neighbours at the left, above, and above left by the median of left, above and
    left + above - above left (the predictor of LOCO-I, Weinberger et al. 2000); the entropy of the errors modulo 256
    is that of their histogram in the image and channel, as if that were known. With `differences`,
    green, red − green and blue − green are coded, so that a grey image costs one channel.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise UsageError(f"images are {images.dtype} of shape {images.shape}: complexity needs uint8, N×H×W×3")
    values = images.astype(np.int16)
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
