"""What each step of a recipe makes of some images, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from corolla.pictures.grids import Row, sheet

_SHOWN_PX = 160


def stages_sheet(images: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """A row for each image: its stages, each a label and a picture, framed in white so that all have one size."""
    rows = []
    for stages in images:
        captions = [f"{picture.height}x{picture.width}" for _, picture in stages]
        rows.append(Row(np.stack([_framed(picture) for _, picture in stages]), captions=captions))
    # A label over several lines: its name, then a line for each parameter.
    header = [label.replace(" ", "\n", 1).replace(", ", "\n") for label, _ in images[0]]
    return sheet(rows, header=header)


def _framed(picture: Image.Image) -> NDArray[np.uint8]:
    if max(picture.size) < _SHOWN_PX:
        factor = _SHOWN_PX // max(picture.size)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    square = (_SHOWN_PX, _SHOWN_PX)
    return np.asarray(ImageOps.pad(ImageOps.contain(picture, square), square, color="white"))
