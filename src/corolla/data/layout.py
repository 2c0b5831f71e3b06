"""What a folder of images means: which pictures are for training, which for testing, and what their labels are.

Read from the names of folders, or from a table of labels; what was understood is said, so that nothing is guessed in
silence.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.config import DataConfig
from corolla.errors import DataError, UsageError, suggestion

SPLITS = ("train", "val", "test")

_SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_ENDINGS = ("", "_set", "set", "_split", "_data", "_images", "_imgs")
_SPLIT_OF = {name + ending: split for split, names in _SPLIT_NAMES.items() for name in names for ending in _ENDINGS}

# Of MVTec's data sets: pictures of good things to train on, good and bad ones to test, and masks of what is bad.
_MVTEC = ("train", "test", "ground_truth")
_GOOD = "good"

_FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "image_path", "name", "id")
_LABEL_COLUMNS = ("label", "class", "category", "target", "species")
_SPLIT_COLUMNS = ("split", "set", "subset", "fold")


@dataclass(frozen=True)
class LayoutOptions:
    """What names mean where the user says so.

    Attributes:
        table: A CSV or JSON file with a label for each image, and maybe its split; see `read_table`.
        split_folders: Which folder at the top is which split, such as {"train": "2023", "test": "2024"}.
        ignore: Patterns of relative paths to leave out, as in a shell.
    """

    table: Path | None = None
    split_folders: Mapping[str, str] | None = None
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: DataConfig) -> LayoutOptions:
        """Those of a configuration."""
        return cls(None if data.labels is None else Path(data.labels).expanduser(), data.split_folders, data.ignore)


@dataclass(frozen=True, eq=False)
class Layout:
    """What the names of images were understood to mean.

    Attributes:
        rows: Which of the keys are images of the source, in order; the others belong to no split.
        splits: Indices into `rows` by split.
        labels: One 0-based label for each of the rows, if there are labels.
        label_names: What each label is called.
        notes: Sentences on what was understood, where it is more than a plain folder, and on what was left out.
    """

    rows: NDArray[np.int64]
    splits: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def understood(keys: Sequence[str], options: LayoutOptions | None = None) -> Layout:
    """Splits and labels of images, from their relative paths with forward slashes.

    Folders at the top that are named train (or training, train_set, …), val (valid, dev, eval, …) and test are splits
    where there is one to train on and another one; what lies beside them is in no split, and left out. Otherwise each
    path decides by itself (see `split_of`). The folders at the top, or below the splits, are labels if every image
    lies in one of at least two.

    Raises UsageError if a folder that is named for a split is not there, or all images are ignored; DataError if the
    table cannot be read, or names no image.
    """
    options = options or LayoutOptions()
    if options.ignore:
        return _without(keys, options)
    if options.table is not None:
        return _from_table(keys, options.table)
    tops = [key.partition("/")[0] if "/" in key else "" for key in keys]
    names = _named_splits(set(tops), options.split_folders)
    if names is None:
        splits = _by_hash(keys)
        labels, label_names = _labels(keys)
        return Layout(np.arange(len(keys)), splits, labels, label_names)
    rows = [row for row, top in enumerate(tops) if top in names]
    below = [keys[row].partition("/")[2] for row in rows]
    column = np.array([names[tops[row]] for row in rows])
    splits = {split: np.flatnonzero(column == split) for split in SPLITS if split in names.values()}
    labels, label_names = _labels(below)
    shown = ", ".join(
        f"{top}/ is {split}" for top, split in sorted(names.items(), key=lambda one: SPLITS.index(one[1]))
    )
    notes = [f"splits by folders: {shown}"]
    if set(_MVTEC) <= set(tops) and _GOOD in {key.partition("/")[0] for key in below}:
        notes.append("the layout of MVTec: ground_truth/ holds masks, which are no images to train on")
    beside = Counter(top for top in tops if top not in names)
    for top, count in sorted(beside.items()):
        notes.append(f"{top + '/' if top else 'beside these folders'}: {count} in no split, left out")
    return Layout(np.array(rows, dtype=np.int64), splits, labels, label_names, tuple(notes))


def _without(keys: Sequence[str], options: LayoutOptions) -> Layout:
    """The layout of the keys that no pattern matches."""
    kept = [
        row for row, key in enumerate(keys) if not any(fnmatch.fnmatchcase(key, pattern) for pattern in options.ignore)
    ]
    if not kept:
        raise UsageError(f"ignore {', '.join(options.ignore)}: matches every image", setting="data.ignore")
    inner = understood([keys[row] for row in kept], replace(options, ignore=()))
    note = f"{len(keys) - len(kept)} ignored by {', '.join(options.ignore)}"
    return replace(inner, rows=np.array(kept)[inner.rows], notes=(note, *inner.notes))


def split_of(key: str) -> str:
    """The split that an image's relative path puts it in: about 80% train, 10% val, 10% test.

    It depends on nothing but the path, in the same way on every system: letters with accents, which file systems
    store in two ways, count as one.
    """
    tenth = _rank(key) % 10
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"


def read_table(file: Path) -> dict[str, tuple[str, str]]:
    """Label and split ("" without one) by name of image, from a CSV or JSON file.

    CSV has a heading: a column file, filename, path, image, name or id; a column label, class or category; maybe a
    column split. JSON is {name: label}, or a list of objects with such keys. Raises DataError.
    """
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}", path=file) from None
    if file.suffix.lower() == ".json":
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: not JSON: {error}", path=file) from None
        if isinstance(content, dict):
            return {str(name): (str(label), "") for name, label in content.items()}
        rows: list[Any] = content if isinstance(content, list) else []
    else:
        try:
            dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t")
        except csv.Error:
            dialect = csv.get_dialect("excel")  # type: ignore[assignment]
        try:
            rows = list(csv.DictReader(io.StringIO(text), dialect=dialect))
        except csv.Error as error:
            raise DataError(f"{file}: not CSV: {error}", path=file) from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file}: holds no rows with a heading", path=file)
    heading = {str(name).strip().lower(): name for name in rows[0] if name is not None}
    columns = {}
    for what, choices in (("file", _FILE_COLUMNS), ("label", _LABEL_COLUMNS), ("split", _SPLIT_COLUMNS)):
        columns[what] = next((heading[name] for name in choices if name in heading), None)
    if columns["file"] is None or (columns["label"] is None and columns["split"] is None):
        raise DataError(
            f"{file}: needs a column file and a column label or split; it has {', '.join(map(str, heading.values()))}",
            path=file,
        )
    unnamed = next((number for number, row in enumerate(rows, start=1) if not row.get(columns["file"])), None)
    if unnamed is not None:
        raise DataError(f"{file}: row {unnamed} has no {columns['file']}", path=file)
    return {
        str(row[columns["file"]]).strip(): tuple(  # type: ignore[misc]
            "" if columns[what] is None else str(row.get(columns[what]) or "").strip() for what in ("label", "split")
        )
        for row in rows
    }


def splits_of_names(names: Sequence[str], where: str) -> dict[str, NDArray[np.int64]]:
    """The rows of each split, from a name such as train or dev for every row. Raises DataError for another name."""
    unknown = next((name for name in names if _plain(name) not in _SPLIT_OF), None)
    if unknown is not None:
        raise DataError(f"{where}: split {unknown!r}: write train, val or test")
    column = np.array([_SPLIT_OF[_plain(name)] for name in names])
    return {split: np.flatnonzero(column == split) for split in SPLITS if (column == split).any()}


def _named_splits(tops: set[str], split_folders: Mapping[str, str] | None) -> dict[str, str] | None:
    """The split of each folder at the top that names one; None where folders name no splits."""
    if split_folders:
        for split, folder in split_folders.items():
            if split not in SPLITS:
                raise UsageError(f"split {split!r}: give folders for {', '.join(SPLITS)}", setting="data.split_folders")
            if folder not in tops:
                hint = suggestion(folder, tops)
                raise UsageError(
                    f"{folder!r}: no images in a folder by that name{hint}; there are "
                    f"{', '.join(sorted(tops - {''})) or 'none'}",
                    setting="data.split_folders",
                )
        names = {folder: split for split, folder in split_folders.items()}
        if len(names) < len(split_folders):
            twice = next(folder for split, folder in split_folders.items() if names[folder] != split)
            raise UsageError(f"{twice!r}: given for two splits; name another folder", setting="data.split_folders")
        return names
    names = {top: _SPLIT_OF[_plain(top)] for top in tops if _plain(top) in _SPLIT_OF}
    return names if "train" in names.values() and len(set(names.values())) > 1 else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _by_hash(keys: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Splits by the paths alone; of three images or more, none is empty."""
    names = [split_of(key) for key in keys]
    for split in ("val", "test"):
        if split not in names and len(keys) >= 3:
            # The one whose path comes last in the order that decides, of the largest split.
            taken = max((row for row in range(len(keys)) if names[row] == "train"), key=lambda row: _rank(keys[row]))
            names[taken] = split
    if "train" not in names and len(keys) >= 3:
        taken = max(range(len(keys)), key=lambda row: (names.count(names[row]), _rank(keys[row])))
        names[taken] = "train"
    column = np.array(names)
    return {split: np.flatnonzero(column == split).astype(np.int64) for split in SPLITS}


def _rank(key: str) -> int:
    text = "corolla:" + unicodedata.normalize("NFC", key)
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:8], "big")


def _labels(keys: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The first-level folders as labels, where every image lies in one of at least two."""
    tops = [key.partition("/")[0] if "/" in key else None for key in keys]
    if None in tops:
        return None, ()
    return _numbered([top for top in tops if top is not None])


def _numbered(names: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    kinds = sorted(set(names))
    if len(kinds) < 2:
        return None, ()
    numbers = {name: number for number, name in enumerate(kinds)}
    return np.array([numbers[name] for name in names], dtype=np.int64), tuple(kinds)


def _from_table(keys: Sequence[str], table: Path) -> Layout:
    """Labels and splits by a table that names images by their paths, or by their file names where these are unique."""
    rows_of = read_table(table)
    by_name = Counter(key.rpartition("/")[2] for key in keys)
    listed: list[tuple[int, str, str]] = []
    for row, key in enumerate(keys):
        name = key.rpartition("/")[2]
        choices = [key, os.path.splitext(key)[0]]  # noqa: PTH122 - a key is no path of this system
        if by_name[name] == 1:
            choices += [name, os.path.splitext(name)[0]]  # noqa: PTH122
        entry = next((rows_of[choice] for choice in choices if choice in rows_of), None)
        if entry is not None:
            listed.append((row, *entry))
    if not listed:
        first = next(iter(rows_of), "nothing")
        raise DataError(f"{table}: names none of the {len(keys)} images; its first is {first!r}", path=table)
    rows = np.array([row for row, _, _ in listed], dtype=np.int64)
    labels, label_names = (
        (None, ()) if any(not label for _, label, _ in listed) else _numbered([label for _, label, _ in listed])
    )
    named = [split for _, _, split in listed]
    splits = splits_of_names(named, str(table)) if any(named) else _by_hash([keys[row] for row in rows])
    notes = [f"labels from {table.name}: {len(listed)} of {len(keys)} images, {len(label_names)} labels"]
    if len(listed) < len(keys):
        notes.append(f"{len(keys) - len(listed)} images that it does not name are left out")
    if len(rows_of) > len(listed):
        notes.append(f"{len(rows_of) - len(listed)} of its names are of no image here")
    return Layout(rows, splits, labels, label_names, tuple(notes))
