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
from corolla.apps.restoration.inpainting import check_completions, check_prior, inpaint
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
    """What was written."""

    images: int  # how many clean images
    left_out: int  # how many could not be read
    sigma: float  # the mean standard deviation of the noise, given or estimated, in levels of 255; NaN without any
    psnr_db: tuple[float, float] | None = None  # the mean before and after, if noise was put on; likewise `ssim`
    ssim: tuple[float, float] | None = None
    residuals_file: Path | None = None  # what the model leaves out of its training images, if that was written now


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
    """Take noise off any number of images, into a new or empty folder; memory does not grow with their number.

    The noise is as for `denoise`; by default that of the corruption, else Gaussian noise of unknown strength. A
    corruption is noise to put on first: an image's depends on the seed and the name of its result alone, and the noisy
    images are kept in the folder `noisy`. With trust, there is also NAME-trust.png, black where a pixel is certain and
    white from 64 levels on, and NAME-trust.npz with the standard deviations in levels. Source and mirror say where the
    model's own images are, as for `residual_prior`.

    Raises as `denoise`; UsageError if the folder is not empty, DataError if no image can be read, and WriteError.
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
    entries, recipe = _once(list_images(paths)), recipe_named(model.config.data.recipe)
    on_error = "refuse" if total == 1 else on_error
    batches = read_images(entries, recipe, model.height, model.width, on_error=on_error, length=BATCH_SIZE)
    for number, batch in enumerate(batches):
        left_out += len(batch.faults)
        if not batch.entries:
            continue
        called = [names.of(entry) for entry in batch.entries]
        noisy = batch.pixels
        if damage is not None:
            each = zip(batch.pixels, called, strict=True)
            noisy = np.concatenate([corrupt(one[None], damage, seed=_seed_of(seed, name)) for one, name in each])
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
    completions: int = 1,
    prior: str = "standard",
    seed: int = 0,
    on_error: OnError = "skip",
    progress: OnProgress | None = None,
) -> InpaintedFiles:
    """Fill gaps in any number of images, into a new or empty folder.

    Where the gaps of an image are, `missing` says, such as `mask_of` gives it; the rest is as for `inpaint`. With more
    than
    one completion, they are NAME-1.png, NAME-2.png and so on.

    Raises as `inpaint`; UsageError if the folder is not empty, DataError if no image can be used, and WriteError.
    """
    check_new_folder(output)
    check_completions(model, completions)
    check_prior(prior, completions)
    seeded_generator(seed)
    paths = list(paths)
    total = count_images(paths)
    names = _Names()
    done = scaled = left_out = 0
    for number, entry in enumerate(_once(list_images(paths))):
        try:
            picture = open_entry(entry)
            own = (seed + number) % (LARGEST_SEED + 1)
            try:
                gap = _gap(model, missing, picture)
                result = inpaint(model, picture, gap, completions=completions, prior=prior, seed=own)
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
    """Names for images' results, none twice with any of the suffixes: the file's own stem, numbered where taken."""

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
