"""One reader of many images: entries of a listing -> their pixels, read ahead in threads, with a line about each fault.

Memory does not grow with the number of images: at any time, two batches for each thread are begun or waiting.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from corolla.data.images import TruncatedError
from corolla.data.levels import Levels
from corolla.data.listing import Entry, read_entry
from corolla.data.preprocessing import Preprocessing
from corolla.errors import CorollaError, DataError, UsageError

OnError: TypeAlias = Literal["skip", "refuse"]

_BATCH_IMAGES = 32
_AHEAD = 2  # batches for each thread, begun or waiting

_LOG = logging.getLogger("corolla")


class Faulty(Protocol):
    """What was made of some images, with a line about each that cannot be read."""

    @property
    def faults(self) -> tuple[str, ...]:
        """The lines."""


Item = TypeVar("Item")
Made = TypeVar("Made")
MadeOfImages = TypeVar("MadeOfImages", bound=Faulty)


@dataclass(frozen=True, eq=False)
class Batch:
    """Those of some images that can be read, in their order, their pixels N×H×W×C, and a line about each other one."""

    entries: tuple[Entry, ...]
    pixels: Levels
    faults: tuple[str, ...] = ()


def read_images(
    entries: Iterable[Entry],
    how: Preprocessing,
    *,
    on_error: OnError = "skip",
    workers: int | None = None,
    length: int = _BATCH_IMAGES,
) -> Generator[Batch]:
    """The pixels of many images, in their order."""

    def read(batch: list[Entry], stop: threading.Event) -> Batch:
        return read_batch(batch, how, stop)

    return accepted(made_ahead(entries, read, length, workers), on_error)


def read_all(entries: Sequence[Entry], how: Preprocessing, *, on_error: OnError = "skip") -> Levels:
    """The pixels of images that fit into memory, N×H×W×C. Raises DataError as `read_images`, or if there are none."""
    if len(entries) == 1:
        return read_entry(entries[0], how)[None]
    batches = list(read_images(entries, how, on_error=on_error))
    if not any(batch.entries for batch in batches):
        raise none_usable(len(entries))
    return np.concatenate([batch.pixels for batch in batches])


def read_batch(entries: Sequence[Entry], how: Preprocessing, stop: threading.Event) -> Batch:
    """One batch, by the calling thread; of what it has read once `stop` is set."""
    pixels = np.empty((len(entries), *how.shape), how.pixels.dtype)
    kept: list[Entry] = []
    faults: list[str] = []
    for entry in entries:
        if stop.is_set():
            break
        try:
            pixels[len(kept)] = read_entry(entry, how)
            kept.append(entry)
        except DataError as error:
            if isinstance(error, TruncatedError) and how.reading.truncated == "refuse":
                raise
            faults.append(str(error))
    return Batch(tuple(kept), pixels[: len(kept)], tuple(faults))


def made_ahead(
    items: Iterable[Item],
    make: Callable[[list[Item], threading.Event], Made],
    length: int,
    workers: int | None = None,
    *,
    prepare: Callable[[], None] | None = None,
) -> Generator[Made]:
    """What `make` gives for each `length` items, in their order, made ahead in threads.

    Threads do: Pillow and NumPy let go of the interpreter while they decode, resize and draw. Against processes,
    nothing is started or sent, and a script needs no `if __name__ == "__main__"`. Items are taken by the calling
    thread; `make` gets an event that is set once its result is not wanted any more, and `prepare` is called by each
    thread first.
    """
    workers = usable_workers(workers)
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="corolla-read", initializer=prepare)
    pending: deque[Future[Made]] = deque()
    waiting = iter(items)
    try:
        while batch := list(islice(waiting, length)):
            pending.append(pool.submit(make, batch, stop))
            if len(pending) > _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def accepted(blocks: Generator[MadeOfImages], on_error: OnError) -> Generator[MadeOfImages]:
    """The blocks themselves; see `leave_out` for their faults."""
    with closing(blocks):
        for block in blocks:
            leave_out(block.faults, on_error)
            yield block


def leave_out(faults: Sequence[str], on_error: OnError) -> None:
    """Warn of images that cannot be used. Raises DataError if there are any and these are refused."""
    refuse(faults, on_error)
    warn(faults)


def refuse(faults: Sequence[str], on_error: OnError) -> None:
    """Raise DataError if there are faults, and these are refused."""
    if faults and on_error == "refuse":
        raise DataError(f"{faults[0]}; repair or remove it, or let such images be left out")


def warn(faults: Iterable[str]) -> None:
    """A warning for each image that was left out."""
    for fault in faults:
        _LOG.warning("%s; left out", fault)


def none_usable(count: int) -> CorollaError:
    """The error to raise where of so many images, each named in a warning, none can be used."""
    if not count:
        return UsageError("no images given")
    return DataError(f"none of the {count} images can be used")


def usable_workers(workers: int | None) -> int:
    """How many threads to start, by default one for each core that this process may use. Raises UsageError below 1."""
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise UsageError(f"{workers} workers cannot read images; ask for 1 or more")
    return workers
