"""A run folder: what training leaves behind, and how it is found again.

`config.yaml` holds the resolved configuration and, under `run`, where it came from; `metrics.csv` one row for each
evaluation; `model/` the best model so far; `checkpoints/` what resuming needs; `samples/` pictures as training goes;
`report.html` a page about it all, written at the end.
"""

from __future__ import annotations

import csv
import io
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from corolla.config import Config, read_yaml
from corolla.errors import ModelError, TrainingError, UsageError, command
from corolla.files import is_empty, write_text, writing

LOCK_NAME = ".lock"
_ELSEWHERE = "choose another folder ({run})"


@dataclass(unsafe_hash=True)
class RunFolder:
    """The paths inside a run folder.

    Attributes:
        path: The folder.
        config_file: The resolved configuration.
        metrics_file: One row for each evaluation.
        model: The model folder: the best model so far.
        last_checkpoint: The state from which training resumes.
        samples: Pictures as training goes.
        report: The page about the run.
    """

    path: Path

    def __post_init__(self) -> None:
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.csv"
        self.model = self.path / "model"
        self.last_checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.samples = self.path / "samples"
        self.report = self.path / "report.html"

    @property
    def exists(self) -> bool:
        """Whether this is a run folder: it holds a configuration."""
        return self.config_file.is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run, so that no other process trains in it; a process that is killed lets go of it.

        Raises TrainingError if another process holds it, and WriteError.
        """
        lock = FileLock(self.path / LOCK_NAME)
        problem, remedy = f"{self.path}: another process is training there", f"wait until it ends, or {_ELSEWHERE}"
        with _writing(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:  # an OSError, but no failure to write
                raise TrainingError(problem, path=self.path, remedy=remedy, arguments=("run",)) from None
        try:
            yield
        finally:
            lock.release()

    def checkpoint_state(self) -> dict[str, Any] | None:
        """What the last checkpoint records: `finished`, `step`, `settings` and more; None before the first one.

        Nothing of the file is kept: a system that forbids to replace a file in use must let training do so.
        Raises ModelError if it is damaged.
        """
        path = self.last_checkpoint
        if not path.is_file():
            return None
        from corolla.trained.checkpoints import read_checkpoint  # brings torch, and whoever asks has a model

        checkpoint = read_checkpoint(path, mmap=True)
        return {**checkpoint["record"], "step": int(checkpoint["step"]), "settings": checkpoint["settings"]}

    def config(self) -> Config:
        """The configuration of the run. Raises UsageError if it is not a run folder."""
        values = self._settings()
        plugins = values.pop("run", {}).get("plugins")
        return Config.from_saved(values, plugins, where=str(self.config_file))

    def facts(self) -> dict[str, Any]:
        """What was recorded beside the configuration: data fingerprint, versions. Raises as `config`."""
        return self._settings().get("run", {})  # type: ignore[no-any-return]

    def _settings(self) -> dict[str, Any]:
        if not self.exists:
            raise UsageError(f"{self.path}: not a run folder: it holds no config.yaml", path=self.path)
        return read_yaml(self.config_file)

    def write_config(self, config: Config, facts: Mapping[str, Any]) -> None:
        """Write `config.yaml`; `corolla train --config` takes the file as it is."""
        text = config.to_yaml() + yaml.safe_dump({"run": dict(facts)}, sort_keys=False)
        write_text(self.config_file, text)

    def rows(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv`, oldest first. Raises ModelError if the file is damaged."""
        if not self.metrics_file.is_file():
            return []
        try:
            with self.metrics_file.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                if None in row or None in row.values():
                    raise ValueError("a row is longer or shorter than the first")
                for value in filter(None, row.values()):
                    float(value)
        except (OSError, ValueError, csv.Error) as error:
            resume = command("train", "--resume", self.path)
            remedy = f"go on with `{resume}` if the run had not ended, or remove the file"
            raise ModelError(f"{self.metrics_file}: damaged: {error}", path=self.metrics_file, remedy=remedy) from None
        return rows

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Replace `metrics.csv`."""
        write_text(self.metrics_file, csv_text(rows))


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a CSV file; a column that only some of them have is empty in the others."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    if rows:
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def new_folder(stem: str) -> Path:
    """Make an empty folder under `runs/` that nobody else has, STEM-1, STEM-2 … Raises WriteError."""
    for number in count(1):
        path = Path("runs") / f"{stem}-{number}"
        with _writing(path):
            try:
                path.mkdir(parents=True)  # making it is what claims the name
                break
            except FileExistsError:
                if not path.exists():  # it is `runs` that is there, and no folder
                    raise
    return path


def check_run(path: Path, *, force: bool = False) -> None:
    """Raise UsageError unless a run may begin in this folder: it is new or empty, or `force` and a run folder.

    What a process left that was killed while it made the folder counts as nothing.
    """
    problem, remedy = "exists", _ELSEWHERE
    with _writing(path):
        if not path.exists() or (path.is_dir() and is_empty(path, but_for=(LOCK_NAME,))):
            return
    if not path.is_dir():
        problem = "is a file"
    elif not RunFolder(path).exists:
        problem = "exists and is not a run folder"
    elif force:
        return
    else:
        remedy += f", replace it ({{force}}), or go on with `{command('train', '--resume', path)}`"
    raise UsageError(f"{path}: {problem}", path=path, remedy=remedy, arguments=("run", "force"))


@contextmanager
def create_run(path: Path, *, force: bool = False) -> Iterator[RunFolder]:
    """Make an empty run folder where `check_run` allows it, and hold it. Raises as that, and as `RunFolder.held`."""
    run = RunFolder(path)
    check_run(path, force=force)
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
    with run.held():
        check_run(path, force=force)  # again: another process may have been first
        with _writing(path):  # all but the lock goes; the configuration last, as it tells that this is a run folder
            for entry in sorted(path.iterdir(), key=lambda entry: entry == run.config_file):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != LOCK_NAME:
                    entry.unlink()
        yield run


def _writing(path: Path) -> AbstractContextManager[None]:
    return writing(path, f"make room, or {_ELSEWHERE}", ("run",))


def versions() -> dict[str, str]:
    """The versions that decide a run's numbers."""
    names = ("corolla", "torch", "lightning", "numpy", "pillow")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}
