"""How every command says what came of it: text, or with --json one object; --quiet leaves out progress and notes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corolla.progress import OnProgress, Progress


class Output:
    """The output of one command."""

    def __init__(self) -> None:
        self.begin()

    def begin(self, *, json_: bool = False, quiet: bool = False) -> None:
        """Begin a command: with `json_`, facts are gathered for `end`, and no text is printed.

        With `quiet` there is no progress, and no notes and lines about what was done; only what was asked for.
        """
        self.json, self.quiet = json_, quiet
        self._facts: dict[str, Any] = {}

    def end(self) -> None:
        """Print the facts if they are wanted as JSON and there are any: after an error, what was done before it."""
        if self.json and self._facts:
            print(json.dumps(_plain(self._facts), indent=2, allow_nan=False))

    def wrote(self, *paths: Path, note: str = "", **facts: Any) -> None:
        """Say which files or folders were written."""
        if paths:
            self._facts.setdefault("wrote", []).extend(paths)
            self.done([f"wrote {', '.join(map(str, paths))}{f' ({note})' if note else ''}"], **facts)

    def done(self, lines: Iterable[str], /, **facts: Any) -> None:
        """Say what was done."""
        self.lines(() if self.quiet else lines, **facts)

    def lines(self, lines: Iterable[str], /, **facts: Any) -> None:
        """Show what was asked for."""
        self._facts |= facts
        for line in () if self.json else lines:
            print(line)

    def note(self, text: str) -> None:
        """Say something beside the results, on standard error."""
        if not self.quiet:
            print(f"corolla: {text}", file=sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[OnProgress | None]:
        """What to give to the library as `progress=`."""
        if self.quiet:
            yield None
            return
        from corolla.progress import shown_progress

        with shown_progress() as shown:
            yield shown

    def training(self) -> Progress | None:
        """What to give to a training as `progress=`."""
        if self.quiet:
            return None
        from corolla.progress import ProgressDisplay

        return ProgressDisplay("training")


def _plain(value: Any) -> Any:
    """A value of the kinds that JSON has: an array as a list, a path as text, and null for what is no finite number."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


out = Output()
"""That of the command that runs."""
