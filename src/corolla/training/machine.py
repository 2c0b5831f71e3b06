"""The machine that training runs on: what it can do, and its process left as it was."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

from corolla.config import TrainingConfig
from corolla.errors import UsageError

_LOG = logging.getLogger("corolla")


def connect(training: TrainingConfig) -> Fabric:
    """The accelerator, devices and processes that a configuration asks for. Starts none; raises UsageError."""
    try:
        with _silent_lightning(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"(?s).*precision='16-mixed'", UserWarning)  # said below
            fabric = Fabric(
                accelerator=training.accelerator,
                devices=training.devices,
                num_nodes=training.num_nodes,
                precision=training.precision,  # type: ignore[arg-type]
            )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"accelerator {training.accelerator}, devices {training.devices}: {reason}") from None
    if training.precision == "16-mixed" and fabric.device.type == "cpu" and fabric.is_global_zero:
        _LOG.warning("training.precision 16-mixed needs a GPU; this CPU computes in bf16-mixed instead")
    return fabric


def multiplies_bfloat16(accelerator: str) -> bool:
    """Whether the hardware has bfloat16 matrix units, so that mixed precision is faster and not just smaller."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if accelerator not in ("auto", "cpu"):
        return False
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16", False))


@contextmanager
def deterministic() -> Iterator[None]:
    """Let equal seeds give equal bits, and put back at the end what training changes in this process."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    try:
        with torch.random.fork_rng(devices=[]), _silent_lightning():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        if workspace is not None:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def _silent_lightning() -> Iterator[None]:
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("fabric", "pytorch")]  # one speaks by the other
    levels = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
