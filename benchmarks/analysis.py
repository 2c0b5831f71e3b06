"""What codes tell of a collection of images: whether clusters of them are species, and what can be read off linearly.

Codes, principal components of the same number, pixels and colour histograms describe the images of a run's evaluation
split, on which neither the model nor PCA was trained. K-means makes as many clusters as there are species, and the
adjusted mutual information (Vinh, Epps and Bailey 2010) says how far they agree with the species: 0 by chance, 1 if
they are the same. A ridge regression from the codes of the training images (5-fold cross-validation picks its
strength) is scored by R² on the others, for four statistics of an image: its mean brightness, its mean saturation, how
much brighter its middle is than its border, and the mean length of its brightness gradients.

    python dev.py bench analysis runs/bench-flowers/flowers --mirror FOLDER
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import corolla
from corolla.data import select_rows
from corolla.errors import UsageError
from corolla.trained.own_images import own_images
from environment import describe, markdown_table
from features import box_histograms

SEEDS = (0, 1, 2)
Pixels = NDArray[np.uint8]
Rows = NDArray[np.float64]


def _brightness(images: Pixels) -> Rows:
    brightness: Rows = images.mean(3) / 255
    return brightness


def _middle_contrast(images: Pixels) -> Rows:
    grey = _brightness(images)
    top, left = grey.shape[1] // 4, grey.shape[2] // 4
    middle = grey[:, top:-top, left:-left]
    border = (grey.sum((1, 2)) - middle.sum((1, 2))) / (grey[0].size - middle[0].size)
    contrast: Rows = middle.mean((1, 2)) - border
    return contrast


def _gradient(images: Pixels) -> Rows:
    down, right = np.gradient(_brightness(images), axis=(1, 2))
    length: Rows = np.hypot(down, right).mean((1, 2))
    return length


STATISTICS: Mapping[str, Callable[[Pixels], Rows]] = {
    "brightness": lambda images: _brightness(images).mean((1, 2)),
    "saturation": lambda images: (np.ptp(images, axis=3) / np.maximum(images.max(3), 1)).mean((1, 2)),
    "middle − border": _middle_contrast,
    "gradients": _gradient,
}


def measure(train: Rows, test: Rows, images: tuple[Pixels, Pixels], species: NDArray[np.int64]) -> list[str]:
    """The cells of a row: how far clusters are species, then R² of each statistic."""
    scaled = StandardScaler().fit(train).transform(test)
    clusters = [KMeans(len(np.unique(species)), random_state=seed).fit_predict(scaled) for seed in SEEDS]
    cells = [f"{statistics.median(adjusted_mutual_info_score(species, found) for found in clusters):.3f}"]
    for statistic in STATISTICS.values():
        line = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 8), cv=5)).fit(train, statistic(images[0]))
        cells.append(f"{line.score(test, statistic(images[1])):.2f}")
    return cells


def main() -> None:
    """Measure each run and what it is compared with, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the runs' own")
    parser.add_argument("--images", type=int, default=2048, help="training and test images at most; default: 2048")
    arguments = parser.parse_args()

    rows, head = [], []
    for path in arguments.runs:
        print(f"measuring {path.name}", file=sys.stderr, flush=True)
        model = corolla.load(path)
        cache = own_images(model, mirror=arguments.mirror)
        if cache.labels is None:
            raise UsageError(f"{path}: its images have no labels, and so no species")
        draw = np.random.default_rng(0)
        chosen = [
            np.sort(draw.permutation(select_rows(cache.splits, split))[: arguments.images])
            for split in (model.config.data.train_split, model.config.data.eval_split)
        ]
        images = np.asarray(cache.images[chosen[0]]), np.asarray(cache.images[chosen[1]])
        species = np.asarray(cache.labels)[chosen[1]]
        flat = [each.reshape(len(each), -1) / 255 for each in images]
        pca = PCA(model.latent_dim, random_state=0).fit(flat[0])
        described = {
            f"{path.name}: codes": tuple(model.encode(each).astype(np.float64) for each in images),
            f"{path.name}: PCA-{model.latent_dim}": tuple(pca.transform(each) for each in flat),
            f"{path.name}: pixels": tuple(flat),
            f"{path.name}: colour histogram": tuple(box_histograms(each) for each in images),
        }
        for name, (train, test) in described.items():
            rows.append([name, str(train.shape[1]), *measure(train, test, images, species)])
        head.append(
            f"{path.name}: {len(chosen[0])} images of {model.config.data.train_split}, {len(chosen[1])} of "
            f"{model.config.data.eval_split} with {len(np.unique(species))} species"
        )
    print(describe())
    print("\n".join(head))
    print()
    print(markdown_table(["described by", "numbers", "clusters and species, AMI", *STATISTICS], rows))


if __name__ == "__main__":
    try:
        main()
    except corolla.CorollaError as error:
        sys.exit(f"bench analysis: {error}")
