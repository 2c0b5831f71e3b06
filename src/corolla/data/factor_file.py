"""A user's own images in one array file, with factors and labels if these are known, as a source."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pooch  # type: ignore[import-untyped]
from numpy.typing import NDArray

from corolla.data import npz
from corolla.data.factors import FactorSource, StoredArray
from corolla.data.given import Given, array_levels, channel_axis
from corolla.data.layout import splits_of_names
from corolla.errors import DataError, UsageError
from corolla.files import replacing, writing
from corolla.pixels import PixelFormat


def open_factors(path: str | Path) -> FactorSource:
    """Open an `.npz` file with the arrays `images` and `factors`; as `open_arrays`, but that factors are needed."""
    source = _open(Path(path).expanduser().absolute(), f"factors:{path}", None)
    assert isinstance(source, FactorSource)
    return source


def open_arrays(path: str | Path, *, home: Path) -> StoredArray:
    """Open an `.npy` file of images, or an `.npz` file with the array `images`.

    `images` are N×H×W (grey) or N×H×W×C, uint8, uint16 or bool; zeros and ones alone mean black and white. Floats in
    [0, 1], and N×C×H×W, are taken as `corolla.data.given` says, and kept as levels below `home`. Optional in an `.npz`
    file: `factors` (N×F finite numbers; a full grid, or not), `factor_names` (F strings), `categorical_factors` (the
    names of those whose values have no order), `labels` (N integers from 0 on), `label_names` (strings) and
    `splits` (N strings: train, val or test). Other arrays are left alone, and nothing is unpickled.

    Images that `numpy.save` or `numpy.savez` has written are mapped; those of `numpy.savez_compressed` are held in
    memory as a whole.

    Raises UsageError if there is no such file, DataError if an array is not as it should be.
    """
    return _open(Path(path).expanduser().absolute(), f"array:{path}", home)


def store_given(images: Given, home: Path) -> str:
    """Keep images of a Python program below `home`, and return the name of the source that they are then."""
    arrays: dict[str, NDArray[Any]] = {"images": np.stack(list(images.images))}
    if images.labels is not None:
        arrays |= {"labels": images.labels, "label_names": np.array(images.label_names)}
    if images.factors is not None:
        arrays |= {"factors": images.factors, "factor_names": np.array(images.factor_names)}
    if images.splits is not None:
        arrays |= {"splits": np.array(images.splits)}
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    file = home / "arrays" / f"{digest.hexdigest()[:32]}.npz"
    if not file.exists():
        with writing(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary, temporary.open("wb") as opened:
                np.savez(opened, allow_pickle=False, **arrays)
    return f"array:{file}"


def _open(file: Path, spec: str, home: Path | None) -> StoredArray:
    """A file of arrays; without `home`, one of factors."""
    kinds = (".npz",) if home is None else (".npy", ".npz")
    if not file.is_file() or file.suffix.lower() not in kinds:
        what = f"{'a folder, ' if file.is_dir() else ''}not a {' or '.join(kinds)} file"
        what = what if file.exists() else "no such file"
        raise UsageError(f"{spec}: {what}")
    plain = file.suffix.lower() == ".npy"
    arrays = [] if plain else npz.members(file)
    pixels_file = file
    shape, dtype = _npy_header(file) if plain else npz.header(file, "images")
    if home is not None and _needs_levels(shape, dtype):
        pixels_file = _as_levels(file, home)
        shape, dtype = _npy_header(pixels_file)
    if len(shape) not in (3, 4) or 0 in shape:
        raise DataError(f"{file}: `images` have shape {shape}; give N×H×W or N×H×W×C, all at least 1")
    if dtype not in (np.uint8, np.uint16, np.bool_):
        raise DataError(f"{file}: `images` are {dtype}; give uint8, uint16 or bool")
    factors: NDArray[np.float32] | None = None
    names: tuple[str, ...] = ()
    if home is None or "factors" in arrays:
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
    kind = StoredArray if factors is None else FactorSource
    source = kind(
        name=f"{spec.partition(':')[0]}:{file.name}",
        path=pixels_file,
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
    if splits := _strings(file, "splits", arrays):
        if len(splits) != shape[0]:
            raise DataError(f"{file}: {len(splits)} `splits` for {shape[0]} images", path=file)
        source.splits = splits_of_names(splits, f"{file}: `splits`")
    return source


def _npy_header(file: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}", path=file) from None
    if not isinstance(images, np.ndarray):  # NumPy goes by the content
        images.close()
        raise DataError(f"{file}: an .npz file by its content; name it so", path=file)
    return images.shape, images.dtype


def _needs_levels(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether images are none that can be mapped as they are."""
    first = len(shape) == 4 and channel_axis(shape[1:], first=False) == 0
    return first or dtype not in (np.uint8, np.uint16, np.bool_)


def _as_levels(file: Path, home: Path) -> Path:
    """The images of a file as levels N×H×W×C, kept below `home` by the content of the file."""
    digest = str(pooch.file_hash(str(file), alg="sha256"))
    kept = home / "arrays" / f"{digest[:32]}.npy"
    if not kept.exists():
        images = npz.load(file, "images") if file.suffix.lower() == ".npz" else np.load(file, mmap_mode="r")
        try:
            levels = array_levels(images)
        except UsageError as error:
            raise DataError(f"{file}: {error}", path=file) from None
        with writing(kept.parent):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as temporary, temporary.open("wb") as opened:
                np.save(opened, levels, allow_pickle=False)
    return kept


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
