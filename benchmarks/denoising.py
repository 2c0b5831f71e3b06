"""De-noising by `corolla denoise` beside the median filter, non-local means and total variation of scikit-image.

The images are those of the evaluation split, on which no run was trained; the noise is added to their 8-bit pixels and
rounded to 8 bits. The classical filters' parameters are those that give the best PSNR on 24 images of the training
split with the same noise, and non-local means is told σ. `the patch prior alone` is Corolla's own filter with the mean
training image in the model's place: what it does better than that is the model's. Times are processor time of one
thread.

    python dev.py bench denoising runs/bench-flowers/vae --mirror FOLDER
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from threadpoolctl import threadpool_limits

import corolla
from corolla.apps.restoration import corrupt, denoise, fit_residual_prior, parse_noise, residual_prior
from corolla.apps.restoration.denoising import impulses, unclipped
from corolla.data import select_rows
from corolla.metrics import psnr, ssim
from corolla.trained import TrainedModel
from corolla.trained.own_images import own_images
from environment import describe, markdown_table

Images = NDArray[np.uint8]
Filter = Callable[[Images], Images]

TUNED_ON = 24
FITTED_TO = 1000
CALIBRATED_ON = 32


def filters(noise: str) -> dict[str, list[tuple[str, Filter]]]:
    """Of each classical method, the settings to choose from."""
    kind = parse_noise(noise)
    sigma = kind.level / 255 if kind.kind == "gaussian" and kind.level else 0.0
    found: dict[str, list[tuple[str, Filter]]] = {
        "median": [(f"{size}x{size}", partial(_median, size=size)) for size in (3, 5)],
        "non-local means": [
            (f"h {h:.3f}, patch {patch}", partial(_non_local, h=h, sigma=sigma, patch=patch))
            for patch in (3, 5)
            for h in (np.array([0.3, 0.4, 0.5, 0.6, 0.8, 1.0]) * sigma if sigma else (0.01, 0.02, 0.03, 0.05, 0.1, 0.2))
        ],
        "total variation": [
            (f"weight {weight:g}", partial(_variation, weight=weight))
            for weight in (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
        ],
    }
    if kind.kind == "gaussian":
        found = {
            name: [
                *settings,
                *((f"{label}, unclipped", partial(_unclipped, chosen, sigma)) for label, chosen in settings),
            ]
            for name, settings in found.items()
        }
    if kind.kind == "salt_pepper":
        found["median where hit"] = [(f"{size}x{size}", partial(_median_where_hit, size=size)) for size in (3, 5)]
    return found


def _median(images: Images, size: int) -> Images:
    return np.stack([median_filter(image, (size, size, 1)) for image in images])


def _median_where_hit(images: Images, size: int) -> Images:
    hit = np.stack([impulses(image) for image in images])
    return np.where(hit[..., None], _median(images, size), images)


def _non_local(images: Images, h: float, sigma: float, patch: int) -> Images:
    options = {"patch_size": patch, "patch_distance": 7, "fast_mode": True, "channel_axis": -1}
    return _eight_bit([denoise_nl_means(image / 255, h=h, sigma=sigma, **options) for image in images])


def _variation(images: Images, weight: float) -> Images:
    return _eight_bit([denoise_tv_chambolle(image / 255, weight, channel_axis=-1) for image in images])


def _unclipped(chosen: Filter, sigma: float, images: Images) -> Images:
    return _eight_bit(unclipped(chosen(images) / 255, sigma))


def _eight_bit(images: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> Images:
    return np.rint(np.asarray(images) * 255).clip(0, 255).astype(np.uint8)


def best(settings: list[tuple[str, Filter]], clean: Images, noisy: Images) -> tuple[str, Filter]:
    """The setting with the best PSNR."""
    return max(settings, key=lambda setting: float(psnr(clean, setting[1](noisy)).mean()))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of one source, recipe and size")
    parser.add_argument("--source", help="where the images are, if they have moved")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the run's own")
    parser.add_argument("--count", type=int, default=200, help="images of the evaluation split; default: 200")
    parser.add_argument("--noise", default="gaussian:25,gaussian:50,salt_pepper:0.1", help="joined by commas")
    arguments = parser.parse_args()

    models = {path.name: corolla.load(path) for path in arguments.runs}
    first = next(iter(models.values()))
    cache = own_images(first, source=arguments.source, mirror=arguments.mirror)
    data = first.config.data
    rows = select_rows(cache.splits, data.eval_split)
    clean = np.asarray(cache.images[np.sort(np.random.default_rng(0).permutation(rows)[: arguments.count])])
    rows = np.random.default_rng(1).permutation(select_rows(cache.splits, data.train_split))
    tuning, training = (np.asarray(cache.images[np.sort(rows[:count])]) for count in (TUNED_ON, FITTED_TO))

    print(describe())
    print(", ".join(f"{package} {metadata.version(package)}" for package in ("scikit-image", "scipy")))
    print(f"{len(clean)} images of {data.source} {data.eval_split}, {clean.shape[1]}x{clean.shape[2]}\n", flush=True)
    torch.set_num_threads(1)
    middle = training.mean(0) / 255
    alone = fit_residual_prior(training / 255 - middle)
    own = {name: residual_prior(m, source=arguments.source, mirror=arguments.mirror)[0] for name, m in models.items()}

    table: list[list[str]] = []
    for noise in arguments.noise.split(","):
        noisy, tuning_noisy = (corrupt(images, parse_noise(noise), seed=0) for images in (clean, tuning))

        def add(name: str, setting: str, returned: Images, seconds: float, noise: str = noise) -> None:
            quality = f"{psnr(clean, returned).mean():.2f}", f"{ssim(clean, returned).mean():.3f}"
            table.append([noise, name, setting, *quality, f"{1000 * seconds / len(clean):.1f}"])
            print(table[-1], file=sys.stderr, flush=True)

        add("none", "", noisy, 0)
        for name, settings in filters(noise).items():
            setting, chosen = best(settings, tuning, tuning_noisy)
            start = time.process_time()
            add(name, setting, chosen(noisy), time.process_time() - start)
        if not noise.startswith("salt_pepper"):
            kind = parse_noise(noise)
            assert kind.level is not None
            start = time.process_time()
            sigma = kind.level / 255
            returned = [unclipped(middle + alone.posterior(x / 255 - middle, sigma)[0], sigma) for x in noisy]
            add("the patch prior alone", "", _eight_bit(returned), time.process_time() - start)
        for name, model in models.items():
            start = time.process_time()
            add(f"{name}, one pass", "", model.reconstruct(noisy), time.process_time() - start)
            start = time.process_time()
            cleaned = denoise(model, noisy, noise, residuals=own[name])
            seconds = time.process_time() - start
            add(f"{name}, corolla denoise", "", cleaned.images, seconds)
            if noise.startswith("gaussian"):
                start = time.process_time()
                cleaned = denoise(model, noisy, "gaussian", residuals=own[name])
                add(
                    f"{name}, corolla denoise",
                    f"σ estimated, {cleaned.sigma.mean():.1f} ± {cleaned.sigma.std():.1f}",
                    cleaned.images,
                    time.process_time() - start,
                )
    print(markdown_table(["noise", "method", "setting", "PSNR (dB)", "SSIM", "ms/image"], table), flush=True)
    print()
    print(
        markdown_table(["noise", "model", "errors within 1 sd", "within 2 sd"], calibration(models, clean, arguments))
    )


def calibration(models: dict[str, TrainedModel], clean: Images, arguments: argparse.Namespace) -> list[list[str]]:
    """How often the error of a channel of a pixel is within the standard deviation that was foretold, and two."""
    rows = []
    for noise in arguments.noise.split(","):
        noisy = corrupt(clean, parse_noise(noise), seed=0)[:CALIBRATED_ON]
        for name, model in models.items():
            residuals, _ = residual_prior(model, source=arguments.source, mirror=arguments.mirror)
            cleaned = denoise(model, noisy, noise, residuals=residuals, trust=True)
            assert cleaned.stddev is not None
            error = np.abs(cleaned.images.astype(float) - clean[:CALIBRATED_ON])
            told = cleaned.stddev > 0
            rows.append([noise, name, *(f"{(error <= k * cleaned.stddev)[told].mean():.0%}" for k in (1, 2))])
    return rows


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    try:
        with threadpool_limits(1):
            main()
    except corolla.CorollaError as error:
        sys.exit(f"bench denoising: {error}")
