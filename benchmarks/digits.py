"""`corolla.BetaVAE` beside scikit-learn's PCA on scikit-learn's own digits: what as many features of each are worth.

The 1,797 images of 8×8 are split as in docs/estimator.md: 70% to fit on, 30% to score, each digit in its share. Both
transformers get the same arrays. Logistic regression learns on standardised features, 5 nearest neighbours on features
as they are. The squared error is that of a pixel in numbers from 0 to 16, of reconstructions of the images scored. Each
seed is a training of its own; of several, medians are given with the lowest and highest. One thread. `--chart` draws
the numbers over the number of features.

    python dev.py bench digits
    python dev.py bench digits --features 2 4 8 16 --betas 1 0.25 --chart digits.png
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from corolla import BetaVAE
from environment import describe, markdown_table

Split = list[NDArray[Any]]


def measure(transformer: Any, split: Split) -> list[float]:
    """Percent right by logistic regression and by neighbours, the squared error of a pixel, and the seconds of fit."""
    known, asked, labels, answers = split
    start = time.perf_counter()
    x = transformer.fit_transform(known)
    seconds = time.perf_counter() - start
    x_asked = transformer.transform(asked)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, labels)
    near = KNeighborsClassifier(5).fit(x, labels)
    error = float(np.square(transformer.inverse_transform(x_asked) - asked).mean())
    return [100 * probe.score(x_asked, answers), 100 * near.score(x_asked, answers), error, seconds]


def cells(found: Sequence[Sequence[float]]) -> list[str]:
    """The median of each column, with the lowest and highest where there are several rows."""
    formats: list[Callable[[float], str]] = ["{:.1f}".format, "{:.1f}".format, "{:.2f}".format, "{:.1f}".format]
    texts = []
    for shown, values in zip(formats, zip(*found, strict=True), strict=True):
        spread = f" ({shown(min(values))} to {shown(max(values))})" if len(values) > 1 else ""
        texts.append(shown(statistics.median(values)) + spread)
    return texts


def draw(path: Path, found: Mapping[tuple[str, int], Sequence[Sequence[float]]]) -> None:
    """Medians over the number of features: neighbours to the left, the squared error to the right."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (column, label) in zip(
        figure.subplots(1, 2), ((1, "5 neighbours, % right"), (2, "squared error of a pixel")), strict=True
    ):
        for name in dict.fromkeys(name for name, _ in found):
            points = [
                (features, statistics.median(row[column] for row in rows))
                for (other, features), rows in found.items()
                if other == name
            ]
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set(xlabel="features", ylabel=label, xscale="log")
        axes.set_xticks(ticks := sorted({features for _, features in found}), [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Fit and score each, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each β; default: 1")
    parser.add_argument("--betas", type=float, nargs="+", default=[1.0], help="default: 1")
    parser.add_argument("--features", type=int, nargs="+", default=[16], help="default: 16")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the numbers: .png or .svg")
    parser.add_argument("--epochs", type=int, default=30, help="default: 30, as the estimator's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(describe())
    print(f"scikit-learn {metadata.version('scikit-learn')}\n", flush=True)
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images, digits, test_size=0.3, stratify=digits, random_state=0)
    found: dict[tuple[str, int], list[list[float]]] = {}
    with threadpool_limits(1):
        for features in arguments.features:
            for beta in arguments.betas:
                vaes = [
                    BetaVAE(
                        image_shape=(8, 8),
                        value_range=(0, 16),
                        latent_dim=features,
                        beta=beta,
                        epochs=arguments.epochs,
                        threads=1,
                        random_state=seed,
                    )
                    for seed in range(arguments.seeds)
                ]
                found[f"BetaVAE, β = {beta:g}", features] = [measure(vae, split) for vae in vaes]
            found["PCA", features] = [measure(PCA(features, random_state=0), split)]
    header = ["features", "made by", "logistic regression, %", "5 neighbours, %", "squared error", "fit, seconds"]
    rows = [[str(features), name, *cells(measured)] for (name, features), measured in found.items()]
    print(markdown_table(header, rows))
    if arguments.chart is not None:
        draw(arguments.chart, found)


if __name__ == "__main__":
    main()
