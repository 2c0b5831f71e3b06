"""Images -> their scores and maps, block by block: any number of files, read and scored in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.apps.anomalies.calibration import Calibration
from corolla.apps.anomalies.measures import measure
from corolla.apps.anomalies.scoring import Scores, check_rate, check_score, p_values
from corolla.data.listing import list_images
from corolla.data.stream import Batch, OnError
from corolla.trained import Images, TrainedModel
from corolla.trained.artefacts import check_weights
from corolla.trained.encoding import in_threads


@dataclass(frozen=True, eq=False)
class Anomalies:
    """Some images and how far they are from normal, in their order."""

    paths: tuple[str, ...]  # name of each image; empty where images were given without
    images: NDArray[np.uint8]  # uint8, N×H×W×3, as the model sees them
    scores: Scores  # each score by name, N; the larger, the less normal
    p_values: NDArray[np.float64]  # of the score that was asked for: the share of normal images with one as large, N
    flagged: NDArray[np.bool_]  # whether that is at most the false-positive rate, N
    # how surprised the model is at each pixel, in standard deviations of normal images; float32, N×H×W
    maps: NDArray[np.float32]
    faults: tuple[str, ...] = ()  # of the images that cannot be read, and so are not among these: a line about each


def anomaly_scores(
    model: TrainedModel, images: Images, calibration: Calibration, *, score: str = "combined", fpr: float = 0.05
) -> Anomalies:
    """Score images that fit into memory.

    Args:
        model: The model that the calibration was made for.
        images: As `TrainedModel` takes them; floats are rounded to 8 bits, as normal images are.
        calibration: What is normal; from `calibrate` or `load_calibration`.
        score: What p-values are of; see `Reference.score`.
        fpr: Of normal images, at most this share is flagged on average.

    Raises UsageError for no such score, or a rate that the calibration cannot hold; StaleError if the calibration was
    made for another model; also as `TrainedModel.pixels` and `measure`.
    """
    return _scorer(model, calibration, score, fpr)(Batch((), model.levels(images)))


def find_anomalies(
    model: TrainedModel,
    paths: Iterable[Path | str],
    calibration: Calibration,
    *,
    score: str = "combined",
    fpr: float = 0.05,
    on_error: OnError = "skip",
    workers: int | None = None,
) -> Iterator[Anomalies]:
    """As `anomaly_scores`, of any number of images, at most 256 at a time; memory does not grow with their number.

    They are read and scored in threads, one for each core unless `workers` says otherwise. An image that cannot be read
    is left out with a warning, or is a DataError.
    """
    return in_threads(model, list_images(paths), _scorer(model, calibration, score, fpr), on_error, workers)


def _scorer(model: TrainedModel, calibration: Calibration, score: str, fpr: float) -> Callable[[Batch], Anomalies]:
    """What scores images at the model's size, any number of them. Raises as `anomaly_scores`."""
    remedy = "make one for this model with `calibrate`"
    check_weights("the calibration", calibration.card.weights_sha256, model.card.weights_sha256, remedy)
    name = check_score(score, calibration.card.scores)
    check_rate(fpr, calibration.card.calibration_images)

    def scored(batch: Batch) -> Anomalies:
        scores: Scores = dict.fromkeys(calibration.card.scores, np.zeros(0))
        maps = np.zeros((0, model.height, model.width), np.float32)
        if len(batch.pixels):
            measures = measure(model, batch.pixels)
            scores, maps = calibration.reference.score(measures), calibration.reference.maps(measures)
        rare = p_values(calibration.normal[name], scores[name])
        paths = tuple(entry.key for entry in batch.entries)
        return Anomalies(paths, batch.pixels, scores, rare, rare <= fpr, maps, batch.faults)

    return scored
