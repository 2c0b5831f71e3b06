"""Results of `generate` -> pictures that explain themselves: labelled sheets, and the frames of animations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from corolla.gallery.generation import Interpolation, Traversal
from corolla.pictures.grids import Row, grid, sheet

if TYPE_CHECKING:
    from corolla.evaluation.reconstructions import Reconstruction
    from corolla.gallery.directions import Moved

PANEL_COLUMNS = 5
MOVING_PX = 256
"""The side, or a little more, at which a single moving image is shown."""


def reconstruction_sheet(result: Reconstruction, *, columns: int = 8) -> Image.Image:
    """Originals above what came back, with the PSNR under each pair."""
    rows = []
    for start in range(0, len(result.images), columns):
        part = slice(start, start + columns)
        rows.append(Row(result.originals[part], "original"))
        rows.append(
            Row(result.images[part], "through the model", [f"{value:.1f} dB" for value in result.psnr_db[part]])
        )
    return sheet(rows)


def latent_label(result: Traversal, index: int) -> str:
    """What to write beside a latent of a traversal: its number and how much it carries."""
    kl_nats = result.kl_nats[index]
    if math.isnan(kl_nats):
        return f"latent {result.latents[index]}"
    return f"latent {result.latents[index]} · {'dead' if result.dead[index] else f'{kl_nats:.2f} nats'}"


def traversal_sheet(result: Traversal) -> Image.Image:
    """A row for each latent; the header gives its position in standard deviations of the prior."""
    rows = [
        Row(images, latent_label(result, index), faint=bool(result.dead[index]))
        for index, images in enumerate(result.images)
    ]
    return sheet(rows, header=[f"{value:+.2g} sd" if value else "0" for value in result.values])


def traversal_frames(result: Traversal) -> list[Image.Image]:
    """A panel with one tile for each latent, as each moves through the traversal's positions."""
    count = len(result.latents)
    columns = min(count, PANEL_COLUMNS)
    captions = [latent_label(result, index) for index in range(count)]
    frames = []
    for step in range(len(result.values)):
        tiles = result.images[:, step]
        rows = [
            Row(tiles[start : start + columns], captions=captions[start : start + columns])
            for start in range(0, count, columns)
        ]
        frames.append(sheet(rows))
    return frames


def interpolation_sheet(result: Interpolation) -> Image.Image:
    """A row from each endpoint to the next."""
    images = np.concatenate([result.images, result.images[:1]]) if result.loop else result.images
    stride = result.steps - 1
    starts = range(0, len(images) - 1, stride)
    return grid(np.concatenate([images[start : start + stride + 1] for start in starts]), columns=result.steps)


def interpolation_frames(result: Interpolation) -> list[Image.Image]:
    """One frame for each image of the walk; without a loop it walks back as well."""
    frames = [grid(image[None], padding=0, shown_px=MOVING_PX) for image in result.images]
    return frames if result.loop else frames + frames[-2:0:-1]


def direction_sheet(result: Moved) -> Image.Image:
    """A row for each image; the header gives how far it was moved, in standard deviations along the direction."""
    header = [f"{value:+.3g} sd" if abs(value) > 1e-9 else "0" for value in result.shifts]
    return sheet([Row(images) for images in result.images], header=header)
