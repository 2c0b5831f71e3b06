"""How close reconstructions are to their images: PSNR, SSIM, and a perceptual distance where its extra is installed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from corolla.data.batches import to_batch
from corolla.evaluation.codec import Codec
from corolla.metrics import psnr, ssim
from corolla.metrics.images import ROUNDING_DB, SSIM_WINDOW_PX
from corolla.models.lite0 import SMALLEST_PX, PerceptualDistance
from corolla.pixels import shown
from corolla.trained import Images, TrainedModel

BATCH_SIZE = 64
SHOWN = 8
"""Images that are shown of the worst, the typical and the best."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images as the model sees them, and as it gives them back; both N×H×W×C, with the PSNR of each pair."""

    originals: NDArray[np.uint8]
    images: NDArray[np.uint8]
    psnr_db: NDArray[np.float64]


def reconstruction(model: TrainedModel, images: Images, *, seed: int | None = None) -> Reconstruction:
    """Images through the model and back: from the mean of q(z|x), or with a seed from a draw."""
    pixels = model.pixels(images)
    originals, returned = model.levels(pixels), model.reconstruct(pixels, seed=seed)
    return Reconstruction(originals, returned, psnr(originals, returned))


def through_and_back(
    codec: Codec, images: NDArray[np.uint8], *, perceptual: bool
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]:
    """Reconstructions, and how close each of N is, by the key of the score.

    Raises UsageError if the extra `perceptual` is needed and missing.
    """
    back = codec.decode(codec.encode(images))
    measures = {"psnr_db": np.minimum(psnr(images, back), ROUNDING_DB)}
    if min(images.shape[1:3]) >= SSIM_WINDOW_PX:
        measures["ssim"] = ssim(images, back)
    if perceptual and min(images.shape[1:3]) >= SMALLEST_PX:
        measures["perceptual_lite0"] = perceptual_distances(images, back)
    return back, measures


def perceptual_distances(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The distance of each pair of images in the features of EfficientNet-Lite0."""
    distance = PerceptualDistance()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(a), BATCH_SIZE):
            x, y = (to_batch(shown(images[start : start + BATCH_SIZE])) for images in (a, b))
            parts.append(distance(x, y).double().numpy())
    return np.concatenate(parts)


def extremes(psnr_db: NDArray[np.float64], count: int = SHOWN) -> dict[str, NDArray[np.int64]]:
    """Places of the images with the lowest PSNR, of those about the median, and of those with the highest."""
    order = np.argsort(psnr_db, kind="stable")
    middle = max(0, (len(order) - count) // 2)
    return {"worst": order[:count], "typical": order[middle : middle + count], "best": order[::-1][:count]}
