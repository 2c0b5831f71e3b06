"""What is missing from an image: from a mask file, a colour, a box or brush strokes, to a mask at the model's size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from scipy.ndimage import binary_dilation

from corolla.data.images import open_image
from corolla.data.recipes import recipe_named
from corolla.errors import DataError, UsageError
from corolla.trained import TrainedModel

Mask = NDArray[np.bool_]
MaskOf: TypeAlias = Callable[[Image.Image], Mask]

COLOUR_TOLERANCE = 10
"""Levels by which a channel may differ from the mask's colour."""
_GEOMETRY = ("fit", "resize", "center_crop")
_GROUND = 40
_LARGEST_PX = 100_000
"""Brushes and the places they go through are no larger: beyond, Pillow's whole numbers would run over."""


def mask_of(
    *,
    mask: Path | str | None = None,
    mask_colour: str | None = None,
    box: str | None = None,
    brush: Path | str | None = None,
) -> MaskOf:
    """What is missing from an image of any size, said in one of four ways; each way has its function below.

    Raises UsageError if none or several are given, or a colour or box that can be none; DataError for a file.
    """
    ways = ((file_mask, mask), (colour_mask, mask_colour), (box_mask, box), (brush_mask, brush))
    given = [(way, value) for way, value in ways if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"what is missing is said in {len(given)} ways",
            remedy="give one of {mask}, {mask_colour}, {box} and {brush}",
            arguments=("mask", "mask_colour", "box", "brush"),
        )
    way, value = given[0]
    return way(str(value))


def file_mask(file: Path | str) -> MaskOf:
    """White is missing, black is known; a DataError if the picture is not of the image's size."""
    picture = open_image(file)

    def mask(image: Image.Image) -> Mask:
        if picture.size != image.size:
            raise DataError(
                f"{file}: a mask of {picture.height}x{picture.width} pixels for an image of "
                f"{image.height}x{image.width}; give one of the image's size"
            )
        return np.asarray(picture.convert("L")) >= 128

    return mask


def colour_mask(colour: str) -> MaskOf:
    """What has this colour, such as #ff00ff, is missing; each channel may differ by COLOUR_TOLERANCE."""
    try:
        levels = np.array(ImageColor.getrgb(colour)[:3])
    except ValueError:
        raise UsageError(f"colour {colour!r}: give one such as #ff00ff or magenta") from None
    return lambda image: (np.abs(np.asarray(image.convert("RGB"), int) - levels) <= COLOUR_TOLERANCE).all(-1)


def box_mask(box: str) -> MaskOf:
    """`x,y,w,h` in the image's pixels, from the top left corner, is missing; what lies outside does not matter.

    Raises UsageError if it is not four whole numbers, the last two above 0; so does the mask of a box that is outside.
    """
    try:
        x, y, width, height = (int(part) for part in box.split(","))
    except ValueError:
        raise UsageError(f"box {box!r}: give x,y,w,h in whole pixels") from None
    if width < 1 or height < 1:
        raise UsageError(f"box {box!r}: {width} pixels across and {height} down; give 1 or more of each")

    def mask(image: Image.Image) -> Mask:
        inside = np.zeros((image.height, image.width), bool)
        inside[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
        if not inside.any():
            size = f"{image.width} pixels across and {image.height} down"
            raise UsageError(f"box {box!r}: not inside the image of {size}")
        return inside

    return mask


def brush_mask(file: Path | str) -> MaskOf:
    """What a brush went over is missing.

    The file is JSON: a list of strokes, each with a `radius` in pixels and `points`, a list of [x, y] that the round
    brush goes through in straight lines. Raises DataError if it is not there, or holds something else.
    """
    such_as = 'such as [{"radius": 4, "points": [[10, 10], [30, 12]]}]'
    try:
        strokes = json.loads(Path(file).read_text(encoding="utf-8"))
        lines = [(float(s["radius"]), [(float(x), float(y)) for x, y in s["points"]]) for s in strokes]
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise DataError(f"{file}: not a brush file, {such_as}") from None
    if not lines:
        raise DataError(f"{file}: holds no stroke; give a list, {such_as}")
    for radius, points in lines:
        if not 0 < radius <= _LARGEST_PX:
            raise DataError(f"{file}: a radius of {radius:g}; give pixels above 0, up to {_LARGEST_PX:,}")
        if not points:
            raise DataError(f"{file}: a stroke without points; give one or more, {such_as}")
        for value in itertools.chain(*points):
            if not abs(value) <= _LARGEST_PX:
                raise DataError(f"{file}: a point at {value:g}; give pixels from -{_LARGEST_PX:,} to {_LARGEST_PX:,}")

    def mask(image: Image.Image) -> Mask:
        picture = Image.new("L", image.size)
        draw = ImageDraw.Draw(picture)
        for radius, points in lines:
            draw.line(points, 255, max(1, round(2 * radius)))
            for x, y in points:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
        return np.asarray(picture) >= 128

    return mask


def fitted_mask(model: TrainedModel, mask: Mask) -> Mask:
    """A mask of an image's size as the model's recipe brings the image to its own; scaled ones grow by a pixel.

    So no known pixel holds anything of a missing one, as far as the recipe scales and crops: `enhance` also blurs, and
    takes the brightness of the whole image into account. Raises UsageError if the recipe cuts off all that is missing.
    """
    if mask.shape == (model.height, model.width) and model.config.data.recipe == "fit":
        return mask
    # Not on black: bicubic weights below 0 would be cut off there, and what they carry not be seen.
    picture = Image.fromarray(np.where(mask, 255, _GROUND).astype(np.uint8)).convert("RGB")
    for step in recipe_named(model.config.data.recipe).steps:
        if step.operation in _GEOMETRY:
            picture = step(picture, model.height, model.width)
    fitted = np.asarray(binary_dilation(np.asarray(picture)[..., 0] != _GROUND, np.ones((3, 3))))
    if mask.any() and not fitted.any():
        raise UsageError(
            "what is missing is all outside of what the model sees, which the recipe "
            f"`{model.config.data.recipe}` cuts out of the middle; there is nothing to fill in"
        )
    return fitted
