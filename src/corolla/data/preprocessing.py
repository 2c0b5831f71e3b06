"""How images become pixels: one value that a cache, a model and every use of it share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from corolla.config import DataConfig
from corolla.data.images import picture_of
from corolla.data.levels import Levels, Reading, in_format
from corolla.data.recipes import Recipe, recipe_named
from corolla.pixels import RGB8, PixelFormat


@dataclass(frozen=True)
class Preprocessing:
    """From a picture of any size and format to height×width×channels.

    Attributes:
        recipe: The steps.
        height: Of the result, in pixels.
        width: Likewise.
        pixels: Channels and bits of the result.
        reading: How files are read.
    """

    recipe: Recipe
    height: int
    width: int
    pixels: PixelFormat = RGB8
    reading: Reading = field(default_factory=Reading)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return self.height, self.width, self.pixels.channels

    @property
    def at_least_px(self) -> int | None:
        """How long the short side of a picture must at least stay when it is decoded at reduced scale."""
        return self.recipe.decode_at_least_px(self.height, self.width)

    @property
    def nbytes(self) -> int:
        """Bytes that one image takes."""
        return self.height * self.width * self.pixels.channels * self.pixels.bits // 8

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the pixels beside the picture, as JSON can hold it."""
        return {
            "recipe_digest": self.recipe.digest,
            "height": self.height,
            "width": self.width,
            "channels": self.pixels.channels,
            "bits": self.pixels.bits,
            "reading": asdict(self.reading),
        }

    def apply(self, picture: Levels | Image.Image) -> Levels:
        """An upright picture's pixels. Raises DataError where it cannot be used; see `Recipe.apply`."""
        if isinstance(picture, Image.Image):
            picture = picture_of(picture, reading=self.reading)
        return self.recipe.apply(in_format(picture, self.pixels), self.height, self.width)


def preprocessing(data: DataConfig, pixels: PixelFormat | None = None) -> Preprocessing:
    """That of a configuration; `pixels` stand for what it leaves open. Raises UsageError as `recipe_named`."""
    reading = Reading(
        white=data.white,
        icc=data.icc,
        truncated=data.truncated,
        page=data.page,
        max_pixels=data.max_pixels,
    )
    return Preprocessing(recipe_named(data.recipe), *data.size, pixels or data.pixel_format, reading)
