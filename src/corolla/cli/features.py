"""Commands for images as features: embed, search."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

from cyclopts import Parameter

from corolla.errors import DataError, UsageError

Output = Annotated[Path, Parameter(name=["--output", "-o"])]


def embed(
    model: Path,
    /,
    *images: Annotated[str, Parameter(allow_leading_hyphen=True)],
    output: Output,
    variance: bool = False,
    strict: bool = False,
    workers: int | None = None,
    engine: Literal["threads", "ray"] = "threads",
) -> None:
    """Write the codes of images, the means of q(z|x), as a table. A command that was broken off goes on where it was.

    Args:
        model: Run folder or model folder.
        images: Files, folders, .tar files (such as WebDataset's shards), globs in quotes; - reads paths from standard
            input, one a line.
        output: The table: .parquet (extra `features`) or .npz.
        variance: Write the variances of q(z|x) too.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
        workers: Threads that read and encode images; by default one for each core.
        engine: threads of this machine, or ray: a cluster (extra `scale`), which writes the same rows.
    """
    from corolla.apps.features import write_features
    from corolla.apps.features.files import check_features_name
    from corolla.data.listing import list_images
    from corolla.progress import ProgressDisplay
    from corolla.trained import load

    check_features_name(output)
    check_paths(images)
    trained = load(model)
    with tempfile.TemporaryFile() as spool:
        paths = GivenPaths(images, spool)
        total = sum(1 for _ in list_images(paths))
        with ProgressDisplay("embedding", total) as display:
            written = write_features(
                trained,
                paths,
                output,
                variance=variance,
                on_error="refuse" if strict else "skip",
                workers=workers,
                engine=engine,
                progress=display.show,
            )
    number = f"{written.rows} image{'s' if written.rows > 1 else ''}"
    found = f", {written.found} of them done before" if written.found else ""
    left_out = f", {written.left_out} left out" if written.left_out else ""
    print(f"wrote {output} ({number}{found}{left_out}, {trained.latent_dim} latents)")


def search(
    model: Path,
    image: Path,
    /,
    *,
    features: Annotated[Path, Parameter(name="--in")],
    count: Annotated[int, Parameter(name=["--count", "-k"])] = 8,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Find the embedded images whose codes are nearest to an image's, and print their distances and paths.

    Args:
        model: Run folder or model folder of the model that the features were made with.
        image: An image file.
        features: What `corolla embed` wrote.
        count: How many to find.
        output: Write a contact sheet too, the image first: .png, .jpg or .webp.
    """
    from corolla.apps.features import nearest_images, search_sheet
    from corolla.pictures.files import STILL_SUFFIXES, check_name, save_picture
    from corolla.trained import load

    if output is not None:
        check_name(output, list(STILL_SUFFIXES))
    trained = load(model)
    found = nearest_images(trained, image, features, count)
    for one in found:
        print(f"{one.distance:8.4f}  {one.path}")
    if output is None:
        return
    picture, decoded = search_sheet(trained, image, found)
    save_picture(output, picture)
    for path in decoded:
        print(f"{path}: no readable file here; the sheet shows what its code decodes to")
    print(f"wrote {output} ({len(found)} image{'s' if len(found) != 1 else ''})")


def check_paths(images: tuple[str, ...]) -> None:
    """Refuse what is not there before any work is done. Lists on standard input are met with warnings instead."""
    from glob import iglob

    from corolla.data.listing import is_pattern

    if not images:
        raise UsageError("no images given; name files, folders, .tar files or globs, or - for paths on standard input")
    for image in images:
        if image == "-" or Path(image).exists():
            continue
        if not is_pattern(image):
            raise DataError(f"{image}: no such file")
        if not any(True for _ in iglob(image, recursive=True)):  # noqa: PTH207 - as in `list_images`
            raise DataError(f"{image}: matches nothing")


class GivenPaths:
    """The paths of a command line, those on standard input in the place of -, as often as they are gone through."""

    def __init__(self, images: tuple[str, ...], spool: IO[bytes]) -> None:
        self._images = images
        self._spool = spool  # a file, so that a long list takes no memory
        if "-" in images:
            shutil.copyfileobj(sys.stdin.buffer, spool)

    def __iter__(self) -> Iterator[str]:
        for image in self._images:
            if image != "-":
                yield image
                continue
            self._spool.seek(0)
            for line in self._spool:
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    yield path
