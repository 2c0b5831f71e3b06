"""The errors that Corolla raises on purpose: one tree, so that a caller can catch them all at its root."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


class CorollaError(Exception):
    """Root of the tree. The message is one line: what was wrong, with the value, and what to do about it.

    Attributes:
        problem: What was wrong, with the value: the message without the remedy.
        path: The file or folder concerned.
        setting: The setting concerned, by its dotted name.
        step: The training step concerned.
        remedy: What to do about it.
        arguments: Names of arguments that stand as `{name}` in the remedy; a command shows its flags there.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: Path | str | None = None,
        setting: str | None = None,
        step: int | None = None,
        remedy: str = "",
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = None if path is None else Path(path)
        self.setting, self.step, self.remedy, self.arguments = setting, step, remedy, tuple(arguments)

    def message(self, name_of: Callable[[str], str]) -> str:
        """Problem and remedy, where `name_of` says how an argument is called."""
        remedy = self.remedy
        for argument in self.arguments:
            remedy = remedy.replace(f"{{{argument}}}", name_of(argument))
        return f"{self.problem}; {remedy}" if remedy else self.problem

    def __str__(self) -> str:
        return self.message("{}=".format)


class UsageError(CorollaError):
    """The request itself cannot be met: a bad value, an unknown name, a missing extra. The CLI exits with 2."""


class DataError(CorollaError):
    """The images cannot be used: none found, unreadable, too small, a wrong or hostile archive."""


class ModelError(CorollaError):
    """A model or checkpoint cannot be used: missing, damaged, or of another configuration."""


class StaleError(ModelError):
    """Something that was made with a model was made with other weights than the model has now."""


class TrainingError(CorollaError):
    """Training cannot go on: a non-finite loss, a run that another process trains."""


class WriteError(CorollaError):
    """A file or folder cannot be written: a full disk, no permission, a name that the system refuses."""


def command(*words: object) -> str:
    """A command of `corolla` to copy from a message, ready for a shell whatever the paths in it."""
    return shlex.join(["corolla", *map(str, words)])


def plural(count: int, noun: str) -> str:
    """A number and its noun, as in "1 image" and "2 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def missing_extra(extra: str, what: str) -> UsageError:
    """The error to raise where something, the beginning of a sentence, needs an extra that is not installed."""
    return UsageError(f"{what} needs the extra `{extra}`; in a clone, add it with: pip install -e '.[{extra}]'")


def suggestion(word: str, choices: Iterable[str]) -> str:
    """What a mistyped word may have meant, to append to a message: " (did you mean ...?)", or nothing."""
    close = get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
