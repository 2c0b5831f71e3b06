"""Models that differ in their seed only -> whether they found the same latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from corolla.data import select_rows, spread_rows
from corolla.evaluation.comparison import Column, Comparison, Spread
from corolla.evaluation.tables import in_order
from corolla.metrics import udr
from corolla.trained import load
from corolla.trained.own_images import own_images

IMAGES, LEAST_IMAGES = 1024, 3


def with_agreement(
    found: Comparison, paths: Mapping[str, Path], *, source: str | None = None, mirror: str | None = None
) -> Comparison:
    """The comparison with UDR (Duan et al. 2020) for each column of several seeds; others are left as they are.

    Auto-encoders have no KL by which it tells latents that matter from those that do not, so they get none; nor does it
    say anything of fewer than three images.
    """
    columns = tuple(_with_agreement(column, paths, source, mirror) for column in found.columns)
    present = {key for column in columns for key in column.scores}
    return replace(found, columns=columns, keys=tuple(in_order(sorted(present))))


def _with_agreement(column: Column, paths: Mapping[str, Path], source: str | None, mirror: str | None) -> Column:
    if len(column.members) < 2:
        return column
    models = [load(paths[name]) for name in column.members]
    config = models[0].config
    if config.objective.auto_encoder:
        return column
    cache = own_images(models[0], source=source, mirror=mirror)
    images = np.asarray(cache.images[spread_rows(select_rows(cache.splits, config.data.eval_split), IMAGES)])
    if len(images) < LEAST_IMAGES:
        return column
    posteriors = [model.posterior(images) for model in models]
    values = udr([q.mean.numpy() for q in posteriors], [q.kl_per_latent().mean(0).numpy() for q in posteriors]).values
    agreement = Spread(float(np.median(values)), float(values.min()), float(values.max()), len(values))
    return replace(column, scores={**column.scores, "udr": agreement})
