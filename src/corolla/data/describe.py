"""What sources there are, what one holds, and what a recipe makes of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.config.registry import registered
from corolla.data.caches import read_manifest
from corolla.data.factors import StoredArray, is_full_grid
from corolla.data.images import read_facts
from corolla.data.levels import in_format
from corolla.data.recipes import Recipe
from corolla.data.source_kinds import SourceKind
from corolla.data.sources import ArraySource, FileSource, FolderSource, Source, corolla_home, open_source, spread_rows
from corolla.data.stream import OnError, none_usable, refuse, warn
from corolla.errors import DataError, UsageError
from corolla.pixels import RGB8
from corolla.progress import OnProgress, steps_of


@dataclass(frozen=True)
class SourceDescription:
    """What a source holds, before any image of it is decoded.

    Attributes:
        source: Its name.
        images: How many there are.
        splits: Images in each split.
        labels: Images with each label; empty without labels.
        labels_by_split: The same for each split.
        heights_px: The smallest and the largest height; None where images are drawn at any size.
        widths_px: The same for widths.
        formats: Images of each format, such as "grey, 16 bits".
        duplicates: Groups of images whose files are equal, byte for byte; looked for among files alone.
        unreadable: A line about each file whose header cannot be read.
        left_out: How many files that are no images were passed over, by kind.
        notes: Sentences on what was understood of a folder.
        factors: The number of values of each known factor.
        categorical_factors: The factors whose values have no order.
        grid: Whether every combination of the factors' values is there once.
        fingerprint: Hexadecimal SHA-256 over everything that decides the pixels.
        decoded: A line about each cache of these images, and about images that it leaves out.
    """

    source: str
    images: int
    splits: Mapping[str, int]
    labels: Mapping[str, int]
    labels_by_split: Mapping[str, Mapping[str, int]]
    heights_px: tuple[int, int] | None
    widths_px: tuple[int, int] | None
    formats: Mapping[str, int]
    duplicates: Sequence[Sequence[str]]
    unreadable: Sequence[str]
    left_out: Mapping[str, int]
    notes: Sequence[str]
    factors: Mapping[str, int]
    categorical_factors: Sequence[str]
    grid: bool
    fingerprint: str
    decoded: Sequence[str]


def describe_source(
    source: Source | str, *, mirror: str | None = None, progress: OnProgress | None = None
) -> SourceDescription:
    """Describe a source, or open one first by its name in the configuration; see `open_source`, also for errors."""
    if isinstance(source, str):
        source = open_source(source, mirror=mirror, progress=progress)
    sizes, unreadable = _sizes(source, progress)
    own = source if isinstance(source, FolderSource) else None
    heights_px, widths_px = [(min(sides), max(sides)) for sides in zip(*sizes, strict=True)] if sizes else (None, None)
    splits, columns = source.splits, () if source.factors is None else source.factors.T
    return SourceDescription(
        source=source.name,
        images=len(source.keys),
        splits={name: len(rows) for name, rows in splits.items()},
        labels=_counts(source),
        labels_by_split={} if source.labels is None else {name: _counts(source, rows) for name, rows in splits.items()},
        heights_px=heights_px,
        widths_px=widths_px,
        formats={str(pixels): count for pixels, count in (source.formats or {RGB8: len(source.keys)}).items()},
        duplicates=[] if own is None else _duplicates(own),
        unreadable=unreadable,
        left_out={} if own is None else dict(sorted(own.left_out.items())),
        notes=source.notes,
        factors=dict(zip(source.factor_names, [len(np.unique(column)) for column in columns], strict=True)),
        categorical_factors=list(source.categorical_factors),
        grid=source.factors is not None and is_full_grid(source.factors),
        fingerprint=source.fingerprint,
        decoded=_caches(source),
    )


def _counts(source: Source, rows: NDArray[np.int64] | slice = slice(None)) -> dict[str, int]:
    if source.labels is None:
        return {}
    counts = np.bincount(source.labels[rows], minlength=len(source.label_names))
    return dict(zip(source.label_names, counts.tolist(), strict=False))


def _sizes(source: Source, progress: OnProgress | None) -> tuple[list[tuple[int, int]], list[str]]:
    """Height and width of each image, of a file by its header, and a line about each file that has none."""
    if isinstance(source, StoredArray):
        return [source.size], []
    if isinstance(source, ArraySource):
        return [image.shape[:2] for image in source.images], []
    if isinstance(source, FolderSource):
        unreadable = [
            f"{source.root / key}: {file.fault}"
            for key, file in zip(source.keys, source.files, strict=True)
            if file.fault
        ]
        return [(file.height, file.width) for file in source.files if file.height], unreadable
    sizes: list[tuple[int, int]] = []
    faults: list[str] = []
    paths = (source.root / key for key in source.keys) if isinstance(source, FileSource) else ()
    for done, path in enumerate(paths, start=1):
        try:
            facts = read_facts(path)
            sizes.append((facts.height, facts.width))
        except DataError as error:
            faults.append(str(error))
        steps_of(progress, f"measuring {source.name}", len(source.keys))(done)
    return sizes, faults


def _duplicates(source: FolderSource) -> list[list[str]]:
    """Groups of images whose files are equal."""
    by_content: dict[str, list[str]] = {}
    for key, file in zip(source.keys, source.files, strict=True):
        by_content.setdefault(file.digest, []).append(key)
    return sorted(sorted(keys) for keys in by_content.values() if len(keys) > 1)


def _caches(source: Source) -> list[str]:
    lines = []
    for path in sorted((corolla_home() / "cache").glob("*/manifest.json")):
        manifest = read_manifest(path.parent)
        if manifest.get("fingerprint") != source.fingerprint:
            continue
        skipped = len(manifest["skipped"])
        line = f"{manifest['count']:,} images, `{manifest['recipe']}`, {manifest['height']}x{manifest['width']}"
        lines.append(f"{line}{f', {skipped} skipped' if skipped else ''} in {path.parent}")
        lines += [f"  skipped {reason}" for _, reason in manifest["skipped"][:5]]
    return lines


def list_sources() -> dict[str, str]:
    """What each kind of source holds, by how it is written, and for those that are downloaded, where it is."""
    home = corolla_home()
    kinds: Mapping[str, SourceKind] = registered("source")
    listed = {}
    for kind in kinds.values():
        here = sorted({path.parent.parent for path in home.glob(f"{kind.prepared or '-'}/complete.json")})
        state = f"; in {', '.join(map(str, here))}" if here else "; downloaded at first use" if kind.downloaded else ""
        listed[kind.usage] = f"{kind.about or 'images'}{state}"
    return listed


def preview_recipe(
    source: Source | str,
    recipe: Recipe,
    height: int,
    width: int,
    *,
    count: int = 4,
    on_error: OnError = "skip",
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> tuple[list[list[tuple[str, Image.Image]]], list[str]]:
    """What each step of a recipe makes of some images, spread over a source.

    Returns the stages of each image, as `Recipe.stages` gives them, and a line about each that cannot be used. Raises
    as `open_source` does, UsageError if the recipe cannot make this size, and DataError if no image can be used.
    """
    if count < 1:
        raise UsageError(f"count = {count}: give at least 1")
    recipe.check_size(height, width)
    if isinstance(source, str):
        source = open_source(source, mirror=mirror, progress=progress)
    images: list[list[tuple[str, Image.Image]]] = []
    faults: list[str] = []
    for index in spread_rows(np.arange(len(source.keys)), count).tolist():
        try:
            picture = source.picture(index)
            if not isinstance(picture, Image.Image):
                picture = Image.fromarray(in_format(picture, RGB8))
            images.append(recipe.stages(picture, height, width))
        except DataError as error:
            faults.append(str(error) if error.path is not None else f"{source.keys[index]}: {error}")
            refuse(faults, on_error)
            warn(faults[-1:])
    if not images:
        raise none_usable(len(faults))
    return images, faults
