"""A model's own images -> what is normal to it, and how its scores of normal images are spread. Made once, then kept.

The images that were kept aside for evaluation are divided: a third, at most 2,048, tells what measures are normal; the
others are scored with that, as any image is, and their scores are what new images' scores are held against. So those
are exchangeable with the scores of new images of the same kind, which is all that conformal p-values need.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict
from sklearn.covariance import LedoitWolf

from corolla.apps.anomalies.scoring import (
    SCORES,
    Measures,
    Reference,
    ScoreName,
    Scores,
    mahalanobis,
    measure,
    surprise,
)
from corolla.data import select_rows
from corolla.errors import ModelError, UsageError, WriteError
from corolla.progress import OnProgress
from corolla.trained import TrainedModel, seeded_generator
from corolla.trained.artefacts import Artefact
from corolla.trained.encoding import batch_length, stored_batches
from corolla.trained.model_folder import check_tensors
from corolla.trained.own_images import own_images

LEAST_IMAGES = 6
MOST_REFERENCE = 2048
MOST_TRAINING = 10_000

_LOG = logging.getLogger("corolla")

_ENDED = ("elbo", "typicality", "reconstruction", "local", "latent", "prior")
"""Scores in files that Corolla 0.1.0 wrote before they were removed."""
_LEAST_STDDEV = 0.05  # of log errors: where normal images hardly differ, no pixel counts for more than all others


@dataclass(frozen=True)
class CalibrationCard:
    """Its model, its scores, how many images say what is normal, how many were scored, and where they came from."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    weights_sha256: str
    scores: Annotated[tuple[ScoreName, ...], BeforeValidator(lambda names: [one for one in names if one not in _ENDED])]
    reference_images: int
    calibration_images: int
    source: str


@dataclass(frozen=True, eq=False)
class Calibration:
    """What is normal to a model, the ascending scores of normal images by name, and where all that comes from."""

    card: CalibrationCard
    reference: Reference
    normal: Scores


CALIBRATION = Artefact(
    "calibration", "anomalies.safetensors", CalibrationCard, again=("anomalies", "{folder}", "--recalibrate")
)


def calibrate(
    model: TrainedModel,
    *,
    images: NDArray[np.uint8] | None = None,
    source: str | None = None,
    mirror: str | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Calibration:
    """Find out what is normal to a model, from its training images' codes and the images kept aside for evaluation.

    Instead of the latter, give normal images on which the model was not trained, N×H×W×3 at its size. The seed says
    which images tell what is normal, and which are scored; see `own_images` for source and mirror.

    Raises UsageError if there are too few images; also as `own_images` and `measure`.
    """
    cache = own_images(model, source=source, mirror=mirror, progress=progress)
    data = model.config.data
    training = select_rows(cache.splits, data.train_split)
    generator = seeded_generator(seed)
    order = torch.randperm(len(training), generator=generator).numpy()[:MOST_TRAINING]
    length = batch_length(model)
    batches = stored_batches(cache.images, training[np.sort(order)], "encoding images", progress, length)
    covariance = LedoitWolf().fit(np.concatenate([model.encode(batch) for batch in batches]).astype(np.float64))
    rows = select_rows(cache.splits, data.eval_split) if images is None else np.arange(len(images))
    images = cache.images if images is None else images
    if len(rows) < LEAST_IMAGES:
        raise UsageError(f"{len(rows)} images to calibrate with: at least {LEAST_IMAGES} are needed; keep more aside")
    rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
    count = min(MOST_REFERENCE, len(rows) // 3)
    reference = _reference(model, images, np.sort(rows[:count]), covariance, progress)
    rest = stored_batches(images, np.sort(rows[count:]), "calibrating", progress, length)
    parts = [reference.score(measure(model, batch)) for batch in rest]
    normal = {name: np.sort(np.concatenate([part[name] for part in parts])) for name in SCORES if name in parts[0]}
    where = source or data.source
    card = CalibrationCard(model.card.weights_sha256, tuple(normal), count, len(rows) - count, where)
    return Calibration(card, reference, normal)


def _reference(
    model: TrainedModel,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    codes: LedoitWolf,
    progress: OnProgress | None,
) -> Reference:
    """Two passes: the local score needs the typical errors of all images first, and the maps of all are not held."""

    def measured() -> Iterator[Measures]:
        batches = stored_batches(images, rows, "measuring", progress, batch_length(model))
        return (measure(model, batch) for batch in batches)

    total = squares = np.zeros((model.height, model.width))
    columns, elbos, coded = [], [], []
    for measures in measured():
        errors = measures.log_errors.astype(np.float64)
        total, squares = total + errors.sum(0), squares + np.square(errors).sum(0)
        distances = mahalanobis(measures.codes, codes.location_, codes.precision_)
        columns.append(measures.columns(distances))
        elbos.append(measures.elbo_nats if measures.elbo_nats is not None else np.zeros(len(errors)))
        coded.append(measures.coded_nats)
    mean = total / len(rows)
    stddev = np.sqrt(np.maximum(squares / len(rows) - np.square(mean), _LEAST_STDDEV**2))
    local = [surprise(measures, mean, stddev).max((1, 2)) for measures in measured()]
    joined = np.c_[np.concatenate(columns), np.concatenate(local)]
    # The columns have different units, and a covariance is shrunk towards one in which all count alike.
    centre, scale = joined.mean(0), np.maximum(joined.std(0), 1e-6)
    precision = LedoitWolf(assume_centered=True).fit((joined - centre) / scale).precision_ / np.outer(scale, scale)
    excess = -np.concatenate(elbos) - np.concatenate(coded)
    parts = [[part.mean(), max(part.std(), 1e-6)] for part in (mahalanobis(joined, centre, precision), excess)]
    return Reference(codes.location_, codes.precision_, mean, stddev, centre, precision, np.array(parts))


def own_calibration(
    model: TrainedModel,
    *,
    again: bool = False,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> tuple[Calibration, Path | None]:
    """The calibration in a model's folder, or, if there is none or on demand, a new one; and its file if it is new.

    Of a file that cannot be written a warning tells. Raises as `load_calibration` and `calibrate`.
    """
    if not again and model.folder is not None and model.folder.file(CALIBRATION).is_file():
        return load_calibration(model), None
    calibration = calibrate(model, source=source, mirror=mirror, progress=progress)
    try:
        return calibration, save_calibration(model, calibration)
    except (ModelError, WriteError) as error:
        _LOG.warning("the calibration is not kept for the next time: %s", error)
        return calibration, None


def save_calibration(model: TrainedModel, calibration: Calibration) -> Path:
    """Write a calibration into the model's folder, in place of an earlier one; whole or not at all. Returns the file.

    Raises ModelError if the model has no folder, and WriteError.
    """
    if model.folder is None:
        raise ModelError("this model was never saved, so that its calibration has no place; save it first")
    arrays = {name: np.array(array, np.float64) for name, array in vars(calibration.reference).items()}
    arrays |= {f"normal.{name}": values for name, values in calibration.normal.items()}
    return CALIBRATION.write(model.folder.file(CALIBRATION), calibration.card, arrays)


def load_calibration(model: TrainedModel) -> Calibration:
    """The calibration in the model's folder, bit for bit as it was saved.

    Raises ModelError if there is none, or a damaged one; StaleError if it was made with other weights.
    """
    file = None if model.folder is None else model.folder.file(CALIBRATION)
    if model.folder is None or file is None or not file.is_file():
        raise ModelError(f"{file or 'this model'}: not calibrated yet; do so with corolla.apps.anomalies.calibrate")
    card, arrays = model.folder.read(CALIBRATION, model.card.weights_sha256)
    for name in ("elbo_mean", *(f"normal.{score}" for score in _ENDED)):
        arrays.pop(name, None)
    columns, latents, size = 7 if "excess" in card.scores else 6, model.latent_dim, (model.height, model.width)
    each = ((latents,), (latents, latents), size, size, (columns,), (columns, columns), (2, 2))
    shapes: dict[str, tuple[int, ...]] = dict(zip(Reference.__annotations__, each, strict=True))
    shapes |= {f"normal.{name}": (card.calibration_images,) for name in card.scores}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = {name: torch.empty(shape, dtype=torch.float64, device="meta") for name, shape in shapes.items()}
    check_tensors(file, "calibration", tensors, expected, CALIBRATION.remedy(file))
    normal = {name: arrays.pop(f"normal.{name}") for name in card.scores}
    return Calibration(card, Reference(**arrays), normal)
