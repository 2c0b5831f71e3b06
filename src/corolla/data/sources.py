"""Where images come from: photographs, drawn florets, data sets with known factors, all behind one small face."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pooch  # type: ignore[import-untyped]
from numpy.typing import NDArray

from corolla.data.images import open_image
from corolla.errors import DataError, UsageError
from corolla.progress import OnProgress

if TYPE_CHECKING:
    from corolla.data.recipes import Recipe

SOURCES = (
    "florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz, dsprites[:COUNT], shapes3d[:COUNT], cars3d[:COUNT], "
    "smallnorb[:COUNT] and mpi3d[:toy|realistic|real][:COUNT]"
)
"""What `open_source` opens, for messages."""


@dataclass(frozen=True)
class Skipped:
    """An image that gave no pixels, and why."""

    key: str
    reason: str


class Source(Protocol):
    """Images in a fixed order, so that an index identifies one; cheap to send to worker processes."""

    @property
    def name(self) -> str:
        """What it is called in reports, e.g. "flowers102", "folder:photos", "florets:6000"."""

    @property
    def keys(self) -> Sequence[str]:
        """The stable relative name of each image."""

    @property
    def splits(self) -> Mapping[str, NDArray[np.int64]]:
        """The indices that belong to each split, "train", "val" and "test" for most sources."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """One 0-based label an image, if there are labels."""

    @property
    def label_names(self) -> Sequence[str]:
        """What each label is called; empty without labels."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over everything that decides the pixels."""

    @property
    def factors(self) -> NDArray[np.float32] | None:
        """N×F factors of variation, if they are known."""

    @property
    def factor_names(self) -> Sequence[str]:
        """What each of the F factors is called; empty without factors."""

    @property
    def categorical_factors(self) -> Sequence[str]:
        """The names of the factors whose values have no order, such as a shape."""

    def read(self, index: int, recipe: Recipe, height: int, width: int) -> NDArray[np.uint8]:
        """One image's pixels, H×W×3. Raises DataError with one line's reason for an unusable image."""


@dataclass(frozen=True, eq=False)
class FileSource:
    """A source whose images are files below one folder; the keys are their paths in it, with forward slashes."""

    name: str
    root: Path
    keys: tuple[str, ...]
    splits: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]
    fingerprint: str
    factors: None = None
    factor_names: tuple[str, ...] = ()
    categorical_factors: tuple[str, ...] = ()

    def read(self, index: int, recipe: Recipe, height: int, width: int) -> NDArray[np.uint8]:
        """One image's pixels, H×W×3 uint8.

        Raises:
            DataError: The file cannot be read, or the recipe cannot use it. The message names the file.
        """
        path = self.root / self.keys[index]
        image = open_image(path, at_least_px=recipe.decode_at_least_px(height, width))
        try:
            return recipe.apply(image, height, width)
        except DataError as error:
            raise DataError(f"{path}: {error}", path=path) from None


def open_source(
    spec: str, *, mirror: str | None = None, home: Path | None = None, progress: OnProgress | None = None
) -> Source:
    """Open a source by its name in the configuration, downloading it first if it has to be.

    Args:
        spec: One of `SOURCES`, such as "flowers102", "folder:PATH" or "dsprites:10000".
        mirror: A folder or URL that holds the files of flowers102, or of a published set with known factors.
        home: Where downloads are kept; see `corolla_home`.
        progress: Called while something is downloaded or unpacked; see `corolla.progress`.

    Raises:
        UsageError: There is no such source.
        DataError: The images cannot be had, or are not what they should be.
    """
    kind, colon, argument = spec.partition(":")
    if mirror is not None and kind in ("folder", "factors", "florets"):
        raise UsageError(f"mirror {mirror}: only what is downloaded has mirrors, not {spec}; leave the mirror out")
    if kind == "flowers102" and not colon:
        from corolla.data.flowers102 import open_flowers102

        return open_flowers102(mirror, home=corolla_home(home), progress=progress)
    if kind == "folder" and argument:
        from corolla.data.folder import open_folder

        return open_folder(argument)
    if kind == "florets" and not colon:
        from corolla.data.florets import Florets

        return Florets()
    if kind == "florets" and argument.isascii() and argument.isdigit():
        from corolla.data.florets import Florets

        return Florets(int(argument))
    if kind == "factors" and argument:
        from corolla.data.factor_file import open_factors

        return open_factors(argument)
    from corolla.data.factor_sets import open_factor_set, parse_factor_set

    factor_set = parse_factor_set(spec)
    if factor_set is not None:
        return open_factor_set(*factor_set, mirror=mirror, home=corolla_home(home), progress=progress)
    hint = ""
    if Path(spec).expanduser().exists():
        hint = f"; did you mean {'factors' if spec.lower().endswith('.npz') else 'folder'}:{spec}?"
    raise UsageError(f"{spec!r}: no such source; there are {SOURCES}{hint}")


def corolla_home(home: Path | None = None) -> Path:
    """Where downloads and caches are kept: `home`, else $COROLLA_HOME, else the user's cache folder."""
    named = home or os.environ.get("COROLLA_HOME") or pooch.os_cache("corolla")
    return Path(named).expanduser().absolute()


def select_rows(splits: Mapping[str, NDArray[np.int64]], expression: str) -> NDArray[np.int64]:
    """The sorted rows of one split or of several joined by +, e.g. "train+test"; "all" means every split.

    Raises:
        UsageError: There is no such split, or one is named twice.
        DataError: The selection is empty.
    """
    names = [name.strip() for name in expression.split("+")]
    if names == ["all"]:
        names = list(splits)
    known = ", ".join(splits)
    for name in names:
        if name not in splits:
            raise UsageError(f"{expression!r}: no such split as {name!r}; there are {known}, and all")
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
