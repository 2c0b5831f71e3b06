"""Pictures as levels: arrays H×W×C of uint8 or uint16, from values of any depth, in any format, turned and reduced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.config import DataConfig
from corolla.errors import DataError
from corolla.pixels import RGB8, PixelFormat, format_of, to_levels

Levels: TypeAlias = NDArray[Any]
"""Of uint8 or uint16; one image H×W×C, or many N×H×W×C."""

LARGEST_PIXELS: int = DataConfig.model_fields["max_pixels"].default
"""Where Pillow refuses pictures by default."""
_REDUCED_PIXELS = 1 << 24
"""Deep pictures of more pixels are reduced while they are still integers, so that memory stays bounded."""
_STRIP_VALUES = 1 << 22
_SCALES = (8, 4, 2)

# Of red, green and blue, in grey: ITU-R BT.601, as Pillow's conversion of 8-bit pictures has it.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Reading:
    """How files are read where they leave a choice.

    Attributes:
        white: Black and white of values that are deeper than 8 bits; None: 0 and what the file states or its type
            holds. Values beyond are clipped.
        icc: Colours of an embedded ICC profile are converted to sRGB.
        truncated: What to do with a JPEG that is damaged or cut short: keep what can be decoded, or take it for one
            that cannot be read; "refuse" also stops whoever would skip it.
        page: Which picture of a TIFF of several.
        max_pixels: A larger picture is refused before it is decoded.
    """

    white: tuple[float, float] | None = None
    icc: bool = True
    truncated: Literal["keep", "skip", "refuse"] = "skip"
    page: int = 0
    max_pixels: int = LARGEST_PIXELS


@dataclass(frozen=True)
class Facts:
    """What the header of a file says: height and width in pixels, upright, and its format."""

    height: int
    width: int
    format: PixelFormat


def in_format(picture: Levels, pixels: PixelFormat) -> Levels:
    """A picture with other channels or of another depth.

    Grey becomes equal channels, and colour becomes the luma of ITU-R BT.601. Levels are scaled so that white stays
    white, and rounded to the nearest. Raises DataError where other numbers of channels differ.
    """
    channels = picture.shape[2]
    if channels != pixels.channels:
        if (channels, pixels.channels) == (3, 1):
            picture = _luma(picture)
        elif channels == 1 and pixels.channels == 3:
            picture = np.repeat(to_levels(picture, pixels.bits), 3, axis=2)
        else:
            raise DataError(f"has {channels} channels, not {pixels.channels}; convert it, or set data.channels")
    return to_levels(picture, pixels.bits)


def check_size(width: int, height: int, reading: Reading) -> None:
    """Raise DecompressionBombError if a picture has more pixels than allowed."""
    if width * height > reading.max_pixels:
        problem = f"{width}x{height} are more than {reading.max_pixels:,} pixels, as decompression bombs have"
        raise Image.DecompressionBombError(f"{problem}; if it is right, set data.max_pixels")


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """H×W×C turned and mirrored as the EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def deep_levels(values: NDArray[Any], reading: Reading, white: float) -> NDArray[np.uint16]:
    """Values H×W×C of any type as 16-bit levels, black being 0 and white as stated, or as the settings say.

    Raises ValueError where values lie outside of black and white, and nobody has said what these are.
    """
    low, high = reading.white or (0.0, white)
    if values.dtype == np.uint16 and (low, high) == (0.0, 65535.0):
        return values
    levels = np.empty(values.shape, np.uint16)
    rows = max(1, _STRIP_VALUES // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        some = values[start : start + rows].astype(np.float64)
        if not np.isfinite(some).all():
            raise ValueError("has values that are not finite")
        if reading.white is None and some.size and (some.min() < low or some.max() > high):
            raise ValueError(
                f"has {values.dtype} values from {values.min():g} to {values.max():g}, and which is black and which is "
                "white is unknown; set data.white"
            )
        levels[start : start + rows] = np.rint(((some - low) * (65535 / (high - low))).clip(0, 65535))
    return levels


def over_white(pixels: NDArray[np.uint16], *, associated: bool) -> NDArray[np.uint16]:
    """16-bit levels whose last channel is alpha, without it, over white."""
    color, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:] / 65535
    shown = (color if associated else color * alpha) + (1 - alpha) * 65535
    return np.asarray(np.rint(shown).clip(0, 65535).astype(np.uint16))


def scale_for(height: int, width: int, at_least_px: int | None) -> int:
    """By how much a picture can be reduced so that its short side stays at least that long; 1 for None."""
    if at_least_px is None:
        return 1
    return next((scale for scale in _SCALES if min(height, width) >= scale * max(at_least_px, 1)), 1)


def reduced(picture: Levels, at_least_px: int | None) -> Levels:
    """A large picture of 16 bits or other channels averaged over squares, as reduced decoding does with a JPEG."""
    height, width, channels = picture.shape
    if height * width <= _REDUCED_PIXELS or format_of(picture) in (RGB8, PixelFormat(1, 8)):
        return picture
    side = scale_for(height, width, at_least_px)
    if side == 1:
        return picture
    rows, columns = height // side, width // side
    reduced = np.empty((rows, columns, channels), picture.dtype)
    strip = max(1, _STRIP_VALUES // (side * width * channels))
    for start in range(0, rows, strip):
        some = picture[start * side : min(start + strip, rows) * side, : columns * side]
        squares = some.reshape(-1, side, columns, side, channels)
        reduced[start : start + strip] = np.rint(squares.mean(axis=(1, 3), dtype=np.float64))
    return reduced


def _luma(picture: Levels) -> Levels:
    if picture.dtype == np.uint8:
        return np.asarray(Image.fromarray(picture).convert("L"))[..., None]
    weighted = sum(picture[..., index].astype(np.float32) * np.float32(share) for index, share in enumerate(_LUMA))
    return np.asarray(np.rint(weighted).astype(np.uint16))[..., None]
