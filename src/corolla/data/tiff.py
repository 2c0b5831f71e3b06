"""TIFF files that a photo decoder reads wrongly or not at all: deep, signed, floating, planar, of many channels.

What Pillow reads rightly, 8-bit grey, colour and palettes, is left to it.
"""

from __future__ import annotations

import logging
import math
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, SAMPLEFORMAT

from corolla.config.settings import MOST_CHANNELS
from corolla.data.levels import Facts, Levels, Reading, check_size, deep_levels, over_white, upright
from corolla.pixels import PixelFormat

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its lines name no file, and its errors are raised

_ALPHA = (1, 2)  # extra samples: associated (premultiplied) and unassociated
_PILLOWS = (
    PHOTOMETRIC.MINISWHITE,
    PHOTOMETRIC.MINISBLACK,
    PHOTOMETRIC.RGB,
    PHOTOMETRIC.PALETTE,
    PHOTOMETRIC.SEPARATED,
    PHOTOMETRIC.YCBCR,
    PHOTOMETRIC.CIELAB,
)
_ORIENTATION = 274


def read(file: BinaryIO, reading: Reading) -> Levels | None:
    """A picture, H×W×C; None where it is Pillow's to read, or no TIFF file that tifffile understands."""
    try:
        tiff = tifffile.TiffFile(file)
    except tifffile.TiffFileError:
        return None
    with tiff:
        page, planes, pages = _chosen(tiff, reading.page)
        if _is_pillows(page, len(planes)) and not reading.page:
            return None
        check_size(page.imagewidth, page.imagelength, reading)
        if len(planes) * page.samplesperpixel > MOST_CHANNELS + 1:  # one may be alpha
            raise ValueError(f"has {len(planes) * page.samplesperpixel} channels; at most {MOST_CHANNELS} can be used")
        samples = [_samples_last(plane, tiff, pages) for plane in planes]
        values = samples[0] if len(samples) == 1 else np.concatenate(samples, axis=2)
        levels = _levels(values, page, reading)
        tag = page.tags.get(_ORIENTATION)
        return np.ascontiguousarray(upright(levels, 1 if tag is None else int(tag.value)))


def facts(file: BinaryIO) -> Facts | None:
    """Size and format from the header; None as for `read`."""
    try:
        tiff = tifffile.TiffFile(file)
    except tifffile.TiffFileError:
        return None
    with tiff:
        page, planes, _ = _chosen(tiff, 0)
        if _is_pillows(page, len(planes)):
            return None
        height, width = page.imagelength, page.imagewidth
        tag = page.tags.get(_ORIENTATION)
        if tag is not None and tag.value in (5, 6, 7, 8):
            height, width = width, height
        channels = len(planes) * _channels(page)
        return Facts(height, width, PixelFormat(channels, 8 if _is_bytes(page) else 16))


def _chosen(tiff: tifffile.TiffFile, number: int) -> tuple[Any, list[int], list[Any]]:
    """The page to read, the numbers of those that hold its channels, and all pages of the first series.

    ImageJ and OME store each channel as a page of its own; the other axes (depth, time, or just pages) are counted by
    `number`, the last one fastest.
    """
    series = tiff.series[0]
    leading = [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    separate = (tiff.is_imagej or tiff.is_ome) and any(axis == "C" for axis, _ in leading)
    others = [size for axis, size in leading if not (separate and axis == "C")]
    count = math.prod(others)
    if not 0 <= number < count:
        raise ValueError(f"has no page {number}; there are {count}, counted from 0")
    index = list(np.unravel_index(number, others)) if others else []
    sizes = [size for _, size in leading]
    planes = []
    for channel in range(next(size for axis, size in leading if axis == "C") if separate else 1):
        rest = iter(index)
        at = [channel if separate and axis == "C" else int(next(rest)) for axis, _ in leading]
        planes.append(int(np.ravel_multi_index(at, sizes)) if at else 0)
    return series.keyframe, planes, list(series.pages)


def _samples_last(plane: int, tiff: tifffile.TiffFile, pages: list[Any]) -> NDArray[Any]:
    """One page as H×W×samples."""
    if plane < len(pages) and pages[plane] is not None:
        page = pages[plane]
        values, axes = np.asarray(page.asarray()), page.keyframe.axes
    else:  # one block that holds all
        series = tiff.series[0]
        whole = series.asarray()
        kept = sum(axis in "YXS" for axis in series.axes)
        values, axes = whole.reshape(-1, *whole.shape[-kept:])[plane], series.axes[-kept:]
    if "S" in axes:
        return np.moveaxis(values, axes.index("S"), 2)
    return values.reshape(*values.shape[-2:], 1)


def _levels(values: NDArray[Any], page: Any, reading: Reading) -> Levels:
    """What the values mean."""
    photometric = page.photometric
    if photometric == PHOTOMETRIC.PALETTE:
        return _from_palette(values, page)
    if photometric not in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.SEPARATED):
        raise ValueError(
            f"a TIFF of {page.bitspersample} bits in {getattr(photometric, 'name', photometric)}: save as RGB"
        )
    if _is_bytes(page):
        levels: Levels = values
    else:
        levels = deep_levels(values, reading, _white(page, reading))
    largest = np.iinfo(levels.dtype).max
    if photometric == PHOTOMETRIC.MINISWHITE:
        levels = largest - levels
    if photometric == PHOTOMETRIC.SEPARATED:
        if levels.shape[2] < 4:
            raise ValueError(f"a separated TIFF of {levels.shape[2]} inks: save as RGB")
        ink = levels[..., :4].astype(np.float64) / largest
        return np.asarray(np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * largest).astype(levels.dtype))
    kept = _channels(page)
    if levels.shape[2] > kept and _has_alpha(page):
        opaque = levels[..., : kept + 1]
        flat = over_white(
            opaque.astype(np.uint16) * (1 if largest > 255 else 257), associated=page.extrasamples[0] == 1
        )
        return flat if largest > 255 else np.asarray((flat // 257).astype(np.uint8))
    return levels[..., :kept] if page.samplesperpixel > kept else levels


def _white(page: Any, reading: Reading) -> float:
    """The value of white that the file states. Raises ValueError where it states none, and the settings do not."""
    bits, kind = page.bitspersample, page.sampleformat
    if kind == SAMPLEFORMAT.UINT and bits <= 16:
        return float(2**bits - 1)
    if kind == SAMPLEFORMAT.IEEEFP:
        return 1.0
    if reading.white is None:
        name = getattr(kind, "name", kind)
        raise ValueError(f"{bits}-bit {name} values: which is black and which is white is unknown; set data.white")
    return 1.0


def _from_palette(values: NDArray[Any], page: Any) -> NDArray[np.uint8]:
    """Indices as the colours of the map, of which some writers make 8 bits of the 16 that the standard asks for."""
    colors = np.asarray(page.colormap)
    colors = colors if colors.max(initial=0) <= 255 else colors >> 8
    return np.asarray(colors[:, values[..., 0]].transpose(1, 2, 0).astype(np.uint8))


def _channels(page: Any) -> int:
    """Channels that count, of those in one page: without alpha, and without what RGB has besides."""
    if page.photometric in (PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED):
        return 3
    samples = int(page.samplesperpixel)
    if page.photometric == PHOTOMETRIC.RGB:
        return 3 if samples == 4 or _has_alpha(page) else samples
    return 1 if samples == 2 and _has_alpha(page) else samples


def _has_alpha(page: Any) -> bool:
    return bool(page.extrasamples) and int(page.extrasamples[0]) in _ALPHA


def _is_bytes(page: Any) -> bool:
    return bool(page.bitspersample == 8 and page.sampleformat == SAMPLEFORMAT.UINT)


def _is_pillows(page: Any, planes: int) -> bool:
    """Whether Pillow reads it rightly."""
    if (
        planes > 1
        or page.photometric not in _PILLOWS
        or page.sampleformat != SAMPLEFORMAT.UINT
        or page.bitspersample > 8
    ):
        return False
    if page.photometric == PHOTOMETRIC.PALETTE:
        return bool(np.asarray(page.colormap).max(initial=0) > 255)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        return False
    if page.photometric == PHOTOMETRIC.MINISBLACK and page.samplesperpixel > 1:
        return False  # Pillow knows no associated alpha of grey
    return _channels(page) <= 3 and page.samplesperpixel <= 4
