"""The nearest of embedded images to an image, by the Euclidean distance of their codes, exactly."""

from __future__ import annotations

import heapq
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.features.files import feature_blocks, read_fingerprint
from corolla.errors import DataError, ModelError, UsageError
from corolla.metrics.neighbours import nearest
from corolla.pictures.grids import Row, sheet
from corolla.trained import Images, TrainedModel
from corolla.trained.likeness import warn_if_unlike

SHEET_COLUMNS = 9


@dataclass(frozen=True, eq=False)
class Found:
    """An embedded image near to the one that was asked for: its name, its distance, and the mean of its code."""

    path: str
    distance: float
    mean: NDArray[np.float32]


def nearest_images(model: TrainedModel, image: Images, features: Path | str, k: int = 8) -> list[Found]:
    """The k embedded images whose codes are nearest to an image's, the nearest first; fewer if there are fewer.

    Distances are Euclidean between means of q(z|x). The file, which `corolla embed` wrote, is read some rows at a time.
    Of equal distances the earlier row comes first. An image that was embedded from the same file is not among them.

    Raises UsageError if k is below 1 or there is not one image, ModelError if the features were made with another
    model; also as `read_features` and `TrainedModel.encode`.
    """
    if k < 1:
        raise UsageError(f"{k} nearest images: ask for at least 1")
    theirs, own = read_fingerprint(features), model.card.weights_sha256
    if theirs != own:
        this = f"{model.path or 'this one'} is {own[:16] or 'not saved'}"
        remedy = "give the model that it was made with, or embed the images again"
        raise ModelError(f"{features}: made with the model {theirs[:16]}, but {this}; {remedy}")
    pixels = model.pixels(image)
    warn_if_unlike(model, pixels)
    query = model.encode(pixels)
    if len(query) != 1:
        raise UsageError(f"{len(query)} images: give one, to which the nearest are looked for")
    best: list[tuple[float, int, Found]] = []  # and the row, by which equal distances are ordered
    first = 0
    for block in feature_blocks(features):
        if block.means.shape[1] != model.latent_dim or not np.isfinite(block.means).all():
            raise DataError(f"{features}: holds no codes of its model; make it again with `corolla embed`")
        near = nearest(query, block.means, min(k + 1, len(block.means)))
        for index, distance in zip(near.indices[0].tolist(), near.distances[0].tolist(), strict=True):
            with suppress(OSError):  # of a member of an archive, or a file that is no longer there
                if isinstance(image, str | Path) and Path(image).samefile(block.paths[index]):
                    continue
            best.append((distance, first + index, Found(block.paths[index], distance, block.means[index].copy())))
        best = heapq.nsmallest(k, best, key=lambda item: item[:2])
        first += len(block.paths)
    return [found for _, _, found in best]


def search_sheet(model: TrainedModel, image: Images, found: list[Found]) -> tuple[Image.Image, list[str]]:
    """The image and then the nearest, each with its distance; and the names of those that are no files here any more.

    Of these, and of members of archives, the picture is what the model decodes from the code; its caption says so.
    """
    tiles, captions, decoded = [model.levels(image)[0]], ["query"], []
    for one in found:
        try:
            tiles.append(model.levels(one.path)[0])
            captions.append(f"{one.distance:.2f}")
        except DataError:
            tiles.append(model.decode(one.mean)[0])
            captions.append(f"{one.distance:.2f}, code")
            decoded.append(one.path)
    pixels = np.stack(tiles)
    rows = (slice(start, start + SHEET_COLUMNS) for start in range(0, len(tiles), SHEET_COLUMNS))
    return sheet([Row(pixels[row], captions=captions[row]) for row in rows]), decoded
