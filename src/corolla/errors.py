"""The errors that Corolla raises on purpose: one tree, so that a caller can catch them all at its root."""

from __future__ import annotations

import shlex
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class CorollaError(Exception):
    """Root of the tree. The message is one line: what was wrong, with the value, and what to do about it."""


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


def suggestion(word: str, choices: Iterable[str]) -> str:
    """What a mistyped word may have meant, to append to a message: " (did you mean ...?)", or nothing."""
    close = get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
