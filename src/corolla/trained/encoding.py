"""Images -> means and variances of q(z|x), block by block, in threads of which each reads, decodes and encodes.

A thread's batch is encoded in that thread alone. Where PyTorch splits one batch among threads, these wait for each
other at every layer, and lose much of their time whenever something else, such as a decoder, needs a core.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from corolla.data.listing import Entry, list_images, list_some
from corolla.data.stream import Batch, MadeOfImages, OnError, accepted, made_ahead, read_all, read_batch
from corolla.distributions import DiagonalGaussian
from corolla.errors import ModelError, UsageError
from corolla.progress import OnProgress, steps_of
from corolla.trained import BATCH_SIZE, TrainedModel
from corolla.trained.cluster import check_ray, made_by_ray
from corolla.trained.likeness import LOOKED_AT, warn_if_unlike

Engine: TypeAlias = Literal["threads", "ray"]
"""What encodes: threads of this process, or a cluster through Ray Data (extra `scale`), which gives the same."""

PART_ENTRIES = 4096
"""Entries of which a file of features is made at a time; Ray's batches end there too, as a batch's length may tell in
the last bits."""

# Pixels of a batch at most, so that memory stays small where images are large: 256 images of 128×128.
_BATCH_PIXELS = 1 << 22


@dataclass(frozen=True, eq=False)
class Block:
    """The codes of some images by their names, N×latent_dim, and a line about each image that cannot be read."""

    paths: tuple[str, ...]
    means: NDArray[np.float32]
    variances: NDArray[np.float32] | None = None
    faults: tuple[str, ...] = ()


def embed(
    model: TrainedModel,
    paths: Iterable[Path | str],
    *,
    variance: bool = False,
    on_error: OnError = "skip",
    workers: int | None = None,
) -> Iterator[Block]:
    """The codes of images, at most 256 at a time; memory does not grow with their number.

    Args:
        model: What to encode with. Images become pixels by its recipe, at its size.
        paths: As `corolla.data.listing.list_images` takes them.
        variance: Give the variances of q(z|x) too.
        on_error: Whether an image that cannot be read is left out with a warning, or stops the work.
        workers: Threads that read, decode and encode; default: one for each core.

    Raises UsageError if workers is less than 1, DataError as `on_error` says, and ModelError if codes are not finite.
    """
    return encoded(model, list_images(paths), variance, on_error, workers)


def encoded(
    model: TrainedModel,
    entries: Iterable[Entry],
    variance: bool,
    on_error: OnError,
    workers: int | None,
    engine: Engine = "threads",
) -> Generator[Block]:
    """As `embed`, of entries of a listing; blocks are cut by entries, readable or not."""

    def encode(batch: Batch) -> Block:
        empty = torch.zeros(0, model.latent_dim)
        q = model.posterior(batch.pixels) if batch.entries else DiagonalGaussian(empty, empty)
        means, variances = q.mean.numpy(), q.logvar.exp().numpy() if variance else None
        if not np.isfinite(means).all() or (variances is not None and not np.isfinite(variances).all()):
            raise ModelError("the model's codes of these images are not finite; its weights are damaged")
        return Block(tuple(entry.key for entry in batch.entries), means, variances, batch.faults)

    return made_of_batches(model, entries, encode, on_error, workers, engine)


def made_of_batches(
    model: TrainedModel,
    entries: Iterable[Entry],
    use: Callable[[Batch], MadeOfImages],
    on_error: OnError,
    workers: int | None,
    engine: Engine = "threads",
) -> Generator[MadeOfImages]:
    """What `use` makes of each batch of entries, in their order; a thread reads its batch and uses it, alone.

    In a batch there may be no image at all. Ray lists all entries first. Warns if the first images are `unlike` the
    model's own. Raises as `check_engine`.
    """
    check_engine(engine, workers)

    first: list[Entry] = []

    def marked() -> Iterator[Entry]:
        for entry in entries:
            first[:] = first or [entry]
            yield entry

    def make(part: list[Entry], stop: threading.Event) -> MadeOfImages:
        batch = read_batch(part, model.preprocessing, stop)
        if first and part[0] is first[0] and not stop.is_set():  # what Ray makes has none
            warn_if_unlike(model, batch.pixels)
        return use(Batch((), batch.pixels[:0]) if stop.is_set() else batch)

    length = batch_length(model)
    if engine == "threads":
        return accepted(made_ahead(marked(), make, length, workers, prepare=_encode_alone), on_error)
    # The working folder of other machines is another one.
    whole = [replace(entry, place=entry.place.absolute()) for entry in entries]
    warn_if_unlike(model, read_batch(whole[:LOOKED_AT], model.preprocessing, threading.Event()).pixels)
    parts = [whole[start : start + PART_ENTRIES] for start in range(0, len(whole), PART_ENTRIES)]
    batches = [part[start : start + length] for part in parts for start in range(0, len(part), length)]
    return accepted(made_by_ray(batches, make), on_error)


def check_engine(engine: str, workers: int | None = None) -> None:
    """Raise UsageError if there is no such engine, its extra is missing, or workers are asked of Ray."""
    if engine not in get_args(Engine):
        raise UsageError(f"engine {engine!r}: give {' or '.join(get_args(Engine))}")
    if engine == "ray":
        if workers is not None:
            raise UsageError(f"{workers} workers: these are threads, and Ray shares out its work; leave it out")
        check_ray()


def stored_batches(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    title: str,
    progress: OnProgress | None = None,
    length: int = BATCH_SIZE,
) -> Iterator[NDArray[np.uint8]]:
    """Rows of stored images, `length` at a time, in memory; before each batch, progress is called with what is done."""
    for start in range(0, len(rows), length):
        steps_of(progress, title, len(rows))(start)
        yield np.asarray(images[rows[start : start + length]])


def batch_length(model: TrainedModel) -> int:
    """Images of the model's size that are worked on at a time."""
    return max(1, min(BATCH_SIZE, _BATCH_PIXELS // (model.height * model.width)))


def read_pixels(
    model: TrainedModel,
    paths: Iterable[Path | str],
    *,
    count: int | None = None,
    of_each: int | None = None,
    on_error: OnError = "skip",
) -> NDArray[np.uint8]:
    """Images as the model sees them, N×H×W×C, in memory: at most `count`, evenly spread over all.

    `paths` and `on_error` are those of `embed`; of what one path names at most `of_each` are taken, spread likewise.
    Raises DataError if no image can be read, or if one cannot and on_error is "refuse".
    """
    entries = list_some(paths, count, of_each=of_each)
    pixels = read_all(entries, model.preprocessing, on_error=on_error)
    warn_if_unlike(model, pixels)
    return pixels


def _encode_alone() -> None:
    """Keep the calling thread from splitting its work; other threads go on as they are."""
    torch.get_num_threads()  # at the first question, PyTorch sets a thread up, and would undo the limit later
    threadpool_limits(1, user_api="openmp")
