"""Archives, unpacked or listed without trusting them; the list of a `.tar` says where its files can be read."""

from __future__ import annotations

import gzip
import lzma
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from corolla.errors import DataError
from corolla.files import writing

if TYPE_CHECKING:
    from corolla.data.fetch import Progress

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises on an archive or member that is damaged, encrypted, or packed in a way that it does not know."""

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
                for member in _one_by_one(tar):
                    if member.isreg() and not member.issparse():
                        yield Member(member.name, member.offset_data, member.size)
    except DataError as error:
        raise DataError(f"{archive}: {error}") from None
    except tarfile.TarError as error:
        raise DataError(f"{archive}: not a .tar archive without compression, or damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror or error}") from None


def _one_by_one(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all that it has met
        yield member


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
    expected: Collection[str],
    *,
    max_bytes: int = 4 * 1024**3,
    max_file_bytes: int = 256 * 1024**2,
    progress: Progress | None = None,
) -> None:
    """Unpack a `.tar` or `.tar.gz` into a new folder: plain files alone, each of those expected, and nothing else.

    Members are checked here and not by tarfile's filters, which early releases of Python 3.11 lack and which allow
    links. Permissions, owners and times are not taken over. `progress` gets the compressed bytes read, and the size of
    the archive. After an error, the folder holds what was unpacked before; see `corolla.files.building`.

    Raises WriteError, or DataError: the archive is damaged, holds something else, lacks a file, or is far too large.
    """
    names: set[str] = set()
    try:
        with archive.open("rb") as raw, _decompressed(raw) as plain:
            size = archive.stat().st_size
            bounded = _Bounded(plain, max_bytes)
            with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:") as tar:
                for member in _one_by_one(tar):
                    name = str(PurePosixPath(member.name))
                    if member.isdir():
                        continue
                    if name not in expected or not member.isreg() or member.issparse():
                        raise DataError(f"member {member.name!r} does not belong there; {_described(expected)}")
                    if member.size > max_file_bytes:
                        raise DataError(f"member {name!r} has {member.size:,} bytes, more than {max_file_bytes:,}")
                    if name in names:
                        raise DataError(f"member {name!r} comes twice")
                    names.add(name)
                    contents = tar.extractfile(member)
                    assert contents is not None  # it is a plain file
                    with writing(folder), contents:
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        with (folder / name).open("xb") as file:
                            shutil.copyfileobj(contents, file)
                    if progress is not None:
                        progress(raw.tell(), size)
            while bounded.read(_CHUNK):  # to the end, where gzip checks its sum
                pass
        if missing := sorted(set(expected) - names):
            raise DataError(f"{len(missing):,} files are missing, {missing[0]} first; {_described(expected)}")
    except DataError as error:
        raise DataError(f"{archive}: {error}") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: not a .tar.gz archive, or damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror or error}") from None


def _described(expected: Collection[str]) -> str:
    return f"it should hold {len(expected):,} files, {min(expected)} to {max(expected)}"


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if zipped else raw
