"""The cache: every image decoded once, in parallel, into one memory-mapped array that later runs share.

A cache is a folder with `images.npy` (N×H×W×C of uint8 or uint16; only the images that can be used) and
`manifest.json`. Its name holds a digest of everything that decides the pixels, so that a changed source or recipe makes
a new one. It is written under another name and renamed when it is whole: a build that is killed leaves nothing that
looks complete, and what it leaves is removed by the next build.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from corolla.config import DataConfig
from corolla.data.images import DECODERS, MomentaryError, TruncatedError
from corolla.data.levels import Levels, Reading, in_format
from corolla.data.npz import writing_rows
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import Recipe, recipe_named
from corolla.data.sources import FileSource, Source, corolla_home
from corolla.data.stream import made_ahead, warn
from corolla.errors import DataError, UsageError
from corolla.files import building, made_once, writing
from corolla.pixels import RGB8, PixelFormat, format_of
from corolla.progress import OnProgress

_LOG = logging.getLogger("corolla")

# Part of every cache's key. Raise it when the layout of a cache changes.
_FORMAT = 1

# What a worker reads before it hands over: enough to make the hand-over cheap, little enough to keep memory flat.
_CHUNK_BYTES = 4 << 20
_CHUNK_IMAGES = 64

# Skipped images that are named in the log; the manifest names all.
_NAMED = 10

# Pixels; index, key and reason of each image that gave none.
_Chunk = tuple[Levels, list[tuple[int, str, str]]]


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The usable images of a source as pixels, and what is known about each.

    Attributes:
        folder: Where the cache is.
        images: Read-only memory map, N×H×W×C of uint8 or uint16.
        keys: Name of each image in its source.
        splits: Rows of images by split name.
        manifest: What the cache was made from: source, fingerprint, recipe, recipe_digest, height, width, count,
            skipped (a list of [key, reason]), format.
        labels: 0-based label of each image, or None.
        label_names: What the labels are called.
        factors: True factors of each image, N×F, or None.
        factor_names: What the factors are called; empty without factors.
        categorical_factors: Names of the factors whose values have no order.
        earlier_fingerprint: See `Source`.
        notes: Likewise.
    """

    folder: Path
    images: Levels
    keys: Sequence[str]
    splits: Mapping[str, NDArray[np.int64]]
    manifest: Mapping[str, Any]
    labels: NDArray[np.int64] | None = None
    label_names: Sequence[str] = ()
    factors: NDArray[np.float32] | None = None
    factor_names: Sequence[str] = ()
    categorical_factors: Sequence[str] = ()
    earlier_fingerprint: str | None = None
    notes: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """A line on what the images are."""
        splits = ", ".join(f"{name} {len(rows):,}" for name, rows in self.splits.items())
        labels = f"; {len(self.label_names)} labels" if self.labels is not None else ""
        skipped = len(self.manifest["skipped"])
        out = f"; {skipped} cannot be used" if skipped else ""
        name = self.manifest.get("source", "images")
        return f"{name}: {len(self.images):,} images, {format_of(self.images)}; {splits}{labels}{out}"

    def is_of(self, fingerprint: object) -> bool:
        """Whether these are the images that a run or model of that fingerprint was trained on."""
        return fingerprint in (self.manifest["fingerprint"], self.earlier_fingerprint)


def open_cache(
    source: Source,
    recipe: Recipe,
    height: int,
    width: int,
    *,
    pixels: PixelFormat | None = None,
    reading: Reading | None = None,
    home: Path | None = None,
    workers: int | None = None,
    on_error: Literal["skip", "refuse"] = "skip",
    progress: OnProgress | None = None,
) -> ImageCache:
    """The images of a source as pixels; decoded now if no run has done so before.

    Images that cannot be used are left out, and named in the log and the manifest, or refused, as on_error says. One
    that the system does not let be read now stops the work, so that no fault of the moment is kept. The format is that
    of the source, unless `pixels` say otherwise.

    Raises UsageError if the recipe cannot make this size or workers is less than 1, DataError if no image can be used,
    or one cannot and on_error is "refuse", and WriteError.
    """
    recipe.check_size(height, width)
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot decode images; ask for 1 or more")
    if not len(source.keys):
        raise DataError(f"{source.name}: holds no images")
    how = Preprocessing(recipe, height, width, pixels or source.format(DataConfig()), reading or Reading())
    expected = {
        "format": _FORMAT,
        "source": source.name,
        "fingerprint": source.fingerprint,
        "recipe": recipe.name,
        **how.settings,
    }
    # Names are for people; what decides the pixels decides the key.
    decisive = [expected[name] for name in ("format", "fingerprint", "recipe_digest", "height", "width")]
    if how.pixels != RGB8 or isinstance(source, FileSource):  # else as it was when there was nothing else
        decisive += [how.pixels.channels, how.pixels.bits, expected["reading"]]
    key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    label = re.sub(r"[^A-Za-z0-9]+", "-", source.name).strip("-")[:40] or "images"
    folder = corolla_home(home) / "cache" / f"{label}-{recipe.name}-{height}x{width}-{key[:16]}"
    cache = made_once(
        folder,
        lambda: _load(folder, source, how, expected),
        lambda: _build(folder, source, how, expected, workers, on_error, progress),
    )
    with suppress(OSError):  # a cache that cannot be written can be used; see `corolla.data.caches`
        os.utime(folder / "manifest.json")
    if on_error == "refuse" and cache.manifest["skipped"]:
        raise _refusal([reason for _, reason in cache.manifest["skipped"]])
    return cache


def cache_in_memory(images: Levels, splits: Mapping[str, NDArray[np.int64]]) -> ImageCache:
    """Pixels that are at hand, N×H×W×C, as a cache without a folder; images without name or label."""
    fingerprint = hashlib.sha256(f"{images.shape}".encode())
    fingerprint.update(np.ascontiguousarray(images).data)
    return ImageCache(
        folder=Path(),
        images=images,
        keys=[str(row) for row in range(len(images))],
        splits=splits,
        manifest={"fingerprint": fingerprint.hexdigest(), "count": len(images), "skipped": []},
    )


def _load(folder: Path, source: Source, how: Preprocessing, expected: Mapping[str, Any]) -> ImageCache | None:
    """The cache in a folder; None, said in the log, if it is damaged, and None if there is none."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("its manifest is no table")
        # A cache of before there were other formats says nothing of them.
        same = {name: manifest.get(name, expected[name]) for name in expected if name not in ("source", "recipe")}
        if json.loads(json.dumps(same)) != json.loads(json.dumps({name: expected[name] for name in same})):
            raise ValueError("its manifest is another cache's")
        kept = np.delete(np.arange(len(source.keys)), manifest["skipped_indices"])
        path = folder / "images.npy"
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        shape = (kept.size, *how.shape)
        if (
            images.shape != shape
            or images.dtype != how.pixels.dtype
            or path.stat().st_size != images.offset + images.nbytes
        ):
            raise ValueError(f"{path.name} is not {' x '.join(map(str, shape))} of {how.pixels.dtype}")
        if manifest["skipped"] and manifest.get("decoders", DECODERS) != DECODERS:
            _LOG.info("%s: built again, as other kinds of files can be read now", folder)
            return None
        if manifest["count"] != kept.size or len(manifest["skipped"]) != len(manifest["skipped_indices"]):
            raise ValueError("its manifest contradicts itself")
    except FileNotFoundError:
        if folder.exists():
            _LOG.warning("%s: incomplete; it is built again", folder)
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        _LOG.warning("%s: damaged (%s); it is built again", folder, " ".join(str(error).split()))
        return None
    row_of = np.full(len(source.keys), -1, dtype=np.int64)
    row_of[kept] = np.arange(kept.size)
    rows = {name: row_of[indices] for name, indices in source.splits.items()}
    return ImageCache(
        folder=folder,
        images=images,
        keys=source.keys if kept.size == len(source.keys) else [source.keys[int(index)] for index in kept],
        splits={name: split[split >= 0] for name, split in rows.items()},
        labels=None if source.labels is None else source.labels[kept],
        label_names=source.label_names,
        factors=None if source.factors is None else source.factors[kept],
        factor_names=source.factor_names,
        manifest=manifest,
        categorical_factors=source.categorical_factors,
        earlier_fingerprint=source.earlier_fingerprint,
        notes=source.notes,
    )


def _build(
    folder: Path,
    source: Source,
    how: Preprocessing,
    expected: Mapping[str, Any],
    workers: int | None,
    on_error: Literal["skip", "refuse"],
    progress: OnProgress | None,
) -> ImageCache:
    """Decode all images into a folder. The folder's lock is held."""
    total = len(source.keys)
    size = total * how.nbytes
    remedy = f"the cache takes {size:,} bytes: make room, or set COROLLA_HOME to another folder"
    chunks = _read_chunks(source, how, workers)
    skipped: list[tuple[int, str, str]] = []
    done = 0
    with building(folder, size=size, remedy=remedy) as unfinished, closing(chunks):
        with writing_rows(
            unfinished / "images.npy", how.shape, folder.parent, remedy, dtype=how.pixels.dtype
        ) as append:
            for pixels, faults in chunks:
                skipped += faults
                if faults and on_error == "refuse":
                    raise _refusal([reason for _, _, reason in faults])
                append(pixels)
                done += len(pixels) + len(faults)
                if progress is not None:
                    progress(f"reading {source.name}", done, total)
            if len(skipped) == total:
                raise DataError(f"none of the {total} images can be used; the first: {skipped[0][2]}")
        manifest = {
            **expected,
            "count": total - len(skipped),
            "skipped": [[key, reason] for _, key, reason in skipped],
            "skipped_indices": [index for index, _, _ in skipped],
            "decoders": DECODERS,
        }
        with writing(folder.parent, remedy):
            (unfinished / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    warn(reason for _, _, reason in skipped[:_NAMED])
    if len(skipped) > _NAMED:
        _LOG.warning("%d more images left out; all are named in %s", len(skipped) - _NAMED, folder / "manifest.json")
    cache = _load(folder, source, how, expected)
    if cache is None:
        raise DataError(f"{folder}: changed while it was being built; try again")
    return cache


def _read_chunks(source: Source, how: Preprocessing, workers: int | None) -> Generator[_Chunk]:
    """Pixels of the usable images, and what is wrong with the others, in order and some at a time."""
    read_many = getattr(source, "read_many", None) if how.recipe == recipe_named("fit") else None

    def read(indices: list[int], stop: threading.Event) -> _Chunk:
        if read_many is not None:
            drawn = read_many(indices, how.height, how.width)
            same = format_of(drawn) == how.pixels
            return np.ascontiguousarray(drawn if same else [in_format(picture, how.pixels) for picture in drawn]), []
        pixels = np.empty((len(indices), *how.shape), dtype=how.pixels.dtype)
        faults: list[tuple[int, str, str]] = []
        for row, index in enumerate(indices):
            if stop.is_set():
                break
            try:
                pixels[row - len(faults)] = source.read(index, how)
            except DataError as error:
                refused = isinstance(error, TruncatedError) and how.reading.truncated == "refuse"
                if refused or isinstance(error, MomentaryError):
                    raise
                key = source.keys[index]
                faults.append((index, key, str(error) if error.path else f"{key}: {error}"))
        return pixels[: len(indices) - len(faults)], faults

    length = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // how.nbytes))
    return made_ahead(range(len(source.keys)), read, length, workers)


def _refusal(reasons: Sequence[str]) -> DataError:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return DataError(f"{reasons[0]}{more}; repair or remove it, or let such images be skipped")
