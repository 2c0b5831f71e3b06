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
MOVING_PX = 256  # the side, or a little more, at which a single moving image is shown


def reconstruction_sheet(result: Reconstruction, *, columns: int = 8) -> Image.Image:
    """Originals above what came back, with the PSNR under each pair."""
    rows = []
    for start in range(0, len(result.images), columns):
        part = slice(start, start + columns)
        captions = [f"{value:.1f} dB" for value in result.psnr_db[part]]
        rows += [Row(result.originals[part], "original"), Row(result.images[part], "through the model", captions)]
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
    captions = [latent_label(result, index) for index in range(len(result.latents))]
    parts = [slice(start, start + PANEL_COLUMNS) for start in range(0, len(captions), PANEL_COLUMNS)]
    steps = result.images.swapaxes(0, 1)
    return [sheet([Row(tiles[part], captions=captions[part]) for part in parts]) for tiles in steps]


def interpolation_sheet(result: Interpolation) -> Image.Image:
    """A row from each endpoint to the next."""
    images = np.concatenate([result.images, result.images[: int(result.loop)]])
    starts = range(0, len(images) - 1, result.steps - 1)
    return grid(np.concatenate([images[start : start + result.steps] for start in starts]), columns=result.steps)


def interpolation_frames(result: Interpolation) -> list[Image.Image]:
    """One frame for each image of the walk; without a loop it walks back as well."""
    frames = [grid(image[None], padding=0, shown_px=MOVING_PX) for image in result.images]
    return frames if result.loop else frames + frames[-2:0:-1]


def direction_sheet(result: Moved) -> Image.Image:
    """A row for each image; the header gives how far it was moved, in standard deviations along the direction."""
    header = [f"{value:+.3g} sd" if abs(value) > 1e-9 else "0" for value in result.shifts]
    return sheet([Row(images) for images in result.images], header=header)
