"""Images -> what a model makes of each, and scores of that: the larger, the less an image is like normal ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from corolla.data.batches import to_batch
from corolla.errors import ModelError, UsageError
from corolla.metrics import complexity_nats
from corolla.trained import TrainedModel

ScoreName: TypeAlias = Literal["combined", "joint", "excess"]
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)
"""All scores, in the order of a table's columns; see `Reference.score` for what each is."""

Scores: TypeAlias = dict[ScoreName, NDArray[np.float64]]

_DECODES = 64
# Rounding to 8 bits alone leaves this mean squared error; below it, logarithms of errors would tell of nothing else.
_ROUNDING = 1 / (12 * 255**2)
_WINDOWS = 8  # a window's side is about this part of the image's longer side


@dataclass(frozen=True, eq=False)
class Measures:
    """Of N images: numbers for each, and a map of H×W."""

    codes: NDArray[np.float64]  # the mean of q(z|x), N×latent_dim
    rate_nats: NDArray[np.float64] | None  # KL(q(z|x) ‖ N(0, I)), N; None of an auto-encoder, which has no q
    distortion_nats: NDArray[np.float64]  # -log p(x|z) at the mean of q(z|x), without a draw, N
    error: NDArray[np.float64]  # mean squared error of the reconstruction, pixels in [0, 1], N
    coded_nats: NDArray[np.float64]  # `complexity_nats` of the differences between the channels, N
    plain_nats: NDArray[np.float64]  # the same of the channels as they are, N
    log_errors: NDArray[np.float32]  # log of the squared error, averaged over channels and a window, N×H×W

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

    Raises UsageError for images of another size or format, ModelError if what it makes of them is not finite.
    """
    how = model.preprocessing
    if images.dtype != how.pixels.dtype or images.shape[1:] != how.shape:
        needed = f"this model measures {how.pixels.dtype}, N×{'×'.join(map(str, how.shape))}"
        raise UsageError(f"images are {images.dtype} of shape {images.shape}: {needed}; bring them there with `pixels`")
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
    codes, (distortion, error, log_errors) = q.mean.double().numpy(), map(np.concatenate, (distortions, errors, maps))
    if not all(np.isfinite(values).all() for values in (codes, distortion, error, 0.0 if rate is None else rate)):
        raise ModelError("what the model makes of these images is not finite; its weights are damaged")
    coded, plain = complexity_nats(images), complexity_nats(images, differences=False)
    return Measures(codes, rate, distortion, error, coded, plain, log_errors)


def window_px(height: int, width: int) -> int:
    """Side of the window that errors are averaged over: odd, and about an eighth of the longer side."""
    return max(height, width) // _WINDOWS // 2 * 2 + 1


def _smoothed(squares: torch.Tensor) -> torch.Tensor:
    side = window_px(*squares.shape[2:])
    return F.avg_pool2d(squares, side, 1, side // 2, count_include_pad=False)


@dataclass(frozen=True, eq=False)
class Reference:
    """What is known about normal images."""

    code_mean: NDArray[np.float64]  # of the training images' codes, latent_dim
    code_precision: NDArray[np.float64]  # the inverse of their covariance, latent_dim×latent_dim
    log_error_mean: NDArray[np.float64]  # of each pixel's log error, H×W
    log_error_stddev: NDArray[np.float64]  # likewise
    joint_mean: NDArray[np.float64]  # of the columns of measures and the largest surprise, K
    joint_precision: NDArray[np.float64]  # the inverse of their covariance, K×K
    parts: NDArray[np.float64]  # mean and standard deviation of the score `joint`, and of `excess`: 2×2

    def maps(self, measures: Measures) -> NDArray[np.float32]:
        """The surprise at each pixel: its log error in standard deviations above the normal one's mean, N×H×W."""
        return surprise(measures, self.log_error_mean, self.log_error_stddev)

    def score(self, measures: Measures) -> Scores:
        """The scores of images by name, each N; those that a model cannot give are not there.

        - combined: joint + excess, each in standard deviations of normal images.
        - joint: the Mahalanobis distance of all measures, the code's distance from the training images' codes and the
          largest surprise of a pixel, together, from those of normal images: two-sided in each.
        - excess: the negative ELBO less what a simple lossless coder needs, in nats (Serrà et al. 2020, arXiv
          1909.11480, eq. 4): how much more the image costs the model than its complexity explains.
        """
        distances = mahalanobis(measures.codes, self.code_mean, self.code_precision)
        local = self.maps(measures).max((1, 2)).astype(np.float64)
        joint = mahalanobis(np.c_[measures.columns(distances), local], self.joint_mean, self.joint_precision)
        scores: Scores = {"combined": (joint - self.parts[0, 0]) / self.parts[0, 1], "joint": joint}
        if (elbo := measures.elbo_nats) is not None:
            scores["excess"] = -elbo - measures.coded_nats
            scores["combined"] = scores["combined"] + (scores["excess"] - self.parts[1, 0]) / self.parts[1, 1]
        return scores


def surprise(measures: Measures, mean: NDArray[np.float64], stddev: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log errors in standard deviations from their mean at each pixel, N×H×W."""
    return np.asarray((measures.log_errors - mean) / stddev, np.float32)


def mahalanobis(
    rows: NDArray[np.float64], mean: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    """√((x - mean)ᵀ precision (x - mean)) of each row x, N."""
    away = rows - mean
    squares = np.einsum("ni,ij,nj->n", away, precision, away, optimize=True)
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def check_score(name: str, available: Sequence[ScoreName]) -> ScoreName:
    """A score by its name. Raises UsageError if there is none, or the model cannot give it."""
    if name in available:
        return cast("ScoreName", name)
    reason = "an auto-encoder has no ELBO" if name == "excess" else "there is none such"
    raise UsageError(f"score {name}: {reason}; choose one of {', '.join(available)}")


def p_values(normal: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How rare scores as large are among normal images: (1 + how many of n are as large) / (n + 1), N.

    If an image is exchangeable with the n, then P(p ≤ α) ≤ α for each α, whatever the score's distribution (conformal
    prediction: Vovk et al. 2005; Laxhammar & Falkman 2010 for anomalies). The normal scores ascend.
    """
    as_large = len(normal) - np.searchsorted(normal, scores, side="left")
    return np.asarray((1 + as_large) / (len(normal) + 1))


def check_rate(fpr: float, normal: int | None = None) -> None:
    """Raise UsageError if it is no false-positive rate, or one that n normal images, if given, cannot hold."""
    if not 0 < fpr < 1:
        raise UsageError(f"false-positive rate {fpr:g}: give a number between 0 and 1, such as 0.05")
    if normal is not None and fpr * (normal + 1) < 1:
        least = f"can hold none below 1/{normal + 1} = {1 / (normal + 1):.2g}"
        remedy = f"ask for {math.ceil(1000 / (normal + 1)) / 1000:g} or more, or keep more images aside for evaluation"
        raise UsageError(f"false-positive rate {fpr:g}: {normal} calibration images {least}; {remedy}")
