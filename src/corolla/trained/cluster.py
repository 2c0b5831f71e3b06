"""What is made of batches by a cluster, through Ray Data (extra `scale`), in the place of threads."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Generator, Sequence
from types import ModuleType
from typing import Any

import torch

from corolla.data.stream import Item, Made
from corolla.errors import CorollaError, missing_extra


def made_by_ray(
    batches: Sequence[Sequence[Item]], make: Callable[[list[Item], threading.Event], Made]
) -> Generator[Made]:
    """What `make` gives for each batch, in their order, with its errors; a batch is a task of one processor.

    The cluster is that which the program is connected to, else that of the variable RAY_ADDRESS, and if there is none,
    this machine alone. Every machine must see the files of the batches under the same paths.
    """
    ray = check_ray()
    if not batches:  # which Ray would refuse
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)

    def task(row: dict[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(1)
        made: Made | CorollaError
        try:
            made = make(pickle.loads(row["batch"]), threading.Event())
        except CorollaError as error:  # a task that raised would come back as an error of Ray's
            made = error
        return {"made": pickle.dumps(made)}

    items = [{"batch": pickle.dumps(batch)} for batch in batches]
    tasks = ray.data.from_items(items, override_num_blocks=len(items)).map(task, num_cpus=1)
    tasks.context.execution_options.preserve_order = True
    tasks.context.enable_progress_bars = False  # Corolla shows its own
    for row in tasks.iter_rows():
        made = pickle.loads(row["made"])
        if isinstance(made, CorollaError):
            raise made
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
