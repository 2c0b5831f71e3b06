"""Pixels as 8-bit levels, and as floats in [0, 1]: the one rule for either way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CHANNELS = 3
"""Of the images in a cache and in what models read: red, green and blue."""


def to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Floats as the nearest of the levels 0 to 255, cut off beyond [0, 1]; uint8 as it is."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels)
    return np.asarray(np.rint(pixels * 255).clip(0, 255).astype(np.uint8))


def to_float(pixels: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Levels as floats in [0, 1]; floats as they are, in another precision."""
    floats = pixels.astype(dtype)
    return np.asarray(floats / floats.dtype.type(255)) if pixels.dtype == np.uint8 else floats
