"""A model and images -> what the model makes of each image, and its error at each pixel; without labels or draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from corolla.data.batches import to_batch
from corolla.errors import ModelError, UsageError
from corolla.metrics import complexity_nats
from corolla.trained import TrainedModel

_DECODES = 64
# Rounding to 8 bits alone leaves this mean squared error; below it, logarithms of errors would tell of nothing else.
_ROUNDING = 1 / (12 * 255**2)
_WINDOWS = 8  # a window's side is about this part of the image's longer side


@dataclass(frozen=True, eq=False)
class Measures:
    """Of N images: numbers for each, and a map of H×W."""

    codes: NDArray[np.float64]  # the mean of q(z|x), N×latent_dim
    rate_nats: NDArray[np.float64] | None  # KL(q(z|x) ‖ N(0, I)), N; None of an auto-encoder, which has no q
    # -log p(x|z) at the mean of q(z|x), so that the same image always has the same, N
    distortion_nats: NDArray[np.float64]
    error: NDArray[np.float64]  # mean squared error of the reconstruction, pixels in [0, 1], N
    coded_nats: NDArray[np.float64]  # `complexity_nats` of the differences between the channels, N
    plain_nats: NDArray[np.float64]  # the same of the channels as they are, N
    # logarithm of the squared error, averaged over the channels and a window about each pixel; float32, N×H×W
    log_errors: NDArray[np.float32]

    @property
    def elbo_nats(self) -> NDArray[np.float64] | None:
        """-distortion - rate, N."""
        return None if self.rate_nats is None else -self.distortion_nats - self.rate_nats

    def columns(self, code_distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """The numbers as columns whose distribution over images of one kind is about normal: N×K.

        Logarithms where a number is positive and its scale is what varies; the codes by their distance from others.
        """
        rate = [] if self.rate_nats is None else [self.rate_nats]
        logs = (self.error + _ROUNDING, code_distances + 1e-12, self.coded_nats + 1, self.plain_nats + 1)
        return np.stack([*rate, self.distortion_nats, *map(np.log, logs)], axis=1)


def measure(model: TrainedModel, images: NDArray[np.uint8]) -> Measures:
    """What a model makes of images N×H×W×C, of its own size and format.

    Raises UsageError for images of another size or type, ModelError if what it makes of them is not finite.
    """
    how = model.preprocessing
    if images.dtype != how.pixels.dtype or images.shape[1:] != how.shape:
        raise UsageError(
            f"images are {images.dtype} of shape {images.shape}: this model measures {how.pixels.dtype}, "
            f"N×{'×'.join(map(str, how.shape))}; bring them there with its `pixels`"
        )
    q = model.posterior(images)
    distortions, errors, maps = [], [], []
    with torch.inference_mode():
        for start in range(0, len(images), _DECODES):
            part = slice(start, start + _DECODES)
            x = to_batch(images[part], model.device)
            p = model.vae.decode(q.mean[part].to(model.device))
            squares = (x - p.mean).square().mean(1, keepdim=True)
            distortions.append(-p.log_prob(x).double().cpu())
            errors.append(squares.double().mean((1, 2, 3)).cpu())
            maps.append(torch.log(_smoothed(squares)[:, 0] + _ROUNDING).cpu())
        rate = None if model.config.objective.auto_encoder else q.kl().double().numpy()
    measures = Measures(
        codes=q.mean.double().numpy(),
        rate_nats=rate,
        distortion_nats=torch.cat(distortions).numpy(),
        error=torch.cat(errors).numpy(),
        coded_nats=complexity_nats(images),
        plain_nats=complexity_nats(images, differences=False),
        log_errors=torch.cat(maps).numpy(),
    )
    finite = (measures.codes, measures.distortion_nats, measures.error, 0.0 if rate is None else rate)
    if not all(np.isfinite(values).all() for values in finite):
        raise ModelError("what the model makes of these images is not finite; its weights are damaged")
    return measures


def window_px(height: int, width: int) -> int:
    """Side of the window that errors are averaged over: odd, and about an eighth of the longer side."""
    return max(height, width) // _WINDOWS // 2 * 2 + 1


def _smoothed(squares: torch.Tensor) -> torch.Tensor:
    side = window_px(*squares.shape[2:])
    return F.avg_pool2d(squares, side, 1, side // 2, count_include_pad=False)
