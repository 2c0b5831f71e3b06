"""Commands for images as features: embed, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.inputs import Given, Strict, UsedEngine, Workers, counted, given_images
from corolla.cli.output import out

Output = Annotated[Path, Parameter(name=["--output", "-o"])]


def embed(  # noqa: D417, the shared flags describe themselves
    model: Path,
    /,
    *images: Given,
    output: Output,
    variance: bool = False,
    strict: Strict = False,
    workers: Workers = None,
    engine: UsedEngine = "threads",
) -> None:
    """Write the codes of images, the means of q(z|x), as a table. A command that was broken off goes on where it was.

    Args:
        model: Run folder or model folder.
        output: The table: .parquet (extra `features`) or .npz.
        variance: Write the variances of q(z|x) too.
    """
    from corolla.apps.features import write_features
    from corolla.trained import load

    with given_images(images) as paths, out.progress() as progress:
        trained = load(model)
        written = write_features(
            trained,
            paths,
            output,
            variance=variance,
            on_error="refuse" if strict else "skip",
            workers=workers,
            engine=engine,
            progress=progress,
        )
    before = f", {written.found} of them done before" if written.found else ""
    note = f"{counted(written.rows, written.left_out)}{before}, {trained.latent_dim} latents"
    out.wrote(output, note=note, images=written.rows, left_out=written.left_out, latents=trained.latent_dim)


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
    nearest = [{"path": str(one.path), "distance": float(one.distance)} for one in found]
    out.lines((f"{one.distance:8.4f}  {one.path}" for one in found), nearest=nearest)
    if output is None:
        return
    picture, decoded = search_sheet(trained, image, found)
    save_picture(output, picture)
    for path in decoded:
        out.note(f"{path}: no readable file here; the sheet shows what its code decodes to")
    out.wrote(output, note=counted(len(found)))
