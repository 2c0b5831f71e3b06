"""What a report is about: a run, its model, the images that the model was not trained on, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Template
from numpy.typing import NDArray

from corolla.data import ImageCache, select_rows, spread_rows
from corolla.errors import StaleError
from corolla.evaluation.reconstructions import Reconstruction
from corolla.evaluation.record import SCORES, Scores
from corolla.metrics import psnr
from corolla.metrics.images import mean_image_psnr
from corolla.progress import OnProgress
from corolla.trained import TrainedModel, load
from corolla.trained.model_folder import ModelFolder
from corolla.trained.own_images import own_images

MOST_IMAGES = 512
"""At most this many held-out images are looked at, evenly spread over all."""


class Section(NamedTuple):
    """A part of the page: the name that links point to, its heading, and values for a template.

    The template is a file of this package, or `environment().from_string(...)`; it sees the values as `section`.
    """

    anchor: str
    title: str
    template: str | Template
    values: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """All that the sections of a report draw from."""

    path: Path
    model: TrainedModel
    rows: Sequence[Mapping[str, str]]  # of `metrics.csv`, oldest first; none for a model folder
    facts: Mapping[str, Any]  # what the run recorded beside its configuration
    cache: ImageCache
    training: NDArray[np.int64]  # rows of the cache that were trained on
    held_out: NDArray[np.int64]  # rows of the cache that the report looks at, N
    codes: NDArray[np.float32]  # their means of q(z|x), N×latent_dim
    returned: Reconstruction  # them through the model and back, N of each
    scores: Scores | None  # what `corolla evaluate` found for these weights, if it was run
    stale: bool  # whether there are scores, but of other weights
    seed: int

    @cached_property
    def mean_image_psnr_db(self) -> NDArray[np.float64]:
        """The PSNR of the mean of the training images (of many, of some) in the place of each held-out one, N."""
        seen = np.asarray(self.cache.images[spread_rows(self.training, MOST_IMAGES)])
        return mean_image_psnr(seen, self.returned.originals)

    @property
    def has_points(self) -> bool:
        """Whether codes are points, as those of an auto-encoder are: they have no rate and no prior to follow."""
        return self.model.config.objective.auto_encoder


def examine(
    path: Path,
    *,
    images: ImageCache | None = None,
    source: str | None = None,
    mirror: str | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Subject:
    """Gather what the report shows of a run or model folder; the seed fixes what is drawn.

    Source, mirror and errors are those of `load` and `own_images`, which gives the images unless they are at hand.
    """
    model, folder = load(path), ModelFolder.find(path)
    cache = images if images is not None else own_images(model, source=source, mirror=mirror, progress=progress)
    data, run = model.config.data, folder.run
    held_out = spread_rows(select_rows(cache.splits, data.eval_split), MOST_IMAGES)
    originals = np.asarray(cache.images[held_out])
    codes = model.encode(originals)
    images_back = model.decode(codes)
    scores, has_scores = None, folder.file(SCORES).is_file()
    with suppress(StaleError):
        scores = folder.read(SCORES, model.card.weights_sha256)[0] if has_scores else None
    return Subject(
        path=folder.home,
        model=model,
        rows=folder.rows,
        facts=run.facts() if run is not None and run.exists else {},
        cache=cache,
        training=select_rows(cache.splits, data.train_split),
        held_out=held_out,
        codes=codes,
        returned=Reconstruction(originals, images_back, psnr(originals, images_back)),
        scores=scores,
        stale=has_scores and scores is None,
        seed=seed,
    )
