"""How long the disentanglement scores take.

The codes are 10,000 × 10, for seven factors with the florets' grid: noisy mixtures of the factors, of which forests
grow larger than on perfect codes. Drawing a floret is timed apart. Processor seconds, over all cores, say what a busy
machine would have taken had it been idle.

    python dev.py bench scores
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from corolla.data.florets import FACTORS, render, sample_factors
from corolla.metrics import (
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
from environment import describe, markdown_table

ROWS, LATENTS, PICTURES = 10_000, 10, 2_000
SIZES = tuple(len(factor.grid) for factor in FACTORS)


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
        "FactorVAE score": lambda: factor_vae_score(codes, factors),
        "β-VAE score": lambda: beta_vae_score(codes, factors),
        "UDR of 5 models": lambda: udr([codes, *others], [np.ones(LATENTS)] * 5),
    }
    rows = []
    for name, score in scores.items():
        start, cpu = time.perf_counter(), time.process_time()
        score()
        rows.append([name, f"{time.perf_counter() - start:.2f}", f"{time.process_time() - cpu:.2f}"])
    return rows


def main() -> None:
    """Measure and print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(describe())
    print(f"{ROWS} codes × {LATENTS} latents × {len(SIZES)} factors of {', '.join(map(str, SIZES))} values")
    print()
    print(markdown_table(["score", "seconds", "processor s"], on_codes()))
    print()
    start = time.perf_counter()
    render(sample_factors(PICTURES, np.random.default_rng(2), grid=True), 64, 64)
    print(f"drawing a floret of 64×64: {1000 * (time.perf_counter() - start) / PICTURES:.1f} ms")


if __name__ == "__main__":
    main()
