"""The training images closest to samples: a copy would show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corolla.metrics import nearest
from corolla.pixels import to_uint8

_COMPARED_PX = 16
_CHUNK = 1024


def closest_training(
    samples: NDArray[np.uint8], images: NDArray[np.uint8], rows: NDArray[np.int64], k: int
) -> NDArray[np.uint8]:
    """Of some rows of the images the k closest to each sample, n×k×H×W×3, the closest first; fewer if there are fewer.

    Images are compared by the means of square blocks, at least 16 to a side, at the Euclidean distance. `images` may
    be on disk: a chunk is in memory at a time.
    """
    k = min(k, len(rows))
    queries = _block_means(samples)
    closest, distances = np.empty((len(samples), 0), np.int64), np.empty((len(samples), 0))
    for chunk in np.array_split(rows, -(-len(rows) // _CHUNK)):
        found = nearest(queries, _block_means(images[chunk]), min(k, len(chunk)))
        closest = np.concatenate([closest, chunk[found.indices]], axis=1)
        distances = np.concatenate([distances, found.distances], axis=1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :k]
        closest, distances = np.take_along_axis(closest, best, 1), np.take_along_axis(distances, best, 1)
    return np.asarray(images[closest])


def _block_means(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The means of blocks of each image, in [0, 1], N×(rows·columns·C)."""
    images = to_uint8(images)
    count, height, width, channels = images.shape
    block = max(1, min(height, width) // _COMPARED_PX)
    rows, columns = height // block, width // block
    # One side after the other, so that the inner loop of the first runs over a whole line.
    lines = images[:, : rows * block, : columns * block].reshape(count, rows, block, -1).sum(axis=2, dtype=np.uint16)
    sums = lines.reshape(count, rows, columns, block, channels).sum(axis=3, dtype=np.float32)
    return np.asarray(sums.reshape(count, -1) / np.float32(255 * block**2))
