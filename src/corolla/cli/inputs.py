"""The images that a command line names, by one grammar for all commands."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from corolla.errors import plural

STANDARD_INPUT = "@-"
"""The list on standard input; on the command line, a single - means it too."""


@contextmanager
def given_images(images: Sequence[Path]) -> Iterator[list[Path]]:
    """The paths as `list_images` takes them, those on standard input kept in a file, so that they take no memory.

    What names nothing is refused before any work is done. Raises as `check_paths`.
    """
    from corolla.data.listing import LIST, check_paths

    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "paths"
        if piped := Path(STANDARD_INPUT) in images:
            with spool.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        paths = [Path(f"{LIST}{spool}") if piped and str(image) == STANDARD_INPUT else image for image in images]
        check_paths(paths)
        yield paths


def counted(images: int, left_out: int = 0) -> str:
    """How many images were used, and how many could not be."""
    return f"{plural(images, 'image')}{f', {left_out} left out' if left_out else ''}"
