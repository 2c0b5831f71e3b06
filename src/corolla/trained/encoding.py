"""Images -> means and variances of q(z|x), block by block, in threads of which each reads, decodes and encodes.

A thread's batch is encoded in that thread alone. Where PyTorch splits one batch among threads, these wait for each
other at every layer, and lose much of their time whenever something else, such as a decoder, needs a core.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from corolla.data.cache import usable_cores
from corolla.data.listing import Entry, list_images, read_entry
from corolla.data.recipes import recipe_named
from corolla.errors import DataError, ModelError, UsageError
from corolla.trained import BATCH_SIZE, TrainedModel

OnError: TypeAlias = Literal["skip", "refuse"]
Engine: TypeAlias = Literal["threads", "ray"]

# Pixels of a batch at most, so that memory stays small where images are large: 256 images of 128×128.
_BATCH_PIXELS = 1 << 22
_AHEAD = 2  # batches for each thread, begun or waiting

_LOG = logging.getLogger("corolla")


class Faulty(Protocol):
    """What was made of some images, with a line about each that cannot be read."""

    @property
    def faults(self) -> tuple[str, ...]:
        """The lines."""


Made = TypeVar("Made", bound=Faulty)


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
        workers: Threads that read, decode and encode; default: one for each core.

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
) -> Generator[Block]:
    """As `embed`, of entries of a listing, and without warnings; blocks are cut by entries, readable or not."""
    return in_threads(model, entries, lambda batch, stop: encode_batch(model, batch, variance, stop), on_error, workers)


def in_threads(
    model: TrainedModel,
    entries: Iterable[Entry],
    make: Callable[[list[Entry], threading.Event], Made],
    on_error: OnError,
    workers: int | None,
) -> Generator[Made]:
    """What `make` gives for each batch of entries, in their order; a thread's batch is made in that thread alone.

    The event that `make` gets tells it that its result is not wanted any more.
    """
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise UsageError(f"{workers} workers cannot encode images; ask for 1 or more")
    length = batch_length(model)
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="corolla-embed", initializer=_encode_alone)
    pending: deque[Future[Made]] = deque()
    waiting = iter(entries)
    try:
        while batch := list(islice(waiting, length)):
            pending.append(pool.submit(make, batch, stop))
            if len(pending) > _AHEAD * workers:
                yield accepted(pending.popleft().result(), on_error)
        while pending:
            yield accepted(pending.popleft().result(), on_error)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def batch_length(model: TrainedModel) -> int:
    """Images of the model's size that are worked on at a time."""
    return max(1, min(BATCH_SIZE, _BATCH_PIXELS // (model.height * model.width)))


def read_batch(
    model: TrainedModel, entries: list[Entry], stop: threading.Event
) -> tuple[tuple[str, ...], NDArray[np.uint8], tuple[str, ...]]:
    """The names and pixels of the images that can be read, and a line about each other one."""
    pixels = np.empty((len(entries), model.height, model.width, 3), np.uint8)
    recipe = recipe_named(model.config.data.recipe)
    keys: list[str] = []
    faults: list[str] = []
    for entry in entries:
        if stop.is_set():
            break
        try:
            pixels[len(keys)] = read_entry(entry, recipe, model.height, model.width)
            keys.append(entry.key)
        except DataError as error:
            faults.append(str(error))
    return tuple(keys), pixels[: len(keys)], tuple(faults)


def warn(faults: Iterable[str]) -> None:
    """A warning for each image that was left out."""
    for fault in faults:
        _LOG.warning("%s; left out", fault)


def accepted(block: Made, on_error: OnError) -> Made:
    """The block itself. Raises DataError if it has faults and these are refused."""
    if block.faults and on_error == "refuse":
        raise DataError(f"{block.faults[0]}; repair or remove it, or let such images be left out")
    return block


def _encode_alone() -> None:
    """Keep the calling thread from splitting its work; other threads go on as they are."""
    torch.get_num_threads()  # at the first question, PyTorch sets a thread up, and would undo the limit later
    threadpool_limits(1, user_api="openmp")


def encode_batch(model: TrainedModel, entries: list[Entry], variance: bool, stop: threading.Event) -> Block:
    """One block, by the calling thread; of what it has read once `stop` is set. Raises ModelError as `embed`."""
    keys, pixels, faults = read_batch(model, entries, stop)
    means = variances = np.zeros((0, model.latent_dim), np.float32)
    if keys and not stop.is_set():
        q = model.posterior(pixels)
        means, variances = q.mean.numpy(), q.logvar.exp().numpy()
    if not np.isfinite(means).all() or (variance and not np.isfinite(variances).all()):
        raise ModelError("the model's codes of these images are not finite; its weights are damaged")
    return Block(keys, means, variances if variance else None, faults)
