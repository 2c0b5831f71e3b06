"""The file that resuming needs: a plain dictionary of numbers and tensors, written whole or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from corolla.config import RETIRED, Config
from corolla.errors import ModelError
from corolla.files import write_atomically
from corolla.trained.run_folder import RunFolder


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Replace a checkpoint: the state (see `TrainingState`), `scaler`, `record` and `settings`. Raises OSError."""
    content = io.BytesIO()
    torch.save(dict(checkpoint), content)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue())


def read_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """What `write_checkpoint` wrote.

    Args:
        path: The file.
        mmap: Whether to leave the tensors in the file until they are used.

    Raises:
        ModelError: It is damaged, or not a checkpoint of a run.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if "callbacks" in checkpoint:
            checkpoint = _from_lightning(checkpoint)
        checkpoint["record"]["finished"], checkpoint["settings"], checkpoint["step"]
    except (RuntimeError, KeyError, TypeError, pickle.UnpicklingError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: damaged, or not a checkpoint of a run: {reason}; train a new run") from None
    return checkpoint


def read_finished(run: RunFolder, config: Config) -> bool | None:
    """Whether the run had finished at its last checkpoint, or None before the first one.

    Nothing of the file is kept: a system that forbids to replace a file in use must let training do so.

    Raises:
        ModelError: The checkpoint is damaged, or of another configuration.
    """
    path = run.last_checkpoint
    if not path.is_file():
        return None
    checkpoint = read_checkpoint(path, mmap=True)
    # A setting that came later had its default.
    theirs, ours = Config().flat() | checkpoint["settings"], config.flat()
    names = sorted((theirs | ours).keys() - set(RETIRED))
    differing = [name for name in names if theirs.get(name) != ours.get(name)]
    if differing:
        was = ", ".join(f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}" for name in differing)
        raise ModelError(f"{path}: of another configuration than {run.config_file}: {was}; put it back, or train anew")
    return bool(checkpoint["record"]["finished"])


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
