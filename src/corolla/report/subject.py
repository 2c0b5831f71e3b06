"""What a report is about: a run, its model, the images that the model was not trained on, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.data import ImageCache, select_rows, spread_rows
from corolla.errors import StaleError
from corolla.evaluation.reconstructions import Reconstruction, reconstruction
from corolla.evaluation.record import SCORES, Scores
from corolla.progress import OnProgress
from corolla.trained import TrainedModel, load
from corolla.trained.own_images import own_images

MOST_IMAGES = 512
"""At most so many held-out images are looked at, evenly spread over all."""


@dataclass(frozen=True, eq=False)
class Subject:
    """All that the sections of a report draw from.

    Attributes:
        path: the run folder or model folder.
        model: its model.
        rows: of `metrics.csv`, oldest first; none for a model folder.
        facts: what the run recorded beside its configuration.
        cache: the model's own images.
        training: rows of the cache that were trained on.
        held_out: rows of the cache that the report looks at, N.
        codes: their codes, N×latent_dim: the means of q(z|x).
        returned: them through the model and back, N of each.
        scores: what `corolla evaluate` found for these weights, if it was run.
        stale: whether there are scores, but of other weights.
        seed: fixes what is drawn.
    """

    path: Path
    model: TrainedModel
    rows: Sequence[Mapping[str, str]]
    facts: Mapping[str, Any]
    cache: ImageCache
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    codes: NDArray[np.float32]
    returned: Reconstruction
    scores: Scores | None
    stale: bool
    seed: int

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
    """Gather what the report shows.

    Raises:
        ModelError: there is no model, or something in the folder is damaged.
        DataError: its images are not there, or have changed.
        UsageError: there is no such source.
    """
    model = load(path)
    assert model.folder is not None
    folder, run = model.folder, model.folder.run
    cache = images if images is not None else own_images(model, source=source, mirror=mirror, progress=progress)
    data = model.config.data
    held_out = spread_rows(select_rows(cache.splits, data.eval_split), MOST_IMAGES)
    originals = np.asarray(cache.images[held_out])
    scores, stale = None, False
    if folder.file(SCORES).is_file():
        try:
            scores, _ = folder.read(SCORES, model.card.weights_sha256)
        except StaleError:
            stale = True
    return Subject(
        path=folder.home,
        model=model,
        rows=folder.rows,
        facts=run.facts() if run is not None and run.exists else {},
        cache=cache,
        training=select_rows(cache.splits, data.train_split),
        held_out=held_out,
        codes=model.encode(originals),
        returned=reconstruction(model, originals),
        scores=scores,
        stale=stale,
        seed=seed,
    )
