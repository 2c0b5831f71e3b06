"""The images that a model is scored on: of its own splits, with labels, and drawn again where factors are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.config import DataConfig
from corolla.data import FACTORS, ImageCache, render, select_rows, spread_rows
from corolla.data.sources import chosen_split
from corolla.errors import UsageError
from corolla.metrics.samples import checked_factors, discretise, factor_classes
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel
from corolla.trained.own_images import own_images

MOST_TRAINING = 8192
MOST_FACTOR_ROWS = 10_000
FACTOR_BINS, _ROWS_PER_VALUE = 10, 10
_SEED = 0
_DRAWN_AT_A_TIME = 100


@dataclass(frozen=True, eq=False)
class Part:
    """Images N×H×W×3, their names in the source, and their labels if there are any."""

    images: NDArray[np.uint8]
    keys: tuple[str, ...]
    labels: NDArray[np.int64] | None

    def some(self, most: int) -> Part:
        """At most this many of them, spread over all."""
        chosen = spread_rows(np.arange(len(self.images)), most)
        labels = None if self.labels is None else self.labels[chosen]
        return Part(self.images[chosen], tuple(self.keys[place] for place in chosen), labels)


@dataclass(frozen=True, eq=False)
class KnownFactors:
    """Images N×H×W×3 with their factors of variation, N×K, as classes."""

    factors: NDArray[np.int64]
    names: tuple[str, ...]
    images: NDArray[np.uint8]
    binned: tuple[str, ...] = ()
    """Names of the factors that are real numbers, and were cut into FACTOR_BINS equal-width bins."""
    categorical: tuple[str, ...] = ()
    """Names of the factors whose values have no order."""
    trained_on: int = 0
    """How many of the images the model was trained on."""


@dataclass(frozen=True, eq=False)
class Material:
    """What models of the same images are scored on: images of a split that was not trained on, and some that were.

    `too_few` says why factors that are known cannot be used, or nothing.
    """

    evaluation: Part
    training: Part
    factors: KnownFactors | None
    data: dict[str, Any]
    split: str
    too_few: str = ""


def gather(
    model: TrainedModel,
    *,
    split: str | None = None,
    most: int = 2048,
    factors: bool = True,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> Material:
    """The images to score a model on: at most this many of a split, and those with known factors, if asked for.

    Raises UsageError if there is no such split, or it holds images that were trained on, and DataError as `own_images`.
    """
    cache = own_images(model, source=source, mirror=mirror, progress=progress)
    data = model.config.data
    split = chosen_split(cache.splits, split or data.eval_split)
    rows, training_rows = select_rows(cache.splits, split), select_rows(cache.splits, data.train_split)
    shared = np.intersect1d(rows, training_rows)
    if len(shared):
        raise UsageError(
            f"split {split}: {len(shared)} of its images were trained on ({data.train_split}); name another"
        )

    def part(rows: NDArray[np.int64]) -> Part:
        labels = None if cache.labels is None else np.asarray(cache.labels[rows])
        return Part(np.asarray(cache.images[rows]), tuple(cache.keys[row] for row in rows), labels)

    known, too_few = None, ""
    if factors:
        try:
            known = known_factors(cache, data, progress=progress)
        except UsageError as error:  # which only disentanglement has to do with
            too_few = str(error)
    return Material(
        evaluation=part(spread_rows(rows, most)),
        training=part(spread_rows(training_rows, MOST_TRAINING)),
        factors=known,
        too_few=too_few,
        data={
            "source": source or data.source,
            "fingerprint": str(cache.manifest["fingerprint"]),
            "size": list(data.size),
            "recipe": data.recipe,
        },
        split=split,
    )


def known_factors(cache: ImageCache, data: DataConfig, *, progress: OnProgress | None = None) -> KnownFactors | None:
    """Images whose factors are known, or None.

    Florets are drawn for it, at random points of their published grid, each once: their own factors lie anywhere
    between. Of other data sets at most MOST_FACTOR_ROWS are taken, of all splits, as by those who published the scores:
    which latent holds a factor is asked of the whole set. A factor with an order and more values than one for every ten
    images is a real number, and cut into FACTOR_BINS equal-width bins.
    """
    rng = np.random.default_rng(_SEED)
    if data.source.partition(":")[0] == "florets" and data.recipe == "fit":
        grids = [np.asarray(factor.grid, np.float32) for factor in FACTORS]
        sizes = [len(values) for values in grids]
        rows = np.unique(rng.integers(math.prod(sizes), size=MOST_FACTOR_ROWS))
        places = np.stack(np.unravel_index(rows, sizes), axis=1)
        values = np.stack([axis[places[:, k]] for k, axis in enumerate(grids)], axis=1)
        parts = []
        for start in range(0, len(values), _DRAWN_AT_A_TIME):
            steps_of(progress, "drawing florets", len(values))(start)
            parts.append(render(values[start : start + _DRAWN_AT_A_TIME], *data.size))
        images = np.concatenate(parts)
        return KnownFactors(_classes(places), tuple(factor.name for factor in FACTORS), images)
    if cache.factors is None:
        return None
    rows = np.sort(rng.permutation(len(cache.images))[:MOST_FACTOR_ROWS])
    names, factors = tuple(cache.factor_names), cache.factors[rows].astype(np.float64)
    categorical = tuple(name for name in names if name in cache.categorical_factors)
    many = [
        k
        for k, column in enumerate(factors.T)
        if names[k] not in categorical and len(np.unique(column)) * _ROWS_PER_VALUE > len(rows)
    ]
    factors[:, many] = discretise(factors[:, many], FACTOR_BINS)
    binned = tuple(names[k] for k in many)
    trained_on = int(np.isin(rows, select_rows(cache.splits, data.train_split)).sum())
    return KnownFactors(_classes(factors), names, np.asarray(cache.images[rows]), binned, categorical, trained_on)


def _classes(factors: NDArray[Any]) -> NDArray[np.int64]:
    return factor_classes(checked_factors(factors, len(factors)))
