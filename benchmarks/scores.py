"""How long the disentanglement scores take: on codes alone, and with the encoding of florets where a score draws them.

The codes are 10,000 × 10, for seven factors with the florets' grid: noisy mixtures of the factors, of which forests
grow larger than on perfect codes. The FactorVAE and the β-VAE score encode with an untrained burgess network, as its
weights do not change its time: over 10,000 florets, which are all that is ever encoded, and over the florets' whole
grid, where nearly every row drawn is another image. Drawing is timed apart, on the 2,000 pictures that stand for all
others. Processor seconds, over all cores, say what a busy machine would have taken had it been idle.

    python dev.py bench scores
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from corolla.config import Config
from corolla.data.batches import to_float
from corolla.data.florets import FACTORS, render, sample_factors
from corolla.metrics import (
    FactorTable,
    beta_vae_score,
    dci,
    explicitness,
    factor_vae_score,
    gaussian_total_correlation,
    irs,
    mig,
    modularity,
    mutual_information_score,
    sap,
    udr,
)
from corolla.models.vae import build_model
from environment import describe, markdown_table

ROWS, LATENTS, PICTURES = 10_000, 10, 2_000
SIZES = tuple(len(factor.grid) for factor in FACTORS)


class Encoder:
    """Rows of a factor space to the means of q(z|x), with their number and the seconds that they took."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        torch.manual_seed(0)
        self.vae = build_model(
            Config().updated({"data.size": 64, "network.name": "burgess", "network.latent_dim": LATENTS})
        ).eval()
        self.pictures = pictures
        self.images = 0
        self.seconds = 0.0

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The codes of rows, n×10."""
        start = time.perf_counter()
        with torch.inference_mode():
            x = to_float(torch.from_numpy(self.pictures[rows % len(self.pictures)]).permute(0, 3, 1, 2))
            codes: NDArray[np.float32] = self.vae.encode(x).mean.numpy()
        self.images += len(rows)
        self.seconds += time.perf_counter() - start
        return codes


def on_codes() -> list[list[str]]:
    """Seconds of every score that takes codes."""
    rng = np.random.default_rng(0)
    factors = rng.integers(SIZES, size=(ROWS, len(SIZES)))
    mixing = np.linalg.qr(rng.normal(size=(LATENTS, LATENTS)))[0][: len(SIZES)]
    codes = factors @ mixing + 0.3 * rng.normal(size=(ROWS, LATENTS))
    others = [codes + rng.normal(size=codes.shape) for _ in range(4)]
    scores: dict[str, Callable[[], object]] = {
        "MIG": lambda: mig(codes, factors),
        "SAP": lambda: sap(codes, factors),
        "modularity": lambda: modularity(codes, factors),
        "SAP, all factors categorical": lambda: sap(codes, factors, categorical=range(len(SIZES))),
        "DCI": lambda: dci(codes, factors),
        "explicitness": lambda: explicitness(codes, factors),
        "IRS": lambda: irs(codes, factors),
        "Gaussian total correlation": lambda: gaussian_total_correlation(codes),
        "mutual information score": lambda: mutual_information_score(codes),
        "UDR of 5 models": lambda: udr([codes, *others], [np.ones(LATENTS)] * 5),
    }
    rows = []
    for name, score in scores.items():
        start, cpu = time.perf_counter(), time.process_time()
        score()
        rows.append([name, f"{time.perf_counter() - start:.2f}", f"{time.process_time() - cpu:.2f}"])
    return rows


def on_florets(pictures: NDArray[np.uint8]) -> list[list[str]]:
    """Seconds of the scores that draw samples, in their parts."""
    table = FactorTable(np.random.default_rng(1).integers(SIZES, size=(ROWS, len(SIZES))))
    cases = (("FactorVAE score", factor_vae_score), ("β-VAE score", beta_vae_score))
    rows = []
    for name, score in cases:
        encoder = Encoder(pictures)
        start, cpu = time.perf_counter(), time.process_time()
        score(table, encoder)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        parts = (encoder.seconds, seconds - encoder.seconds, seconds, cpu)
        rows.append([name, str(encoder.images), *(f"{part:.1f}" for part in parts)])
    return rows


def main() -> None:
    """Measure and print both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(describe())
    print(f"{ROWS} codes × {LATENTS} latents × {len(SIZES)} factors of {', '.join(map(str, SIZES))} values")
    print()
    print(markdown_table(["score", "seconds", "processor s"], on_codes()))
    print()
    start = time.perf_counter()
    pictures = render(sample_factors(PICTURES, np.random.default_rng(2), grid=True), 64, 64)
    print(f"drawing a floret of 64×64: {1000 * (time.perf_counter() - start) / PICTURES:.1f} ms")
    print()
    header = ["score", "images", "encoding s", "the rest s", "together s", "processor s"]
    print(markdown_table(header, on_florets(pictures)))


if __name__ == "__main__":
    main()
