"""Image files with noise or gaps -> a folder of whole ones, as PNG files at the model's size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.restoration.denoising import BATCH_SIZE, Denoised, denoise
from corolla.apps.restoration.inpainting import Method, check_completions, check_prior, inpaint
from corolla.apps.restoration.masks import MaskOf, fitted_mask
from corolla.apps.restoration.noise import Noise, check_noises, corrupt
from corolla.apps.restoration.residuals import residual_prior
from corolla.data.folder import OUTPUT_MARK
from corolla.data.listing import Entry, count_images, list_images, open_entry
from corolla.data.recipes import recipe_named
from corolla.data.stream import OnError, none_usable, read_images, refuse, warn
from corolla.errors import DataError, UsageError
from corolla.files import check_new_folder, write_file
from corolla.metrics import psnr, ssim
from corolla.metrics.images import SSIM_WINDOW_PX
from corolla.pictures.files import save_npz, save_picture
from corolla.progress import OnProgress, steps_of
from corolla.trained import LARGEST_SEED, TrainedModel, seeded_generator

WHITE_STDDEV = 64
"""In levels: shown white in pictures of trust."""


@dataclass(frozen=True)
class DenoisedFiles:
    """What was written.

    Attributes:
        images: How many clean images.
        left_out: How many could not be read.
        sigma: The mean standard deviation of the noise, given or estimated, in levels of 255; NaN without any.
        psnr_db: The mean before and after, if noise was put on.
        ssim: Likewise.
        residuals_file: What the model leaves out of its training images, if that was written now.
    """

    images: int
    left_out: int
    sigma: float
    psnr_db: tuple[float, float] | None = None
    ssim: tuple[float, float] | None = None
    residuals_file: Path | None = None


@dataclass(frozen=True)
class InpaintedFiles:
    """What was written: how many images were filled, how many of these were scaled, and how many were left out."""

    images: int
    scaled: int
    left_out: int


def denoise_files(
    model: TrainedModel,
    paths: Iterable[Path | str],
    output: Path,
    noise: Noise | str | None = None,
    *,
    corruption: Noise | str | None = None,
    trust: bool = False,
    seed: int = 0,
    source: str | None = None,
    mirror: str | None = None,
    on_error: OnError = "skip",
    progress: OnProgress | None = None,
) -> DenoisedFiles:
    """Take noise off any number of images; memory does not grow with it.

    Args:
        model: What to restore with.
        paths: As `corolla.data.listing.list_images` takes them.
        output: A new or empty folder.
        noise: As for `denoise`; by default that of the corruption, else Gaussian noise of unknown strength.
        corruption: Noise to put on first. An image's depends on the seed and the name of its result alone. The noisy
            images are kept in the folder `noisy`.
        trust: Write NAME-trust.png, black where a pixel is certain and white from 64 levels on, and NAME-trust.npz
            with the standard deviations in levels, too.
        seed: Fixes the noise and what is drawn for trust.
        source: Where the model's own images are now, if they have moved.
        mirror: Folder or URL that holds the files of a downloaded source.
        on_error: What to do with an image that cannot be read: leave it out with a warning, or stop.
        progress: Called with the number of images done.

    Raises:
        UsageError: The folder is not empty, no image was given, or as `denoise`.
        DataError: No image can be read, or one cannot and on_error is "refuse"; or as `denoise`.
        ModelError, WriteError: As `denoise`, or a file cannot be written.
    """
    kind, damage = check_noises(noise, corruption)
    check_new_folder(output)
    paths = list(paths)
    total = count_images(paths)
    residuals, file = None, None
    if kind.kind != "salt_pepper":  # which needs none
        residuals, file = residual_prior(model, source=source, mirror=mirror, progress=progress)
    names = _Names(("", "-trust") if trust else ("",))
    worth: list[NDArray[np.float64]] = []
    sigmas: list[float] = []
    done = left_out = 0
    batches = read_images(
        _once(list_images(paths)),
        recipe_named(model.config.data.recipe),
        model.height,
        model.width,
        on_error="refuse" if total == 1 else on_error,
        length=BATCH_SIZE,
    )
    for number, batch in enumerate(batches):
        left_out += len(batch.faults)
        if not batch.entries:
            continue
        called = [names.of(entry) for entry in batch.entries]
        noisy = batch.pixels
        if damage is not None:
            seeds = [_seed_of(seed, name) for name in called]
            each = zip(batch.pixels, seeds, strict=True)
            noisy = np.concatenate([corrupt(one[None], damage, seed=own) for one, own in each])
        drawn = (seed + number) % (LARGEST_SEED + 1)
        result = denoise(model, noisy, kind, residuals=residuals, trust=trust, seed=drawn)
        for index, name in enumerate(called):
            _write(output, name, result, index, damage is not None)
        if damage is not None:
            worth.append(np.stack([_worth(batch.pixels, noisy), _worth(batch.pixels, result.images)]))
        sigmas += [float(value) for value in result.sigma if not np.isnan(value)]
        done += len(called)
        steps_of(progress, "denoising", total)(done + left_out)
    if not done:
        raise none_usable(left_out)
    sigma = float(np.mean(sigmas)) if sigmas else float("nan")
    if not worth:
        return DenoisedFiles(done, left_out, sigma, residuals_file=file)
    (psnr_0, ssim_0), (psnr_1, ssim_1) = np.concatenate(worth, axis=2).mean(2).tolist()
    return DenoisedFiles(done, left_out, sigma, (psnr_0, psnr_1), (ssim_0, ssim_1), file)


def inpaint_files(
    model: TrainedModel,
    paths: Iterable[Path | str],
    output: Path,
    missing: MaskOf,
    *,
    method: Method = "optimise",
    completions: int = 1,
    prior: str = "standard",
    seed: int = 0,
    on_error: OnError = "skip",
    progress: OnProgress | None = None,
) -> InpaintedFiles:
    """Fill gaps in any number of images.

    Args:
        model: As for `inpaint`, also method, completions and prior.
        paths: As `corolla.data.listing.list_images` takes them.
        output: A new or empty folder.
        missing: Where the gaps of an image are, such as `mask_of` gives it.
        method: optimise or gibbs.
        completions: How many of each image; with more than one, they are NAME-1.png, NAME-2.png and so on.
        prior: Of the latents.
        seed: Fixes all that is drawn.
        on_error: What to do with an image that cannot be used: leave it out with a warning, or stop.
        progress: Called with the number of images done.

    Raises:
        UsageError: The folder is not empty, no image was given, or as `inpaint`.
        DataError: No image can be used, or one cannot and on_error is "refuse".
        WriteError: A file cannot be written.
    """
    check_new_folder(output)
    check_completions(model, completions)
    check_prior(prior, method, completions)
    seeded_generator(seed)
    paths = list(paths)
    total = count_images(paths)
    names = _Names()
    done = scaled = left_out = 0
    for number, entry in enumerate(_once(list_images(paths))):
        try:
            picture = open_entry(entry)
            try:
                result = inpaint(
                    model,
                    picture,
                    _gap(model, missing, picture),
                    method=method,
                    completions=completions,
                    prior=prior,
                    seed=(seed + number) % (LARGEST_SEED + 1),
                )
            except (DataError, UsageError) as error:
                raise type(error)(f"{entry.name}: {error}", path=entry.name) from None
        except (DataError, UsageError) as error:
            # What is wrong with all images alike is wrong with the only one, too.
            if total == 1:
                raise
            refuse([str(error)], on_error)
            warn([str(error)])
            left_out += 1
            continue
        name = names.of(entry)
        write_file(output / OUTPUT_MARK, b"")
        for index, whole in enumerate(result.images[0], start=1):
            suffix = f"-{index}" if completions > 1 else ""
            save_picture(output / f"{name}{suffix}.png", Image.fromarray(np.asarray(whole)))
        done += 1
        scaled += picture.size != (model.width, model.height)
        steps_of(progress, "inpainting", total)(done + left_out)
    if not done:
        raise none_usable(left_out)
    return InpaintedFiles(done, scaled, left_out)


def _gap(model: TrainedModel, missing: MaskOf, picture: Image.Image) -> NDArray[np.bool_]:
    mask = missing(picture)
    gap = fitted_mask(model, mask)
    if mask.any() and not gap.any():
        raise UsageError(
            "what is missing is all outside of what the model sees, which the recipe "
            f"`{model.config.data.recipe}` cuts out of the middle; there is nothing to fill in"
        )
    return gap


def _write(output: Path, name: str, result: Denoised, index: int, keep_noisy: bool) -> None:
    write_file(output / OUTPUT_MARK, b"")
    save_picture(output / f"{name}.png", Image.fromarray(result.images[index]))
    if keep_noisy:
        save_picture(output / "noisy" / f"{name}.png", Image.fromarray(result.observed[index]))
    if result.stddev is not None:
        stddev = result.stddev[index]
        grey = np.sqrt((stddev.astype(np.float64) ** 2).mean(-1)) * (255 / WHITE_STDDEV)
        save_picture(output / f"{name}-trust.png", Image.fromarray(np.rint(grey).clip(0, 255).astype(np.uint8)))
        save_npz(output / f"{name}-trust.npz", stddev=stddev)


def _worth(clean: NDArray[np.uint8], images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PSNR and SSIM of each image, 2×N; SSIM is not a number where the images are smaller than its window."""
    large = min(clean.shape[1:3]) >= SSIM_WINDOW_PX
    return np.stack([psnr(clean, images), ssim(clean, images) if large else np.full(len(clean), np.nan)])


def _seed_of(seed: int, name: str) -> int:
    """Of one image's noise: the same whatever other images there are."""
    digest = hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def _once(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Each image once, although it may be named more often."""
    seen: set[tuple[Path, int | None]] = set()
    for entry in entries:
        if (entry.place, entry.offset) not in seen:
            seen.add((entry.place, entry.offset))
            yield entry


class _Names:
    """A name for each image's results: the file's own without its suffix, with a number where that is taken.

    No two results have one name, whichever of the suffixes stand after them.
    """

    def __init__(self, suffixes: tuple[str, ...] = ("",)) -> None:
        self._suffixes = suffixes
        self._taken: set[str] = set()

    def of(self, entry: Entry) -> str:
        """The next image's name."""
        stem = name = PurePosixPath(entry.key).stem
        number = 1
        while not self._taken.isdisjoint(results := {(name + suffix).casefold() for suffix in self._suffixes}):
            number += 1
            name = f"{stem}-{number}"
        self._taken |= results
        return name
