"""A trained model and two sets of images -> the direction in latent space that leads from one set to the other.

The axis points from the mean code of the others to that of the target: what differs between the sets is μ₁ - μ₀, and
not Fisher's discriminant Σ⁻¹(μ₁ - μ₀) (Haufe et al. 2014, NeuroImage 87).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from corolla.data import ImageCache
from corolla.data.sources import chosen_split
from corolla.errors import DataError, ModelError, UsageError, plural
from corolla.gallery.themes import find_label, split_by_label
from corolla.pictures.files import check_name
from corolla.trained import BATCH_SIZE, Images, TrainedModel
from corolla.trained.artefacts import Artefact, check_weights

Codes: TypeAlias = NDArray[np.floating[Any]]

SUFFIX = ".safetensors"
LEAST_AUROC = 0.6  # below, held-out images are hardly told apart, or the wrong way round
FOLDS = 5
FEWEST_IMAGES = 3  # so that of each set two are left where one is held out

_LOG = logging.getLogger("corolla")


@dataclass(frozen=True)
class DirectionCard:
    """What is known about a direction."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    method: Literal["mean", "discriminant"]  # mean; in files of earlier versions also discriminant
    spread: float  # standard deviation of codes along the axis within the sets, pooled
    middle: float  # where on the axis the middle between the sets' means lies
    distance: float  # between the sets' means, in spreads; of images that were held out
    auroc: float  # how well the axis tells held-out images of the two sets apart: ½ is chance, 1 is without fault
    target_images: int
    other_images: int
    held_out: str  # which images `distance` and `auroc` are of
    weights_sha256: str = ""


DIRECTION = Artefact("direction", f"{{name}}{SUFFIX}", DirectionCard, again=("direction",), error=DataError)
_OTHER_MODEL = f"give the model that it was found with, or {DIRECTION.remedy(Path())}"


@dataclass(frozen=True, eq=False)
class Direction:
    """An axis of length 1 in latent space, float64 latent_dim, and what is known about it."""

    axis: NDArray[np.float64]
    card: DirectionCard

    def positions(self, codes: Codes) -> NDArray[np.float64]:
        """Where codes N×latent_dim lie on the axis: in spreads from the middle between the two sets, N."""
        return (np.asarray(codes, np.float64) @ self.axis - self.card.middle) / self.card.spread


@dataclass(frozen=True, eq=False)
class Moved:
    """Codes N×steps×latent_dim moved along a direction by `shifts` of its spreads, one a step, and their images."""

    latents: NDArray[np.float32]
    images: NDArray[np.uint8]
    shifts: NDArray[np.float64]


def find_direction(
    others: Codes,
    target: Codes,
    *,
    name: str = "direction",
    held_out: tuple[Codes, Codes, str] | None = None,
    weights_sha256: str = "",
) -> Direction:
    """The direction from some codes N×latent_dim to others, M×latent_dim, and how well it tells them apart.

    That is measured on `held_out`: codes of other images, from and to, and what they are called. Without them, both
    sets are cut into FOLDS parts (fewer if there are fewer images), each is held out once, and scores are averaged.
    `weights_sha256` is the card's of the model that made the codes. Raises UsageError for fewer than FEWEST_IMAGES
    codes, another shape, one mean, no spread, or values that are not finite.
    """
    sets = [np.asarray(codes, np.float64) for codes in (others, target)]
    for codes, which in zip(sets, ("from", "to"), strict=True):
        if codes.ndim != 2 or codes.shape[1] != sets[0].shape[-1] or not np.isfinite(codes).all():
            raise UsageError(f"codes of shape {codes.shape} to go {which}: give N×latent_dim, all of them finite")
        if len(codes) < FEWEST_IMAGES:
            raise UsageError(
                f"{plural(len(codes), 'image')} to go {which}: a direction needs at least {FEWEST_IMAGES} "
                "on either side; between single images, interpolate"
            )
    axis, spread, middle = _fit(sets[0], sets[1])
    if held_out is None:
        folds = min(FOLDS, *map(len, sets))
        distance, auroc = _cross_validated(sets[0], sets[1], folds)
        scored_on = f"cross-validated in {folds} parts"
    else:
        distance, auroc = _apart(axis, spread, held_out[0], held_out[1])
        scored_on = held_out[2]
    if auroc < LEAST_AUROC:
        _LOG.warning("%s: does not tell new images of the two sets apart: AUROC %.3f, and chance is 0.5", name, auroc)
    card = DirectionCard(
        name=name,
        method="mean",
        spread=spread,
        middle=middle,
        distance=distance,
        auroc=auroc,
        target_images=len(sets[1]),
        other_images=len(sets[0]),
        held_out=scored_on,
        weights_sha256=weights_sha256,
    )
    return Direction(axis, card)


def _fit(others: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """The axis, the spread along it, and the middle on it."""
    means = others.mean(0), target.mean(0)
    axis = means[1] - means[0]
    residuals = np.concatenate([others - means[0], target - means[1]])
    length = float(np.linalg.norm(axis))
    if not length > 0:
        raise UsageError("the two sets of images have one mean code; no direction leads from one to the other")
    axis = axis / length
    spread = float(np.sqrt(((residuals @ axis) ** 2).sum() / (len(residuals) - 2)))
    if not spread > 0:
        raise UsageError("the codes of each set are all the same; give different images, from a model that tells them")
    return axis, spread, float((means[0] + means[1]) @ axis / 2)


def _apart(axis: NDArray[np.float64], spread: float, others: Codes, target: Codes) -> tuple[float, float]:
    """Distance of the means in spreads, and area under the ROC curve."""
    low, high = (np.asarray(codes, np.float64) @ axis / spread for codes in (others, target))
    is_target = np.repeat([0, 1], [len(low), len(high)])
    return float(high.mean() - low.mean()), float(roc_auc_score(is_target, np.concatenate([low, high])))


def _cross_validated(others: NDArray[np.float64], target: NDArray[np.float64], folds: int) -> tuple[float, float]:
    """As `_apart`, averaged over folds: positions on the axes of different folds are not to be ranked together."""
    codes = np.concatenate([others, target])
    is_target = np.repeat([False, True], [len(others), len(target)])
    scores = []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(codes, is_target):
        seen, held_out = codes[train], codes[test]
        axis, spread, _ = _fit(seen[~is_target[train]], seen[is_target[train]])
        scores.append(_apart(axis, spread, held_out[~is_target[test]], held_out[is_target[test]]))
    distance, auroc = np.mean(scores, axis=0)
    return float(distance), float(auroc)


def label_direction(model: TrainedModel, cache: ImageCache, label: str) -> Direction:
    """The direction from all other training images of a model (`own_images`) to those with a label.

    How well it tells them apart is measured on the evaluation split, where that has images of both kinds. Raises as
    `find_label` and `find_direction`.
    """
    number = find_label(cache, label)
    data = model.config.data
    target, others = split_by_label(cache, number, data.train_split)
    split = chosen_split(cache.splits, data.eval_split)
    test = split_by_label(cache, number, split)
    held_out = None
    if all(len(rows) for rows in test):
        name = f"split {split}, {len(test[0])} against {len(test[1])} images"
        held_out = cached_codes(model, cache, test[1]), cached_codes(model, cache, test[0]), name
    return find_direction(
        cached_codes(model, cache, others),
        cached_codes(model, cache, target),
        name=cache.label_names[number],
        held_out=held_out,
        weights_sha256=model.card.weights_sha256,
    )


def cached_codes(model: TrainedModel, cache: ImageCache, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Means of q(z|x) of some rows of a cache, N×latent_dim, a batch at a time."""
    starts = range(0, len(rows), BATCH_SIZE)
    parts = [model.encode(np.asarray(cache.images[rows[start : start + BATCH_SIZE]])) for start in starts]
    return np.concatenate([np.zeros((0, model.latent_dim), np.float32), *parts])


def image_direction(model: TrainedModel, others: Images, target: Images, *, name: str = "direction") -> Direction:
    """The direction from some images to others, cross-validated. Raises as `find_direction` and `encode`."""
    codes = model.encode(others), model.encode(target)
    return find_direction(*codes, name=name, weights_sha256=model.card.weights_sha256)


def move(
    model: TrainedModel, direction: Direction, latents: NDArray[np.float32], *, steps: int = 9, span: float = 3.0
) -> Moved:
    """Move codes N×latent_dim along a direction of the model to both sides, and decode them.

    There are `steps` evenly spaced positions (an odd number has the start in the middle), up to `span` spreads of the
    direction to either side. Raises UsageError for values that cannot be, StaleError if it is another model's.
    """
    if steps < 2 or not 0 < span < float("inf"):
        raise UsageError(f"{steps} steps over a span of {span:g}: give at least 2 steps, and a span above 0")
    starts = np.asarray(latents, np.float32)
    if starts.ndim != 2 or starts.shape[1] != model.latent_dim or not len(starts):
        raise UsageError(f"latents of shape {starts.shape}: give N×{model.latent_dim}")
    check_direction(model, direction)
    shifts = np.linspace(-span, span, steps)
    moved = starts[:, None] + shifts[:, None] * direction.card.spread * direction.axis
    points = moved.astype(np.float32)
    images = model.decode(points.reshape(-1, model.latent_dim))
    return Moved(points, images.reshape(len(starts), steps, *images.shape[1:]), shifts)


def check_direction(model: TrainedModel, direction: Direction, where: Path | str | None = None) -> None:
    """Raise StaleError if a direction is another model's; `where` is the file that the message names."""
    what = where or f"direction {direction.card.name}"
    check_weights(what, direction.card.weights_sha256, model.card.weights_sha256, _OTHER_MODEL)
    if len(direction.axis) != model.latent_dim:
        numbers = f"{len(direction.axis)} numbers for {model.latent_dim} latents"
        raise ModelError(f"{what}: {numbers}", remedy=_OTHER_MODEL)


def save_direction(path: Path | str, direction: Direction) -> None:
    """Write a direction. Raises UsageError if the name does not end in .safetensors, and WriteError."""
    check_name(path, [SUFFIX], "directions")
    DIRECTION.write(Path(path), direction.card, {"axis": direction.axis}, sha256=_digest(direction))


def load_direction(path: Path | str, model: TrainedModel) -> Direction:
    """A direction that `save_direction` wrote, of this model.

    Raises DataError if the file is not there, is no direction, or was altered; StaleError if it is another model's.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file}: no such file", path=file)
    card, arrays, metadata = DIRECTION.read(file)
    direction = Direction(arrays.get("axis", np.zeros(0)), card)
    axis = direction.axis
    if axis.ndim != 1 or axis.dtype != np.float64 or _digest(direction) != metadata.get("sha256"):
        problem = f"{file}: altered: it is not the direction that was written"
        raise DataError(problem, path=file, remedy=DIRECTION.remedy(file))
    check_direction(model, direction, file)
    return direction


def _digest(direction: Direction) -> str:
    return hashlib.sha256(direction.axis.tobytes() + json.dumps(asdict(direction.card)).encode()).hexdigest()
