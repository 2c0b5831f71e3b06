"""Latents -> a poster of any size: a grid of images that fills it, made and written a row of tiles at a time."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from corolla.distributions import LatentDistribution
from corolla.distributions.priors import GaussianPrior, StandardPrior
from corolla.errors import UsageError
from corolla.files import replacing, writing
from corolla.pictures.files import STILL_SUFFIXES, check_name, save_picture
from corolla.pixels import shown
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel

TILE_PX = 128  # the width of a tile, or about that, unless columns are given
LARGEST_PX = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383, ".png": 2**31 - 1}  # the longest side of a format
LARGEST_SPAN = 30  # in tiles: the noise whose edge is cut off takes memory by its square
MOST_IMAGES = 1_000_000  # their latents are in memory at once
LARGEST_STRIP_PX = 1 << 28  # a row of tiles is in memory at once


@dataclass(frozen=True)
class Layout:
    """A poster's size in pixels, and how many tiles share it; tiles differ by a pixel where they must."""

    width: int
    height: int
    columns: int
    rows: int


def poster_latents(
    model: TrainedModel, layout: Layout, *, span: float, seed: int, temperature: float, prior: str | LatentDistribution
) -> NDArray[np.float32]:
    """Latents for a poster, row after row: what `sample_latents` gives, or with a span those of `smooth_noise`.

    Raises as `sample_latents`, and UsageError for a span with a prior that is no Gaussian.
    """
    count = layout.rows * layout.columns
    if not span:
        return model.sample_latents(count, seed=seed, temperature=temperature, prior=prior)
    noise = smooth_noise(layout.rows, layout.columns, model.latent_dim, span=span, seed=seed)
    latents = temperature * noise.reshape(count, -1)
    drawn = model.prior(prior) if isinstance(prior, str) else prior
    if isinstance(drawn, GaussianPrior):
        return drawn.unwhiten(torch.from_numpy(latents)).float().numpy()
    if not isinstance(drawn, StandardPrior):
        raise UsageError("a span needs the prior standard or gaussian, or a theme; leave it out, or take one of these")
    return latents


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a text such as 3000x2000. Raises UsageError if it is not such."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*[x×]\s*(\d{1,9})\s*", text)
    if match is None or not (int(match[1]) and int(match[2])):
        raise UsageError(f"size {text!r}: give WIDTHxHEIGHT in pixels, as 3000x2000")
    return int(match[1]), int(match[2])


def plan(width: int, height: int, tile: tuple[int, int], columns: int | None = None) -> Layout:
    """A grid whose tiles are shaped as nearly as can be as the images, height×width `tile`.

    Raises UsageError for no columns, more than pixels, or more or larger images than fit into memory.
    """
    columns = max(1, round(width / TILE_PX)) if columns is None else columns
    if not 1 <= columns <= width:
        raise UsageError(f"{columns} columns on {width} pixels: give 1 to {width}")
    rows = min(height, max(1, round(height * columns * tile[1] / (width * tile[0]))))
    if rows * columns > MOST_IMAGES:
        raise UsageError(f"{rows * columns} images on {width}x{height} pixels: give fewer columns, or a smaller size")
    if width * -(-height // rows) > LARGEST_STRIP_PX:
        raise UsageError(f"{columns} columns on {width}x{height} pixels: give more columns, or a smaller size")
    return Layout(width, height, columns, rows)


def smooth_noise(
    rows: int, columns: int, latent_dim: int, *, span: float, seed: int | np.random.Generator = 0
) -> NDArray[np.float32]:
    """A field of noise, rows×columns×latent_dim, in which every place is N(0, I) and neighbours are alike.

    White noise under a Gaussian filter of the standard deviation `span`, in tiles, whose squared weights sum to 1, on a
    larger field whose edge is cut off: two places that are r tiles apart have the correlation exp(-r²/(4·span²)), but
    for the filter's cut at 4 spans. At 0 the noise stays white; above LARGEST_SPAN there is a UsageError.
    """
    if not 0 <= span <= LARGEST_SPAN:
        raise UsageError(f"span {span:g}: give 0 to {LARGEST_SPAN} tiles")
    margin = int(4 * span + 0.5)  # as far as the filter goes
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((rows + 2 * margin, columns + 2 * margin, latent_dim), np.float32)
    if margin == 0:
        return white
    weights = gaussian_filter(np.eye(1, 2 * margin + 1, margin)[0], span)
    smooth = gaussian_filter(white, span, axes=(0, 1)) / float(np.sum(weights**2))  # √ of it for each of two axes
    return np.asarray(smooth[margin : margin + rows, margin : margin + columns].astype(np.float32))


def strips(
    layout: Layout,
    latents: NDArray[np.float32],
    decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
    progress: OnProgress | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """The poster from top to bottom, a row of tiles at a time, of latents row after row: uint8, height×width×3.

    Tiles are scaled by Lanczos' filter until they cover their place, and what juts out is cut off on both sides.
    """
    across = np.arange(layout.columns + 1) * layout.width // layout.columns
    down = np.arange(layout.rows + 1) * layout.height // layout.rows
    for row in range(layout.rows):
        steps_of(progress, "painting rows", layout.rows)(row)
        points = latents[row * layout.columns : (row + 1) * layout.columns]
        height = int(down[row + 1] - down[row])
        strip = np.empty((height, layout.width, 3), np.uint8)
        for column, image in enumerate(decode(points)):
            left, right = int(across[column]), int(across[column + 1])
            tile = Image.fromarray(shown(image))
            if tile.size != (right - left, height):
                tile = ImageOps.fit(tile, (right - left, height), Image.Resampling.LANCZOS)
            strip[:, left:right] = np.asarray(tile)
        yield strip


def check_poster(path: Path | str, width: int, height: int) -> str:
    """The suffix of a poster to be written. Raises UsageError for a name or size that its format does not have."""
    suffix = check_name(path, list(STILL_SUFFIXES))
    if max(width, height) > (most := LARGEST_PX[suffix]):
        raise UsageError(f"size {width}x{height}: {suffix} goes to {most} pixels a side; write a .png, or less")
    return suffix


def save_poster(path: Path | str, layout: Layout, parts: Iterable[NDArray[np.uint8]]) -> None:
    """Write a poster whose strips come one by one. Whole or not at all.

    A PNG is written as it comes, so that memory holds one strip; other formats hold the whole picture. Raises as
    `check_poster`, and WriteError.
    """
    if check_poster(path, layout.width, layout.height) != ".png":
        save_picture(path, Image.fromarray(np.concatenate(list(parts))))
        return
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.writelines(_png(layout.width, layout.height, parts))


def _png(width: int, height: int, parts: Iterable[NDArray[np.uint8]]) -> Iterator[bytes]:
    """An 8-bit RGB PNG (ISO/IEC 15948) piece by piece, each line as its differences from the pixel on the left."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    packer = zlib.compressobj()
    for strip in parts:
        lines = np.ones((len(strip), 1 + 3 * width), np.uint8)  # the first byte of a line: the filter type Sub
        lines[:, 1:] = strip.reshape(len(strip), -1)
        lines[:, 4:] -= strip[:, :-1].reshape(len(strip), -1)  # modulo 256, as uint8 is
        yield chunk(b"IDAT", packer.compress(lines.tobytes()))
    yield chunk(b"IDAT", packer.flush()) + chunk(b"IEND", b"")
