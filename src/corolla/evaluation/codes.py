"""What codes are like: whether neighbours stay together, latents repeat each other, and labels can be told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.evaluation.codec import PrincipalComponents
from corolla.evaluation.disentanglement import PARTS
from corolla.evaluation.estimates import ACTIVE_VARIANCE, Average, estimate
from corolla.evaluation.material import Part
from corolla.evaluation.record import Score
from corolla.metrics import (
    continuity,
    correlation,
    gaussian_total_correlation,
    interval_of_parts,
    knn_accuracy,
    linear_probe,
    mutual_information_score,
    normal_interval,
    parts_of,
    pixels,
    proportion_interval,
    trustworthiness,
)
from corolla.metrics.names import KINDS, key
from corolla.trained import TrainedModel

ESTIMATED_IMAGES = 1024
"""Images for the parts of the rate, which take time with the square of their number."""
_LEAST_IN_PART = 25


def code_scores(
    codes: NDArray[np.float32], live: NDArray[np.float32], images: NDArray[np.uint8], *, seed: int = 0
) -> tuple[dict[str, Score], dict[str, Any]]:
    """Scores of codes N×latent_dim of images N×H×W×3, whatever made them; and the correlation matrix for `details`.

    In `live`, dead latents are 0: they share nothing.
    """
    matrix, _ = correlation(live)
    measures: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "trustworthiness": lambda rows: trustworthiness(images[rows], codes[rows], seed=seed),
        "continuity": lambda rows: continuity(images[rows], codes[rows], seed=seed),
    }
    if codes.shape[1] > 1:
        measures |= {
            "correlation": lambda rows: correlation(live[rows])[1],
            "mutual_information_score": lambda rows: mutual_information_score(live[rows]),
            "gaussian_total_correlation_nats": lambda rows: gaussian_total_correlation(live[rows]),
        }
    scores = {"active_units": Score(float((codes.astype(np.float64).var(0) > ACTIVE_VARIANCE).sum()))}
    for name, measure in measures.items():
        value = measure(np.arange(len(codes)))
        if math.isfinite(value):  # it is not where a latent is a linear function of others
            most = math.inf if KINDS[name].unit == "nats" else 1.0
            scores[name] = _in_parts(value, measure, len(codes), seed, most)
    return scores, {"correlation": matrix.tolist()}


def _in_parts(value: float, measure: Callable[[NDArray[np.int64]], float], count: int, seed: int, most: float) -> Score:
    """A score with the interval of its parts; without one if they are too small for the score."""
    if count < PARTS * _LEAST_IN_PART:
        return Score(value)
    try:
        in_parts = [measure(rows) for rows in parts_of(count, PARTS, seed)]
    except UsageError:  # of too few rows for so many latents
        return Score(value)
    if not np.isfinite(in_parts).all():
        return Score(value)
    return Score.of(interval_of_parts(value, in_parts), least=0, most=most)


def rate_scores(model: TrainedModel, evaluation: Part, *, seed: int = 0) -> tuple[dict[str, Score], dict[str, str]]:
    """Distortion, rate and total correlation, with intervals; empty for auto-encoders, whose codes are points.

    With them, why the total correlation of the mixture of the posteriors is left out, where it says nothing. Of many
    images, ESTIMATED_IMAGES are taken, spread over all. Raises UsageError if there are fewer than two.
    """
    if model.config.objective.auto_encoder:
        return {}, {}
    found = estimate(model.vae, evaluation.some(ESTIMATED_IMAGES).images, importance_samples=1, seed=seed)
    scores = {
        "distortion_nats": _score(found.distortion_nats),
        "rate_nats": _score(found.rate_nats),
        "total_correlation_bound_nats": _score(found.total_correlation_bound_nats),
    }
    if not found.saturated:
        return scores | {"total_correlation_nats": _score(found.total_correlation_nats)}, {}
    information, ceiling = found.mutual_information_nats.mean, found.mutual_information_ceiling_nats
    reason = (
        f"the latents tell nearly all {found.images:,} images apart ({information:.2f} of {ceiling:.2f} nats), so that "
        "it would be the rate less log N, and no measure of dependence"
    )
    return scores, {"total correlation": reason}


def label_scores(
    codes: tuple[NDArray[np.float32], NDArray[np.float32]], training: Part, evaluation: Part, *, seed: int = 0
) -> dict[str, Score]:
    """How well a linear classifier and five neighbours tell labels from codes, from PCA of the same size, from pixels.

    Empty without labels. What is learnt is learnt on training images and scored on those of the evaluation.
    """
    if training.labels is None or evaluation.labels is None or len(np.unique(training.labels)) < 2:
        return {}
    dim = codes[0].shape[1]
    components = PrincipalComponents(training.images, dim)
    spaces = {
        "codes": codes,
        "pca": (components.encode(training.images), components.encode(evaluation.images)),
        "pixels": (pixels(training.images), pixels(evaluation.images)),
    }
    scores = {}
    for name, (known, asked) in spaces.items():
        rows = (known, training.labels, asked, evaluation.labels)
        accuracies = {"probe_accuracy": linear_probe(*rows, seed=seed), "knn_accuracy": knn_accuracy(*rows)}
        for kind, accuracy in accuracies.items():
            scores[key(kind, variant=name)] = Score.of(proportion_interval(accuracy, len(asked)))
    return scores


def _score(found: Average) -> Score:
    return Score.of(normal_interval(found.mean, found.standard_error))
