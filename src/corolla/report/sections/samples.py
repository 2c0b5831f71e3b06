"""Samples from each prior, beside the training images that they resemble."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.metrics import nearest
from corolla.models.priors import fitted_prior_names
from corolla.report.embedding import image
from corolla.report.subject import Section, Subject

SAMPLES, SAMPLES_OF_FITTED = 12, 6
NEIGHBOURS = 3
_COMPARED_PX = 16
_CHUNK = 1024


def samples(subject: Subject) -> Section:
    """Samples from each prior that the model has, each with the training images closest to it."""
    values = {
        "by_prior": {prior: _drawn(subject, prior) for prior in _priors(subject)},
        "latent_dim": subject.model.latent_dim,
        "has_points": subject.has_points,
    }
    return Section("samples", "New images, and the closest it has seen", "samples.html.j2", values)


def _priors(subject: Subject) -> Iterator[str]:
    yield "standard"
    for name in fitted_prior_names():
        if subject.model.has_prior(name) and (name != "flow" or find_spec("zuko") is not None):
            yield name


def _drawn(subject: Subject, prior: str) -> list[dict[str, Any]]:
    count = SAMPLES if prior == "standard" else SAMPLES_OF_FITTED
    drawn = subject.model.sample(count, seed=subject.seed, prior=prior)
    return [
        {
            "picture": image(sample, f"sample {number}"),
            "closest": [image(other, f"training image close to sample {number}") for other in near],
        }
        for number, (sample, near) in enumerate(zip(drawn, closest_training(subject, drawn), strict=True), 1)
    ]


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
