"""The same blocks of codes, made by a cluster through Ray Data (extra `scale`) in the place of threads.

A batch is a task of one processor: it reads its images, so every machine must see them under the same paths, and
encodes them in one thread, as a thread of the local engine does. Batches are cut alike and come back in their order, so
that the rows are the same to the bit on processors of one kind.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

from corolla.data.listing import Entry
from corolla.data.stream import OnError, refuse
from corolla.errors import CorollaError, missing_extra
from corolla.trained import TrainedModel
from corolla.trained.encoding import Block, batch_length, encode_batch


def encoded_by_ray(
    model: TrainedModel, runs: Sequence[Sequence[Entry]], *, variance: bool, on_error: OnError
) -> Generator[Block]:
    """The blocks of runs of entries, in their order; as `encoding.encoded` of each run, with its errors.

    They are made by the cluster that the program is connected to, else by that of the variable RAY_ADDRESS, and if
    there is none, by this machine alone.
    """
    ray = check_ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    length = batch_length(model)
    batches = [run[start : start + length] for run in runs for start in range(0, len(run), length)]
    # The working folder of other machines is another one.
    items = [{"batch": pickle.dumps([replace(one, place=one.place.absolute()) for one in batch])} for batch in batches]
    shared = ray.put(model)

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(1)
        made: Block | CorollaError
        try:
            made = encode_batch(ray.get(shared), pickle.loads(row["batch"]), variance, threading.Event())
        except CorollaError as error:  # a task that raised would come back as an error of Ray's
            made = error
        return {"made": pickle.dumps(made)}

    tasks = ray.data.from_items(items, override_num_blocks=len(items)).map(encode, num_cpus=1)
    tasks.context.execution_options.preserve_order = True
    tasks.context.enable_progress_bars = False  # Corolla shows its own
    for row in tasks.iter_rows():
        made = pickle.loads(row["made"])
        if isinstance(made, CorollaError):
            raise made
        refuse(made.faults, on_error)
        yield made


def check_ray() -> ModuleType:
    """Ray with its part Data, quiet. Raises UsageError if the extra `scale` is missing."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise missing_extra("scale", "the engine ray") from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    module: ModuleType = ray
    return module
