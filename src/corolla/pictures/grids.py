"""Images -> pictures: grids and labelled sheets.

Images are uint8 RGB, N×H×W×3. Small ones are enlarged by a whole factor, so that a 64-pixel image can be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from corolla.errors import UsageError
from corolla.pixels import shown

INK, FAINT = (40, 44, 52), (150, 154, 160)
SHOWN_PX = 96
"""Images whose longer side is below this are enlarged until it is not."""
STAGE_PX = 160
FONT_PX, PADDING_PX = 15, 4


@dataclass(frozen=True)
class Row:
    """A row of a sheet: images k×H×W×3, a label on its left, captions below its images; faint where it matters less."""

    images: NDArray[np.uint8]
    label: str = ""
    captions: Sequence[str] = ()
    faint: bool = False


def enlarged(images: NDArray[np.uint8], shown_px: int = SHOWN_PX) -> NDArray[np.uint8]:
    """Images in 8-bit RGB, by the smallest whole factor that brings their longer side to `shown_px` or more."""
    images = shown(images)
    _, height, width, _ = images.shape
    factor = -(-shown_px // max(height, width))
    if factor <= 1:
        return images
    size = (width * factor, height * factor)
    parts = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images]
    return np.stack(parts) if parts else np.zeros((0, size[1], size[0], 3), np.uint8)


def grid(
    images: NDArray[np.uint8], columns: int | None = None, *, padding: int = PADDING_PX, shown_px: int = SHOWN_PX
) -> Image.Image:
    """Images N×H×W×C side by side, row after row; without `columns` in a grid that is about square."""
    if images.ndim != 4 or len(images) == 0:
        raise UsageError(f"images of shape {images.shape}: a grid needs N×H×W×C, with at least one image")
    columns = math.ceil(math.sqrt(len(images))) if columns is None else min(columns, len(images))
    if columns < 1:
        raise UsageError(f"{columns} columns: give at least 1")
    tiles = enlarged(images, shown_px)
    rows = -(-len(tiles) // columns)
    missing = rows * columns - len(tiles)
    padded = np.pad(tiles, ((0, missing), (padding, 0), (padding, 0), (0, 0)), constant_values=255)
    lines = padded.reshape(rows, columns, *padded.shape[1:]).swapaxes(1, 2)
    canvas = lines.reshape(rows * padded.shape[1], columns * padded.shape[2], 3)
    return Image.fromarray(np.pad(canvas, ((0, padding), (0, padding), (0, 0)), constant_values=255))


def sheet(rows: Sequence[Row], *, header: Sequence[str] = ()) -> Image.Image:
    """Rows of images under each other, with their labels and captions; `header` stands above the columns.

    All images have one size; rows may differ in length. A header's text may have several lines.
    """
    font = ImageFont.load_default(FONT_PX)
    tiles = [enlarged(row.images) for row in rows]
    tile_height, tile_width = tiles[0].shape[1:3]
    line_px = FONT_PX + 7
    label_width = max(math.ceil(font.getlength(row.label)) for row in rows)
    left = PADDING_PX + (label_width + 3 * PADDING_PX if label_width else 0)
    columns = max(len(row) for row in tiles)
    header_px = line_px * max((text.count("\n") + 1 for text in header), default=0)
    top = PADDING_PX + header_px
    heights = [tile_height + PADDING_PX + (line_px if row.captions else 0) for row in rows]
    picture = Image.new("RGB", (left + columns * (tile_width + PADDING_PX), top + sum(heights)), "white")
    draw = ImageDraw.Draw(picture)

    for column, text in enumerate(header):
        centre = left + column * (tile_width + PADDING_PX) + tile_width // 2
        for number, line in enumerate(text.split("\n")):
            draw.text((centre, PADDING_PX + (number + 0.5) * line_px), line, INK, font, anchor="mm")
    for row, images, height in zip(rows, tiles, heights, strict=True):
        colour = FAINT if row.faint else INK
        draw.text((left - 3 * PADDING_PX, top + tile_height // 2), row.label, colour, font, anchor="rm")
        for column, image in enumerate(images):
            x = left + column * (tile_width + PADDING_PX)
            picture.paste(Image.fromarray(image), (x, top))
            if column < len(row.captions):
                middle = (x + tile_width // 2, top + tile_height + line_px // 2)
                draw.text(middle, row.captions[column], colour, font, anchor="mm")
        top += height
    return picture


def stages_sheet(images: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """What each step of a recipe makes of images: a row for each, of labels and pictures, framed to one size."""
    rows = []
    for stages in images:
        captions = [f"{picture.height}x{picture.width}" for _, picture in stages]
        rows.append(Row(np.stack([_framed(picture) for _, picture in stages]), captions=captions))
    # A label over several lines: its name, then a line for each parameter.
    header = [label.replace(" ", "\n", 1).replace(", ", "\n") for label, _ in images[0]]
    return sheet(rows, header=header)


def _framed(picture: Image.Image) -> NDArray[np.uint8]:
    if max(picture.size) < STAGE_PX:
        factor = STAGE_PX // max(picture.size)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    square = (STAGE_PX, STAGE_PX)
    return np.asarray(ImageOps.pad(ImageOps.contain(picture, square), square, color="white"))
