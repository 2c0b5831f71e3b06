"""The file formats of the published factor data sets: files to factors, and images some at a time.

A reader takes the files by name and the number of values of each factor. It gives the 0-based class of each factor for
every image, N×F, and an iterator over the images in the same order, in blocks of uint8 n×H×W or n×H×W×3. What is wrong
with a file is a DataError that names it; whether the whole set is there, the caller checks.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from corolla.data import npz
from corolla.errors import DataError

Files = Mapping[str, Path]
Contents = tuple[NDArray[np.int64], Iterator[NDArray[np.uint8]]]
Reader = Callable[[Files, Sequence[int]], Contents]

_BLOCK_IMAGES = 1024
_READ_ERRORS = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    NotImplementedError,
    zlib.error,
    tarfile.TarError,
)
_CAR = re.compile(r"(?:.*/)?cars/[^/]+\.mat")
_LARGEST_CAR_BYTES = 64 << 20  # ten times what one has

# SmallNORB's own matrix format: the first four bytes tell what the numbers are.
_NORB_BYTES = 0x1E3D4C55
_NORB_INTEGERS = 0x1E3D4C54


def read_dsprites(files: Files, _sizes: Sequence[int]) -> Contents:
    """dSprites: an `.npz` with `imgs` of zeros and ones, and `latents_classes` whose first column, colour, is constant.

    The metadata is a pickle, and is not read.
    """
    (path,) = files.values()
    classes = npz.load(path, "latents_classes")
    if classes.ndim != 2 or classes.dtype.kind not in "iu" or classes[:, :1].any():
        raise DataError(f"{path}: `latents_classes` are not those of dSprites")
    return classes[:, 1:].astype(np.int64), _whitened(path, npz.blocks(path, "imgs"))


def _whitened(path: Path, blocks: Iterator[NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
    for block in blocks:
        if block.dtype != np.uint8 or block.max(initial=0) > 1:
            raise DataError(f"{path}: `imgs` are not of zeros and ones, as those of dSprites")
        yield block * np.uint8(255)


def read_shapes3d(files: Files, _sizes: Sequence[int]) -> Contents:
    """3D Shapes: an HDF5 file with `images` and `labels`, whose columns hold the factors' values. Needs h5py."""
    import h5py

    (path,) = files.values()
    with _reading(path, "an HDF5 file with `images` and `labels`"), h5py.File(path, "r") as file:
        labels = np.asarray(file["labels"][()])
    if labels.ndim != 2:
        raise DataError(f"{path}: `labels` have shape {labels.shape}, not N×F")
    classes = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in labels.T]
    return np.stack(classes, axis=1).astype(np.int64), _hdf5_blocks(path)


def _hdf5_blocks(path: Path) -> Iterator[NDArray[np.uint8]]:
    import h5py

    with _reading(path, "an HDF5 file with `images` and `labels`"), h5py.File(path, "r") as file:
        images = file["images"]
        rows = max(_BLOCK_IMAGES, (images.chunks or (1,))[0])  # so that no chunk is decompressed twice
        for start in range(0, len(images), rows):
            yield np.asarray(images[start : start + rows])


def read_cars3d(files: Files, sizes: Sequence[int]) -> Contents:
    """Cars3D: a `.tar.gz` with one MATLAB file for each car, whose `im` is H×W×3×azimuths×elevations.

    The factors are the car, in the archive's order, the elevation and the azimuth.
    """
    (path,) = files.values()
    return _grid(sizes), _car_blocks(path)


def _car_blocks(path: Path) -> Iterator[NDArray[np.uint8]]:
    with _reading(path, "a .tar.gz of MATLAB files"), tarfile.open(path, "r:gz") as tar:
        for member in tar:
            if not (member.isreg() and _CAR.fullmatch(member.name)):
                continue
            if member.size > _LARGEST_CAR_BYTES:
                raise DataError(f"{path}: {member.name} has {member.size:,} bytes, far more than a car")
            contents = tar.extractfile(member)
            assert contents is not None  # it is a plain file
            with contents:
                image = loadmat(io.BytesIO(contents.read()), variable_names=["im"])["im"]
            if image.ndim != 5:
                raise DataError(f"{path}: `im` of {member.name} has shape {image.shape}, not H×W×3×azimuth×elevation")
            yield image.transpose(4, 3, 0, 1, 2).reshape(-1, *image.shape[:3])


def read_smallnorb(files: Files, _sizes: Sequence[int]) -> Contents:
    """SmallNORB: the official training and test files, one after the other; of each pair, the first camera's image.

    The factors are the category, the instance, the elevation, the azimuth (in steps of 20°) and the lighting.
    """
    parts = {
        kind: [path for name, path in files.items() if name.endswith(f"-{kind}.mat.gz")]
        for kind in ("dat", "cat", "info")
    }
    tables = []
    for cat, info in zip(parts["cat"], parts["info"], strict=True):
        categories = np.concatenate(list(_norb_blocks(cat, _NORB_INTEGERS, 1)))
        details = np.concatenate(list(_norb_blocks(info, _NORB_INTEGERS, 2)))
        if details.shape != (len(categories), 4):
            found = "×".join(map(str, details.shape))
            raise DataError(f"{info}: has shape {found} instead of {len(categories)}×4")
        tables.append(np.column_stack([categories, details]).astype(np.int64))
    factors = np.concatenate(tables)
    if (factors[:, 3] % 2).any():
        raise DataError(f"{parts['info'][0]}: holds odd azimuths; SmallNORB's are even")
    factors[:, 3] //= 2
    return factors, (pairs[:, 0] for path in parts["dat"] for pairs in _norb_blocks(path, _NORB_BYTES, 4))


def _norb_blocks(path: Path, magic: int, ndim: int) -> Iterator[NDArray[Any]]:
    """The rows of a gzipped matrix: magic number, number of axes, at least three lengths, then the numbers."""
    with _reading(path, "a gzipped matrix of SmallNORB"), gzip.open(path, "rb") as file:
        found, axes = np.frombuffer(file.read(8), "<u4").tolist()
        if (found, axes) != (magic, ndim):
            raise DataError(f"{path}: begins with {found:X} and {axes} axes, not with {magic:X} and {ndim}")
        shape = np.frombuffer(file.read(4 * max(3, ndim)), "<u4")[:ndim].tolist()
        if min(shape) < 1:
            raise DataError(f"{path}: has shape {'×'.join(map(str, shape))}")
        dtype: np.dtype[Any] = np.dtype("u1" if magic == _NORB_BYTES else "<i4")
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        for start in range(0, shape[0], _BLOCK_IMAGES):
            rows = min(_BLOCK_IMAGES, shape[0] - start)
            yield np.frombuffer(file.read(rows * row_bytes), dtype).reshape(rows, *shape[1:])
        if file.read(1):
            raise DataError(f"{path}: holds more than the {shape[0]:,} rows that it announces")


def read_mpi3d(files: Files, sizes: Sequence[int]) -> Contents:
    """MPI3D: an `.npz` whose `images` are the full grid of the factors, the last one fastest."""
    (path,) = files.values()
    return _grid(sizes), npz.blocks(path, "images")


def _grid(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Every combination of classes, N×F, the last factor fastest."""
    return np.asarray(np.indices(tuple(sizes), dtype=np.int64).reshape(len(sizes), -1).T)


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn what the readers of a format raise on a damaged or different file into a DataError that names it."""
    try:
        yield
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not {what}, or damaged: {reason}") from None
