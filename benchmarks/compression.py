"""Rate and distortion of `corolla compress` beside PCA with the same coder, JPEG and WebP, and the speed of it.

Bytes are those of files. Corolla and PCA write all images into one file; JPEG and WebP write one for each, whose bytes
are given as they are, and without what does not depend on the image: JPEG's tables and headers, and WebP's containers.
The images are those of the first run's evaluation split, on which no run was trained; PCA is fitted to the images that
the first run was trained on, its steps are of equal length in pixel space, as is best for the squared error, and its
codes go through the same rounding, coder and file. PSNR, SSIM and the perceptual distance in the features of
EfficientNet-Lite0 are averages over images. Everything runs in one thread. `--curve` draws rate against distortion.

    python dev.py bench compression runs/bench-flowers/vae runs/bench-flowers/flowers --mirror FOLDER --curve curve.png
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

import corolla
from corolla.apps.compression import compress, decompress
from corolla.apps.compression.coder import PER_OCTAVE, encode_points, grid_of
from corolla.apps.compression.container import Header, Writer
from corolla.data import select_rows
from corolla.errors import UsageError
from corolla.evaluation.codec import PrincipalComponents
from corolla.evaluation.reconstructions import perceptual_distances
from corolla.metrics import psnr, ssim
from corolla.trained import TrainedModel
from corolla.trained.own_images import own_images
from environment import describe, markdown_table

Images = NDArray[np.uint8]
Format = Callable[[float], str]

STEPS = (0.5, 1, 2, 4, 8)
PCA_DIMS = (64, 512)
PCA_STEPS_LEVELS = (90, 180, 260, 400, 600, 900, 1400)
"""In levels of 255, over the norm of an image's whole vector of values."""
JPEG_QUALITIES = (1, 5, 10, 20, 40)
WEBP_QUALITIES = (0, 5, 10, 20, 40)
SPEED_REPEATS = 3
WEBP_CONTAINER_BYTES = 20
"""RIFF header and the head of the only chunk."""
MEASURES: dict[str, tuple[Callable[[Images, Images], NDArray[np.float64]], Format]] = {
    "PSNR (dB)": (psnr, "{:.2f}".format),
    "SSIM": (ssim, "{:.3f}".format),
    "perceptual (lite0)": (perceptual_distances, "{:.3f}".format),
}
"""How far what comes back is from the images; of the last, less is better."""
SINGLE = ", a file each"


@dataclass(frozen=True)
class Point:
    """A code at a setting: bytes an image, with and without what all files share, and the averages of the measures."""

    code: str
    setting: str
    each: float
    bare: float | None
    pixels: int
    distortions: tuple[float, ...]

    @classmethod
    def of(cls, code: str, setting: str, sizes: tuple[float, float | None], images: Images, returned: Images) -> Point:
        """Measure what came back."""
        distortions = tuple(float(measure(images, returned).mean()) for measure, _ in MEASURES.values())
        return cls(code, setting, *sizes, images.shape[1] * images.shape[2], distortions)

    def row(self) -> list[str]:
        """Its row of the table."""
        bare = "-" if self.bare is None else f"{self.bare:.1f}"
        shown = [form(value) for (_, form), value in zip(MEASURES.values(), self.distortions, strict=True)]
        return [self.code, self.setting, f"{self.each:.1f}", bare, f"{8 * self.each / self.pixels:.3f}", *shown]


def corolla_points(name: str, model: TrainedModel, images: Images) -> list[Point]:
    """One file for all images, at several steps; then one for each, at the step 1."""
    rows = []
    for step in STEPS:
        file = io.BytesIO()
        written = compress(model, images, file, step=step)
        file.seek(0)
        returned = np.concatenate([block.images for block in decompress(model, file)])
        rows.append(Point.of(name, f"step {step:g}", (written.bytes / len(images), None), images, returned))
    each = statistics.mean(compress(model, image, io.BytesIO()).bytes for image in images)
    returned = np.concatenate([_again(model, image) for image in images])
    rows.append(Point.of(name, f"step 1{SINGLE}", (each, None), images, returned))
    return rows


def _again(model: TrainedModel, image: Images) -> Images:
    file = io.BytesIO()
    compress(model, image, file)
    file.seek(0)
    return next(decompress(model, file)).images


def pca_points(training: Images, images: Images, latent_dim: int) -> list[Point]:
    """PCA in the same file; a latent's step is one length in pixel space over its component's standard deviation."""
    pca = PrincipalComponents(training, latent_dim)
    rows = []
    for levels in PCA_STEPS_LEVELS:
        grid = grid_of([round(PER_OCTAVE * float(np.log2(levels / 255 / stddev))) for stddev in pca.stddevs], 0)
        writer = Writer(io.BytesIO(), Header(bytes(8), 0))
        parts = []
        for start in range(0, len(images), 256):
            points = grid.quantise(pca.encode(images[start : start + 256]))
            writer.write(len(points), [bytes(2) + encode_points(points, grid)])
            parts.append(pca.decode(grid.codes(points)))
        writer.close()
        each = writer.bytes / len(images)
        rows.append(Point.of(f"PCA, {latent_dim}", f"step {levels}/255", (each, None), images, np.concatenate(parts)))
    return rows


def picture_points(kind: str, qualities: tuple[int, ...], images: Images) -> list[Point]:
    """A file for each image by Pillow, as small as it can make them."""
    options: dict[str, object] = {"optimize": True} if kind == "JPEG" else {"method": 6}
    bare: Callable[[bytes], int] = _jpeg_scan_bytes if kind == "JPEG" else _webp_bytes
    rows = []
    for quality in qualities:
        files = []
        for image in images:
            file = io.BytesIO()
            Image.fromarray(image).save(file, kind, quality=quality, **options)
            files.append(file.getvalue())
        returned = np.stack([np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in files])
        sizes = statistics.mean(map(len, files)), statistics.mean(map(bare, files))
        rows.append(Point.of(kind, f"quality {quality}", sizes, images, returned))
    return rows


def _jpeg_scan_bytes(content: bytes) -> int:
    """What follows the head of the scan: the coded image, with the marker of its end."""
    place = content.index(b"\xff\xda")
    return len(content) - place - 2 - int.from_bytes(content[place + 2 : place + 4], "big")


def _webp_bytes(content: bytes) -> int:
    return len(content) - WEBP_CONTAINER_BYTES


def draw(path: Path, points: list[Point]) -> None:
    """The curves of PSNR and of the perceptual distance over bytes an image, heads and all, on a logarithmic axis."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    codes = list(dict.fromkeys(point.code for point in points))
    for axes, (place, label) in zip(figure.subplots(1, 2), ((0, "PSNR (dB)"), (2, "perceptual (lite0)")), strict=True):
        for code in codes:
            curve = sorted(
                (point.each, point.distortions[place])
                for point in points
                if point.code == code and not point.setting.endswith(SINGLE)
            )
            axes.plot(*zip(*curve, strict=True), marker="o", markersize=3, label=code)
        axes.set(xscale="log", xlabel="bytes an image", ylabel=label + (", less is better" if place else ""))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)


def speeds(model: TrainedModel, images: Images) -> tuple[float, float]:
    """Images per second from arrays in memory to a file in memory, and back; medians of a few rounds."""
    there, back = [], []
    for _ in range(SPEED_REPEATS):
        file = io.BytesIO()
        start = time.perf_counter()
        compress(model, images, file)
        there.append(time.perf_counter() - start)
        file.seek(0)
        start = time.perf_counter()
        for _block in decompress(model, file):
            pass
        back.append(time.perf_counter() - start)
    return len(images) / statistics.median(there), len(images) / statistics.median(back)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of one source and size")
    parser.add_argument("--source", help="where the images are, if they have moved")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the run's own")
    parser.add_argument("--count", type=int, default=256, help="images of the evaluation split; default: 256")
    parser.add_argument("--curve", type=Path, metavar="FILE", help="draw rate against distortion: .png or .svg")
    arguments = parser.parse_args()

    models = {path.name: corolla.load(path) for path in arguments.runs}
    first = next(iter(models.values()))
    if (
        len({(model.config.data.source, model.config.data.size, model.config.data.recipe) for model in models.values()})
        > 1
    ):
        raise UsageError("the runs have other images, sizes or recipes; give such that share them")
    cache = own_images(first, source=arguments.source, mirror=arguments.mirror)
    rows = select_rows(cache.splits, first.config.data.eval_split)
    for name, model in models.items():
        if np.isin(rows, select_rows(cache.splits, model.config.data.train_split)).any():
            raise UsageError(
                f"{name}: was trained on images of the split {first.config.data.eval_split}, which the first run is "
                "evaluated on; give first a run whose evaluation split none was trained on"
            )
    rows = np.sort(np.random.default_rng(0).permutation(rows)[: arguments.count])
    images = np.asarray(cache.images[rows])
    training = np.asarray(cache.images[select_rows(cache.splits, first.config.data.train_split)])

    print(describe())
    data = first.config.data
    print(f"{len(images)} images of {data.source} {data.eval_split}, {images.shape[1]}x{images.shape[2]}\n")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table = [point for name, model in models.items() for point in corolla_points(name, model, images)]
        for latent_dim in PCA_DIMS:
            table += pca_points(training, images, latent_dim)
        table += picture_points("JPEG", JPEG_QUALITIES, images) + picture_points("WEBP", WEBP_QUALITIES, images)
        header = ["code", "setting", "bytes/image", "without heads", "bits/pixel", *MEASURES]
        print(markdown_table(header, [point.row() for point in table]), flush=True)
        if arguments.curve is not None:
            draw(arguments.curve, table)
        print()
        lines = [[name, *(f"{rate:.0f}" for rate in speeds(model, images))] for name, model in models.items()]
        print(markdown_table(["model", "compress (images/s)", "decompress (images/s)"], lines))


if __name__ == "__main__":
    try:
        main()
    except corolla.CorollaError as error:
        sys.exit(f"bench compression: {error}")
