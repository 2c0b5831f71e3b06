"""Images -> pictures: grids, labelled sheets and animations, and the files that hold them.

Images are uint8 RGB, N×H×W×3. Small ones are enlarged by a whole factor, so that a 64-pixel image can be looked at.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from corolla.errors import UsageError
from corolla.files import write_file
from corolla.pictures.video import encode_mp4

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (40, 44, 52)
FAINT: Colour = (150, 154, 160)
SHOWN_PX = 96
"""Images whose longer side is below this are enlarged until it is not."""
FONT_PX = 15

STILL_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MOVING_SUFFIXES = {".gif": "GIF", ".webp": "WEBP", ".mp4": "MP4"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 92, "subsampling": 0},
    "WEBP": {"quality": 90, "method": 4},
}


@dataclass(frozen=True)
class Row:
    """A row of a sheet: images k×H×W×3, a label on its left, captions below its images; faint where it matters less."""

    images: NDArray[np.uint8]
    label: str = ""
    captions: Sequence[str] = ()
    faint: bool = False


def enlarged(images: NDArray[np.uint8], shown_px: int = SHOWN_PX) -> NDArray[np.uint8]:
    """Images enlarged by the smallest whole factor that brings their longer side to `shown_px` or more."""
    _, height, width, _ = images.shape
    factor = -(-shown_px // max(height, width))
    if factor <= 1:
        return images
    size = (width * factor, height * factor)
    parts = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images]
    return np.stack(parts) if parts else np.zeros((0, size[1], size[0], 3), np.uint8)


def grid(
    images: NDArray[np.uint8],
    columns: int | None = None,
    *,
    padding: int = 4,
    background: Colour = WHITE,
    shown_px: int = SHOWN_PX,
) -> Image.Image:
    """Images N×H×W×3 side by side, row after row; without `columns` in a grid that is about square.

    Raises:
        UsageError: there are no images, or not that many columns can be made.
    """
    if images.ndim != 4 or images.shape[3] != 3 or len(images) == 0:
        raise UsageError(f"images of shape {images.shape}: a grid needs N×H×W×3, with at least one image")
    columns = math.ceil(math.sqrt(len(images))) if columns is None else min(columns, len(images))
    if columns < 1:
        raise UsageError(f"{columns} columns: give at least 1")
    tiles = enlarged(images, shown_px)
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1] + padding, tiles.shape[2] + padding
    canvas = np.empty((rows * height + padding, columns * width + padding, 3), np.uint8)
    canvas[:] = background
    for index, tile in enumerate(tiles):
        top, left = padding + index // columns * height, padding + index % columns * width
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Image.fromarray(canvas)


def sheet(
    rows: Sequence[Row], *, header: Sequence[str] = (), padding: int = 4, background: Colour = WHITE
) -> Image.Image:
    """Rows of images under each other, with their labels and captions; `header` stands above the columns.

    All images have one size; rows may differ in length. A header's text may have several lines.
    """
    font = ImageFont.load_default(FONT_PX)
    tiles = [enlarged(row.images) for row in rows]
    tile_height, tile_width = tiles[0].shape[1:3]
    line_px = FONT_PX + 7
    label_width = max(math.ceil(font.getlength(row.label)) for row in rows)
    left = padding + (label_width + 3 * padding if label_width else 0)
    columns = max(len(row) for row in tiles)
    header_px = line_px * max((text.count("\n") + 1 for text in header), default=0)
    top = padding + header_px
    heights = [tile_height + padding + (line_px if row.captions else 0) for row in rows]
    picture = Image.new("RGB", (left + columns * (tile_width + padding), top + sum(heights)), background)
    draw = ImageDraw.Draw(picture)

    for column, text in enumerate(header):
        centre = left + column * (tile_width + padding) + tile_width // 2
        for number, line in enumerate(text.split("\n")):
            draw.text((centre, padding + (number + 0.5) * line_px), line, INK, font, anchor="mm")
    for row, images, height in zip(rows, tiles, heights, strict=True):
        colour = FAINT if row.faint else INK
        draw.text((left - 3 * padding, top + tile_height // 2), row.label, colour, font, anchor="rm")
        for column, image in enumerate(images):
            x = left + column * (tile_width + padding)
            picture.paste(Image.fromarray(image), (x, top))
            if column < len(row.captions):
                place = (x + tile_width // 2, top + tile_height + line_px // 2)
                draw.text(place, row.captions[column], colour, font, anchor="mm")
        top += height
    return picture


def encode_picture(picture: Image.Image, kind: str) -> bytes:
    """The bytes of a PNG, JPEG or WEBP file."""
    content = io.BytesIO()
    picture.save(content, kind, **_OPTIONS[kind])
    return content.getvalue()


def encode_animation(frames: Sequence[Image.Image], kind: str, *, fps: float = 12.0) -> bytes:
    """The bytes of a GIF or WEBP file that shows the frames in an endless loop, or of an MP4 file.

    A GIF has 256 colours: they are chosen from all frames together, so that nothing flickers, and dithered with a fixed
    pattern, which neither crawls nor grows the file as error diffusion does.
    """
    if not frames:
        raise UsageError("no frames to animate")
    if kind == "MP4":
        return encode_mp4(frames, fps=fps)
    content = io.BytesIO()
    timing: dict[str, Any] = {"save_all": True, "duration": max(20, round(1000 / fps)), "loop": 0}
    if kind == "GIF":
        pictures = _with_one_palette(frames)
        pictures[0].save(content, kind, append_images=pictures[1:], optimize=False, disposal=1, **timing)
    else:
        frames[0].save(content, kind, append_images=list(frames[1:]), **timing, **_OPTIONS[kind])
    return content.getvalue()


def _with_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    stack = [np.asarray(frame.convert("RGB")) for frame in frames]
    height, width, _ = stack[0].shape
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in stack])
    chosen = pixels[np.linspace(0, len(pixels) - 1, 256 * 256).astype(int)]  # evenly, over all frames
    palette = Image.fromarray(chosen.reshape(256, 256, 3)).quantize(256, Image.Quantize.MEDIANCUT, kmeans=3)
    # Half a step or so between neighbours in a palette of 256 colours.
    pattern = 7.0 * np.tile(_bayer(8), (-(-height // 8), -(-width // 8)))[:height, :width, None]
    dithered = [np.clip(frame + pattern, 0, 255).astype(np.uint8) for frame in stack]
    return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in dithered]


def _bayer(side: int) -> NDArray[np.float64]:
    """The ordered-dither matrix of Bayer (1973) for a power of two, between -½ and ½."""
    matrix = np.zeros((1, 1))
    while len(matrix) < side:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / side**2 - 0.5


def check_name(path: Path | str, suffixes: Sequence[str]) -> str:
    """The suffix of a file to be written, in lower case. Raises UsageError if it is not one of those given."""
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise UsageError(f"{path}: pictures are written as {', '.join(suffixes)}; end the name in one of these")
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file")
    return suffix


def save_picture(path: Path | str, picture: Image.Image) -> None:
    """Write a picture; the suffix decides the format. Whole or not at all.

    Raises:
        UsageError: the suffix is not known.
        WriteError: the file cannot be written.
    """
    write_file(path, encode_picture(picture, STILL_SUFFIXES[check_name(path, list(STILL_SUFFIXES))]))


def save_animation(path: Path | str, frames: Sequence[Image.Image], *, fps: float = 12.0) -> None:
    """Write frames as an animated GIF or WebP, or as MP4 (extra `video`); the suffix decides. As `save_picture`."""
    write_file(path, encode_animation(frames, MOVING_SUFFIXES[check_name(path, list(MOVING_SUFFIXES))], fps=fps))


def save_npz(path: Path | str, **arrays: NDArray[Any]) -> None:
    """Write arrays by name as a compressed `.npz`. Whole or not at all.

    Raises:
        UsageError: the name does not end in .npz.
        WriteError: the file cannot be written.
    """
    check_npz(path)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_file(path, content.getvalue())


def check_npz(path: Path | str) -> None:
    """Raise UsageError if arrays cannot be written under this name."""
    if Path(path).suffix.lower() != ".npz":
        raise UsageError(f"{path}: arrays are written as .npz; end the name in .npz")
