"""Commands that restore images through a trained model: denoise, inpaint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corolla.cli.use import find_images
from corolla.errors import DataError, UsageError
from corolla.files import check_new_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from corolla.apps.restoration import Denoised
    from corolla.trained import TrainedModel

Output = Annotated[Path, Parameter(name=["--output", "-o"])]

BATCH = 32
WHITE_STDDEV = 64
"""In levels: shown white in pictures of trust."""

_LOG = logging.getLogger("corolla")


def denoise(
    model: Path,
    /,
    *images: Path,
    output: Output,
    noise: str | None = None,
    corrupt: str | None = None,
    trust: bool = False,
    seed: int = 0,
    source: str | None = None,
    mirror: str | None = None,
    strict: bool = False,
) -> None:
    """Take noise off images. On first use this looks at the model's training images once more.

    Args:
        model: Run folder or model folder.
        images: Image files, and folders of them.
        output: The folder for the clean images, new or empty: PNG files at the model's size.
        noise: gaussian[:SIGMA in levels of 255], salt_pepper or jpeg:QUALITY; by default Gaussian of unknown strength,
            or that of --corrupt.
        corrupt: To try it out: put this noise on clean images first (gaussian:25, salt_pepper:0.1, jpeg:10), keep them
            in the folder `noisy` in the output, and print PSNR and SSIM before and after.
        trust: Write, for each image, how far each pixel may be wrong: a picture NAME-trust.png, black where it is
            certain and white from 64 levels on, and the standard deviations in levels, NAME-trust.npz.
        seed: Fixes the noise of --corrupt and the draws of --trust.
        source: Where the training images are now, if they have moved.
        mirror: Folder or URL that holds the files of a downloaded source.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
    """
    import numpy as np

    from corolla.apps import restoration
    from corolla.metrics import psnr, ssim
    from corolla.metrics.images import SSIM_WINDOW_PX
    from corolla.progress import ProgressDisplay
    from corolla.trained import load

    check_new_folder(output)
    damage = None if corrupt is None else restoration.parse_noise(corrupt)
    kind = restoration.parse_noise(next(text for text in (noise, corrupt, "gaussian") if text is not None))
    if damage is not None:
        restoration.corrupt(np.zeros((1, 1, 1, 3), np.uint8), damage)  # refuses what has no level
    if kind.kind == "jpeg" and kind.level is None:
        raise UsageError("noise 'jpeg': of which quality? Say so after a colon, as in jpeg:10")
    if not images:
        raise UsageError("no images given; name image files or folders of them")
    found = list(dict.fromkeys(find_images(images)))
    trained = load(model)
    residuals = None
    if kind.kind != "salt_pepper":  # which needs none
        residuals, file = restoration.residual_prior(trained, source=source, mirror=mirror)
        if file is not None:
            print(f"wrote {file} (what the model leaves out of its training images; made once)")
    names = output_names(found, ("", "-trust") if trust else ("",))
    before: list[NDArray[np.float64]] = []
    after: list[NDArray[np.float64]] = []
    done, sigmas = 0, []
    with ProgressDisplay("denoising", len(found)) as display:
        for number, (paths, pixels) in enumerate(batches(trained, found, strict)):
            noisy = pixels if damage is None else restoration.corrupt(pixels, damage, seed=(seed + number) % 2**64)
            result = restoration.denoise(
                trained, noisy, kind, residuals=residuals, trust=trust, seed=(seed + number) % 2**64
            )
            for index, path in enumerate(paths):
                _write(output, names[path], result, index, damage is not None)
            if damage is not None:
                for kept, made in ((before, noisy), (after, result.images)):
                    similar = (
                        ssim(pixels, made) if min(pixels.shape[1:3]) >= SSIM_WINDOW_PX else np.full(len(made), np.nan)
                    )
                    kept.append(np.stack([psnr(pixels, made), similar]))
            sigmas += [value for value in result.sigma if not np.isnan(value)]
            done += len(paths)
            display.show(done)
    check_done(done, found)
    strength = f", noise of {np.mean(sigmas):.1f} levels" if kind.kind == "gaussian" and kind.level is None else ""
    left_out = f", {len(found) - done} left out" if done < len(found) else ""
    size = f"of {trained.height}x{trained.width} pixels by the recipe `{trained.config.data.recipe}`"
    print(f"wrote {output} ({done} image{'s' if done > 1 else ''} {size}{left_out}{strength})")
    if damage is not None:
        (psnr_0, ssim_0), (psnr_1, ssim_1) = (np.concatenate(kept, axis=1).mean(1) for kept in (before, after))
        print(f"PSNR {psnr_0:.2f} dB before, {psnr_1:.2f} dB after; SSIM {ssim_0:.3f} before, {ssim_1:.3f} after")


def inpaint(
    model: Path,
    /,
    *images: Path,
    output: Output,
    mask: Path | None = None,
    mask_colour: str | None = None,
    box: str | None = None,
    brush: Path | None = None,
    method: Literal["optimise", "gibbs"] = "optimise",
    completions: int = 1,
    prior: str = "standard",
    seed: int = 0,
    strict: bool = False,
) -> None:
    """Fill gaps in images; known pixels stay as they are. Say where the gaps are in one of four ways.

    Args:
        model: Run folder or model folder.
        images: Image files, and folders of them.
        output: The folder for the whole images, new or empty: PNG files at the model's size.
        mask: A picture of the image's size, white where it is missing.
        mask_colour: What has this colour is missing, such as '#ff00ff'.
        box: x,y,w,h in pixels of the image is missing.
        brush: A JSON file with strokes: [{"radius": 4, "points": [[10, 10], [30, 12]]}].
        method: Search for the latents that explain what is known, or alternate between encoding and filling.
        completions: How many different ones for each image: NAME-1.png, NAME-2.png and so on.
        prior: Of the latents, for optimise: standard, or one that is fitted to the model's codes, see `corolla
            fit-prior`; gaussian suits models of a small β.
        seed: Fixes all that is drawn.
        strict: Stop at an image that cannot be used; otherwise it is left out with a warning.
    """
    import numpy as np
    from PIL import Image

    from corolla.apps import restoration
    from corolla.apps.restoration import masks
    from corolla.cli.priors import fit_if_missing
    from corolla.data.images import open_image
    from corolla.pictures.files import save_picture
    from corolla.progress import ProgressDisplay
    from corolla.trained import load, seeded_generator

    check_new_folder(output)
    ways = [mask, mask_colour, box, brush]
    if sum(way is not None for way in ways) != 1:
        raise UsageError("say what is missing by one of --mask, --mask-colour, --box and --brush")
    if not images:
        raise UsageError("no images given; name image files or folders of them")
    found = list(dict.fromkeys(find_images(images)))
    trained = load(model)
    # What is wrong with all images alike is said once, not of each.
    restoration.check_completions(trained, completions)
    restoration.check_prior(prior, method, completions)
    seeded_generator(seed)
    blank = Image.new("RGB", (1, 1))
    if mask is not None:
        open_image(mask)
    elif mask_colour is not None:
        masks.colour_mask(mask_colour, blank)
    elif box is not None:
        masks.box_numbers(box)
    elif brush is not None:
        masks.brush_mask(brush, blank)
    fit_if_missing(trained, prior)
    names = output_names(found)
    done = scaled = 0
    with ProgressDisplay("inpainting", len(found)) as display:
        for number, path in enumerate(found):
            try:
                picture = open_image(path)
                if mask is not None:
                    missing = masks.file_mask(mask, picture)
                elif mask_colour is not None:
                    missing = masks.colour_mask(mask_colour, picture)
                elif box is not None:
                    missing = masks.box_mask(box, picture)
                else:
                    assert brush is not None
                    missing = masks.brush_mask(brush, picture)
                gap = masks.fitted_mask(trained, missing)
                if missing.any() and not gap.any():
                    raise UsageError(
                        "what is missing is all outside of what the model sees, which the recipe "
                        f"`{trained.config.data.recipe}` cuts out of the middle; there is nothing to fill in"
                    )
                result = restoration.inpaint(
                    trained,
                    picture,
                    gap,
                    method=method,
                    completions=completions,
                    prior=prior,
                    seed=(seed + number) % 2**64,
                )
            except (DataError, UsageError) as error:
                # What is wrong with all images alike is wrong with the only one, too.
                if strict or len(found) == 1:
                    raise
                where = "" if str(error).startswith(str(path)) else f"{path}: "
                _LOG.warning("%s%s; left out", where, error)
                continue
            for index, whole in enumerate(result.images[0], start=1):
                suffix = f"-{index}" if completions > 1 else ""
                save_picture(output / f"{names[path]}{suffix}.png", Image.fromarray(np.asarray(whole)))
            done += 1
            scaled += picture.size != (trained.width, trained.height)
            display.show(number + 1)
    check_done(done, found)
    left_out = f", {len(found) - done} left out" if done < len(found) else ""
    size = f"{trained.height}x{trained.width} pixels"
    fitted = f"; {scaled} brought to {size} by the recipe `{trained.config.data.recipe}`" if scaled else ""
    print(f"wrote {output} ({done} image{'s' if done > 1 else ''}{left_out}{fitted})")


def _write(output: Path, name: str, result: Denoised, index: int, keep_noisy: bool) -> None:
    import numpy as np
    from PIL import Image

    from corolla.pictures.files import save_npz, save_picture

    save_picture(output / f"{name}.png", Image.fromarray(result.images[index]))
    if keep_noisy:
        save_picture(output / "noisy" / f"{name}.png", Image.fromarray(result.observed[index]))
    if result.stddev is not None:
        stddev = result.stddev[index]
        grey = np.sqrt((stddev.astype(np.float64) ** 2).mean(-1)) * (255 / WHITE_STDDEV)
        save_picture(output / f"{name}-trust.png", Image.fromarray(np.rint(grey).clip(0, 255).astype(np.uint8)))
        save_npz(output / f"{name}-trust.npz", stddev=stddev)


def batches(trained: TrainedModel, paths: list[Path], strict: bool) -> Iterator[tuple[list[Path], NDArray[np.uint8]]]:
    """Paths and images by the model's recipe, BATCH at a time; what cannot be read is left out with a warning."""
    import numpy as np

    for start in range(0, len(paths), BATCH):
        kept, pixels = [], []
        for path in paths[start : start + BATCH]:
            try:
                pixels.append(np.asarray(trained.pixels(path), np.uint8))
                kept.append(path)
            except DataError as error:
                if strict:
                    raise
                _LOG.warning("%s; left out", error)
        if kept:
            yield kept, np.concatenate(pixels)


def check_done(done: int, found: list[Path]) -> None:
    """Raise DataError if not one image could be used."""
    if not done:
        raise DataError(f"none of {len(found)} image{'s' if len(found) > 1 else ''} can be used; give others")


def output_names(paths: list[Path], suffixes: tuple[str, ...] = ("",)) -> dict[Path, str]:
    """A name for each image's results: the file's own without its suffix, with a number where that is taken.

    No two results have one name, whichever of the suffixes stand after them.
    """
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while not taken.isdisjoint(results := {(name + suffix).casefold() for suffix in suffixes}):
            number += 1
            name = f"{path.stem}-{number}"
        taken |= results
        names[path] = name
    return names
