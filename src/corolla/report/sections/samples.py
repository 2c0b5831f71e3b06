"""Samples from each prior, beside the training images that they resemble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from corolla.metrics import nearest
from corolla.models.priors import fitted_prior_names
from corolla.report.embedding import Picture, image
from corolla.report.subject import Subject

SAMPLES, SAMPLES_OF_FITTED = 12, 6
NEIGHBOURS = 3
_COMPARED_PX = 16
_CHUNK = 1024


@dataclass(frozen=True)
class Sample:
    """An image that the model made, and the training images closest to it."""

    picture: Picture
    closest: list[Picture]


@dataclass(frozen=True)
class Samples:
    """Samples by prior; how long a code is, and whether codes are points without a prior to follow."""

    anchor: ClassVar[str] = "samples"
    title: ClassVar[str] = "New images, and the closest it has seen"
    template: ClassVar[str] = "samples.html.j2"
    by_prior: dict[str, list[Sample]]
    latent_dim: int
    has_points: bool


def samples(subject: Subject) -> Samples:
    """Samples from each prior that the model has."""
    by_prior = {}
    for prior in _priors(subject):
        count = SAMPLES if prior == "standard" else SAMPLES_OF_FITTED
        drawn = subject.model.sample(count, seed=subject.seed, prior=prior)
        by_prior[prior] = [
            Sample(
                image(sample, f"sample {number}"),
                [image(other, f"training image close to sample {number}") for other in near],
            )
            for number, (sample, near) in enumerate(zip(drawn, closest_training(subject, drawn), strict=True), 1)
        ]
    return Samples(by_prior, subject.model.latent_dim, subject.has_points)


def _priors(subject: Subject) -> Iterator[str]:
    yield "standard"
    for name in fitted_prior_names():
        if subject.model.has_prior(name) and (name != "flow" or find_spec("zuko") is not None):
            yield name


def closest_training(subject: Subject, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The training images closest to each image by downsampled pixels, n×k×H×W×3; a chunk is in memory at a time."""
    k = min(NEIGHBOURS, len(subject.training))
    parts = np.array_split(subject.training, -(-len(subject.training) // _CHUNK))
    queries = _downsampled(images)
    closest, distances = np.empty((len(images), 0), np.int64), np.empty((len(images), 0))
    for rows in parts:
        found = nearest(queries, _downsampled(subject.cache.images[rows]), min(k, len(rows)))
        closest = np.concatenate([closest, rows[found.indices]], axis=1)
        distances = np.concatenate([distances, found.distances], axis=1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :k]
        closest, distances = np.take_along_axis(closest, best, 1), np.take_along_axis(distances, best, 1)
    return np.asarray(subject.cache.images[closest.ravel()]).reshape(*closest.shape, *images.shape[1:])


def _downsampled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images as rows of block averages, about _COMPARED_PX to a side."""
    count, height, width, _ = images.shape
    block = max(1, min(height, width) // _COMPARED_PX)
    rows, columns = height // block, width // block
    # One side after the other, so that the inner loop of the first runs over a whole line.
    lines = images[:, : rows * block, : columns * block].reshape(count, rows, block, -1).sum(axis=2, dtype=np.uint16)
    sums = lines.reshape(count, rows, columns, block, 3).sum(axis=3, dtype=np.float32)
    return np.asarray(sums.reshape(count, -1) / np.float32(255 * block**2))
