"""Codes -> a map: each image stands as near to the place of its code as there is room."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.pictures.grids import encode_picture
from corolla.report.elements import data_uri, figure, paragraph, section
from corolla.report.subject import Subject

COLUMNS, COLUMNS_ON_PHONES = 20, 11
TILE_PX = 48
NEIGHBOURHOOD = 30
"""Neighbours that t-SNE keeps together, its perplexity."""
COLOURS = ("#e0559a", "#2f9e8a", "#e08a1e", "#5b7fe0", "#b8b000", "#9b59d0", "#c0503a", "#4aa3c7")
"""Of the labels with most images, in the middle of lightness, so that they show on white and on black."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Codes on a plane, N×2, and how they came there, in words."""

    points: NDArray[np.float64]
    text: str


def project(codes: NDArray[np.float32], *, seed: int = 0) -> Projection:
    """By t-SNE where the extra `maps` is installed and there are codes enough; else by principal components."""
    if find_spec("openTSNE") is not None and len(codes) > 3 * NEIGHBOURHOOD and codes.shape[1] > 2:
        return _embedded(codes, seed)
    return principal_plane(codes)


def principal_plane(codes: NDArray[np.float32]) -> Projection:
    """The two directions in which the codes vary most; each points to where its largest weight is positive."""
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    points = np.zeros((len(codes), 2))
    points[:, : len(axes)] = centred @ axes.T
    total = float((lengths**2).sum())
    share = float((lengths[:2] ** 2).sum()) / total if total > 0 else 1.0
    return Projection(points, f"The two directions of most variance span it; they hold {share:.0%} of all.")


def _embedded(codes: NDArray[np.float32], seed: int) -> Projection:
    from openTSNE import TSNE

    found = TSNE(perplexity=NEIGHBOURHOOD, initialization="pca", random_state=seed, n_jobs=1).fit(codes)
    text = "t-SNE made it: neighbours stay neighbours, while far distances and directions mean nothing."
    return Projection(np.asarray(found, np.float64), text)


def settle(points: NDArray[np.float64], columns: int, rows: int) -> NDArray[np.int64]:
    """Which point stands in each cell of a grid over the points, rows×columns; -1 where none does.

    Of the points of a cell, the one closest to its centre. Outliers beyond 2% on each side stand at the edge.
    """
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    place = (np.clip(points, low, high) - low) / np.where(high > low, high - low, 1) * [columns, rows]
    place[:, 1] = rows - place[:, 1]  # up is larger
    cell = np.clip(place.astype(np.int64), 0, [columns - 1, rows - 1])
    away = ((place - cell - 0.5) ** 2).sum(1)
    grid = np.full((rows, columns), -1)
    for index in np.argsort(-away, kind="stable"):  # so that the closest comes last
        grid[cell[index, 1], cell[index, 0]] = index
    return grid


def draw(
    grid: NDArray[np.int64], images: NDArray[np.uint8], colours: list[str | None], tile_px: int = TILE_PX
) -> Image.Image:
    """The images of a grid's cells, with borders of their colours; transparent where a cell is empty."""
    height, width = images.shape[1:3]
    scale = tile_px / max(height, width)
    tile_height, tile_width = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = grid.shape
    gap, border = 2, 3
    canvas = Image.new("RGBA", (columns * (tile_width + gap), rows * (tile_height + gap)), (0, 0, 0, 0))
    for row, column in zip(*np.nonzero(grid >= 0), strict=True):
        index = grid[row, column]
        corner = int(column) * (tile_width + gap), int(row) * (tile_height + gap)
        picture, inset = Image.fromarray(images[index]), 0
        if (colour := colours[index]) is not None:
            canvas.paste(Image.new("RGB", (tile_width, tile_height), colour), corner)
            inset = border
        size = (max(1, tile_width - 2 * inset), max(1, tile_height - 2 * inset))
        canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (corner[0] + inset, corner[1] + inset))
    return canvas


def latent_map(subject: Subject) -> str:
    """The section: a fine map, a coarse one for narrow screens, and a legend if there are labels."""
    if len(subject.codes) < 3:
        return ""
    projection = project(subject.codes, seed=subject.seed)
    images = subject.returned.originals
    colours, legend = _labelled(subject)
    height, width = images.shape[1:3]
    drawn = []
    for columns in (COLUMNS, COLUMNS_ON_PHONES):
        # Fewer cells than images, or the map would be mostly holes; a little wider than high.
        columns = min(columns, max(2, math.ceil(math.sqrt(2 * len(images)))))
        rows = max(2, round(0.7 * columns * width / height))
        drawn.append(draw(settle(projection.points, columns, rows), images, colours))
    fine, coarse = drawn
    label = "A map of codes: images with similar codes stand close to each other"
    narrow = f'<source media="(max-width: 40rem)" srcset="{data_uri(encode_picture(coarse, "WEBP"))}">'
    picture = f'<picture>{narrow}<img alt="{label}" src="{data_uri(encode_picture(fine, "WEBP"))}"></picture>'
    text = (
        f"Images that were kept aside, each at the place of its code; where two want one place, one is left out. "
        f"{projection.text} In a good space neighbours look alike, and one kind of image turns into the next without "
        "a gap."
    )
    return section("map", "A map of the codes", paragraph(text), f'<div class="map">{figure(picture)}{legend}</div>\n')


def _labelled(subject: Subject) -> tuple[list[str | None], str]:
    """A colour for each image whose label is among the most frequent, and the legend."""
    cache = subject.cache
    nothing: list[str | None] = [None] * len(subject.held_out)
    if cache.labels is None or not len(cache.label_names):
        return nothing, ""
    labels = cache.labels[subject.held_out]
    known, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(known) < 2:
        return nothing, ""
    frequent = np.sort(known[np.argsort(-counts, kind="stable")][: len(COLOURS)])
    by_label = dict(zip(frequent.tolist(), COLOURS, strict=False))
    entries = "".join(
        f'<li><i style="background:{colour}"></i>{escape(str(cache.label_names[label]))}</li>'
        for label, colour in by_label.items()
    )
    if len(known) > len(frequent):
        entries += f'<li class="soft">and {len(known) - len(frequent)} more without a border</li>'
    return [by_label.get(int(label)) for label in labels], f'<ul class="legend">{entries}</ul>'
