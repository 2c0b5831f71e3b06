"""What is missing from an image: from a mask file, a colour, a box or brush strokes, to a mask at the model's size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from scipy.ndimage import binary_dilation

from corolla.config import Settings
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
_Coordinate = Annotated[float, Field(ge=-_LARGEST_PX, le=_LARGEST_PX)]


class _Stroke(Settings):
    model_config = ConfigDict(extra="ignore")

    radius: float = Field(gt=0, le=_LARGEST_PX)
    points: list[tuple[_Coordinate, _Coordinate]] = Field(min_length=1)


_STROKES = TypeAdapter(Annotated[list[_Stroke], Field(min_length=1)])


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
        remedy, arguments = (
            "give one of {mask}, {mask_colour}, {box} and {brush}",
            ("mask", "mask_colour", "box", "brush"),
        )
        problem = f"what is missing is said in {len(given)} ways"
        raise UsageError(problem, remedy=remedy, arguments=arguments)
    way, value = given[0]
    return way(str(value))


def file_mask(file: Path | str) -> MaskOf:
    """White is missing, black is known; a DataError if the picture is not of the image's size."""
    picture = open_image(file)

    def mask(image: Image.Image) -> Mask:
        if picture.size != image.size:
            (width, height), size = picture.size, f"{image.height}x{image.width}"
            raise DataError(f"{file}: a mask of {height}x{width} pixels for an image of {size}; give one of that size")
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
    try:
        strokes = _STROKES.validate_json(Path(file).read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        such_as, fault = 'such as [{"radius": 4, "points": [[10, 10], [30, 12]]}]', error.errors()[0]
        where = "".join(f"{part}: " for part in fault["loc"])
        raise DataError(f"{file}: not a brush file, {such_as}: {where}{fault['msg']}") from None

    def mask(image: Image.Image) -> Mask:
        picture = Image.new("L", image.size)
        draw = ImageDraw.Draw(picture)
        for radius, points in ((stroke.radius, stroke.points) for stroke in strokes):
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
        recipe = model.config.data.recipe
        raise UsageError(f"what is missing is all outside of what the model sees; the recipe `{recipe}` cuts it off")
    return fitted
