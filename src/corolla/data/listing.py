"""Images named one after another: files, folders, globs, `.tar` files and lists, listed as they are read.

Other than a `Source`, a listing has no splits and no labels, need not fit into memory, and holds its faults: what
cannot be listed is an entry that cannot be read.
"""

from __future__ import annotations

import codecs
import glob
import io
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corolla.data.archives import members
from corolla.data.folder import images_below, is_own, no_images, say_own
from corolla.data.images import EXTENSIONS, open_picture
from corolla.data.levels import Levels, Reading
from corolla.data.preprocessing import Preprocessing
from corolla.data.sources import spread_rows
from corolla.errors import DataError, UsageError

LIST = "@"
"""Begins the name of a list of paths."""
TAR = ".tar"
_LARGEST_MEMBER_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Entry:
    """An image that can be read, or the reason (`fault`) why there is none.

    The key is its path with forward slashes, or its name in the `.tar`; the place is the file to read, or that `.tar`,
    in which its bytes begin at the offset. Size and time of change tell whether it is still the same.
    """

    key: str
    place: Path
    size: int = 0
    changed_ns: int = 0
    offset: int | None = None
    fault: str = ""

    @property
    def name(self) -> str:
        """What messages call it: its path, or the archive's and its name in there."""
        return str(self.place) if self.offset is None else f"{self.place}: {self.key}"


def list_images(paths: Iterable[Path | str], *, own: list[Path] | None = None) -> Iterator[Entry]:
    """The images that paths name, in that order; nothing is opened but folders, archives and lists.

    A path is a file; a folder, whose images are taken at any depth, as by `open_folder`; a `.tar` file, whose members
    are; a glob, where `**` matches folders at any depth; or `@FILE`, a list of such paths, one a line. What is there
    under its name is never taken for a glob or a list. Folders that Corolla wrote are left out and added to `own`; if
    there is none, the log says so once.
    """
    found: list[Path] = [] if own is None else own
    for path in paths:
        yield from _named(path, found)
    if own is None:
        say_own(found)


def count_images(paths: Iterable[Path | str]) -> int:
    """How many entries `list_images` gives."""
    return sum(1 for _ in list_images(paths, own=[]))


def list_some(paths: Iterable[Path | str], count: int | None = None, *, of_each: int | None = None) -> list[Entry]:
    """As `list_images`, at most `count` in all or `of_each` of what one path names, evenly spread over them."""
    own: list[Path] = []
    parts = [_spread(list(list_images([path], own=own)), of_each) for path in paths]
    say_own(own)
    return _spread([entry for part in parts for entry in part], count)


def check_paths(paths: Iterable[Path | str]) -> None:
    """Refuse what names nothing, before any work is done; what a list names is met when it is read."""
    if not (paths := list(paths)):
        raise UsageError("no images given; name image files, folders of them, .tar files, globs or lists")
    for path in paths:
        file = _list_file(path)
        if is_pattern(path):
            if not any(True for _ in glob.iglob(str(path), recursive=True)):  # noqa: PTH207 - as in `list_images`
                raise DataError(f"{path}: matches nothing", path=path)
        elif not (file or Path(path)).is_dir():
            _status(file or Path(path))


def is_pattern(path: Path | str) -> bool:
    """Whether a path is a glob: it has a sign of one, and nothing by that name is there."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def open_entry(entry: Entry, *, at_least_px: int | None = None, reading: Reading | None = None) -> Levels:
    """One image, as `open_picture` gives it. Raises DataError with one line that names the image."""
    if entry.fault:
        raise DataError(entry.fault, path=entry.name)
    file = entry.place if entry.offset is None else _Bytes(entry)
    return open_picture(file, at_least_px=at_least_px, reading=reading)


def read_entry(entry: Entry, how: Preprocessing) -> Levels:
    """One image's pixels, H×W×C. Raises DataError with one line that names the image."""
    picture = open_entry(entry, at_least_px=how.at_least_px, reading=how.reading)
    try:
        return how.apply(picture)
    except DataError as error:
        raise DataError(f"{entry.name}: {error}", path=entry.name) from None


class _Bytes(io.BytesIO):
    """A member of an archive, with the name that messages should give it."""

    def __init__(self, entry: Entry) -> None:
        self.name = entry.name
        if entry.size > _LARGEST_MEMBER_BYTES:
            raise DataError(
                f"{self.name}: has {entry.size:,} bytes, more than {_LARGEST_MEMBER_BYTES:,}", path=self.name
            )
        try:
            with entry.place.open("rb") as file:
                file.seek(entry.offset or 0)
                super().__init__(file.read(entry.size))
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror or error}", path=self.name) from None


def _named(path: Path | str, own: list[Path]) -> Iterator[Entry]:
    place = Path(path)
    listed = _list_file(path)
    if place.is_dir():
        yield from _in_folder(place, own)
    elif listed is not None:
        yield from _in_list(listed, own)
    elif is_pattern(path):
        yield from _matches(place, own)
    else:
        yield from _in_file(place)


def _list_file(path: Path | str) -> Path | None:
    """The file of a list; None if the path names something else."""
    text = str(path)
    return Path(text[len(LIST) :]) if text.startswith(LIST) and not os.path.lexists(path) else None


def _in_list(file: Path, own: list[Path]) -> Iterator[Entry]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines):
                name = line.removeprefix(codecs.BOM_UTF8) if not number else line
                if path := os.fsdecode(name.rstrip(b"\r\n")):
                    yield from _named(path, own) if _list_file(path) is None else _in_file(Path(path))
    except OSError as error:
        yield _fault(file, f"cannot be read: {error.strerror}")


def _matches(pattern: Path, own: list[Path]) -> Iterator[Entry]:
    # Before Python 3.13, pathlib's ** at the end matches folders alone.
    matches = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207
    usable = [match for match in matches if match.suffix.lower() in (*EXTENSIONS, TAR) and match.is_file()]
    named = next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))
    folders = {parent for match in usable for parent in match.parents if named in parent.parents}
    left_out = {folder for folder in folders if is_own(folder, {path.name for path in folder.iterdir()})}
    own += sorted(folder for folder in left_out if left_out.isdisjoint(folder.parents))
    for match in usable:
        if left_out.isdisjoint(match.parents):
            yield from _in_file(match)
    if not usable:
        yield _fault(pattern, "matches no images")


def _in_folder(folder: Path, own: list[Path]) -> Iterator[Entry]:
    empty, before = True, len(own)
    try:
        for name, size, changed_ns, fault in images_below(folder, own):
            empty = False
            place = folder / name
            yield _fault(place, fault) if fault else Entry(place.as_posix(), place, size, changed_ns)
    except DataError as error:
        yield Entry(folder.as_posix(), folder, fault=str(error))
        return
    if empty:
        yield _fault(folder, no_images(own[before:]))


def _status(place: Path) -> os.stat_result:
    """What the system knows of a file. Raises DataError if it is not there, or a pipe or device."""
    try:
        status = place.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reason = "no such file" if isinstance(error, FileNotFoundError) else reason
        raise DataError(f"{place}: {reason}", path=place) from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{place}: not a regular file", path=place)
    return status


def _in_file(place: Path) -> Iterator[Entry]:
    empty = True
    try:
        status = _status(place)
        if place.suffix.lower() != TAR:
            yield Entry(place.as_posix(), place, status.st_size, status.st_mtime_ns)
            return
        for member in members(place):
            base = member.name.rpartition("/")[2]
            if base.lower().endswith(EXTENSIONS) and not base.startswith("."):
                empty = False
                yield Entry(member.name, place, member.size, status.st_mtime_ns, member.offset)
    except DataError as error:
        yield Entry(place.as_posix(), place, fault=str(error))
        return
    if empty:
        yield _fault(place, "holds no images")


def _fault(place: Path, reason: str) -> Entry:
    return Entry(place.as_posix(), place, fault=f"{place}: {reason}")


def _spread(entries: list[Entry], most: int | None) -> list[Entry]:
    return entries if most is None else [entries[row] for row in spread_rows(np.arange(len(entries)), most)]
