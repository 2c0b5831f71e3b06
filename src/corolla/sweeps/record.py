"""What was asked for, kept in the folder that the runs go to: the base and the changes, so that it can go on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from corolla.config import Config, read_yaml
from corolla.errors import UsageError
from corolla.files import is_empty, write_text, writing
from corolla.sweeps.grid import value_text
from corolla.trained.run_folder import LOCK_NAME, RunFolder, versions

_ELSEWHERE = "choose another folder ({output})"


def elsewhere(problem: str) -> UsageError:
    """An error whose remedy is another folder."""
    return UsageError(problem, remedy=_ELSEWHERE, arguments=("output",))


@contextmanager
def held(folder: Path, record: str) -> Iterator[None]:
    """Make a folder if it is missing, and hold it for this process, as `RunFolder.held`.

    Raises UsageError if it holds something else than what `record`, the name of its file, would tell of.
    """
    if folder.exists() and not folder.is_dir():
        raise elsewhere(f"{folder}: is a file")
    with writing(folder, _ELSEWHERE, ("output",)):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / record).exists() and not is_empty(folder, but_for=(LOCK_NAME,)):
            raise elsewhere(f"{folder}: exists and holds no {record}")
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
    """Write the file that `read_record` reads. Raises WriteError."""
    tree = {**asked, "base": base.model_dump(mode="json"), "versions": versions()}
    write_text(file, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def refuse_other(folder: Path, problem: str, before: Config, now: Config, apart: Collection[str] = ()) -> None:
    """Raise UsageError if two configurations differ in more than the settings of which each run has its own value."""
    theirs, ours = before.flat(), now.flat()
    # What is left open now, such as the channels, a run has filled in.
    names = [name for name in theirs | ours if name not in apart and ours.get(name) not in ("auto", theirs.get(name))]
    if names:
        changed = [f"{name} {value_text(theirs.get(name))} and not {value_text(ours.get(name))}" for name in names]
        raise elsewhere(f"{folder}: was {problem} with {', '.join(changed)}")


def refuse_other_run(run: Path, config: Config) -> None:
    """Raise UsageError if a run is there, and with other settings than these, which are resolved."""
    if RunFolder(run).exists:
        refuse_other(run, "trained", RunFolder(run).config(), config)
