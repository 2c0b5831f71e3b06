"""A run folder: what training leaves behind, and how it is found again.

`config.yaml` holds the resolved configuration and, under `run`, where it came from; `metrics.csv` one row for each
evaluation; `model/` the best model so far; `checkpoints/` what resuming needs; `samples/` pictures as training goes.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from corolla.config import Config, read_yaml
from corolla.errors import TrainingError, UsageError
from corolla.files import write_atomically


@dataclass(frozen=True)
class RunFolder:
    """The paths inside a run folder."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """One row for each evaluation."""
        return self.path / "metrics.csv"

    @property
    def model(self) -> Path:
        """The model folder: the best model so far."""
        return self.path / "model"

    @property
    def last_checkpoint(self) -> Path:
        """The state from which training resumes."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def samples(self) -> Path:
        """Pictures as training goes."""
        return self.path / "samples"

    def config(self) -> Config:
        """The configuration of the run. Raises UsageError if it is not a run folder."""
        return Config.from_dict(self._settings()[0], where=str(self.config_file))

    def facts(self) -> dict[str, Any]:
        """What was recorded beside the configuration: data fingerprint, versions."""
        return self._settings()[1]

    def _settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        if not self.config_file.is_file():
            raise UsageError(f"{self.path}: not a run folder: it holds no config.yaml")
        values = read_yaml(self.config_file)
        facts = values.pop("run", {})
        return values, facts

    def write_config(self, config: Config, facts: Mapping[str, Any]) -> None:
        """Write `config.yaml`; `corolla train --config` takes the file as it is."""
        text = config.to_yaml() + yaml.safe_dump({"run": dict(facts)}, sort_keys=False)
        write_atomically(self.config_file, text.encode())

    def rows(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv`, oldest first."""
        if not self.metrics_file.is_file():
            return []
        with self.metrics_file.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Replace `metrics.csv`."""
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_atomically(self.metrics_file, text.getvalue().encode())


def create_new_run(config: Config) -> RunFolder:
    """Make an empty run folder under `runs/`, named after the images and the objective, that nobody else has.

    Raises:
        TrainingError: the folder cannot be made.
    """
    source = config.data.source.split(":")[0]
    number = 1
    while True:
        path = Path("runs") / f"{source}-{config.objective.name}-{number}"
        try:
            path.mkdir(parents=True)  # making it is what claims the name
            return RunFolder(path)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise _unwritable(path, error) from None


def create_run(path: Path, *, force: bool = False) -> RunFolder:
    """Make an empty run folder.

    Raises:
        UsageError: the folder exists and is not empty; with `force`, only if it is not a run folder.
        TrainingError: the folder cannot be made or written.
    """
    run = RunFolder(path)
    try:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path}: is a file; choose another run folder with --run")
        if path.is_dir() and any(path.iterdir()):
            if not force:
                raise UsageError(
                    f"{path}: exists; choose another folder with --run, go on with --resume {path}, "
                    "or replace it with --force"
                )
            if not run.config_file.is_file():
                raise UsageError(f"{path}: exists and is not a run folder; --force replaces run folders only")
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from None
    return run


def _unwritable(path: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{path}: cannot be written: {error.strerror}; choose another folder with --run")


def versions() -> dict[str, str]:
    """The versions that decide a run's numbers."""
    names = ("corolla", "torch", "lightning", "numpy", "pillow")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}
