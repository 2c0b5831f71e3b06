"""Commands that restore images through a trained model: denoise, inpaint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.inputs import Given, OwnMirror, OwnSource, Strict, counted, given_images
from corolla.cli.output import out
from corolla.cli.priors import fit_if_missing

Output = Annotated[
    Path,
    Parameter(name=["--output", "-o"], help="The folder for the results, new or empty: PNG files at the model's size."),
]


def denoise(  # noqa: D417, the shared flags describe themselves
    model: Path,
    /,
    *images: Given,
    output: Output,
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
        model: Run folder or model folder.
        noise: gaussian[:SIGMA in levels of 255] or salt_pepper; by default Gaussian of unknown strength, or that of
            --corrupt.
        corrupt: To try it out: put this noise on clean images first (gaussian:25, salt_pepper:0.1), keep them in the
            folder `noisy` in the output, and print PSNR and SSIM before and after.
        trust: Write, for each image, how far each pixel may be wrong: a picture NAME-trust.png, black where it is
            certain and white from 64 levels on, and the standard deviations in levels, NAME-trust.npz.
        seed: Fixes the noise of --corrupt and the draws of --trust.
    """
    from corolla.apps import restoration
    from corolla.trained import load

    with given_images(images) as paths, out.progress() as progress:
        trained = load(model)
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
    model: Path,
    /,
    *images: Given,
    output: Output,
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
        model: Run folder or model folder.
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
    from corolla.trained import load

    check_new_folder(output)
    missing = restoration.mask_of(mask=mask, mask_colour=mask_colour, box=box, brush=brush)
    with given_images(images) as paths, out.progress() as progress:
        trained = load(model)
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
    size = f"{trained.height}x{trained.width} pixels"
    recipe = trained.config.data.recipe
    fitted = f"; {result.scaled} brought to {size} by the recipe `{recipe}`" if result.scaled else ""
    note = f"{counted(result.images, result.left_out)}{fitted}"
    out.wrote(output, note=note, images=result.images, left_out=result.left_out)
