"""Commands about images: which there are, fetching them, how a recipe changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from corolla.cli.inputs import counted
from corolla.cli.output import out
from corolla.cli.use import Output
from corolla.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from corolla.data import Recipe, Source

data = App(
    name="data",
    help="Look at the images to train on: list, get, preview, info.",
)

SHOWN_PX = 160
DRAWN_PX = 512


@data.command(name="list")
def list_() -> None:
    """List the sources of images."""
    from corolla.data.factor_sets import SETS
    from corolla.data.sources import corolla_home

    home = corolla_home()
    here = any((home / "flowers102").glob("*/complete.json"))
    sources = {"florets[:COUNT]": "drawn flowers with seven known factors; nothing to download"}
    state = (
        f"in {home / 'flowers102'}" if here else "345 MB to download, at first use or by `corolla data get flowers102`"
    )
    sources |= {
        "flowers102": f"8,189 photos of 102 kinds of flowers; {state}",
        "folder:PATH": "your own images, in any tree of folders",
        "factors:FILE": "your own images with known factors, as the arrays `images` and `factors` of an .npz file",
    }
    for name, known in SETS.items():
        prepared = any((home / "factors" / name.replace(":", "-")).glob("*/complete.json"))
        state = f"in {home / 'factors' / name.replace(':', '-')}" if prepared else "to download, at first use"
        sources[name] = f"{known.count:,} images with {len(known.factors)} known factors; [:COUNT] takes some; {state}"
    out.lines((f"{name:16} {text}" for name, text in sources.items()), sources=sources)


@data.command
def get(source: str, /, *, mirror: str | None = None, home: Path | None = None) -> None:
    """Download the images of a source, verify and unpack them; once they are here, nothing is done.

    Args:
        source: flowers102, or a set with known factors such as dsprites[:COUNT].
        mirror: Folder or URL that holds its files, in place of the official host.
        home: Where to keep them; by default $COROLLA_HOME, or the user's cache folder.
    """
    opened = _open(source, mirror, home)
    root = getattr(opened, "root", None) or getattr(opened, "path", None)
    where = f" in {root}" if root else ", drawn when they are needed"
    out.done(
        [f"{opened.name}: {len(opened.keys):,} images{where}"], source=opened.name, images=len(opened.keys), root=root
    )


@data.command
def preview(
    source: str,
    /,
    *,
    recipe: str = "fit",
    size: str = "64",
    count: int = 4,
    output: Output = Path("preview.png"),
    strict: bool = False,
    mirror: str | None = None,
    home: Path | None = None,
) -> None:
    """Show what each step of a recipe does to a few images.

    Args:
        source: florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz or a set such as dsprites[:COUNT].
        recipe: fit, crop or enhance.
        size: Of the result in pixels: 64, or 48x64 for height x width.
        count: How many images, spread over the source.
        output: The picture: .png, .jpg or .webp.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
        mirror: Folder or URL that holds the files of a downloaded source.
        home: Where downloads are kept.
    """
    import numpy as np

    from corolla.data import spread_rows
    from corolla.data.stream import none_usable, refuse, warn
    from corolla.pictures.files import check_outputs, save_picture
    from corolla.pictures.grids import Row, sheet

    check_outputs(output)
    if count < 1:
        raise UsageError(f"--count {count}: give at least 1")
    chosen = _recipe(recipe)
    height, width = _size(size)
    chosen.check_size(height, width)
    opened = _open(source, mirror, home)
    rows: list[Row] = []
    header: list[str] = []
    faults: list[str] = []
    for index in spread_rows(np.arange(len(opened.keys)), count):
        try:
            stages = chosen.stages(_original(opened, int(index)), height, width)
        except DataError as error:
            faults.append(str(error) if error.path is not None else f"{opened.keys[index]}: {error}")
            refuse(faults, "refuse" if strict else "skip")
            warn(faults[-1:])
            continue
        header = [_caption(label) for label, _ in stages]
        captions = [f"{picture.height}x{picture.width}" for _, picture in stages]
        rows.append(Row(np.stack([_framed(picture) for _, picture in stages]), captions=captions))
    if not rows:
        raise none_usable(len(faults))
    save_picture(output, sheet(rows, header=header))
    note = f"{counted(len(rows), len(faults))}, {len(header) - 1} steps of `{recipe}`"
    out.wrote(output, note=note, images=len(rows), left_out=len(faults))


@data.command
def info(source: str, /, *, mirror: str | None = None, home: Path | None = None) -> None:
    """Show what a source holds: splits, labels, fingerprint, and what of it is decoded already.

    Args:
        source: florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz or a set such as dsprites[:COUNT].
        mirror: Folder or URL that holds the files of a downloaded source.
        home: Where downloads and decoded images are kept.
    """
    import numpy as np

    opened = _open(source, mirror, home)
    facts: dict[str, Any] = {
        "source": opened.name,
        "images": len(opened.keys),
        "splits": {name: len(rows) for name, rows in opened.splits.items()},
    }
    lines = [
        f"{opened.name}: {len(opened.keys):,} images",
        f"  splits      {', '.join(f'{name} {count:,}' for name, count in facts['splits'].items())}",
    ]
    if opened.labels is not None:
        facts["labels"] = names = list(opened.label_names)
        lines.append(f"  labels      {len(names)}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")
    if opened.factors is not None:
        from corolla.data.factors import is_full_grid

        values = [len(np.unique(column)) for column in opened.factors.T]
        facts["factors"] = dict(zip(opened.factor_names, values, strict=True))
        facts["categorical_factors"] = list(opened.categorical_factors)
        facts["grid"] = is_full_grid(opened.factors)
        each = ", ".join(f"{name} {many:,}" for name, many in facts["factors"].items())
        lines.append(f"  factors     {len(values)}, with the number of values of each: {each}")
        if opened.categorical_factors:
            lines.append(f"  no order in {', '.join(opened.categorical_factors)}")
        lines.append(f"  grid        {'every combination of these values once' if facts['grid'] else 'no'}")
    facts |= {"fingerprint": opened.fingerprint, "decoded": _caches(opened, home)}
    lines.append(f"  fingerprint {opened.fingerprint}")
    lines += [f"  decoded     {line}" for line in facts["decoded"] or ["not yet; the first run does it"]]
    out.lines(lines, **facts)


def _open(source: str, mirror: str | None, home: Path | None) -> Source:
    from corolla.data import open_source

    with out.progress() as progress:
        return open_source(source, mirror=mirror, home=home, progress=progress)


def _recipe(name: str) -> Recipe:
    from corolla.data import recipe_named

    return recipe_named(name)


def _size(text: str) -> tuple[int, int]:
    from corolla.config import Config

    return Config().updated({"data.size": text}).data.size


def _original(source: Source, index: int) -> Image.Image:
    """The picture that a recipe begins with; florets are drawn large."""
    from PIL import Image

    from corolla.data import open_image, recipe_named
    from corolla.data.factors import FactorSource
    from corolla.data.sources import FileSource

    if isinstance(source, FileSource):
        return open_image(source.root / source.keys[index])
    if isinstance(source, FactorSource):
        return Image.fromarray(source.read(index, recipe_named("fit"), *source.size))
    return Image.fromarray(source.read(index, recipe_named("fit"), DRAWN_PX, DRAWN_PX))


def _framed(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture within a white square, so that all have one size."""
    import numpy as np
    from PIL import Image, ImageOps

    if max(picture.size) < SHOWN_PX:
        factor = SHOWN_PX // max(picture.size)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    return np.asarray(
        ImageOps.pad(ImageOps.contain(picture, (SHOWN_PX, SHOWN_PX)), (SHOWN_PX, SHOWN_PX), color="white")
    )


def _caption(label: str) -> str:
    """A step's label over several lines: its name, then a line for each parameter."""
    name, _, parameters = label.partition(" ")
    return "\n".join([name, *(part for part in parameters.split(", ") if part)])


def _caches(source: Source, home: Path | None) -> list[str]:
    from corolla.data.sources import corolla_home

    lines = []
    for path in sorted((corolla_home(home) / "cache").glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("fingerprint") != source.fingerprint:
            continue
        skipped = len(manifest["skipped"])
        line = f"{manifest['count']:,} images, `{manifest['recipe']}`, {manifest['height']}x{manifest['width']}"
        lines.append(f"{line}{f', {skipped} skipped' if skipped else ''} in {path.parent}")
        lines += [f"  skipped {reason}" for _, reason in manifest["skipped"][:5]]
    return lines
