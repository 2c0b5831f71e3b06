"""The images that a model was trained and scored on, found again by its configuration."""

from __future__ import annotations

import shlex

import numpy as np
from numpy.typing import NDArray

from corolla.config import DataConfig
from corolla.data import ImageCache, open_cache, open_source, select_rows, spread_rows
from corolla.data.layout import LayoutOptions
from corolla.data.preprocessing import preprocessing
from corolla.errors import DataError, UsageError
from corolla.progress import OnProgress
from corolla.trained import TrainedModel


def open_images(data: DataConfig, *, progress: OnProgress | None = None) -> ImageCache:
    """The images of a configuration as pixels, downloaded and decoded if they are not yet.

    Raises UsageError if there is no such source, and DataError if the images cannot be used.
    """
    source = open_source(data.source, mirror=data.mirror, layout=LayoutOptions.of(data), progress=progress)
    how = preprocessing(data, source.format(data))
    return open_cache(
        source,
        how.recipe,
        *data.size,
        pixels=how.pixels,
        reading=how.reading,
        on_error=data.on_error,
        progress=progress,
    )


def own_images(
    model: TrainedModel, *, source: str | None = None, mirror: str | None = None, progress: OnProgress | None = None
) -> ImageCache:
    """A model's own images, or those of another source, by the model's recipe and size.

    `source` says where they are now, if they have moved, as `corolla.data.open_source` takes it; then it is not checked
    that they are the same. `mirror` is a folder or URL that holds the files of a downloaded source. Raises DataError
    if they are not there, have changed, or cannot be used; of a given source, as `open_images`.
    """
    data = model.config.data
    if source is not None:
        update: dict[str, object] = {"source": source, "mirror": mirror}
        if source.partition(":")[0] != "folder":  # what says how the names in the model's folder are understood
            update |= {name: DataConfig.model_fields[name].default for name in ("labels", "split_folders", "ignore")}
        return open_images(data.model_copy(update=update), progress=progress)
    try:
        cache = open_images(data.model_copy(update={"mirror": mirror or data.mirror}), progress=progress)
    except (DataError, UsageError) as error:
        raise DataError(
            f"the model's own images are needed: {error}",
            remedy="put them back, or name their place with {source}, if need be with {mirror}",
            arguments=("source", "mirror"),
        ) from None
    expected = model.card.data.get("fingerprint")
    if expected is not None and not cache.is_of(expected):
        raise DataError(
            f"{data.source}: its images have changed since the model was trained",
            remedy=f"put them back, or take them as they are with {{source}} {shlex.quote(data.source)}",
            arguments=("source",),
        )
    return cache


def evaluation_images(model: TrainedModel, count: int, *, progress: OnProgress | None = None) -> NDArray[np.uint8]:
    """At most `count` images of the split that a model is scored on, spread over it. Raises as `open_images`."""
    cache = open_images(model.config.data, progress=progress)
    return np.asarray(cache.images[spread_rows(select_rows(cache.splits, model.config.data.eval_split), count)])
