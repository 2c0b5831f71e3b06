"""Images with known factors of variation, kept as arrays: what every factor data set becomes, whatever its format."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.data import npz
from corolla.data.levels import Levels
from corolla.data.recipes import recipe_named
from corolla.data.sources import Source
from corolla.errors import DataError, UsageError

# What the hashes below begin with. They decide splits and subsets, so they never change.
_SPLIT_SALT = 1
_SUBSET_SALT = 2

_BLOCK_IMAGES = 1024

_LOADING = threading.Lock()


class StoredArray(Source):
    """A source whose images lie in one array.

    Splits go by a hash of each image's number: about 80% train, 10% val, 10% test. The last digit would be a factor
    itself where the images form a grid. How many images there are decides nothing, so a longer array or a larger subset
    moves no image.

    Args:
        name: What it is called in reports.
        path: An `.npy` file, or an `.npz` file with the array `images`: N×H×W or N×H×W×C of uint8, uint16 or bool.
        indices: The images' numbers in the whole set, ascending.
        size: Their height and width.
        facts: The other attributes of a `Source`, but for keys and splits.
    """

    def __init__(self, name: str, path: Path, indices: NDArray[np.int64], size: tuple[int, int], **facts: Any) -> None:
        self.path, self.indices, self.size = path, indices, size
        tenth = _scrambled(indices, _SPLIT_SALT) % np.uint64(10)
        chosen = {"train": tenth < 8, "val": tenth == 8, "test": tenth == 9}
        splits = {split: np.flatnonzero(rows).astype(np.int64) for split, rows in chosen.items()}
        super().__init__(name, tuple(f"image-{index:07d}" for index in indices.tolist()), splits, **facts)

    def picture(self, index: int, at_least_px: int | None = None) -> Levels:  # noqa: ARG002
        """See `Source`; by `fit` at the images' own size, it is the very pixels."""
        return np.asarray(self._chosen([index])[0])

    def read_many(self, indices: ArrayLike, height: int, width: int) -> Levels:
        """Many images as `fit` gives them, N×height×width×C. Raises as `read`."""
        pictures = self._chosen(indices)
        if (height, width) == self.size:
            return pictures
        return np.stack([recipe_named("fit").apply(picture, height, width) for picture in pictures])

    def _chosen(self, indices: ArrayLike) -> Levels:
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        outside = (rows < 0) | (rows >= len(self.indices))
        if outside.any():
            raise UsageError(f"index {rows[outside][0]}: {self.name} holds images 0 to {len(self.indices) - 1}")
        try:
            with _LOADING:  # of many threads, one loads
                pixels, white = _open_pixels(self.path, self.path.stat().st_mtime_ns)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if pixels.shape[:3] != (len(self.indices), *self.size):
            raise DataError(f"{self.path}: has changed since it was opened; open it again")
        chosen = pixels[rows]
        if white != 1 or chosen.dtype == np.bool_:
            chosen = chosen.astype(np.uint8) * np.uint8(white)
        return np.ascontiguousarray(chosen[..., None] if chosen.ndim == 3 else chosen)


class FactorSource(StoredArray):
    """Such a source with the factors that made each image."""

    factors: NDArray[np.float32]


def is_full_grid(factors: NDArray[np.generic]) -> bool:
    """Whether every combination of the values that N×F factors take is there exactly once."""
    codes = np.zeros(len(factors), dtype=np.int64)
    combinations = 1
    for column in factors.T:
        values, code = np.unique(column, return_inverse=True)
        combinations *= len(values)
        if combinations > len(factors):
            return False
        codes = codes * len(values) + code.reshape(-1)
    return combinations == len(factors) and bool((np.bincount(codes, minlength=combinations) == 1).all())


def subset(total: int, count: int) -> NDArray[np.int64]:
    """Which `count` of `total` images to take, ascending: the first of a fixed shuffle, so fewer are among more."""
    order = np.argsort(_scrambled(np.arange(total, dtype=np.int64), _SUBSET_SALT))
    return np.sort(order[:count]).astype(np.int64)


def _scrambled(indices: NDArray[np.int64], salt: int) -> NDArray[np.uint64]:
    """A hash of each index, the same on every machine: SplitMix64 (Steele, Lea & Flood 2014), which is one to one."""
    state = (indices.astype(np.uint64) + np.uint64(salt << 48)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast("NDArray[np.uint64]", state ^ (state >> np.uint64(31)))


@lru_cache(maxsize=2)
def _open_pixels(path: Path, _changed_ns: int) -> tuple[NDArray[Any], int]:
    """The images, and what white is to be multiplied by: 255 where they are of zeros and ones."""
    if path.suffix.lower() == ".npy":
        pixels: NDArray[Any] | None = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
        pixels = npz.mapped(path, "images")
    if pixels is None:
        pixels = npz.load(path, "images")
    return pixels, 255 if _black_and_white(pixels) else 1


def _black_and_white(pixels: NDArray[Any]) -> bool:
    """Whether images hold zeros and ones alone; of others, as a rule, the first few say that they do not."""
    if pixels.dtype == np.uint16:
        return False
    if pixels.dtype == np.bool_:
        return True
    largest = 0
    for start in range(0, len(pixels), _BLOCK_IMAGES):
        largest = max(largest, int(pixels[start : start + _BLOCK_IMAGES].max()))
        if largest > 1:
            return False
    return largest == 1
