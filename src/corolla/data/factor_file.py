"""A user's own images with known factors, in one `.npz` file, as a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]
from numpy.typing import NDArray

from corolla.data import npz
from corolla.data.factors import FactorSource
from corolla.errors import DataError, UsageError


def open_factors(path: str | Path) -> FactorSource:
    """Open an `.npz` file with the arrays `images` and `factors`.

    `images` are N×H×W, N×H×W×1 (grey) or N×H×W×3 (RGB), uint8, or bool; zeros and ones alone mean black and white.
    `factors` are N×F finite numbers; a full grid, or not. Optional: `factor_names` (F strings),
    `categorical_factors` (the names of those whose values have no order), `labels` (N integers from 0 on) and
    `label_names` (strings). Other arrays are left alone, and nothing is unpickled.

    Images that `numpy.savez` has written are mapped; those of `numpy.savez_compressed` are held in memory as a whole.

    Raises:
        UsageError: There is no such file.
        DataError: It is no `.npz` file, lacks an array, or an array is not as it should be.
    """
    place = Path(path).expanduser().absolute()
    if not place.is_file():
        raise UsageError(f"factors:{path}: {'a folder, not an .npz file' if place.exists() else 'no such file'}")
    there = npz.members(place)
    for name in ("images", "factors"):
        if name not in there:
            raise DataError(f"{place}: holds no array `{name}`; it holds {', '.join(there) or 'no arrays'}")
    shape, dtype = npz.header(place, "images")
    grey_or_rgb = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if not grey_or_rgb or 0 in shape:
        raise DataError(f"{place}: `images` have shape {shape}; give N×H×W, N×H×W×1 or N×H×W×3, all at least 1")
    if dtype not in (np.uint8, np.bool_):
        raise DataError(f"{place}: `images` are {dtype}; give uint8 from 0 to 255, or bool")
    factors = _factors(place, shape[0])
    names = _factor_names(place, factors.shape[1], there)
    labels, label_names = _labels(place, shape[0], there)
    return FactorSource(
        name=f"factors:{place.name}",
        path=place,
        indices=np.arange(shape[0], dtype=np.int64),
        size=(shape[1], shape[2]),
        factors=factors,
        factor_names=names,
        labels=labels,
        label_names=label_names,
        fingerprint=str(pooch.file_hash(str(place), alg="sha256")),
        categorical_factors=_categorical(place, names, there),
    )


def _factors(place: Path, count: int) -> NDArray[np.float32]:
    shape, dtype = npz.header(place, "factors")
    if len(shape) != 2 or shape[0] != count or not shape[1]:
        raise DataError(f"{place}: `factors` have shape {shape}; give {count}×F, one row for each of the images")
    if dtype.kind not in "biuf":
        raise DataError(f"{place}: `factors` are {dtype}; give integers or floating-point numbers")
    with np.errstate(over="ignore"):  # what is too large for float32 is told below
        factors: NDArray[np.float32] = npz.load(place, "factors").astype(np.float32)
    unknown = ~np.isfinite(factors)
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        raise DataError(
            f"{place}: factor {column} of image {row} is {factors[row, column]}; every factor must be a finite float32"
        )
    factors.setflags(write=False)
    return factors


def _factor_names(place: Path, count: int, there: list[str]) -> tuple[str, ...]:
    if "factor_names" not in there:
        return tuple(f"factor_{column}" for column in range(count))
    names = _strings(place, "factor_names")
    if len(names) != count or len(set(names)) < count:
        raise DataError(f"{place}: `factor_names` are {', '.join(names)}; give {count} different names")
    return names


def _categorical(place: Path, names: tuple[str, ...], there: list[str]) -> tuple[str, ...]:
    if "categorical_factors" not in there or npz.header(place, "categorical_factors")[0] == (0,):
        return ()
    categorical = _strings(place, "categorical_factors")
    for name in categorical:
        if name not in names:
            raise DataError(f"{place}: `categorical_factors` hold {name}; the factors are {', '.join(names)}")
    return categorical


def _labels(place: Path, count: int, there: list[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if "labels" not in there:
        return None, ()
    shape, dtype = npz.header(place, "labels")
    if shape != (count,) or dtype.kind not in "iu":
        raise DataError(f"{place}: `labels` are {dtype} of shape {shape}; give {count} integers from 0 on")
    labels = npz.load(place, "labels").astype(np.int64)
    if labels.min() < 0:
        raise DataError(f"{place}: `labels` go down to {labels.min()}; they begin with 0")
    if "label_names" not in there:
        if labels.max() >= count:
            raise DataError(f"{place}: `labels` go up to {labels.max()} for {count} images; number them from 0 on")
        return labels, tuple(str(label) for label in range(int(labels.max()) + 1))
    names = _strings(place, "label_names")
    if len(names) <= labels.max():
        raise DataError(f"{place}: `labels` go up to {labels.max()}, but there are {len(names)} `label_names`")
    return labels, names


def _strings(place: Path, name: str) -> tuple[str, ...]:
    shape, dtype = npz.header(place, name)
    if len(shape) != 1 or dtype.kind != "U":
        raise DataError(f"{place}: `{name}` are {dtype} of shape {shape}; give a list of strings")
    return tuple(str(value) for value in npz.load(place, name))
