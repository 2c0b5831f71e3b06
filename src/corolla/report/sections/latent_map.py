"""Codes -> a map: each image as near to the position of its code as there is room."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA

from corolla.pixels import shown
from corolla.report.embedding import still
from corolla.report.subject import Section, Subject

COLUMNS, COLUMNS_ON_PHONES = 20, 11
TILE_PX = 48
NEIGHBOURHOOD = 30
"""Neighbours that t-SNE keeps together, its perplexity."""
COLOURS = ("#e0559a", "#2f9e8a", "#e08a1e", "#5b7fe0", "#b8b000", "#9b59d0", "#c0503a", "#4aa3c7")
"""Of the labels with most images, in the middle of lightness, so that they show on white and on black."""


def latent_map(subject: Subject) -> Section | None:
    """A fine map, a coarse one for narrow screens, and a legend; None if there are fewer than three codes."""
    if len(subject.codes) < 3:
        return None
    points, text = project(subject.codes, seed=subject.seed)
    images = subject.returned.originals
    colours, legend, unmarked = _colours(subject)
    height, width = images.shape[1:3]
    drawn: list[Any] = []
    for most in (COLUMNS, COLUMNS_ON_PHONES):
        # Fewer cells than images, or the map would be mostly holes; a little wider than high.
        columns = min(most, max(2, math.ceil(math.sqrt(2 * len(images)))))
        rows = max(2, round(0.7 * columns * width / height))
        picture = draw(settle(points, columns, rows), images, colours)
        drawn.append(still(picture, "A map of codes: images with similar codes are close to each other"))
    values = dict(zip(("fine", "coarse"), drawn, strict=True))
    values |= {"projection": text, "legend": legend, "unmarked_labels": unmarked}
    return Section("map", "A map of the codes", "map.html.j2", values)


def _colours(subject: Subject) -> tuple[list[str | None], list[tuple[str, str]], int]:
    """A colour for each image whose label is among the most frequent, the legend, and how many labels have none."""
    cache = subject.cache
    none: list[str | None] = [None] * len(subject.held_out)
    if cache.labels is None or not len(cache.label_names):
        return none, [], 0
    labels = cache.labels[subject.held_out]
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(present) < 2:
        return none, [], 0
    frequent = np.sort(present[np.argsort(-counts, kind="stable")][: len(COLOURS)])
    by_label = dict(zip(frequent.tolist(), COLOURS, strict=False))
    legend = [(str(cache.label_names[label]), colour) for label, colour in by_label.items()]
    return [by_label.get(int(label)) for label in labels], legend, len(present) - len(frequent)


def project(codes: NDArray[np.float32], *, seed: int = 0) -> tuple[NDArray[np.float64], str]:
    """Codes on a plane, N×2, and in words how they came there.

    By t-SNE where the extra `maps` is installed and there are codes enough; else by principal components.
    """
    if find_spec("openTSNE") is None or len(codes) <= 3 * NEIGHBOURHOOD or codes.shape[1] <= 2:
        return principal_plane(codes)
    from openTSNE import TSNE

    embedding = TSNE(perplexity=NEIGHBOURHOOD, initialization="pca", random_state=seed, n_jobs=1).fit(codes)
    text = "t-SNE made it: neighbours stay neighbours, while far distances and directions mean nothing."
    return np.asarray(embedding, np.float64), text


def principal_plane(codes: NDArray[np.float32]) -> tuple[NDArray[np.float64], str]:
    """The two directions in which the codes vary most; each points to where its largest weight is positive."""
    points = np.zeros((len(codes), 2))
    pca = PCA(min(2, codes.shape[1]), svd_solver="full")
    with np.errstate(invalid="ignore"):  # codes that are all the same
        points[:, : pca.n_components] = pca.fit_transform(codes.astype(np.float64))
    share = np.nan_to_num(pca.explained_variance_ratio_.sum(), nan=1.0)
    return points, f"The two directions of most variance span it; they hold {share:.0%} of all."


def settle(points: NDArray[np.float64], columns: int, rows: int) -> NDArray[np.int64]:
    """The index of the point in each cell of a grid over the points, rows×columns; -1 where there is none.

    Of several points in a cell, the one closest to its centre. Outliers beyond 2% on each side are moved to the edge.
    """
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    position = (np.clip(points, low, high) - low) / np.where(high > low, high - low, 1) * [columns, rows]
    position[:, 1] = rows - position[:, 1]  # up is larger
    cell = np.clip(position.astype(np.int64), 0, [columns - 1, rows - 1])
    distance = ((position - cell - 0.5) ** 2).sum(1)
    grid = np.full((rows, columns), -1)
    for index in np.argsort(-distance, kind="stable"):  # so that the closest comes last
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
        picture, inset = Image.fromarray(shown(images[index])), 0
        if (colour := colours[index]) is not None:
            canvas.paste(Image.new("RGB", (tile_width, tile_height), colour), corner)
            inset = border
        size = (max(1, tile_width - 2 * inset), max(1, tile_height - 2 * inset))
        canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (corner[0] + inset, corner[1] + inset))
    return canvas
