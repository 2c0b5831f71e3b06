"""Commands that use a trained model on images: embed, search, compress, decompress, anomalies, denoise, inpaint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corolla.cli.inputs import (
    Given,
    MaybeOutput,
    Model,
    Output,
    OwnMirror,
    OwnSource,
    Strict,
    UsedEngine,
    Workers,
    counted,
    opened,
)
from corolla.cli.output import out
from corolla.cli.use import fit_if_missing

if TYPE_CHECKING:
    from corolla.data.stream import OnError

Restored = Annotated[Output, Parameter(help="The folder for the results, new or empty: PNG files at the model's size.")]


def embed(  # noqa: D417, the shared flags describe themselves
    model: Model,
    /,
    *images: Given,
    output: Output,
    variance: bool = False,
    strict: Strict = False,
    workers: Workers = None,
    engine: UsedEngine = "threads",
) -> None:
    """Write the codes of images, the means of q(z|x), as a table. A command that was interrupted goes on where it was.

    Args:
        output: The table: .parquet (extra `features`) or .npz.
        variance: Write the variances of q(z|x) too.
    """
    from corolla.apps.features import write_features

    with opened(model, images) as (trained, paths, progress):
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
    output: MaybeOutput = None,
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


def compress(  # noqa: D417, the shared flags describe themselves
    model: Path,
    /,
    *images: Given,
    output: Output,
    step: float = 1.0,
    names: bool = False,
    strict: Strict = False,
) -> None:
    """Keep images as codes of a model: tens of bytes each. They come back at its size. Needs the extra `codec`.

    Args:
        model: Run folder or model folder; `corolla decompress` will need it too.
        output: The file to write; its name ends in .corolla.
        step: How coarsely codes are rounded, in standard deviations of the posterior: more is smaller and plainer.
        names: Keep the files' names too.
    """
    from corolla.apps import compression
    from corolla.pictures.files import check_name

    check_name(output, [".corolla"], "compressed images")
    on_error: OnError = "refuse" if strict else "skip"
    with opened(model, images) as (trained, paths, progress):
        result = compression.compress(
            trained, paths, output, step=step, names=names, on_error=on_error, progress=progress
        )
    each = result.bytes / result.images
    bits = 8 * each / (trained.height * trained.width)
    number = counted(result.images, len(result.skipped))
    out.wrote(
        output,
        note=f"{number}, {result.bytes} bytes: {each:.1f} an image, {bits:.3f} bits a pixel",
        images=result.images,
        left_out=len(result.skipped),
        bytes=result.bytes,
        bits_per_pixel=bits,
    )


def decompress(model: Path, file: Path, /, *, output: Output) -> None:
    """Get images back from a .corolla file, as PNG files in a folder. Needs the extra `codec`.

    Args:
        model: Run folder or model folder of the model that the file was written with; any other is refused.
        file: What `corolla compress` wrote.
        output: The folder, new or empty: 000001.png and so on, with the images' names if the file has them.
    """
    from corolla.apps.compression import decompress_files
    from corolla.trained import load

    number = decompress_files(load(model), file, output)
    out.wrote(output, note=counted(number), images=number)


def anomalies(  # noqa: D417, the shared flags describe themselves
    model: Path,
    /,
    *images: Given,
    output: Output,
    score: Literal["combined", "joint", "excess"] = "combined",
    fpr: float = 0.05,
    count: int = 24,
    maps: Literal["flagged", "all", "none"] = "flagged",
    recalibrate: bool = False,
    strict: Strict = False,
    workers: Workers = None,
    source: OwnSource = None,
    mirror: OwnMirror = None,
) -> None:
    """Rank images by how unlike they are to those a model was trained on, flag the odd ones, and show where.

    Args:
        model: Run folder or model folder of the model that knows what is normal.
        output: A new folder for anomalies.csv, anomalies.png and maps/.
        score: What to rank and flag by.
        fpr: Of images like the model's own, at most this share is flagged on average.
        count: Images on the contact sheet, at most.
        maps: Which images get a picture of where they are odd.
        recalibrate: Find out again what is normal, in place of what the model folder holds.
    """
    from corolla.apps.anomalies import write_anomalies

    with opened(model, images) as (trained, paths, progress):
        written = write_anomalies(
            trained,
            paths,
            output,
            score=score,
            fpr=fpr,
            count=count,
            maps=maps,
            recalibrate=recalibrate,
            on_error="refuse" if strict else "skip",
            workers=workers,
            source=source,
            mirror=mirror,
            progress=progress,
        )
    if written.calibration_file is not None:
        card = written.calibration
        how = f"calibrated on {card.calibration_images:,} images, by what is normal in {card.reference_images:,} others"
        out.wrote(written.calibration_file, note=how)
    number = counted(written.rows, written.left_out)
    out.wrote(
        output,
        note=f"{number}; {written.flagged} flagged by {score} at a false-positive rate of {fpr:g}",
        images=written.rows,
        left_out=written.left_out,
        flagged=written.flagged,
        score=score,
        fpr=fpr,
    )


def denoise(  # noqa: D417, the shared flags describe themselves
    model: Model,
    /,
    *images: Given,
    output: Restored,
    noise: str | None = None,
    corrupt: str | None = None,
    trust: bool = False,
    seed: int = 0,
    source: OwnSource = None,
    mirror: OwnMirror = None,
    strict: Strict = False,
) -> None:
    """Take noise off images. On first use this looks at the model's training images once more.

    Args:
        noise: gaussian[:SIGMA in levels of 255] or salt_pepper; by default Gaussian of unknown strength, or that of
            --corrupt.
        corrupt: To try it out: put this noise on clean images first (gaussian:25, salt_pepper:0.1), keep them in the
            folder `noisy` in the output, and print PSNR and SSIM before and after.
        trust: Write, for each image, how far each pixel may be wrong: a picture NAME-trust.png, black where it is
            certain and white from 64 levels on, and the standard deviations in levels, NAME-trust.npz.
        seed: Fixes the noise of --corrupt and the draws of --trust.
    """
    from corolla.apps import restoration

    with opened(model, images) as (trained, paths, progress):
        result = restoration.denoise_files(
            trained,
            paths,
            output,
            noise,
            corruption=corrupt,
            trust=trust,
            seed=seed,
            source=source,
            mirror=mirror,
            on_error="refuse" if strict else "skip",
            progress=progress,
        )
    if result.residuals_file is not None:
        out.wrote(result.residuals_file, note="what the model leaves out of its training images; made once")
    strength = "" if math.isnan(result.sigma) else f", noise of {result.sigma:.1f} levels"
    size = f"of {trained.height}x{trained.width} pixels by the recipe `{trained.config.data.recipe}`"
    left_out = f", {result.left_out} left out" if result.left_out else ""
    note = f"{counted(result.images)} {size}{left_out}{strength}"
    out.wrote(output, note=note, images=result.images, left_out=result.left_out, sigma=result.sigma)
    if result.psnr_db is not None and result.ssim is not None:
        line = (
            f"PSNR {result.psnr_db[0]:.2f} dB before, {result.psnr_db[1]:.2f} dB after; "
            f"SSIM {result.ssim[0]:.3f} before, {result.ssim[1]:.3f} after"
        )
        out.lines([line], psnr_db=result.psnr_db, ssim=result.ssim)


def inpaint(  # noqa: D417, the shared flags describe themselves
    model: Model,
    /,
    *images: Given,
    output: Restored,
    mask: Path | None = None,
    mask_colour: str | None = None,
    box: str | None = None,
    brush: Path | None = None,
    completions: int = 1,
    prior: str = "standard",
    seed: int = 0,
    strict: Strict = False,
) -> None:
    """Fill gaps in images; known pixels stay as they are. Say where the gaps are in one of four ways.

    Args:
        mask: A picture of the image's size, white where it is missing.
        mask_colour: What has this colour is missing, such as '#ff00ff'.
        box: x,y,w,h in pixels of the image is missing.
        brush: A JSON file with strokes: [{"radius": 4, "points": [[10, 10], [30, 12]]}].
        completions: How many different ones for each image: NAME-1.png, NAME-2.png and so on.
        prior: Of the latents: standard, or one that is fitted to the model's codes, see `corolla
            fit-prior`; gaussian suits models of a small β.
        seed: Fixes all that is drawn.
    """
    from corolla.apps import restoration
    from corolla.files import check_new_folder

    check_new_folder(output)
    missing = restoration.mask_of(mask=mask, mask_colour=mask_colour, box=box, brush=brush)
    with opened(model, images) as (trained, paths, progress):
        restoration.check_completions(trained, completions, prior)
        fit_if_missing(trained, prior)
        result = restoration.inpaint_files(
            trained,
            paths,
            output,
            missing,
            completions=completions,
            prior=prior,
            seed=seed,
            on_error="refuse" if strict else "skip",
            progress=progress,
        )
    size = f"{trained.height}x{trained.width} pixels by the recipe `{trained.config.data.recipe}`"
    fitted = f"; {result.scaled} brought to {size}" if result.scaled else ""
    note = f"{counted(result.images, result.left_out)}{fitted}"
    out.wrote(output, note=note, images=result.images, left_out=result.left_out)
