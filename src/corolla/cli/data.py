"""Commands about images: which there are, fetching them, how a recipe changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from corolla.cli.inputs import Output, OwnMirror, counted
from corolla.cli.output import out

if TYPE_CHECKING:
    from corolla.data.stream import OnError

data = App(name="data", help="Look at the images to train on: list, get, preview, info.")

_NAMED = 4  # of labels, duplicates and files that cannot be read


@data.command(name="list")
def list_() -> None:
    """List the sources of images."""
    from corolla.data import list_sources

    sources = list_sources()
    width = max(map(len, sources))
    out.lines((f"{usage:{width}} {text}" for usage, text in sources.items()), sources=sources)


@data.command
def get(source: str, /, *, mirror: str | None = None) -> None:
    """Download the images of a source, verify and unpack them; once they are here, nothing is done.

    They are kept in the folder that the environment variable COROLLA_HOME names, or in the user's cache folder.

    Args:
        source: flowers102, or a set with known factors such as dsprites[:COUNT].
        mirror: Folder or URL that holds its files, in place of the official host.
    """
    from corolla.data import open_source

    with out.progress() as progress:
        opened = open_source(source, mirror=mirror, progress=progress)
    root = getattr(opened, "root", None) or getattr(opened, "path", None)
    where = f" in {root}" if root else ", drawn when they are needed"
    out.done(
        [f"{opened.name}: {len(opened.keys):,} images{where}"], source=opened.name, images=len(opened.keys), root=root
    )


@data.command
def preview(  # noqa: D417, the shared flags describe themselves
    source: str,
    /,
    *,
    recipe: str = "fit",
    size: str = "64",
    count: int = 4,
    output: Output = Path("preview.png"),
    strict: bool = False,
    mirror: OwnMirror = None,
) -> None:
    """Show what each step of a recipe does to a few images.

    Args:
        source: florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz or a set such as dsprites[:COUNT].
        recipe: fit, crop or enhance.
        size: Of the result in pixels: 64, or 48x64 for height x width.
        count: How many images, spread over the source.
        output: The picture: .png, .jpg or .webp.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
    """
    from corolla.config import Config
    from corolla.data import preview_recipe, recipe_named
    from corolla.pictures.files import check_outputs, save_picture
    from corolla.pictures.grids import stages_sheet

    check_outputs(output)
    chosen, sides = recipe_named(recipe), Config().updated({"data.size": size}).data.size
    on_error: OnError = "refuse" if strict else "skip"
    with out.progress() as progress:
        images, faults = preview_recipe(
            source, chosen, *sides, count=count, on_error=on_error, mirror=mirror, progress=progress
        )
    save_picture(output, stages_sheet(images))
    note = f"{counted(len(images), len(faults))}, {len(chosen.steps)} steps of `{recipe}`"
    out.wrote(output, note=note, images=len(images), left_out=len(faults))


@data.command
def info(  # noqa: D417, the shared flag describes itself
    source: str,
    /,
    *,
    mirror: OwnMirror = None,
    labels: Path | None = None,
    split_folders: dict[str, str] | None = None,
    ignore: tuple[str, ...] = (),
) -> None:
    """Show what a source holds and was understood as: splits, labels, formats, sizes, duplicates, what is left out.

    Args:
        source: florets[:COUNT], flowers102, folder:PATH, array:FILE, factors:FILE.npz or a set such as dsprites.
        labels: CSV or JSON file with a label, and maybe a split, for each image of a folder.
        split_folders: Folders that are splits: --split-folders.train 2023 --split-folders.test 2024.
        ignore: Pattern of paths to leave out, such as "*/thumbs/*"; can be given several times.
    """
    from corolla.data import describe_source, open_source
    from corolla.data.layout import LayoutOptions

    with out.progress() as progress:
        layout = LayoutOptions(labels, split_folders, ignore)
        facts = describe_source(open_source(source, mirror=mirror, layout=layout, progress=progress), progress=progress)
    lines = [f"{facts.source}: {facts.images:,} images", f"  splits      {_numbers(facts.splits)}"]
    lines.append(f"  format      {_numbers(facts.formats)}")
    lines += [f"  understood  {note}" for note in facts.notes]
    if facts.labels:
        lines.append(f"  labels      {len(facts.labels)}: {_numbers(facts.labels)}")
        lines += [f"    {split:9} {_numbers(labels)}" for split, labels in facts.labels_by_split.items()]
    if facts.heights_px and facts.widths_px:
        (low, high), (narrow, wide) = facts.heights_px, facts.widths_px
        span = (
            f"{low}x{narrow}"
            if (low, narrow) == (high, wide)
            else f"heights {low} to {high}, widths {narrow} to {wide}"
        )
        lines.append(f"  sizes       {span} pixels")
    if facts.duplicates:
        lines.append(f"  duplicates  {len(facts.duplicates):,} groups of files that are equal byte for byte")
        lines += [f"    {' = '.join(keys)}" for keys in facts.duplicates[:_NAMED]]
    if facts.unreadable:
        lines.append(f"  unreadable  {len(facts.unreadable):,}")
        lines += [f"    {fault}" for fault in facts.unreadable[:_NAMED]]
    if facts.factors:
        each = _numbers(facts.factors, most=None)
        lines.append(f"  factors     {len(facts.factors)}, with the number of values of each: {each}")
        if facts.categorical_factors:
            lines.append(f"  no order in {', '.join(facts.categorical_factors)}")
        lines.append(f"  grid        {'every combination of these values once' if facts.grid else 'no'}")
    lines.append(f"  fingerprint {facts.fingerprint}")
    lines += [f"  decoded     {line}" for line in facts.decoded or ["not yet; the first run does it"]]
    out.lines(lines, **asdict(facts))


cache = App(name="cache", help="List and remove caches of decoded images.")
data.command(cache)


@cache.command(name="list")
def list_caches() -> None:
    """List the caches of decoded images, the largest first."""
    from corolla.data.caches import list_caches

    caches = list_caches()
    lines = [f"{sum(cache.nbytes for cache in caches) / 1e6:,.1f} MB in {len(caches)} caches"]
    for one in caches:
        what = f"{one.source}, {one.images:,} images, `{one.recipe}`, {one.height}x{one.width}"
        lines.append(f"  {one.nbytes / 1e6:8,.1f} MB  {what}, not used for {one.unused_days:.0f} days: {one.path}")
    out.lines(lines, caches=[asdict(one) for one in caches])


@cache.command
def prune(*, source: str | None = None, unused_days: float | None = None) -> None:
    """Remove caches; what is asked for again is decoded again.

    Args:
        source: Those of this source, as the list names it.
        unused_days: Those not used for so many days; 0 removes all.
    """
    from corolla.data.caches import prune_caches

    removed = prune_caches(source=source, unused_days=unused_days)
    size = sum(one.nbytes for one in removed)
    out.done(
        [f"removed {len(removed)} caches, {size / 1e6:,.1f} MB"], removed=[one.path for one in removed], bytes=size
    )


def _numbers(counts: Mapping[str, int], most: int | None = _NAMED) -> str:
    named = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:most])
    return f"{named}{', ...' if most is not None and len(counts) > most else ''}"
