"""A user's own folder of images, of any depth, as a source."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.data.sources import FileSource
from corolla.errors import DataError, UsageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

OUTPUT_MARK = ".corolla"
"""A file by this name marks a folder of pictures that Corolla made of others, such as restored ones."""

# Folders that systems and archivers keep for themselves. Names that begin with a dot are left out as well.
_SYSTEM_FOLDERS = {"@eadir", "$recycle.bin", "system volume information", "__macosx", "lost+found"}

# Files that say that a folder is Corolla's own, by what no other program writes into them.
_OWN_FILES = {
    "config.yaml": (b"\nobjective:", b"\nrun:"),
    "config.json": (b'"latent_kl_nats"', b'"weights_sha256"'),
    "sweep.yaml": (b"\nbase:", b"\nversions:"),
    "tune.yaml": (b"\nbase:", b"\nversions:"),
    "anomalies.csv": (b"path,", b",p_value,flagged,map\n"),
    "comparison.json": (b'"columns"', b'"remarks"'),
}
_BESIDE = {
    "config.yaml": {"metrics.csv", "checkpoints", "model", "samples"},  # else a copy of the configuration
    "config.json": {"model.safetensors"},
}
_READ_BYTES = 1 << 16

_LOG = logging.getLogger("corolla")

# Names that make first-level folders splits instead of labels.
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def open_folder(path: str | Path) -> FileSource:
    """Open a folder of images. Symbolic links are followed, but not in circles.

    Hidden files, folders of the system, and what Corolla wrote (runs, models, sweeps, restored images) are left out;
    so is a folder that cannot be listed, with a warning.

    If the folder holds `train` and `val` (or `valid`, `validation`) or `test`, and nothing else, these are the splits.
    Otherwise each image's own path decides (see `split_of`), so that adding a file moves no other file. The
    first-level folders (below the splits, if these are folders) are labels if every image lies in one of at least two.

    Raises UsageError if there is no such folder, DataError if it cannot be listed, is Corolla's, or has no images.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise UsageError(f"folder:{path}: {'a file, not a folder' if root.exists() else 'no such folder'}")
    images: list[tuple[str, int, int]] = []
    own: list[Path] = []
    for key, size, mtime_ns, fault in images_below(root, own):
        if fault:
            _LOG.warning("%s: %s; left out", root / key, fault)
        else:
            images.append((key, size, mtime_ns))
    say_own(own)
    if not images:
        raise DataError(f"{root}: {no_images(own)}", path=root)
    images.sort()
    keys = tuple(key for key, _, _ in images)
    digest = hashlib.sha256()
    for key, size, mtime_ns in images:
        digest.update(f"{key}\0{size}\0{mtime_ns}\n".encode(errors="surrogateescape"))
    splits, below = _splits(keys)
    labels, label_names = _labels(below)
    return FileSource(f"folder:{root.name}", keys, splits, digest.hexdigest(), labels, label_names, root=root)


def images_below(
    root: Path, own: list[Path], others: Counter[str] | None = None
) -> Iterator[tuple[str, int, int, str]]:
    """Key, size in bytes and time of change in ns of every image below root; of a folder that fails, key and reason.

    Each folder's images come in the order of their names, then those of the folders in it; what links lead to comes
    last. So each real folder comes once, and under its real place. Folders that Corolla wrote are added to
    `own`; files of other kinds are counted in `others`, by how their names end.
    """
    visited: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, str]] = [(root, "")]
    links: list[tuple[Path, str]] = []
    while waiting or links:
        folder, prefix = waiting.pop() if waiting else links.pop(0)
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not prefix:
                raise DataError(f"{root}: cannot be listed: {error.strerror}", path=root) from None
            yield prefix.rstrip("/"), 0, 0, f"cannot be listed: {error.strerror}"
            continue
        names = {entry.name for entry in entries}
        if is_own(folder, names, marked=bool(prefix)):
            if not prefix:
                raise DataError(f"{root}: a folder that Corolla wrote, and no source of images", path=root)
            own.append(folder)
            continue
        folders: list[tuple[Path, str]] = []
        while entries:
            entry = entries.pop()  # what has been given out need not be kept
            if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_FOLDERS:
                continue
            # A Path, other than a listing's entry, answers for a link that leads in a circle too.
            place = Path(entry.path) if entry.is_symlink() else entry
            if place.is_dir():
                (links if entry.is_symlink() else folders).append((Path(entry.path), f"{prefix}{entry.name}/"))
            elif not entry.name.lower().endswith(EXTENSIONS):
                if others is not None:
                    others[f"{os.path.splitext(entry.name)[1].lower() or 'other'} files"] += 1  # noqa: PTH122
            elif place.is_file():
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns, ""
            elif entry.is_symlink():  # it leads nowhere: reading will say so
                yield prefix + entry.name, 0, 0, ""
        waiting += reversed(folders)


def is_own(folder: Path, names: Set[str], *, marked: bool = True) -> bool:
    """Whether Corolla wrote a folder that holds these names: a run, a model, a sweep, a demo, a comparison, a ranking.

    With `marked`, pictures that it made of others count too.
    """
    if marked and OUTPUT_MARK in names:
        return True
    if names >= {"index.html", "run"} and _has_signs(folder / "run", "config.yaml"):  # a demo
        return True
    return any(name in names and _BESIDE.get(name, names) & names and _has_signs(folder, name) for name in _OWN_FILES)


def _has_signs(folder: Path, name: str) -> bool:
    try:
        with (folder / name).open("rb") as file:
            content = b"\n" + file.read(_READ_BYTES)
    except OSError:
        return False
    return all(sign in content for sign in _OWN_FILES[name])


def say_own(own: Sequence[Path]) -> None:
    """Say once which folders were left out, as Corolla wrote them."""
    if own:
        more = f" and {len(own) - 1} more, which" if len(own) > 1 else ", which"
        _LOG.warning("%s%s Corolla wrote: left out", own[0], more)


def no_images(own: Sequence[Path] = ()) -> str:
    """Why a folder gave none."""
    besides = f", but for {len(own)} that Corolla wrote," if own else ""
    return f"holds no images; looked in all its folders{besides} for {' '.join(EXTENSIONS)}"


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
