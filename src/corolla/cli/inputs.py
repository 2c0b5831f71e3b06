"""What a command line names: images, lists and settings, by one grammar for all commands."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from corolla.cli.output import out
from corolla.errors import UsageError, plural

if TYPE_CHECKING:
    from corolla.progress import OnProgress
    from corolla.trained import TrainedModel

Given = Annotated[
    Path,
    Parameter(
        help="Files, folders, .tar files (such as WebDataset's shards), globs in quotes, or lists of these: @FILE, one "
        "a line, or - for standard input."
    ),
]
"""Images on the command line, as `given_images` takes them."""
Model = Annotated[Path, Parameter(help="Run folder or model folder.")]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
MaybeOutput = Annotated[Path | None, Parameter(name=["--output", "-o"])]
Preset = Annotated[str | None, Parameter(help="Start from a preset; `corolla presets` lists them.")]
ConfigFile = Annotated[Path | None, Parameter(help="Start from a YAML file, such as the config.yaml of a run.")]
Strict = Annotated[
    bool, Parameter(help="Stop at an image that cannot be used; otherwise it is left out with a warning.")
]
OwnSource = Annotated[str | None, Parameter(help="Where the model's own images are now, if they have moved.")]
OwnMirror = Annotated[str | None, Parameter(help="Folder or URL that holds the files of a downloaded source.")]
Workers = Annotated[int | None, Parameter(help="Threads that read and encode images; by default one for each core.")]
UsedEngine = Annotated[
    Literal["threads", "ray"],
    Parameter(help="threads of this machine, or ray: a cluster (extra `scale`), which gives the same."),
]

Value = TypeVar("Value", int, str)

STANDARD_INPUT = "@-"
"""The list on standard input; on the command line, a single - means it too."""


@contextmanager
def given_images(images: Sequence[Path], *, needed: bool = True) -> Iterator[list[Path]]:
    """The paths as `list_images` takes them, those on standard input kept in a file, so that they take no memory.

    What names nothing is refused before any work is done, and so is no path at all where some are needed. Raises as
    `check_paths`.
    """
    from corolla.data.listing import LIST, check_paths

    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "paths"
        if piped := Path(STANDARD_INPUT) in images:
            with spool.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        paths = [Path(f"{LIST}{spool}") if piped and str(image) == STANDARD_INPUT else image for image in images]
        if paths or needed:
            check_paths(paths)
        yield paths


@contextmanager
def opened(model: Path, images: Sequence[Path]) -> Iterator[tuple[TrainedModel, list[Path], OnProgress | None]]:
    """The model, the images as `given_images` names them, and what to give to the library as `progress=`."""
    from corolla.trained import load

    with given_images(images) as paths, out.progress() as progress:
        yield load(model), paths, progress


def listed(text: str, flag: str, kind: Callable[[str], Value]) -> list[Value]:
    """The values of a flag, joined by commas. Raises UsageError where one is of another kind, or twice there."""
    try:
        values = [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{flag} {text}: give whole numbers with commas between them, such as 1,2,3") from None
    if len(set(values)) < len(values):
        raise UsageError(f"{flag} {text}: has {max(values, key=values.count)} twice")
    return values


def split_setting(change: str) -> tuple[str, Any]:
    """The name and value of --set NAME=VALUE. Raises UsageError if it is not of that form."""
    name, text = split_pair("--set", change, "training.ema_decay=0.99")
    return name, parse_value(text, where=f"--set {change}")


def split_pair(flag: str, text: str, example: str) -> tuple[str, str]:
    """The two sides of NAME=VALUE. Raises UsageError, which shows the example, if it is not of that form."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{flag} {text}: write a setting and its value, such as {example}")
    return name.strip(), value


def parse_value(text: str, where: str = "") -> Any:
    """A value as YAML has it, and a pattern such as */thumbs/* as it stands. Raises UsageError if it is not YAML."""
    import yaml

    if text.lstrip().startswith("*"):  # a pattern of paths; to YAML, a reference to what is not there
        return text.strip()
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"{where or text}: the value is not YAML") from None


def counted(images: int, left_out: int = 0) -> str:
    """How many images were used, and how many could not be."""
    return f"{plural(images, 'image')}{f', {left_out} left out' if left_out else ''}"
