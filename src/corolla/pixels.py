"""Pixels as levels of 8 or 16 bits and as floats in [0, 1]: the format of images, and the one rule for either way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class PixelFormat:
    """What a pixel holds: 1 channel is grey, 3 are red, green and blue; 8 or 16 bits a channel."""

    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""
        return np.dtype(f"u{self.bits // 8}")

    @property
    def largest(self) -> int:
        """The level of white: 255 or 65,535."""
        return int(2**self.bits - 1)

    def __str__(self) -> str:
        """Such as "grey, 16 bits"."""
        return f"{ {1: 'grey', 3: 'RGB'}.get(self.channels, f'{self.channels} channels') }, {self.bits} bits"


RGB8 = PixelFormat()


def format_of(pixels: NDArray[Any]) -> PixelFormat:
    """The format of uint8 or uint16 pixels ...×H×W×C."""
    return PixelFormat(pixels.shape[-1], 8 * pixels.dtype.itemsize)


def to_levels(pixels: NDArray[Any], bits: int = 8) -> NDArray[Any]:
    """The nearest levels of so many bits; floats are clipped to [0, 1], other levels scaled."""
    dtype = PixelFormat(bits=bits).dtype
    if pixels.dtype == dtype:
        return np.asarray(pixels)
    if pixels.dtype == np.uint8:
        return np.asarray(pixels.astype(np.uint16) * np.uint16(257))
    if pixels.dtype == np.uint16:  # the nearest of 255 levels, in integers: 257 of these are one of those
        return np.asarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    largest = np.iinfo(dtype).max
    return np.asarray(np.rint(pixels * largest).clip(0, largest).astype(dtype))


def to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest of the levels 0 to 255; floats are clipped to [0, 1]."""
    return to_levels(pixels, 8)


def shown(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images ...×H×W×C of any format as people and RGB networks see them: 8 bits, three channels.

    Grey becomes three equal channels; of other numbers of channels the first three are shown, and a missing one is 0.
    """
    images = to_uint8(images)
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, RGB8.channels, axis=-1)
    if channels < RGB8.channels:
        return np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    return images[..., : RGB8.channels]


def to_float(pixels: NDArray[Any], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Levels as floats in [0, 1]; floats as they are, in another precision."""
    floats = pixels.astype(dtype)
    if pixels.dtype.kind != "u":
        return floats
    return np.asarray(floats / floats.dtype.type(np.iinfo(pixels.dtype).max))
