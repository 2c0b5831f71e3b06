"""How well directions in latent space lead to a kind of image, and themes draw it: measured over all labels of a set.

For each label of the run's images a direction is found with the training images, and scored on the evaluation split,
which neither the model nor the direction has seen: AUROC, one label against all others. Beside it
stand the same on principal components of the pixels, as many as the model has latents, fitted to the training images.
Then random images are moved along each direction, decoded and encoded again: of a move by 3 standard deviations, how
much arrives? Last, images are drawn around each theme, and given to a linear classifier of features of
EfficientNet-Lite0 (extra `perceptual`), taught on photographs of the training split: how often is the label among its
first five, as against the photographs of the evaluation split, and images drawn from the prior? Chance is 5 labels.

    python dev.py bench directions runs/bench-flowers/flowers --mirror FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import corolla
from corolla.data import ImageCache, select_rows
from corolla.errors import DataError
from corolla.gallery.directions import cached_codes, find_direction, move
from corolla.gallery.themes import theme
from corolla.models.lite0 import features
from corolla.trained import TrainedModel
from corolla.trained.own_images import own_images
from environment import describe, markdown_table

EXTENT = 3.0
MOVED = 16
DRAWN = 5
BEST = 5
TAUGHT = 10
"""Photographs of each label that the classifier learns from."""

Codes = NDArray[np.float32]


def quartiles(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def components(cache: ImageCache, rows: list[NDArray[np.int64]], count: int) -> list[Codes]:
    """Principal components of the pixels of each set of rows, fitted to the first."""
    pixels = [np.asarray(cache.images[part]).reshape(len(part), -1).astype(np.float32) / 255 for part in rows]
    fitted = PCA(min(count, len(rows[0]) - 1), svd_solver="randomized", random_state=0).fit(pixels[0])
    return [fitted.transform(part).astype(np.float32) for part in pixels]


def directions(name: str, model: TrainedModel, cache: ImageCache) -> tuple[list[list[str]], list[str]]:
    """Rows of AUROC and distance, and the row of moves."""
    assert cache.labels is not None
    train, test = (select_rows(cache.splits, split) for split in (model.config.data.train_split, eval_split(model)))
    starts = model.sample_latents(MOVED, seed=0)
    rows, arrived = [], []
    for kind, codes in (
        (f"{name}, {model.latent_dim} latents", [cached_codes(model, cache, part) for part in (train, test)]),
        (f"PCA, {model.latent_dim}", components(cache, [train, test], model.latent_dim)),
    ):
        areas, distances = [], []
        for label in range(len(cache.label_names)):
            of_train, of_test = cache.labels[train] == label, cache.labels[test] == label
            if of_train.sum() < 3 or not of_test.any():
                continue
            held_out = codes[1][~of_test], codes[1][of_test], "evaluation split"
            found = find_direction(
                codes[0][~of_train], codes[0][of_train], held_out=held_out, weights_sha256=model.card.weights_sha256
            )
            areas.append(found.card.auroc)
            distances.append(found.card.distance)
            if kind.startswith("PCA"):
                continue
            moved = move(model, found, starts, steps=3, span=EXTENT)
            places = found.positions(model.encode(moved.images.reshape(-1, *moved.images.shape[2:])))
            arrived.append(float(np.ptp(places.reshape(MOVED, 3)[:, ::2], axis=1).mean() / (2 * EXTENT)))
        rows.append([kind, str(len(areas)), quartiles(areas), quartiles(distances)])
    return rows, [name, quartiles(arrived)]


def eval_split(model: TrainedModel) -> str:
    """The split that a model was scored on."""
    return model.config.data.eval_split


def themes(name: str, model: TrainedModel, cache: ImageCache) -> list[list[str]]:
    """Rows of how often the classifier has the label among its best."""
    assert cache.labels is not None
    train, test = (select_rows(cache.splits, split) for split in (model.config.data.train_split, eval_split(model)))
    known = cache.labels
    by_label = {label: train[known[train] == label] for label in range(len(cache.label_names))}
    taught = np.concatenate([rows[:TAUGHT] for rows in by_label.values()])
    seen = features(np.asarray(cache.images[taught]))
    scaler = StandardScaler().fit(seen)
    classifier = LogisticRegression(C=0.01, max_iter=500).fit(scaler.transform(seen), known[taught])

    def share(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
        scores = classifier.decision_function(scaler.transform(features(images)))
        best = classifier.classes_[np.argsort(-scores, axis=1)[:, :BEST]]
        return f"{(best == labels[:, None]).any(1).mean():.3f}"

    photographs = np.asarray(cache.images[test])
    of_theme = np.repeat(list(by_label), DRAWN)
    drawn = [
        model.decode(theme(model, np.asarray(cache.images[rows])).sample(DRAWN, torch.Generator().manual_seed(label)))
        for label, rows in by_label.items()
    ]
    return [
        [name, "photographs", str(len(test)), share(photographs, known[test])],
        [name, "the same through the model", str(len(test)), share(model.reconstruct(photographs), known[test])],
        [name, "drawn around the theme", str(len(of_theme)), share(np.concatenate(drawn), of_theme)],
        [name, "drawn from the prior", str(len(of_theme)), share(model.sample(len(of_theme), seed=0), of_theme)],
    ]


def main() -> None:
    """Measure each run, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the runs' own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scores, moves, shares = [], [], []
    for path in arguments.runs:
        print(f"measuring {path.name}", file=sys.stderr, flush=True)
        model = corolla.load(path)
        cache = own_images(model, mirror=arguments.mirror)
        if cache.labels is None:
            raise DataError(f"{path}: its images have no labels; name a run whose images have")
        rows, moved = directions(path.name, model, cache)
        scores += rows
        moves.append(moved)
        shares += themes(path.name, model, cache)
    print(describe())
    print()
    print(markdown_table(["codes", "labels", "AUROC", "distance (sd)"], scores))
    print()
    print(markdown_table(["run", f"share of a move by {EXTENT:g} sd that arrives"], moves))
    print()
    print(markdown_table(["run", "images", "count", f"label among the first {BEST}"], shares))


if __name__ == "__main__":
    try:
        main()
    except corolla.CorollaError as error:
        sys.exit(f"bench directions: {error}")
