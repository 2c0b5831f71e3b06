"""Images -> means and variances of q(z|x), block by block: threads read and decode while the model encodes."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corolla.data.listing import Entry, list_images, read_entry
from corolla.data.recipes import RECIPES, Recipe
from corolla.errors import DataError, ModelError, UsageError
from corolla.trained import BATCH_SIZE, TrainedModel

OnError: TypeAlias = Literal["skip", "refuse"]

# What a thread reads before it hands over: few hand-overs, and little memory where images are large.
_CHUNK_IMAGES = 64
_CHUNK_BYTES = 4 << 20
_CHUNKS_AHEAD = 8  # decoded and not yet encoded, beside one for each thread

_LOG = logging.getLogger("corolla")


@dataclass(frozen=True, eq=False)
class Block:
    """The codes of some images, in their order.

    Attributes:
        paths: Name of each image.
        means: float32, N×latent_dim.
        variances: Likewise, or None if they were not asked for.
        faults: Of the images that cannot be read, and so have no row: a line about each.
    """

    paths: tuple[str, ...]
    means: NDArray[np.float32]
    variances: NDArray[np.float32] | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Chunk:
    keys: list[str]
    pixels: NDArray[np.uint8]
    faults: list[str]


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
        paths: Files, folders, globs and `.tar` files, as `corolla.data.listing.list_images` takes them.
        variance: Give the variances of q(z|x) too.
        on_error: What to do with an image that cannot be read: leave it out with a warning, or stop.
        workers: Threads that read and decode; default: one for each core.

    Raises:
        UsageError: workers is less than 1.
        DataError: An image cannot be read, and on_error is "refuse".
        ModelError: The codes are not finite.
    """
    for block in encoded(model, list_images(paths), variance=variance, on_error=on_error, workers=workers):
        warn(block.faults)
        yield block


def encoded(
    model: TrainedModel, entries: Iterable[Entry], *, variance: bool, on_error: OnError, workers: int | None
) -> Iterator[Block]:
    """As `embed`, of entries of a listing, and without warnings: a block for each 256 entries, and one for the rest."""
    with closing(_read_chunks(model, entries, workers)) as chunks:
        for batch in _batches(chunks):
            faults = tuple(fault for chunk in batch for fault in chunk.faults)
            if faults and on_error == "refuse":
                raise DataError(f"{faults[0]}; repair or remove it, or let such images be left out")
            pixels = np.concatenate([chunk.pixels for chunk in batch])
            means = np.zeros((0, model.latent_dim), np.float32)
            variances = means
            if len(pixels):
                q = model.posterior(pixels)
                means, variances = q.mean.numpy(), q.logvar.exp().numpy()
            if not np.isfinite(means).all() or (variance and not np.isfinite(variances).all()):
                raise ModelError("the model's codes of these images are not finite; its weights are damaged")
            keys = tuple(key for chunk in batch for key in chunk.keys)
            yield Block(keys, means, variances if variance else None, faults)


def warn(faults: Iterable[str]) -> None:
    """A warning for each image that was left out."""
    for fault in faults:
        _LOG.warning("%s; left out", fault)


def _batches(chunks: Iterator[_Chunk]) -> Iterator[list[_Chunk]]:
    """Chunks that were made of `BATCH_SIZE` entries together, readable or not."""
    batch: list[_Chunk] = []
    count = 0
    for chunk in chunks:
        batch.append(chunk)
        count += len(chunk.keys) + len(chunk.faults)
        if count == BATCH_SIZE:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _read_chunks(model: TrainedModel, entries: Iterable[Entry], workers: int | None) -> Generator[_Chunk]:
    """Pixels of the readable images in order, some at a time, read ahead in threads; see `corolla.data.cache`."""
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"{workers} workers cannot decode images; ask for 1 or more")
    recipe, height, width = RECIPES[model.config.data.recipe], model.height, model.width
    fitting = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (height * width * 3)))
    length = 1 << (fitting.bit_length() - 1)  # which divides the size of a batch
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="corolla-decode")
    pending: deque[Future[_Chunk]] = deque()
    waiting = iter(entries)
    try:
        while part := list(islice(waiting, length)):
            pending.append(pool.submit(_read_chunk, part, recipe, height, width, stop))
            if len(pending) > workers + _CHUNKS_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _read_chunk(entries: list[Entry], recipe: Recipe, height: int, width: int, stop: threading.Event) -> _Chunk:
    pixels = np.empty((len(entries), height, width, 3), np.uint8)
    chunk = _Chunk([], pixels, [])
    for entry in entries:
        if stop.is_set():
            break
        try:
            pixels[len(chunk.keys)] = read_entry(entry, recipe, height, width)
            chunk.keys.append(entry.key)
        except DataError as error:
            chunk.faults.append(str(error))
    return _Chunk(chunk.keys, pixels[: len(chunk.keys)], chunk.faults)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
