"""Archives, unpacked or listed without trusting them.

Unpacking puts plain files below one folder, within limits, all or nothing. Listing says where in a `.tar` its files
are, so that they can be read from there.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tarfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from corolla.errors import DataError
from corolla.files import locked, writing

if TYPE_CHECKING:
    from corolla.data.fetch import Progress

# The longest piece that is read at once.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A plain file in a `.tar`: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


def members(archive: Path) -> Iterator[Member]:
    """The plain files of a `.tar` in their order, one after another; links, folders and devices are passed over."""
    try:
        with archive.open("rb") as raw:
            bounded = _Bounded(raw, sys.maxsize)
            with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all that it has met
                    if member.isreg() and not member.issparse():
                        yield Member(member.name, member.offset_data, member.size)
    except DataError as error:
        raise DataError(f"{archive}: {error}") from None
    except tarfile.TarError as error:
        raise DataError(f"{archive}: not a .tar archive without compression, or damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror or error}") from None


class _Bounded:
    """A readable file that refuses to expand beyond a limit.

    tarfile reads what extends a member's header into memory in one piece, however long the archive says that it is;
    contents are read in chunks. So one long read is an attack as well.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _CHUNK:
            raise DataError("a header of a member is far too long")
        piece = self._file.read(count)
        self._check(self._file.tell())
        return piece

    def seek(self, position: int, whence: int = 0) -> int:
        self._check(position)
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise DataError(f"it expands to more than {self._limit:,} bytes")


def extract(
    archive: Path,
    folder: Path,
    *,
    expected: Collection[str] | None = None,
    max_files: int = 100_000,
    max_bytes: int = 4 * 1024**3,
    max_file_bytes: int = 256 * 1024**2,
    progress: Progress | None = None,
) -> Path:
    """Unpack a `.tar` or `.tar.gz` of plain files into a new folder: all of it, or nothing.

    Members are checked here and not by tarfile's filters, which early releases of Python 3.11 lack and which allow
    links. Permissions, owners and times are not taken over. `expected` names all files that the archive should hold;
    `progress` gets the compressed bytes read, and the size of the archive.

    Raises:
        DataError: The archive is damaged, holds anything but files and folders below its root, expands beyond a
            limit, lacks an expected file or holds another; or the folder exists.
        WriteError: the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with locked(folder):
        if folder.exists():
            raise DataError(f"{folder}: exists already; delete it to unpack {archive.name} again")
        shutil.rmtree(partial, ignore_errors=True)  # what a killed attempt has left
        try:
            with writing(folder.parent):
                partial.mkdir()
            found = _unpack(archive, partial, expected, (max_files, max_bytes, max_file_bytes), progress)
            missing = sorted(set(expected or ()) - found)
            if expected is not None and missing:
                raise DataError(
                    f"{archive}: {len(missing):,} files are missing, {missing[0]} first; {_wanted(expected)}"
                )
            with writing(folder.parent):
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _unpack(
    archive: Path,
    folder: Path,
    expected: Collection[str] | None,
    limits: tuple[int, int, int],
    progress: Progress | None,
) -> set[str]:
    """Write the archive's files and return their names."""
    max_files, max_bytes, max_file_bytes = limits
    seen: set[str] = set()  # without regard to case, as some file systems have none
    found: set[str] = set()
    try:
        with archive.open("rb") as raw, _decompressed(raw) as plain:
            size = archive.stat().st_size
            bounded = _Bounded(plain, max_bytes)
            with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as tar:
                for count, member in enumerate(tar, start=1):
                    if count > max_files:
                        raise DataError(f"it holds more than {max_files:,} members")
                    name = _safe_name(member)
                    if member.isdir():
                        continue
                    if expected is not None and name not in expected:
                        raise DataError(f"member {name!r} does not belong there; {_wanted(expected)}")
                    if member.size > max_file_bytes:
                        raise DataError(f"member {name!r} has {member.size:,} bytes, more than {max_file_bytes:,}")
                    if name.casefold() in seen:
                        raise DataError(f"member {name!r} comes twice")
                    seen.add(name.casefold())
                    found.add(name)
                    _write_member(tar, member, folder / name)
                    if progress is not None:
                        progress(raw.tell(), size)
            while bounded.read(_CHUNK):  # to the end, where gzip checks its sum
                pass
    except DataError as error:
        raise DataError(f"{archive}: {error}; nothing was unpacked") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: not a .tar.gz archive, or damaged: {error}; nothing was unpacked") from None
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror or error}") from None
    return found


def _wanted(expected: Collection[str]) -> str:
    return f"it should hold {len(expected):,} files, {min(expected)} to {max(expected)}"


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if zipped else raw


def _safe_name(member: tarfile.TarInfo) -> str:
    """The member's path below the folder. Raises DataError if it leads elsewhere, or is no file or folder."""
    name = member.name
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise DataError(f"member {name!r} would be written outside the folder")
    if not (member.isdir() or (member.isreg() and not member.issparse() and path.parts)):
        raise DataError(f"member {name!r} is a link, a device or another thing that is no plain file")
    return str(path)


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    contents = tar.extractfile(member)
    assert contents is not None  # it is a plain file
    with writing(target.parent):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"member {member.name!r} would lie below a file") from None
        with contents, target.open("xb") as file:
            shutil.copyfileobj(contents, file)
