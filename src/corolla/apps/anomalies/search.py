"""Images -> their scores and maps, block by block: any number of files, read and scored in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.apps.anomalies.calibration import Calibration
from corolla.apps.anomalies.measures import measure
from corolla.apps.anomalies.scoring import ScoreName, Scores, check_rate, check_score, p_values
from corolla.data.listing import Entry, list_images
from corolla.data.stream import OnError, warn
from corolla.pixels import to_uint8
from corolla.trained import Images, TrainedModel
from corolla.trained.artefacts import check_weights
from corolla.trained.encoding import in_threads, read_for


@dataclass(frozen=True, eq=False)
class Anomalies:
    """Some images and how far they are from normal, in their order.

    Attributes:
        paths: Name of each image; empty where images were given without.
        images: uint8, N×H×W×3, as the model sees them.
        scores: Each score by name, N; the larger, the less normal.
        p_values: Of the score that was asked for: the share of normal images with one as large, N.
        flagged: Whether that is at most the false-positive rate, N.
        maps: How surprised the model is at each pixel, in standard deviations of normal images; float32, N×H×W.
        faults: Of the images that cannot be read, and so are not among these: a line about each.
    """

    paths: tuple[str, ...]
    images: NDArray[np.uint8]
    scores: Scores
    p_values: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    maps: NDArray[np.float32]
    faults: tuple[str, ...] = ()


def anomaly_scores(
    model: TrainedModel,
    images: Images,
    calibration: Calibration,
    *,
    score: str = "combined",
    fpr: float = 0.05,
) -> Anomalies:
    """Score images that fit into memory.

    Args:
        model: The model that the calibration was made for.
        images: As `TrainedModel` takes them; floats are rounded to 8 bits, as normal images are.
        calibration: What is normal; from `calibrate` or `load_calibration`.
        score: What p-values are of; see `Reference.score`.
        fpr: Of normal images, at most this share is flagged on average.

    Raises:
        UsageError: no such score, a rate that the calibration cannot hold, or what are no images.
        DataError: a file is not a readable image.
        ModelError: the calibration was made for another model, or what the model makes of the images is not finite.
    """
    name = _check(model, calibration, score, fpr)
    pixels = model.pixels(images)
    return _scored(model, calibration, name, fpr, (), to_uint8(pixels), ())


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
    """Score any number of images, at most 256 at a time; memory does not grow with their number.

    Args:
        model: As for `anomaly_scores`, also calibration, score and fpr.
        paths: As `corolla.data.listing.list_images` takes them.
        calibration: What is normal.
        score: What p-values are of.
        fpr: Of normal images, at most this share is flagged on average.
        on_error: What to do with an image that cannot be read: leave it out with a warning, or stop.
        workers: Threads that read and score; default: one for each core.

    Raises:
        UsageError, ModelError: as `anomaly_scores`; or workers is less than 1.
        DataError: an image cannot be read, and on_error is "refuse".
    """
    name = _check(model, calibration, score, fpr)

    def scored(entries: list[Entry], stop: threading.Event) -> Anomalies:
        batch = read_for(model, entries, stop)
        keys = () if stop.is_set() else tuple(entry.key for entry in batch.entries)
        return _scored(model, calibration, name, fpr, keys, batch.pixels[: len(keys)], batch.faults)

    def blocks() -> Iterator[Anomalies]:
        for block in in_threads(model, list_images(paths), scored, on_error, workers):
            warn(block.faults)
            yield block

    return blocks()


def _check(model: TrainedModel, calibration: Calibration, score: str, fpr: float) -> ScoreName:
    remedy = "make one for this model with `calibrate`"
    check_weights("the calibration", calibration.card.weights_sha256, model.card.weights_sha256, remedy)
    name = check_score(score, calibration.card.scores)
    check_rate(fpr, calibration.card.calibration_images)
    return name


def _scored(
    model: TrainedModel,
    calibration: Calibration,
    name: ScoreName,
    fpr: float,
    paths: tuple[str, ...],
    pixels: NDArray[np.uint8],
    faults: tuple[str, ...],
) -> Anomalies:
    if not len(pixels):
        empty = np.zeros(0)
        maps = np.zeros((0, model.height, model.width), np.float32)
        none: Scores = dict.fromkeys(calibration.card.scores, empty)
        return Anomalies((), pixels, none, empty, empty.astype(bool), maps, faults)
    measures = measure(model, pixels)
    scores = calibration.reference.score(measures)
    rare = p_values(calibration.normal[name], scores[name])
    return Anomalies(paths, pixels, scores, rare, rare <= fpr, calibration.reference.maps(measures), faults)
