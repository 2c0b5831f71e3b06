"""What is missing from an image: from a mask file, a colour, a box or brush strokes, to a mask at the model's size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from corolla.data.images import open_image
from corolla.data.recipes import RECIPES
from corolla.errors import DataError, UsageError
from corolla.trained import TrainedModel

Mask = NDArray[np.bool_]

COLOUR_TOLERANCE = 10
"""Levels by which a channel may differ from the mask's colour."""
_GEOMETRY = ("fit", "resize", "center_crop")


def file_mask(file: Path | str, image: Image.Image) -> Mask:
    """White is missing, black is known. Raises DataError if the picture is not of the image's size."""
    picture = open_image(file)
    if picture.size != image.size:
        raise DataError(
            f"{file}: a mask of {picture.height}x{picture.width} pixels for an image of {image.height}x{image.width}; "
            "give one of the image's size"
        )
    return np.asarray(picture.convert("L")) >= 128


def colour_mask(colour: str, image: Image.Image) -> Mask:
    """What has this colour, such as #ff00ff, is missing; each channel may differ by COLOUR_TOLERANCE."""
    try:
        wanted = ImageColor.getrgb(colour)[:3]
    except ValueError:
        raise UsageError(f"colour {colour!r}: give one such as #ff00ff or magenta") from None
    away = np.abs(np.asarray(image.convert("RGB"), int) - np.array(wanted))
    return np.asarray((away <= COLOUR_TOLERANCE).all(-1))


def box_mask(box: str, image: Image.Image) -> Mask:
    """`x,y,w,h` in the image's pixels, from the top left corner, is missing; what lies outside does not matter."""
    try:
        x, y, width, height = (int(part) for part in box.split(","))
    except ValueError:
        raise UsageError(f"box {box!r}: give x,y,w,h in whole pixels") from None
    mask = np.zeros((image.height, image.width), bool)
    if width < 1 or height < 1 or x + width <= 0 or y + height <= 0 or x >= image.width or y >= image.height:
        raise UsageError(f"box {box!r}: not inside the image of {image.width} pixels across and {image.height} down")
    mask[max(y, 0) : y + height, max(x, 0) : x + width] = True
    return mask


def brush_mask(file: Path | str, image: Image.Image) -> Mask:
    """What a brush went over is missing.

    The file is JSON: a list of strokes, each with a `radius` in pixels and `points`, a list of [x, y] that the round
    brush goes through in straight lines.

    Raises:
        DataError: the file is not there, or holds something else.
    """
    try:
        strokes = json.loads(Path(file).read_text(encoding="utf-8"))
        lines = [(float(s["radius"]), [(float(x), float(y)) for x, y in s["points"]]) for s in strokes]
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(
            f'{file}: not a brush file, such as [{{"radius": 4, "points": [[10, 10], [30, 12]]}}]'
        ) from None
    picture = Image.new("L", image.size)
    draw = ImageDraw.Draw(picture)
    for radius, points in lines:
        draw.line(points, 255, max(1, round(2 * radius)))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return np.asarray(picture) >= 128


def fitted_mask(model: TrainedModel, mask: Mask) -> Mask:
    """A mask of an image's size as the model's recipe brings the image to its own; scaled ones grow by a pixel.

    So no known pixel holds anything of a missing one.
    """
    if mask.shape == (model.height, model.width) and model.config.data.recipe == "fit":
        return mask
    from scipy.ndimage import binary_dilation

    picture = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
    for step in RECIPES[model.config.data.recipe].steps:
        if step.operation in _GEOMETRY:
            picture = step(picture, model.height, model.width)
    return np.asarray(binary_dilation(np.asarray(picture)[..., 0] > 0, np.ones((3, 3))))
