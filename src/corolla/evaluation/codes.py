"""What codes are like: whether neighbours stay together, latents repeat each other, and labels can be told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.evaluation.codec import PrincipalComponents
from corolla.evaluation.estimates import ACTIVE_VARIANCE, Average, estimate
from corolla.evaluation.material import Part
from corolla.evaluation.record import Score
from corolla.metrics import (
    continuity,
    correlation,
    gaussian_total_correlation,
    knn_accuracy,
    linear_probe,
    mutual_information_score,
    normal_interval,
    pixels,
    trustworthiness,
)
from corolla.metrics.names import key
from corolla.trained import TrainedModel

ESTIMATED_IMAGES = 1024
"""Images for the parts of the rate, which take time with the square of their number."""


def code_scores(
    codes: NDArray[np.float32], live: NDArray[np.float32], images: NDArray[np.uint8], *, seed: int = 0
) -> tuple[dict[str, Score], dict[str, Any]]:
    """Scores of codes N×latent_dim of images N×H×W×3, whatever made them; and the correlation matrix for `details`.

    In `live`, dead latents are 0: they share nothing.
    """
    matrix, related = correlation(live)
    values = {
        "active_units": float((codes.astype(np.float64).var(0) > ACTIVE_VARIANCE).sum()),
        "trustworthiness": trustworthiness(images, codes, seed=seed),
        "continuity": continuity(images, codes, seed=seed),
    }
    if codes.shape[1] > 1:
        values |= {"correlation": related, "mutual_information_score": mutual_information_score(live)}
        dependent = gaussian_total_correlation(live)
        if math.isfinite(dependent):  # it is not where a latent is a linear function of others
            values["gaussian_total_correlation_nats"] = dependent
    return {name: Score(value) for name, value in values.items()}, {"correlation": matrix.tolist()}


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
        scores[key("probe_accuracy", variant=name)] = Score(linear_probe(*rows, seed=seed))
        scores[key("knn_accuracy", variant=name)] = Score(knn_accuracy(*rows))
    return scores


def _score(found: Average) -> Score:
    return Score.of(normal_interval(found.mean, found.standard_error))
