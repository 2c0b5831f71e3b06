"""Arrays in `.npz` files, read in blocks or mapped into memory, and never unpickled; `.npy` files, written in blocks.

`numpy.load` reads a member of an `.npz` as a whole. Factor data sets are as large as 13 GB, so here a member's rows
come some at a time, and one that was stored without compression can be mapped.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from corolla.data.archives import ZIP_ERRORS
from corolla.errors import DataError
from corolla.files import writing

_BLOCK_BYTES = 16 << 20
_LOCAL_HEADER_BYTES = 30  # of a member in a zip file, before its name; the lengths of name and extra field end it
_READ_ERRORS = (*ZIP_ERRORS, ValueError, MemoryError)


def members(path: Path) -> list[str]:
    """The names of the arrays in a file. Raises DataError if it is no `.npz` file."""
    with _opened(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and dtype of an array, without reading it."""
    with _array(path, name) as (_, _, shape, _, dtype):
        return shape, dtype


def blocks(path: Path, name: str, rows: int | None = None) -> Iterator[NDArray[Any]]:
    """The rows of an array, so many at a time; by default as many as are about 16 MB."""
    with _array(path, name) as (file, _, shape, fortran, dtype):
        if fortran:
            raise DataError(f"{path}: `{name}` lies in Fortran's order, in which rows cannot be read one by one")
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        rows = rows or max(1, _BLOCK_BYTES // max(1, row_bytes))
        for start in range(0, shape[0], rows):
            count = min(rows, shape[0] - start)
            yield np.frombuffer(file.read(count * row_bytes), dtype).reshape(count, *shape[1:])
        file.read(1)  # as in `load`


def load(path: Path, name: str) -> NDArray[Any]:
    """A whole array, in memory. Raises DataError as `header`, or where the file turns out to be damaged."""
    with _array(path, name) as (file, _, _, _, _):
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # to the end, where zip checks its sum
        return np.asarray(array)


def mapped(path: Path, name: str) -> NDArray[Any] | None:
    """An array mapped into memory, read-only; None if it is compressed. Raises DataError as `header`."""
    with _array(path, name) as (file, info, shape, fortran, dtype):
        skipped = file.tell()
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        local = raw.read(_LOCAL_HEADER_BYTES)
    names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    offset = info.header_offset + _LOCAL_HEADER_BYTES + names + skipped
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


@contextmanager
def writing_rows(
    path: Path, shape: tuple[int, ...], root: Path, remedy: str, *, dtype: DTypeLike = np.uint8
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """What appends rows of a shape to a new `.npy` file, which is whole and on the disk at the end.

    Raises WriteError that names `root`.
    """
    count = 0

    def write_header() -> None:  # NumPy leaves room for the number of rows to grow
        file.seek(0)
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        head = {"descr": descr, "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(file, head)

    def append(rows: NDArray[Any]) -> None:
        nonlocal count
        with writing(root, remedy):
            file.write(np.ascontiguousarray(rows, dtype).data)
        count += len(rows)

    with writing(root, remedy):
        file = path.open("wb")
    with file:
        with writing(root, remedy):
            write_header()
        yield append
        with writing(root, remedy):
            write_header()
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The file as an archive; whatever goes wrong while reading it becomes a DataError that names it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not an .npz file, or damaged: {reason}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def _array(path: Path, name: str) -> Iterator[tuple[IO[bytes], zipfile.ZipInfo, tuple[int, ...], bool, np.dtype[Any]]]:
    """A member at its first number: file, entry, shape, whether the first axis is the fastest, and dtype."""
    with _opened(path) as archive:
        try:
            info = archive.getinfo(f"{name}.npy")
        except KeyError:
            names = ", ".join(key[:-4] for key in archive.namelist() if key.endswith(".npy")) or "no arrays"
            raise DataError(f"{path}: holds no array `{name}`; it holds {names}") from None
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                raise DataError(f"{path}: `{name}` has version {version} of NumPy's format, not that of plain arrays")
            if dtype.hasobject:
                raise DataError(f"{path}: `{name}` holds Python objects, which are not read; save numbers or strings")
            if not shape:
                raise DataError(f"{path}: `{name}` is a single value, not an array")
            size = file.tell() + dtype.itemsize * math.prod(shape)
            if info.file_size != size:
                raise DataError(f"{path}: `{name}` has {info.file_size:,} bytes instead of {size:,}; it is damaged")
            yield file, info, shape, fortran, dtype
