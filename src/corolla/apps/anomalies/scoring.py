"""Measures -> scores, by what the measures of normal images are: the larger, the less an image is like those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from corolla.apps.anomalies.measures import Measures
from corolla.errors import UsageError

ScoreName: TypeAlias = Literal["combined", "joint", "excess"]
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)
"""All scores, in the order of a table's columns; see `Reference.score` for what each is."""

Scores: TypeAlias = dict[ScoreName, NDArray[np.float64]]


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
    for score in available:
        if name == score:
            return score
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
        raise UsageError(
            f"false-positive rate {fpr:g}: {normal} calibration images can hold none below 1/{normal + 1} = "
            f"{1 / (normal + 1):.2g}; ask for {math.ceil(1000 / (normal + 1)) / 1000:g} or more, or keep more "
            "images aside for evaluation"
        )
