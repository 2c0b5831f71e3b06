"""A user's own folder of images, of any depth, as a source."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.data.sources import FileSource
from corolla.errors import DataError, UsageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

# Names that make first-level folders splits instead of labels.
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def open_folder(path: str | Path) -> FileSource:
    """Open a folder of images. Hidden files and folders are left out; symbolic links are followed, but not in circles.

    If the folder holds `train` and `val` (or `valid`, `validation`) or `test`, and nothing else, these are the splits.
    Otherwise each image's own path decides (see `split_of`), so that adding a file moves no other file. The
    first-level folders (below the splits, if these are folders) are labels if every image lies in one of at least two.

    Raises:
        UsageError: There is no such folder.
        DataError: A folder in it cannot be listed, or there are no images.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise UsageError(f"folder:{path}: {'a file, not a folder' if root.exists() else 'no such folder'}")
    try:
        found = sorted(images_below(root))
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be listed: {error.strerror}") from None
    if not found:
        raise DataError(f"{root}: holds no images; looked in all its folders for {' '.join(EXTENSIONS)}")
    keys = tuple(key for key, _, _ in found)
    digest = hashlib.sha256()
    for key, size, mtime_ns in found:
        digest.update(f"{key}\0{size}\0{mtime_ns}\n".encode(errors="surrogateescape"))
    splits, below = _splits(keys)
    labels, label_names = _labels(below)
    return FileSource(f"folder:{root.name}", root, keys, splits, labels, label_names, digest.hexdigest())


def images_below(root: Path) -> Iterator[tuple[str, int, int]]:
    """Key, size in bytes and time of change in ns of every image below root.

    Each folder's images come in the order of their names, then those of the folders in it; what links lead to comes
    last. So each real folder comes once, and under its real place.

    Raises:
        OSError: A folder cannot be listed.
    """
    visited: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, str]] = [(root, "")]
    links: list[tuple[Path, str]] = []
    while waiting or links:
        folder, prefix = waiting.pop() if waiting else links.pop(0)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        folders: list[tuple[Path, str]] = []
        while entries:
            entry = entries.pop()  # what has been given out need not be kept
            if entry.name.startswith("."):
                continue
            # A Path, other than a listing's entry, answers for a link that leads in a circle too.
            place = Path(entry.path) if entry.is_symlink() else entry
            if place.is_dir():
                (links if entry.is_symlink() else folders).append((Path(entry.path), f"{prefix}{entry.name}/"))
            elif not entry.name.lower().endswith(EXTENSIONS):
                continue
            elif place.is_file():
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns
            elif entry.is_symlink():  # it leads nowhere: reading will say so
                yield prefix + entry.name, 0, 0
        waiting += reversed(folders)


def split_of(key: str) -> str:
    """The split that an image's relative path puts it in: about 80% train, 10% val, 10% test.

    It depends on nothing but the path, in the same way on every system: letters with accents, which file systems
    store in two ways, count as one.
    """
    text = "corolla:" + unicodedata.normalize("NFC", key)
    tenth = int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:8], "big") % 10
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"


def _splits(keys: Sequence[str]) -> tuple[Mapping[str, NDArray[np.int64]], Sequence[str]]:
    """The splits, and the keys below what names the splits."""
    tops = {key.partition("/")[0].lower() if "/" in key else "" for key in keys}
    named = {_SPLIT_NAMES.get(top, "") for top in tops}
    if "" not in named and "train" in named and len(named) > 1:
        names = [_SPLIT_NAMES[key.partition("/")[0].lower()] for key in keys]
        order = [name for name in ("train", "val", "test") if name in named]
        below = [key.partition("/")[2] for key in keys]
    else:
        names, order, below = [split_of(key) for key in keys], ["train", "val", "test"], list(keys)
    column = np.array(names)
    return {name: np.flatnonzero(column == name).astype(np.int64) for name in order}, below


def _labels(keys: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The first-level folders as labels, where every image lies in one of at least two."""
    tops = [key.partition("/")[0] if "/" in key else None for key in keys]
    names = sorted({top for top in tops if top is not None})
    if len(names) < 2 or None in tops:
        return None, ()
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[top] for top in tops if top is not None], dtype=np.int64), tuple(names)
