"""Arrays of images as people have them -> uint8 N×H×W×3, as models take them, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.pixels import RGB8

SMALLEST_PX = 8
"""Models take no smaller images."""

# Numbers are made into pixels so many images at a time, and may pass their range by this share of it: rounding does.
_IMAGES, _SLACK = 1024, 1e-6


@dataclass(frozen=True)
class ArrayLayout:
    """Which numbers of an array are which pixels, and what they mean.

    `shape` is that of one item of the array: (H, W), (H, W, C), or (numbers,) for flat rows; `image_shape` that of one
    image, (H, W), (H, W, 1) or (H, W, 3). The limits are black and white, None: 0 and 255 in uint8, 0 and 1 in floats.
    Numbers beyond them are clipped, or refused. `dtype` is that of the arrays on the way back.
    """

    shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    limits: tuple[float, float] | None
    clip: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.image_shape[0], self.image_shape[1]

    def to_pixels(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """N items as uint8 N×H×W×C, one channel where they are grey; numbers are rounded to 8 bits."""
        rows = array.reshape(len(array), -1)
        values = np.zeros((len(rows), math.prod(self.image_shape)), np.uint8)  # a table may leave pixels over
        for start in range(0, len(rows), _IMAGES):
            some = slice(start, start + _IMAGES)
            values[some, : rows.shape[1]] = self._eight_bit(rows[some])
        return values.reshape(len(rows), *self.size, -1)

    def _eight_bit(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        low, high = self.limits or default_limits(rows.dtype)
        if rows.dtype == np.uint8 and (low, high) == (0, 255):
            return rows
        scaled = (rows.astype(np.float64) - low) / (high - low)
        if not self.clip and (scaled.min() < -_SLACK or scaled.max() > 1 + _SLACK):
            raise UsageError(
                f"numbers from {rows.min():g} to {rows.max():g}: pixels must lie in [{low:g}, {high:g}]; say what "
                'black and white are, value_range=(low, high) or "data", or scale them, as MinMaxScaler(clip=True) does'
            )
        return np.asarray(np.rint(scaled.clip(0, 1) * 255).astype(np.uint8))

    def from_means(self, means: NDArray[np.float32]) -> NDArray[Any]:
        """Expected pixels in [0, 1], N×H×W×C, as items like those that came in.

        Of a model that saw grey as three equal channels, as earlier versions made them, the mean is taken.
        """
        if math.prod(self.image_shape) < means[0].size:
            means = means.mean(axis=3)
        low, high = self.limits or default_limits(self.dtype)
        values = low + means.reshape(len(means), -1)[:, : math.prod(self.shape)] * (high - low)
        if self.dtype == np.uint8:
            values = np.rint(values).clip(0, 255)
        return values.astype(self.dtype).reshape(len(means), *self.shape)


def default_limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """What black and white are in arrays of a type. Raises UsageError where that cannot be told."""
    if dtype == np.uint8:
        return 0.0, 255.0
    if dtype.kind in "fb":
        return 0.0, 1.0
    raise UsageError(
        f"numbers of type {dtype}: give uint8, or floats in [0, 1], or say what black and white are: "
        'value_range=(low, high) or "data"'
    )


def layout_of(
    array: NDArray[Any],
    image_shape: tuple[int, ...] | Literal["table"] | None,
    value_range: tuple[float, float] | Literal["data"] | None,
) -> ArrayLayout:
    """How to read an array N×H×W, N×H×W×C or N×numbers.

    Args:
        array: at least one item.
        image_shape: (H, W), (H, W, 1) or (H, W, 3); may be left out unless the items are flat rows. "table": the
            numbers of a row are no image, and are laid out line by line in a square of multiples of 8 pixels.
        value_range: what black and white are; "data": the smallest and the largest number of this array, and numbers
            of other arrays beyond them are clipped.
    """
    shape = array.shape[1:]
    if image_shape == "table":
        if len(shape) != 1:
            raise UsageError(f'items of shape {shape}: these are images, not a table; leave image_shape="table" out')
        side = math.isqrt(shape[0] - 1) + 1
        side += -side % SMALLEST_PX  # so that patches of a good size divide it
        image_shape = side, side
    elif image_shape is None:
        if len(shape) == 1:
            raise UsageError(
                f"rows of {shape[0]} numbers: say which images they are, image_shape=(height, width) or "
                '(height, width, 3), or image_shape="table" if they are none'
            )
        image_shape = shape
    else:
        image_shape = _whole_numbers(image_shape)
        if len(shape) == 1 and math.prod(image_shape) != shape[0]:
            raise UsageError(
                f"rows of {shape[0]} numbers: images of shape {image_shape} have {math.prod(image_shape)}; "
                "give the image_shape of these rows"
            )
        if len(shape) > 1 and shape != image_shape:
            raise UsageError(f"images of shape {shape}: image_shape says {image_shape}; leave it out (None)")
    if len(image_shape) not in (2, 3) or image_shape[2:] not in ((), (1,), (RGB8.channels,)):
        raise UsageError(
            f"images of shape {image_shape}: they need height × width, or height × width × 1 or 3 channels"
        )
    if min(image_shape[:2]) < SMALLEST_PX:
        raise UsageError(
            f"images of shape {image_shape}: height and width must be at least {SMALLEST_PX} pixels; enlarge them. "
            "A single image needs an axis in front: image[None]"
        )
    limits = _limits(array, value_range)
    if limits is None:
        default_limits(array.dtype)  # refuses a type that has none
    dtype = np.dtype(np.uint8 if array.dtype == np.uint8 else np.float32)
    return ArrayLayout(shape, image_shape, limits, isinstance(value_range, str), dtype)


def _whole_numbers(image_shape: Any) -> tuple[int, ...]:
    try:
        numbers = tuple(int(side) for side in image_shape)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or min(numbers) < 1 or numbers != tuple(image_shape):
        raise UsageError(f'image_shape {image_shape!r}: give (height, width), (height, width, 3), or "table"')
    return numbers


def _limits(array: NDArray[Any], value_range: Any) -> tuple[float, float] | None:
    if value_range is None:
        return None
    if isinstance(value_range, str):
        if value_range != "data":
            raise UsageError(f'value_range {value_range!r}: give (low, high), "data", or None')
        low, high = float(array.min()), float(array.max())
        return low, high if high > low else low + 1
    try:
        low, high = (float(limit) for limit in value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(high - low) and low < high):
        raise UsageError(f"value_range {value_range!r}: give (low, high) with low below high")
    return low, high
