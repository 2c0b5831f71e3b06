"""What was asked for, kept in the folder that the runs go to: the base and the changes, so that it can go on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from corolla.config import Config, read_yaml
from corolla.errors import TrainingError, UsageError
from corolla.files import write_atomically
from corolla.sweeps.grid import value_text
from corolla.trained.run_folder import RunFolder, versions


@contextmanager
def held(folder: Path, record: str) -> Iterator[None]:
    """Make a folder if it is missing, and hold it for this process.

    Raises:
        UsageError: it holds something else than what `record`, the name of its file, would tell of.
        TrainingError: another process holds it, or it cannot be made or written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; choose another folder with --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in folder.iterdir()} - {".lock"}
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written: {error.strerror}; choose another with --output") from None
    if entries and record not in entries:
        raise UsageError(f"{folder}: exists and holds no {record}; choose another folder with --output")
    with RunFolder(folder).held():
        yield


def read_record(file: Path) -> tuple[Config, dict[str, Any]]:
    """The base and all else that was asked for. Raises UsageError if the file is not there or damaged."""
    if not file.is_file():
        raise UsageError(f"{file.parent}: holds no {file.name}, so there is nothing to go on with")
    values = read_yaml(file)
    if not isinstance(values.get("base"), dict):
        raise UsageError(f"{file}: damaged: it holds no `base`; begin again in another folder")
    return Config.from_dict(values["base"], where=str(file)), values


def write_record(file: Path, base: Config, asked: Mapping[str, Any]) -> None:
    """Write the file that `read_record` reads. Raises TrainingError if it cannot be written."""
    tree = {**asked, "base": base.model_dump(mode="json"), "versions": versions()}
    write_result(file, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def write_result(file: Path, text: str) -> None:
    """Write a text file, whole or not at all. Raises TrainingError if it cannot be written."""
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        raise TrainingError(f"{file}: cannot be written: {error.strerror}; the runs stay") from None


def refuse_other_base(folder: Path, before: Config, now: Config, apart: Collection[str]) -> None:
    """Raise UsageError if two bases differ in more than the settings of which each run has its own value."""
    theirs, ours = before.flat(), now.flat()
    changed = [name for name in theirs if name not in apart and theirs[name] != ours[name]]
    if changed:
        was = ", ".join(f"{name} was {value_text(theirs[name])} and is {value_text(ours[name])}" for name in changed)
        raise UsageError(f"{folder}: was begun with other settings: {was}; choose another folder with --output")


def refuse_other_run(run: Path, config: Config, *, flag: str = "--output") -> None:
    """Raise UsageError if a run is there, and with other settings than these, which are resolved.

    Args:
        run: the run folder, or where it would be.
        config: the settings that it should have.
        flag: what names another folder, for the message.
    """
    if not RunFolder(run).config_file.is_file():
        return
    before, wanted = RunFolder(run).config().flat(), config.flat()
    differing = [name for name in wanted if before.get(name) != wanted[name]]
    if differing:
        was = ", ".join(f"{name} {before.get(name)} and not {wanted[name]}" for name in differing)
        raise UsageError(f"{run}: was trained with {was}; choose another folder with {flag}")


def free_folder(stem: str) -> Path:
    """The first of `runs/STEM-1`, `runs/STEM-2` … that is not there."""
    number = 1
    while (path := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return path
