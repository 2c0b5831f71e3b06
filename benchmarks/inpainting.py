"""Inpainting by `corolla inpaint` beside OpenCV's two methods and the biharmonic one of scikit-image.

The images are those of the evaluation split, or another on which no run was trained. Gaps: a central square of 3/8 of
each side, the right half, and a random half of the pixels. PSNR is over the missing pixels, SSIM over the whole image.
OpenCV's radius is the one of 3, 5 and 9 with the best PSNR on 24 images of the training split. `membrane` is Laplace's
equation across the gap: Corolla's way to join the model's picture to the image, without the model. Corolla is
measured under the standard prior and under a Gaussian that is fitted to the model's codes. Times are processor time of
one thread.

    python dev.py bench inpainting runs/bench-flowers/vae --mirror FOLDER
    python dev.py bench inpainting runs/bench-flowers/vae --split val --count 32 --together 30 100 300 1000 3000
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic
from threadpoolctl import threadpool_limits

import corolla
from corolla.apps.restoration import inpaint
from corolla.apps.restoration.inpainting import membrane
from corolla.data import select_rows
from corolla.errors import UsageError
from corolla.metrics import ssim
from corolla.trained import TrainedModel
from corolla.trained.fitted_priors import fit_prior
from corolla.trained.own_images import own_images
from environment import describe, markdown_table

Images = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Filler = Callable[[Images, Mask], Images]

TUNED_ON = 24
RADII = (3, 5, 9)


def gaps(height: int, width: int) -> dict[str, Mask]:
    """What is missing, by name."""
    square, half = np.zeros((2, height, width), bool)
    top, left = height * 5 // 16, width * 5 // 16
    square[top : height - top, left : width - left] = True
    half[:, width // 2 :] = True
    return {
        "central square": square,
        "right half": half,
        "random 50%": np.random.default_rng(0).random(half.shape) < 0.5,
    }


def _opencv(images: Images, missing: Mask, kind: int, radius: int) -> Images:
    return np.stack([np.asarray(cv2.inpaint(image, missing.astype(np.uint8), radius, kind)) for image in images])


def _biharmonic(images: Images, missing: Mask) -> Images:
    holed = images / 255 * ~missing[..., None]
    filled = np.stack([inpaint_biharmonic(image, missing, channel_axis=-1) for image in holed])
    return np.asarray(np.rint(filled * 255).clip(0, 255), np.uint8)


def _membrane(images: Images, missing: Mask) -> Images:
    filled = np.stack([membrane(image / 255.0, ~missing) for image in images])
    return np.rint(filled * 255).clip(0, 255).astype(np.uint8)


def _corolla(images: Images, missing: Mask, model: TrainedModel, prior: str = "standard") -> Images:
    return inpaint(model, images, missing, prior=prior).images[:, 0]


def psnr_of_missing(images: Images, filled: Images, missing: Mask) -> float:
    """The PSNR over the missing pixels of each image, averaged over images, in decibels."""
    errors = ((images / 255.0 - filled / 255.0) ** 2)[:, missing].mean((1, 2))
    return float((-10 * np.log10(errors)).mean())


def together_table(models: dict[str, TrainedModel], images: Images, counts: list[float]) -> str:
    """PSNR for each gap and on average, by how many values count as one observation."""
    missing = gaps(*images.shape[1:3])
    rows = []
    for name, model in models.items():
        for together in counts:
            found = [
                psnr_of_missing(images, inpaint(model, images, mask, together=together).images[:, 0], mask)
                for mask in missing.values()
            ]
            rows.append([name, f"{together:g}", *(f"{value:.2f}" for value in [*found, float(np.mean(found))])])
    return markdown_table(["run", "values that count as one", *missing, "mean"], rows)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of one source, recipe and size")
    parser.add_argument("--source", help="where the images are, if they have moved")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the run's own")
    parser.add_argument("--count", type=int, default=200, help="images of the split; default: 200")
    parser.add_argument("--split", help="which images; default: the first run's evaluation split")
    parser.add_argument("--together", type=float, nargs="+", help="compare these counts of values that count as one")
    arguments = parser.parse_args()

    models = {path.name: corolla.load(path) for path in arguments.runs}
    for model in models.values():
        fit_prior(model, "gaussian", source=arguments.source, mirror=arguments.mirror, save=False)
    first = next(iter(models.values()))
    cache = own_images(first, source=arguments.source, mirror=arguments.mirror)
    data = first.config.data
    split = arguments.split or data.eval_split
    for name, model in models.items():
        if set(split.split("+")) & set(model.config.data.train_split.split("+")):
            raise UsageError(f"{name}: was trained on {model.config.data.train_split}; choose another --split")
    rows = np.random.default_rng(0).permutation(select_rows(cache.splits, split))[: arguments.count]
    images = np.asarray(cache.images[np.sort(rows)])
    rows = np.random.default_rng(1).permutation(select_rows(cache.splits, data.train_split))[:TUNED_ON]
    tuning = np.asarray(cache.images[np.sort(rows)])

    print(describe())
    print(", ".join(f"{package} {metadata.version(package)}" for package in ("opencv-python-headless", "scikit-image")))
    print(f"{len(images)} images of {data.source} {split}, {images.shape[1]}x{images.shape[2]}\n", flush=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if arguments.together:
        print(together_table(models, images, arguments.together))
        return
    table: list[list[str]] = []
    for gap, missing in gaps(first.height, first.width).items():

        def add(name: str, setting: str, fill: Filler, gap: str = gap, missing: Mask = missing) -> Images:
            start = time.process_time()
            filled = fill(images, missing)
            milliseconds = 1000 * (time.process_time() - start) / len(images)
            quality = f"{psnr_of_missing(images, filled, missing):.2f}", f"{ssim(images, filled).mean():.3f}"
            table.append([gap, name, setting, *quality, f"{milliseconds:.1f}"])
            print(table[-1], file=sys.stderr, flush=True)
            return filled

        for name, kind in (("OpenCV, Telea", cv2.INPAINT_TELEA), ("OpenCV, Navier-Stokes", cv2.INPAINT_NS)):
            settings = {radius: partial(_opencv, kind=kind, radius=radius) for radius in RADII}
            scores = {
                radius: psnr_of_missing(tuning, fill(tuning, missing), missing) for radius, fill in settings.items()
            }
            radius = max(scores, key=lambda key: scores[key])
            add(name, f"radius {radius}", settings[radius])
        add("scikit-image, biharmonic", "", _biharmonic)
        add("membrane", "", _membrane)
        for run, model in models.items():
            add(run, "", partial(_corolla, model=model))
            add(run, "gaussian prior", partial(_corolla, model=model, prior="gaussian"))
    print(markdown_table(["gap", "method", "setting", "PSNR (dB)", "SSIM", "ms/image"], table))


if __name__ == "__main__":
    try:
        with threadpool_limits(1):
            main()
    except corolla.CorollaError as error:
        sys.exit(f"bench inpainting: {error}")
