"""A score of your own: how much of the images' edges reconstructions keep.

corolla --plugin examples/own_score.py evaluate runs/quick --only images
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import corolla


def edge_energy(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean absolute difference of neighbouring pixels, in levels of 255, of each image."""
    levels = images.astype(np.float64)
    across, down = np.diff(levels, axis=2), np.diff(levels, axis=1)
    return np.abs(across).mean((1, 2, 3)) + np.abs(down).mean((1, 2, 3))


def edges_kept(model: corolla.TrainedModel, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The edges of reconstructions over those of the images N×H×W×3, N numbers."""
    returned = model.decode(model.encode(images))
    return edge_energy(returned) / np.maximum(edge_energy(images), 1e-9)


corolla.register(
    corolla.ScoreKind(
        "images",
        "edges kept",
        "higher",
        2,
        "How much of the images' edges reconstructions keep; 1 is all.",
        name="edges_kept",
        measure=edges_kept,
    )
)
