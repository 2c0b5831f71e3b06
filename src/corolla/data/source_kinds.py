"""The kinds of sources that a configuration can name, as `KIND` or `KIND:ARGUMENT`: an open table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from corolla.config.registry import find, register, registered
from corolla.errors import UsageError, suggestion

if TYPE_CHECKING:
    from corolla.data.sources import Source
    from corolla.progress import OnProgress

Opener = Callable[[str, str | None, Path, "OnProgress | None"], "Source | None"]


@dataclass(frozen=True)
class SourceKind:
    """Where images come from.

    Attributes:
        name: What stands before the colon.
        usage: How it is written, such as "folder:PATH".
        open: From what stands after the colon (empty without one), a mirror, the folder for downloads and `progress` to
            the images; None where the argument cannot be.
        downloaded: It is downloaded, so that it can have a mirror: a folder or URL that holds its files.
        about: What it holds, in a line.
        prepared: Where below the folder for downloads its images lie once they are there: a pattern of folders, each
            with the file `complete.json`.
        licence: Whose its images are, and what that means for a model trained on them, in a sentence.
    """

    kind: ClassVar[str] = "source"

    name: str
    usage: str
    open: Opener
    downloaded: bool = False
    about: str = ""
    prepared: str = ""
    licence: str = "not known to Corolla: the images belong to whoever made them"


def open_named(spec: str, *, mirror: str | None, home: Path, progress: OnProgress | None) -> Source:
    """Open a source as the configuration names it; see `corolla.data.open_source`."""
    name, colon, argument = spec.partition(":")
    try:
        kind: SourceKind = find("source", name)
    except UsageError:
        kinds = registered("source")
        hint = suggestion(name, kinds)
        if Path(spec).expanduser().exists():
            hint = f" (did you mean {'array' if spec.lower().endswith(('.npy', '.npz')) else 'folder'}:{spec}?)"
        raise UsageError(
            f"{spec!r}: no such source{hint}; there are {', '.join(kind.usage for kind in kinds.values())}"
        ) from None
    if mirror is not None and not kind.downloaded:
        raise UsageError(f"mirror {mirror}: only what is downloaded has mirrors, not {spec}; leave the mirror out")
    source = None if colon and not argument else kind.open(argument, mirror, home, progress)
    if source is None:
        raise UsageError(f"{spec!r}: no such source; write {kind.usage}")
    return source


def _florets(argument: str, *_: object) -> Source | None:
    from corolla.data.florets import Florets

    if argument and not (argument.isascii() and argument.isdigit()):
        return None
    return Florets(int(argument)) if argument else Florets()


def _flowers102(argument: str, mirror: str | None, home: Path, progress: OnProgress | None) -> Source | None:
    from corolla.data.flowers102 import open_flowers102

    return None if argument else open_flowers102(mirror, home=home, progress=progress)


def _folder(argument: str, _mirror: str | None, home: Path, progress: OnProgress | None) -> Source | None:
    from corolla.data.archive_source import KINDS, open_archive
    from corolla.data.folder import open_folder

    if argument.lower().endswith(KINDS) and Path(argument).expanduser().is_file():
        return open_archive(argument, home=home, progress=progress)
    return open_folder(argument, home=home, progress=progress) if argument else None


def _factors(argument: str, *_: object) -> Source | None:
    from corolla.data.factor_file import open_factors

    return open_factors(argument) if argument else None


def _arrays(argument: str, _mirror: str | None, home: Path, *_: object) -> Source | None:
    from corolla.data.factor_file import open_arrays

    return open_arrays(argument, home=home) if argument else None


def _published(name: str, variants: str, about: str, licence: str) -> SourceKind:
    def open_(argument: str, mirror: str | None, home: Path, progress: OnProgress | None) -> Source | None:
        from corolla.data.factor_sets import open_factor_set, parse_factor_set

        parsed = parse_factor_set(f"{name}:{argument}".removesuffix(":"))
        return None if parsed is None else open_factor_set(*parsed, mirror=mirror, home=home, progress=progress)

    return SourceKind(name, f"{name}{variants}[:COUNT]", open_, True, about, f"factors/{name}*/*", licence)


_OF_PHOTOGRAPHERS = (
    "the photographs belong to the people who took them, and are gathered for research: before you publish pictures or "
    "models made from them, find out whether you may"
)
_FLOWERS = "8,189 photos of 102 kinds of flowers, 345 MB"
_FACTORS = "your own images with known factors, as the arrays `images` and `factors`"
_ARRAY = "your own images as an array, with `labels` and `factors` beside it if you have them"
for _kind in (
    SourceKind(
        "florets", "florets[:COUNT]", _florets, about="drawn flowers with seven known factors", licence="Apache-2.0"
    ),
    SourceKind("flowers102", "flowers102", _flowers102, True, _FLOWERS, "flowers102/*", _OF_PHOTOGRAPHERS),
    SourceKind("folder", "folder:PATH", _folder, about="your own images, in any tree of folders"),
    SourceKind("array", "array:FILE.npy|npz", _arrays, about=_ARRAY),
    SourceKind("factors", "factors:FILE.npz", _factors, about=_FACTORS),
    _published(
        "dsprites",
        "",
        "737,280 images with 5 known factors",
        "that of its page, github.com/google-deepmind/dsprites-dataset",
    ),
    _published("shapes3d", "", "480,000 images with 6 known factors", "Apache-2.0"),
    _published("cars3d", "", "17,568 images with 3 known factors", "none is known"),
    _published("smallnorb", "", "48,600 images with 5 known factors", "for research; it cannot be sold"),
    _published("mpi3d", "[:toy|realistic|real]", "1,036,800 images of each kind with 7 known factors", "CC BY 4.0"),
):
    register(_kind)
