"""The file that resuming needs: a plain dictionary of numbers and tensors, written whole or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from corolla.errors import ModelError
from corolla.files import write_file


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Replace a checkpoint: the state (see `TrainingState`), `scaler`, `record` and `settings`. Raises WriteError."""
    content = io.BytesIO()
    torch.save(dict(checkpoint), content)
    path.parent.mkdir(exist_ok=True)
    write_file(path, content.getvalue())


def read_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """What `write_checkpoint` wrote; with `mmap`, the tensors stay in the file until they are used.

    Raises ModelError if it is damaged, or not a checkpoint of a run.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if "callbacks" in checkpoint:
            checkpoint = _from_lightning(checkpoint)
        checkpoint["record"]["finished"], checkpoint["settings"], checkpoint["step"]
    except (RuntimeError, KeyError, TypeError, pickle.UnpicklingError, EOFError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        problem = f"{path}: damaged, or not a checkpoint of a run: {reason}"
        raise ModelError(problem, path=path, remedy="train a new run") from None
    return checkpoint


def _from_lightning(old: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of version 0.1.0 and before, which Lightning's Trainer wrote."""
    weights: dict[str, dict[str, Any]] = {"vae": {}, "averaged": {}, "companion": {}}
    for name, value in old["state_dict"].items():
        part, _, rest = name.partition(".")
        weights[part][rest] = value
    record = dict(old["callbacks"]["Recorder"])
    return {
        "step": old["global_step"],
        "model": weights["vae"],
        "average": weights["averaged"],
        "companion": weights["companion"],
        "optimizer": old["optimizer_states"][0],
        "scaler": old.get("MixedPrecision", {}),
        "settings": record.pop("settings"),
        "record": record,
    }
