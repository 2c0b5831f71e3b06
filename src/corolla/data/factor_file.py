"""A user's own images with known factors, in one `.npz` file, as a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]
from numpy.typing import NDArray

from corolla.data import npz
from corolla.data.factors import FactorSource
from corolla.errors import DataError, UsageError
from corolla.pixels import PixelFormat


def open_factors(path: str | Path) -> FactorSource:
    """Open an `.npz` file with the arrays `images` and `factors`.

    `images` are N×H×W (grey) or N×H×W×C, uint8, uint16 or bool; zeros and ones alone mean black and white.
    `factors` are N×F finite numbers; a full grid, or not. Optional: `factor_names` (F strings),
    `categorical_factors` (the names of those whose values have no order), `labels` (N integers from 0 on) and
    `label_names` (strings). Other arrays are left alone, and nothing is unpickled.

    Images that `numpy.savez` has written are mapped; those of `numpy.savez_compressed` are held in memory as a whole.

    Raises UsageError if there is no such file, DataError if it lacks an array, or an array is not as it should be.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"factors:{path}: {'a folder, not an .npz file' if file.exists() else 'no such file'}")
    arrays = npz.members(file)
    shape, dtype = npz.header(file, "images")
    if len(shape) not in (3, 4) or 0 in shape:
        raise DataError(f"{file}: `images` have shape {shape}; give N×H×W or N×H×W×C, all at least 1")
    if dtype not in (np.uint8, np.uint16, np.bool_):
        raise DataError(f"{file}: `images` are {dtype}; give uint8, uint16 or bool")
    factors = _factors(file, shape[0])
    count = factors.shape[1]
    names = _strings(file, "factor_names", arrays) or tuple(f"factor_{column}" for column in range(count))
    if len(names) != count or len(set(names)) < count:
        raise DataError(f"{file}: `factor_names` are {', '.join(names)}; give {count} different names")
    categorical = _strings(file, "categorical_factors", arrays)
    for name in categorical:
        if name not in names:
            raise DataError(f"{file}: `categorical_factors` hold {name}; the factors are {', '.join(names)}")
    labels, label_names = _labels(file, shape[0], arrays)
    return FactorSource(
        name=f"factors:{file.name}",
        path=file,
        indices=np.arange(shape[0], dtype=np.int64),
        size=(shape[1], shape[2]),
        factors=factors,
        factor_names=names,
        labels=labels,
        label_names=label_names,
        fingerprint=str(pooch.file_hash(str(file), alg="sha256")),
        categorical_factors=categorical,
        formats={PixelFormat(1 if len(shape) == 3 else shape[3], 16 if dtype == np.uint16 else 8): shape[0]},
    )


def _factors(file: Path, count: int) -> NDArray[np.float32]:
    shape, dtype = npz.header(file, "factors")
    if len(shape) != 2 or shape[0] != count or not shape[1]:
        raise DataError(f"{file}: `factors` have shape {shape}; give {count}×F, one row for each of the images")
    if dtype.kind not in "biuf":
        raise DataError(f"{file}: `factors` are {dtype}; give integers or floating-point numbers")
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        factors: NDArray[np.float32] = npz.load(file, "factors").astype(np.float32)
    unknown = ~np.isfinite(factors)
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        raise DataError(
            f"{file}: factor {column} of image {row} is {factors[row, column]}; every factor must be a finite float32"
        )
    factors.setflags(write=False)
    return factors


def _labels(file: Path, count: int, arrays: list[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if "labels" not in arrays:
        return None, ()
    shape, dtype = npz.header(file, "labels")
    if shape != (count,) or dtype.kind not in "iu":
        raise DataError(f"{file}: `labels` are {dtype} of shape {shape}; give {count} integers from 0 on")
    labels = npz.load(file, "labels").astype(np.int64)
    if labels.min() < 0:
        raise DataError(f"{file}: `labels` go down to {labels.min()}; they begin with 0")
    names = _strings(file, "label_names", arrays)
    if not names:
        if labels.max() >= count:
            raise DataError(f"{file}: `labels` go up to {labels.max()} for {count} images; number them from 0 on")
        return labels, tuple(str(label) for label in range(int(labels.max()) + 1))
    if len(names) <= labels.max():
        raise DataError(f"{file}: `labels` go up to {labels.max()}, but there are {len(names)} `label_names`")
    return labels, names


def _strings(file: Path, name: str, arrays: list[str]) -> tuple[str, ...]:
    """An array of strings; empty if there is none, or nothing in it."""
    shape, dtype = npz.header(file, name) if name in arrays else ((0,), None)
    if shape == (0,):
        return ()
    if len(shape) != 1 or dtype is None or dtype.kind != "U":
        raise DataError(f"{file}: `{name}` are {dtype} of shape {shape}; give a list of strings")
    return tuple(str(value) for value in npz.load(file, name))
