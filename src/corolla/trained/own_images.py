"""The images that a model was trained and scored on, found again by its configuration."""

from __future__ import annotations

import shlex

from corolla.config import DataConfig
from corolla.data import ImageCache, open_cache, open_source
from corolla.data.recipes import recipe_named
from corolla.errors import DataError, UsageError
from corolla.progress import ProgressDisplay, transfer_progress
from corolla.trained import TrainedModel


def open_images(data: DataConfig) -> ImageCache:
    """The images of a configuration as pixels, downloaded and decoded if they are not yet; with progress.

    Raises:
        UsageError: there is no such source.
        DataError: the images cannot be used.
    """
    with transfer_progress() as show_transfer:
        source = open_source(data.source, mirror=data.mirror, progress=show_transfer)
    height, width = data.size
    with ProgressDisplay(f"reading {source.name}", len(source.keys)) as display:
        return open_cache(
            source, recipe_named(data.recipe), height, width, on_error=data.on_error, progress=display.show
        )


def own_images(model: TrainedModel, *, source: str | None = None, mirror: str | None = None) -> ImageCache:
    """A model's own images, or those of another source, by the model's recipe and size.

    Args:
        model: whose images.
        source: where they are now, if they have moved, as `corolla.data.open_source` takes it. Then it is not
            checked that they are the same.
        mirror: folder or URL that holds the files of a downloaded source.

    Raises:
        DataError: they are not there, have changed, or cannot be used; the message says what to do.
        UsageError: there is no such source as the one given.
    """
    data = model.config.data
    if source is not None:
        return open_images(data.model_copy(update={"source": source, "mirror": mirror}))
    if mirror is not None:
        data = data.model_copy(update={"mirror": mirror})
    remedy = "name their place with --source, if need be with --mirror (in Python: source=, mirror=)"
    try:
        cache = open_images(data)
    except (DataError, UsageError) as error:
        raise DataError(f"the model's own images are needed: {error}; put them back, or {remedy}") from None
    known = model.card.data.get("fingerprint")
    if known is not None and cache.manifest["fingerprint"] != known:
        raise DataError(
            f"{data.source}: its images have changed since the model was trained; put them back, or take them as they "
            f"are with --source {shlex.quote(data.source)} (in Python: source=)"
        )
    return cache
