"""The errors that Corolla raises on purpose: one tree, so that a caller can catch them all at its root."""

from __future__ import annotations

import os
import shlex


class CorollaError(Exception):
    """Root of the tree. The message is one line: what was wrong, with the value, and what to do about it.

    Attributes:
        path: The file or folder that it is about, if it is about one; the message begins with it.
        reason: The message without it.
    """

    def __init__(self, reason: object = "", *, path: os.PathLike[str] | str | None = None) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.path = path
        self.reason = str(reason)


class UsageError(CorollaError):
    """The request itself cannot be met: a bad value, an unknown name, a missing extra. The CLI exits with 2."""


class DataError(CorollaError):
    """The images cannot be used: none found, unreadable, too small, a wrong or hostile archive."""


class ModelError(CorollaError):
    """A model or checkpoint cannot be used: missing, damaged, or of another configuration."""


class TrainingError(CorollaError):
    """Training cannot go on: a non-finite loss, a full disk, an unwritable run folder."""


def command(*words: object) -> str:
    """A command of `corolla` to copy from a message, ready for a shell whatever the paths in it."""
    return shlex.join(["corolla", *map(str, words)])


def missing_extra(extra: str, what: str) -> UsageError:
    """The error to raise where something needs an extra that is not installed.

    Args:
        extra: the extra's name in `pyproject.toml`.
        what: what needs it, as the beginning of a sentence.
    """
    return UsageError(f"{what} needs the extra `{extra}`; add it with: pip install 'corolla[{extra}]'")
