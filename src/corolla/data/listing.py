"""Images named one after another: files, folders, globs and the members of `.tar` files, listed as they are read.

Other than a `Source`, a listing has no splits and no labels, need not fit into memory, and holds its faults: what
cannot be listed is an entry that cannot be read.
"""

from __future__ import annotations

import glob
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.data.archives import members
from corolla.data.folder import EXTENSIONS, images_below
from corolla.data.images import open_image
from corolla.data.recipes import Recipe
from corolla.errors import DataError

TAR = ".tar"
_LARGEST_MEMBER_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Entry:
    """An image that can be read, or the reason why there is none.

    Attributes:
        key: Its name: the path, with forward slashes; of a member of a `.tar`, the member's.
        place: The file to read, or the `.tar` that it is in.
        size: In bytes.
        changed_ns: When the file was changed, in ns; with the size this tells whether it is still the same.
        offset: Where in the `.tar` its bytes begin; None if it is a file.
        fault: Why it cannot be read, if that is known already.
    """

    key: str
    place: Path
    size: int = 0
    changed_ns: int = 0
    offset: int | None = None
    fault: str = ""


def list_images(paths: Iterable[Path | str]) -> Iterator[Entry]:
    """The images that paths name, in that order; nothing is opened but folders and archives.

    Args:
        paths: Files, folders (whose images are taken, at any depth, hidden ones left out), `.tar` files (whose members
            are), and globs, where `**` matches folders at any depth. What is there is never taken for a glob.
    """
    for path in paths:
        place = Path(path)
        if place.is_dir():
            yield from _in_folder(place)
        elif is_pattern(path):
            # Before Python 3.13, pathlib's ** at the end matches folders alone.
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
            usable = [match for match in matches if match.suffix.lower() in (*EXTENSIONS, TAR) and match.is_file()]
            for match in usable:
                yield from _in_file(match)
            if not usable:
                yield _fault(place, "matches no images")
        else:
            yield from _in_file(place)


def is_pattern(path: Path | str) -> bool:
    """Whether a path is a glob: it has a sign of one, and nothing by that name is there."""
    return glob.has_magic(str(path)) and not Path(path).exists()


def read_entry(entry: Entry, recipe: Recipe, height: int, width: int) -> NDArray[np.uint8]:
    """One image's pixels, H×W×3 uint8. Raises DataError with one line that names the image."""
    if entry.fault:
        raise DataError(entry.fault)
    at_least_px = recipe.decode_at_least_px(height, width)
    if entry.offset is None:
        image = open_image(entry.place, at_least_px=at_least_px)
    else:
        image = open_image(_Bytes(entry), at_least_px=at_least_px)
    try:
        return recipe.apply(image, height, width)
    except DataError as error:
        raise DataError(f"{_name(entry)}: {error}") from None


class _Bytes(io.BytesIO):
    """A member of an archive, with the name that messages should give it."""

    def __init__(self, entry: Entry) -> None:
        self.name = _name(entry)
        if entry.size > _LARGEST_MEMBER_BYTES:
            raise DataError(f"{self.name}: has {entry.size:,} bytes, more than {_LARGEST_MEMBER_BYTES:,}")
        try:
            with entry.place.open("rb") as file:
                file.seek(entry.offset or 0)
                super().__init__(file.read(entry.size))
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror or error}") from None


def _name(entry: Entry) -> str:
    return str(entry.place) if entry.offset is None else f"{entry.place}: {entry.key}"


def _in_folder(folder: Path) -> Iterator[Entry]:
    empty = True
    try:
        for name, size, changed_ns in images_below(folder):
            empty = False
            place = folder / name
            yield Entry(_text(place), place, size, changed_ns)
    except OSError as error:
        place = Path(error.filename or folder)
        yield _fault(place, f"cannot be listed: {error.strerror}; the rest of {folder} is left out")
        return
    if empty:
        yield _fault(folder, f"holds no images; looked in all its folders for {' '.join(EXTENSIONS)}")


def _in_file(place: Path) -> Iterator[Entry]:
    try:
        status = place.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield _fault(place, "no such file" if isinstance(error, FileNotFoundError) else reason)
        return
    if place.suffix.lower() != TAR:
        yield Entry(_text(place), place, status.st_size, status.st_mtime_ns)
        return
    empty = True
    try:
        for member in members(place):
            base = member.name.rpartition("/")[2]
            if base.lower().endswith(EXTENSIONS) and not base.startswith("."):
                empty = False
                yield Entry(_text(member.name), place, member.size, status.st_mtime_ns, member.offset)
    except DataError as error:
        yield Entry(_text(place), place, fault=str(error))
        return
    if empty:
        yield _fault(place, "holds no images")


def _fault(place: Path, reason: str) -> Entry:
    return Entry(_text(place), place, fault=f"{place}: {reason}")


def _text(name: Path | str) -> str:
    """A name in proper Unicode with forward slashes; bytes of a name that are no UTF-8 show as `?`."""
    text = name.as_posix() if isinstance(name, Path) else name
    return text.encode("utf-8", "replace").decode("utf-8")
