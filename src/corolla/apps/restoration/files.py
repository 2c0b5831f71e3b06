"""Image files with noise or gaps -> a folder of whole ones, as PNG files at the model's size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.restoration.denoising import BATCH_SIZE, Noise, corrupt, denoise, parse_noise
from corolla.apps.restoration.inpainting import check_completions, inpaint
from corolla.apps.restoration.masks import MaskOf, fitted_mask
from corolla.apps.restoration.residuals import residual_prior
from corolla.data.folder import OUTPUT_MARK
from corolla.data.listing import Entry, count_images, list_images, open_entry
from corolla.data.stream import OnError, leave_out, none_usable, read_images
from corolla.errors import DataError, UsageError
from corolla.files import check_new_folder, write_file
from corolla.metrics import psnr, ssim
from corolla.metrics.images import SSIM_WINDOW_PX
from corolla.pictures.files import save_levels, save_npz
from corolla.pixels import shown
from corolla.progress import OnProgress, steps_of
from corolla.trained import LARGEST_SEED, TrainedModel, seeded_generator
from corolla.trained.likeness import warn_if_unlike

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
    damage = None if corruption is None else parse_noise(corruption)
    kind = parse_noise(noise if noise is not None else damage or "gaussian")
    if damage is not None:
        corrupt(np.zeros((1, 1, 1, 3), np.uint8), damage)  # refuses what has no level
    results = _Results(output, ("", "-trust") if trust else ("",))
    paths = list(paths)
    total = count_images(paths)
    needed = kind.kind != "salt_pepper"
    residuals, file = residual_prior(model, source=source, mirror=mirror, progress=progress) if needed else (None, None)
    worth: list[list[NDArray[np.float64]]] = []  # PSNR before and after, then SSIM likewise, of the images of a batch
    sigmas: list[NDArray[np.float64]] = []
    done = left_out = 0
    entries = _once(paths)
    on_error = "refuse" if total == 1 else on_error
    batches = read_images(entries, model.preprocessing, on_error=on_error, length=BATCH_SIZE)
    for number, batch in enumerate(batches):
        left_out += len(batch.faults)
        if not batch.entries:
            continue
        names = [results.name_of(entry) for entry in batch.entries]
        noisy = batch.pixels
        if damage is not None:
            digests = (hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest() for name in names)
            each = zip(batch.pixels, (int.from_bytes(digest[:8], "big") for digest in digests), strict=True)
            noisy = np.concatenate([corrupt(image[None], damage, seed=own) for image, own in each])
        drawn = (seed + number) % (LARGEST_SEED + 1)
        result = denoise(model, noisy, kind, residuals=residuals, trust=trust, seed=drawn)
        if number == 0:
            warn_if_unlike(model, result.images)  # and not the noisy ones, which no model could return
        for index, name in enumerate(names):
            results.save(f"{name}.png", result.images[index])
            if damage is not None:
                results.save(f"noisy/{name}.png", noisy[index])
            if result.stddev is not None:
                grey = np.sqrt((result.stddev[index].astype(np.float64) ** 2).mean(-1)) * (255 / WHITE_STDDEV)
                results.save(f"{name}-trust.png", np.rint(grey).clip(0, 255).astype(np.uint8))
                save_npz(output / f"{name}-trust.npz", stddev=result.stddev[index])
        if damage is not None:
            pairs, nan = [(batch.pixels, noisy), (batch.pixels, result.images)], np.full(len(noisy), np.nan)
            large = min(model.height, model.width) >= SSIM_WINDOW_PX
            worth.append([psnr(*pair) for pair in pairs] + [ssim(*pair) if large else nan for pair in pairs])
        sigmas.append(result.sigma[~np.isnan(result.sigma)])
        done += len(names)
        steps_of(progress, "denoising", total)(done + left_out)
    if not done:
        raise none_usable(left_out)
    sigma = float(np.concatenate(sigmas).mean()) if any(map(len, sigmas)) else float("nan")
    if not worth:
        return DenoisedFiles(done, left_out, sigma, residuals_file=file)
    psnr_0, psnr_1, ssim_0, ssim_1 = np.concatenate(worth, axis=1).mean(1).tolist()
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
    than one completion, they are NAME-1.png, NAME-2.png and so on.

    Raises as `inpaint`; UsageError if the folder is not empty, DataError if no image can be used, and WriteError.
    """
    results = _Results(output)
    check_completions(model, completions, prior)
    seeded_generator(seed)
    paths = list(paths)
    total = count_images(paths)
    done = scaled = left_out = 0
    for number, entry in enumerate(_once(paths)):
        own = (seed + number) % (LARGEST_SEED + 1)
        try:
            levels = open_entry(entry, reading=model.preprocessing.reading)
            picture = Image.fromarray(shown(levels))
            gap = fitted_mask(model, missing(picture))
            result = inpaint(
                model, model.preprocessing.apply(levels), gap, completions=completions, prior=prior, seed=own
            )
        except (DataError, UsageError) as error:
            fault = str(error) if error.path is not None else f"{entry.name}: {error}"
            if total == 1:  # what is wrong with all images alike is wrong with the only one, too
                raise type(error)(fault) from None
            leave_out([fault], on_error)
            left_out += 1
            continue
        if done == 0:
            warn_if_unlike(model, result.images[0][:1])
        name = results.name_of(entry)
        for index, whole in enumerate(result.images[0], start=1):
            results.save(f"{name}-{index}.png" if completions > 1 else f"{name}.png", whole)
        done += 1
        scaled += picture.size != (model.width, model.height)
        steps_of(progress, "inpainting", total)(done + left_out)
    if not done:
        raise none_usable(left_out)
    return InpaintedFiles(done, scaled, left_out)


def _once(paths: Iterable[Path | str]) -> Iterable[Entry]:
    """Each image that paths name once, although it may be named more often."""
    return {(entry.place, entry.offset): entry for entry in list_images(paths)}.values()


class _Results:
    """A new folder of images' results, which bear the images' names: numbered where one is taken, with any suffix."""

    def __init__(self, folder: Path, suffixes: tuple[str, ...] = ("",)) -> None:
        check_new_folder(folder)
        self._folder, self._suffixes = folder, suffixes
        self._taken: set[str] = set()

    def name_of(self, entry: Entry) -> str:
        stem = name = PurePosixPath(entry.key).stem
        number = 1
        while not self._taken.isdisjoint(files := {(name + suffix).casefold() for suffix in self._suffixes}):
            number += 1
            name = f"{stem}-{number}"
        self._taken |= files
        return name

    def save(self, name: str, pixels: NDArray[Any]) -> None:
        mark = self._folder / OUTPUT_MARK
        if not mark.exists():
            write_file(mark, b"")
        save_levels(self._folder / name, np.asarray(pixels))
