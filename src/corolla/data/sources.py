"""Where images come from: photographs, drawn florets, data sets with known factors, all behind one small face."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.data.images import open_picture
from corolla.data.index import FileFacts, digest_of
from corolla.data.layout import LayoutOptions, understood
from corolla.data.levels import Levels, Reading
from corolla.data.source_kinds import open_named
from corolla.errors import DataError, UsageError
from corolla.pixels import RGB8, PixelFormat, format_of
from corolla.progress import OnProgress

if TYPE_CHECKING:
    from corolla.config import DataConfig
    from corolla.data.preprocessing import Preprocessing


@dataclass(eq=False)
class Source(ABC):
    """Images in a fixed order, so that an index identifies one.

    Attributes:
        name: What it is called in reports, e.g. "flowers102", "folder:photos", "florets:6000".
        keys: The stable relative name of each image.
        splits: The indices that belong to each split, "train", "val" and "test" for most sources.
        fingerprint: Hexadecimal SHA-256 over everything that decides the pixels, and over splits that a table gives.
        labels: One 0-based label for each image, if there are labels.
        label_names: What each label is called.
        factors: N×F factors of variation, if they are known.
        factor_names: What each of the F factors is called.
        categorical_factors: The names of the factors whose values have no order, such as a shape.
        formats: How many images there are of each format; None where all are 8-bit RGB.
        notes: Sentences on what was understood of a folder, and what was left out.
        earlier_fingerprint: What `fingerprint` was by the rule of earlier versions, where that was another.
    """

    name: str
    keys: Sequence[str]
    splits: Mapping[str, NDArray[np.int64]]
    fingerprint: str
    labels: NDArray[np.int64] | None = None
    label_names: Sequence[str] = ()
    factors: NDArray[np.float32] | None = None
    factor_names: Sequence[str] = ()
    categorical_factors: Sequence[str] = ()
    formats: Mapping[PixelFormat, int] | None = None
    notes: Sequence[str] = ()
    earlier_fingerprint: str | None = None

    @abstractmethod
    def picture(self, index: int, at_least_px: int | None = None) -> Levels | Image.Image:
        """One image as a recipe gets it; its short side may be reduced to at_least_px. Raises DataError."""

    def read(self, index: int, how: Preprocessing) -> Levels:
        """One image's pixels, H×W×C. Raises DataError with one line's reason for an unusable image."""
        return how.apply(self.picture(index, how.at_least_px))

    def format(self, data: DataConfig) -> PixelFormat:
        """The format that images of a configuration get: as it says, and as the source has where it says auto.

        Images of several formats become colour where one is, and 8 bits where one has these. Raises DataError where
        their channels are others than 1 and 3, or the configuration refuses to mix.
        """
        formats = self.formats or {RGB8: len(self.keys)}
        channels, bits = {pixels.channels for pixels in formats}, {pixels.bits for pixels in formats}
        mixed = (data.channels == "auto" and len(channels) > 1) or (data.bits == "auto" and len(bits) > 1)
        kinds = ", ".join(f"{count} {pixels}" for pixels, count in sorted(formats.items(), key=lambda item: -item[1]))
        if mixed and (data.mixed == "refuse" or (data.channels == "auto" and not channels <= {1, 3})):
            raise DataError(f"{self.name}: mixes formats ({kinds}); set data.channels and data.bits")
        return PixelFormat(
            max(channels) if data.channels == "auto" else data.channels,
            min(bits) if data.bits == "auto" else data.bits,
        )


@dataclass(eq=False, kw_only=True)
class FileSource(Source):
    """A source whose images are files below one folder; the keys are their paths in it, with forward slashes."""

    root: Path

    def picture(self, index: int, at_least_px: int | None = None, reading: Reading | None = None) -> Levels:
        """See `Source`."""
        return open_picture(self.root / self.keys[index], at_least_px=at_least_px, reading=reading)

    def read(self, index: int, how: Preprocessing) -> Levels:
        """See `Source`; errors name the file."""
        picture = self.picture(index, how.at_least_px, how.reading)
        try:
            return how.apply(picture)
        except DataError as error:
            path = self.root / self.keys[index]
            raise DataError(f"{path}: {error}", path=path) from None


@dataclass(eq=False, kw_only=True)
class FolderSource(FileSource):
    """A user's own images below one folder.

    Attributes:
        files: What is known of each file, by its content.
        all_keys: Of all images there, of which the layout may leave some out.
        all_files: Likewise.
        left_out: How many files that are no images were passed over, by kind.
    """

    files: Sequence[FileFacts]
    all_keys: Sequence[str]
    all_files: Sequence[FileFacts]
    left_out: Mapping[str, int]

    @classmethod
    def of(
        cls,
        root: Path,
        keys: Sequence[str],
        files: Sequence[FileFacts],
        left_out: Mapping[str, int],
        earlier_fingerprint: str | None = None,
        options: LayoutOptions | None = None,
    ) -> Self:
        """The source of all images below a folder whose names mean what the options say."""
        layout = understood(cls.meaningful(keys), options)
        chosen, facts = [keys[row] for row in layout.rows], [files[row] for row in layout.rows]
        fingerprint = digest_of(chosen, facts)
        if options is not None and options.table is not None:  # with another table, test images may be trained on
            fingerprint = _with_splits(fingerprint, chosen, layout.splits)
        passed = ", ".join(f"{count} {kind}" for kind, count in left_out.items())
        return cls(
            f"folder:{root.name}",
            tuple(chosen),
            layout.splits,
            fingerprint,
            layout.labels,
            layout.label_names,
            formats=dict(Counter(PixelFormat(file.channels, file.bits) for file in facts if file.channels)) or None,
            notes=(*layout.notes, *([f"left out, as no images: {passed}"] if passed else [])),
            earlier_fingerprint=earlier_fingerprint,
            root=root,
            files=facts,
            all_keys=keys,
            all_files=files,
            left_out=left_out,
        )

    @staticmethod
    def meaningful(keys: Sequence[str]) -> Sequence[str]:
        """The keys as the layout reads them."""
        return keys

    def arranged(self, options: LayoutOptions) -> Self:
        """The same images, understood as the options say."""
        return self.of(self.root, self.all_keys, self.all_files, self.left_out, self.earlier_fingerprint, options)


def _with_splits(fingerprint: str, keys: Sequence[str], splits: Mapping[str, NDArray[np.int64]]) -> str:
    """The fingerprint of images whose splits are no consequence of their names and of the configuration."""
    digest = hashlib.sha256(fingerprint.encode())
    for name, rows in splits.items():
        digest.update("\0".join([name, *(keys[row] for row in rows.tolist())]).encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


class ArraySource(Source):
    """A source of images that are in memory: of any size and of one format, H×W×C of uint8 or uint16 each.

    Of ten images in a row, eight are for training, the ninth for val and the tenth for test.

    Args:
        name: What it is called in reports.
        images: One array for each image, or one for all.
        labels: One 0-based label for each image, if there are labels.
        label_names: What each label is called.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Levels] | Levels,
        labels: NDArray[np.int64] | None = None,
        label_names: Sequence[str] = (),
    ) -> None:
        self.images = images
        digest = hashlib.sha256(name.encode())
        for image in images:
            digest.update(str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        keys = [f"{number:06d}" for number in range(len(images))]
        super().__init__(name, keys, splits_by_last_digit(len(images)), digest.hexdigest(), labels, label_names)
        self.formats = {format_of(images[0]): len(images)} if len(images) else None

    def picture(self, index: int, at_least_px: int | None = None) -> Levels:  # noqa: ARG002
        """See `Source`."""
        return np.asarray(self.images[index])


def splits_by_last_digit(count: int) -> dict[str, NDArray[np.int64]]:
    """Of ten images in a row, eight for training, the ninth for val and the tenth for test."""
    rows = np.arange(count, dtype=np.int64)
    return {"train": rows[rows % 10 < 8], "val": rows[rows % 10 == 8], "test": rows[rows % 10 == 9]}


def open_source(
    spec: str,
    *,
    mirror: str | None = None,
    layout: LayoutOptions | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Source:
    """Open a source by its name in the configuration, downloading it first if it has to be.

    Args:
        spec: Such as "flowers102", "folder:PATH" or "dsprites:10000".
        mirror: A folder or URL that holds the files of flowers102, or of a published set with known factors.
        layout: What a folder's names mean; default: what they say by themselves.
        home: Where downloads are kept; see `corolla_home`.
        progress: Called while something is downloaded or unpacked; see `corolla.progress`.

    Raises UsageError if there is no such source, DataError if its images cannot be had or are not what they should be.
    """
    source = open_named(spec, mirror=mirror, home=corolla_home(home), progress=progress)
    if layout is None or layout == LayoutOptions():
        return source
    if not isinstance(source, FolderSource):
        raise UsageError(f"{spec}: labels, split_folders and ignore are for folders and archives; leave them out")
    return source.arranged(layout)


def corolla_home(home: Path | None = None) -> Path:
    """Where downloads and caches are kept: `home`, else $COROLLA_HOME, else the user's cache folder."""
    import pooch  # type: ignore[import-untyped]  # slow, and most commands ask for no place

    named = home or os.environ.get("COROLLA_HOME") or pooch.os_cache("corolla")
    return Path(named).expanduser().absolute()


def chosen_split(splits: Mapping[str, NDArray[np.int64]], expression: str) -> str:
    """What "auto" stands for, val, or test where there is no val; another expression as it is."""
    return expression if expression != "auto" else "test" if "test" in splits and "val" not in splits else "val"


def select_rows(splits: Mapping[str, NDArray[np.int64]], expression: str) -> NDArray[np.int64]:
    """The sorted rows of one split or of several joined by +, e.g. "train+test".

    "all" means every split, and "auto" val, or test where there is no val.

    Raises UsageError if there is no such split or one is named twice, DataError if the selection is empty.
    """
    names = [name.strip() for name in expression.split("+")]
    if names == ["all"]:
        names = list(splits)
    names = [chosen_split(splits, name) for name in names]
    known = ", ".join(splits)
    for name in names:
        if name not in splits:
            raise UsageError(
                f"{expression!r}: no such split as {name!r}; there are {known}, and all",
                remedy="name splits by data.train_split and data.eval_split, or folders by data.split_folders",
            )
    if len(set(names)) < len(names):
        raise UsageError(f"{expression!r}: names a split twice; each of {known} can be given once")
    rows = np.sort(np.concatenate([splits[name] for name in names])) if names else np.empty(0, np.int64)
    if not len(rows):
        counts = ", ".join(f"{name} {len(split)}" for name, split in splits.items())
        raise DataError(
            f"split {expression!r}: holds no images (there are: {counts}); add images, or use another split"
        )
    return rows


def spread_rows(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` of the rows, evenly spread over all of them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]
