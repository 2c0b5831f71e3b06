"""The nearest of embedded images to an image, by the Euclidean distance of their codes, exactly."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.features.files import feature_blocks, read_fingerprint
from corolla.errors import DataError, ModelError, UsageError
from corolla.metrics.neighbours import nearest
from corolla.pictures.grids import Row, sheet
from corolla.pixels import to_uint8
from corolla.trained import Images, TrainedModel

SHEET_COLUMNS = 9


@dataclass(frozen=True, eq=False)
class Found:
    """An embedded image near to the one that was asked for: its name, its distance, and the mean of its code."""

    path: str
    distance: float
    mean: NDArray[np.float32]


def nearest_images(model: TrainedModel, image: Images, features: Path | str, k: int = 8) -> list[Found]:
    """The k embedded images whose codes are nearest to an image's, the nearest first; fewer if there are fewer.

    Distances are Euclidean between means of q(z|x), with all latents as they are. The file is read some rows at a time.
    Of equal distances the earlier row comes first.

    Args:
        model: The model that the features were made with.
        image: One image, as `TrainedModel` takes them.
        features: What `corolla embed` wrote.
        k: How many.

    Raises:
        UsageError: k is below 1, there is not one image, or the file is of no known kind.
        ModelError: The features were made with another model.
        DataError: The image or the file cannot be read.
    """
    if k < 1:
        raise UsageError(f"{k} nearest images: ask for at least 1")
    check_model(model, features)
    query = model.encode(image)
    if len(query) != 1:
        raise UsageError(f"{len(query)} images: give one, to which the nearest are looked for")
    best: list[tuple[float, int, Found]] = []
    first = 0
    for block in feature_blocks(features):
        if block.means.shape[1] != model.latent_dim:
            raise DataError(
                f"{features}: has {block.means.shape[1]} latents, but its model {model.latent_dim}; altered"
            )
        if not np.isfinite(block.means).all():
            raise DataError(f"{features}: holds codes that are not finite; make it anew with `corolla embed`")
        near = nearest(query, block.means, min(k, len(block.means)))
        for index, distance in zip(near.indices[0], near.distances[0], strict=True):
            found = Found(block.paths[index], float(distance), block.means[index].copy())
            best.append((float(distance), first + int(index), found))
        best = heapq.nsmallest(k, best, key=lambda item: item[:2])
        first += len(block.paths)
    return [found for _, _, found in best]


def check_model(model: TrainedModel, features: Path | str) -> None:
    """Raise ModelError if features were made with another model."""
    theirs, own = read_fingerprint(features), model.card.weights_sha256
    if theirs != own:
        this = f"{model.path or 'this one'} is {own[:16] or 'not saved'}"
        raise ModelError(
            f"{features}: made with the model {theirs[:16]}, but {this}; give the model that it was made "
            "with, or embed the images anew"
        )


def search_sheet(model: TrainedModel, image: Images, found: list[Found]) -> tuple[Image.Image, list[str]]:
    """The image and then the nearest, each with its distance; and the names of those that are no files here any more.

    Of these, and of members of archives, the picture is what the model decodes from the code; its caption says so.
    """
    tiles, captions, decoded = [model.pixels(image)[0]], ["query"], []
    for one in found:
        try:
            tiles.append(model.pixels(one.path)[0])
            captions.append(f"{one.distance:.2f}")
        except DataError:
            tiles.append(model.decode(one.mean)[0])
            captions.append(f"{one.distance:.2f}, code")
            decoded.append(one.path)
    pixels = np.stack([to_uint8(tile) for tile in tiles])
    starts = range(0, len(tiles), SHEET_COLUMNS)
    parts = [slice(start, start + SHEET_COLUMNS) for start in starts]
    return sheet([Row(pixels[part], captions=captions[part]) for part in parts]), decoded
