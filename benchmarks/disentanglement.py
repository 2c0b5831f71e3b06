"""How well β-VAE, β-TCVAE and FactorVAE take drawn flowers apart: every score, over a grid of strengths and seeds.

All train the same network with ten latents on the same florets for equally many steps. The scores are those of
`corolla evaluate`: medians over seeds, with the lowest and highest in brackets. Finished runs are kept: the command
goes on where it was stopped. The whole takes about an hour of processor time.

    python dev.py bench disentanglement
    python dev.py bench disentanglement --seeds 1 --steps 200 --runs /tmp/try
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from corolla import load
from corolla.config import Config
from corolla.evaluation import FILE_NAME, SCORES, evaluate, gather
from corolla.evaluation.material import Material
from corolla.evaluation.record import Scores
from corolla.evaluation.tables import formatted, row_label
from environment import describe, markdown_table
from jobs import train_all

GRID: dict[str, tuple[str, tuple[float, ...]]] = {
    "beta_vae": ("beta", (4.0, 8.0)),
    "beta_tcvae": ("beta", (10.0, 20.0)),
    "factor_vae": ("gamma", (20.0,)),
}
SHOWN = (
    "mig",
    "factor_vae_score",
    "beta_vae_score",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "sap",
    "modularity",
    "explicitness",
    "irs",
    "total_correlation_bound_nats",
    "rate_nats",
    "psnr_db",
)


def configuration(objective: str, strength: float, seed: int, steps: int) -> Config:
    """One run; all but the objective, its strength and the seed is the same."""
    name, _ = GRID[objective]
    return Config().updated(
        {
            "seed": seed,
            "data.source": "florets:20000",
            "data.flip": False,
            "data.shift_px": 0,
            "network.name": "resnet",
            "network.width": 32,
            "network.latent_dim": 10,
            "network.dropout": 0.0,
            "training.max_steps": steps,
            "training.batch_size": 64,
            "training.learning_rate": 2e-3,
            "training.weight_decay": 0.0,
            "training.ema_decay": 0.995,
            "training.evaluate_every": max(1, steps // 3),
            "training.threads": 1,
            "training.precision": "bf16-mixed",
            "objective.name": objective,
            "objective.warmup_steps": steps // 10,
            "objective.discriminator_learning_rate": 3e-4,
            f"objective.{name}": strength,
        }
    )


def scored(path: Path, material: Material | None) -> tuple[Scores, Material | None]:
    """The scores of a run, measured unless they are there; and the images, which all runs share."""
    file = path / FILE_NAME
    model = load(path)
    if file.is_file() and (found := SCORES.read(file)[0]).weights_sha256 == model.card.weights_sha256:
        return found, material
    if material is None:
        material = gather(model)
        # Petal counts are a factor: that they are labels, too, would only cost time here.
        material = replace(material, training=replace(material.training, labels=None))
    found = evaluate(model, material, groups=("images", "latents", "factors")).scores
    SCORES.write(file, found)
    return found, material


def main() -> None:
    """Train what is missing, score it, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", default=",".join(GRID), help="joined by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-disentanglement"), help="where the runs are kept")
    arguments = parser.parse_args()

    points = [(objective, strength) for objective in arguments.objectives.split(",") for strength in GRID[objective][1]]
    runs = {
        (objective, strength, seed): arguments.runs / f"{objective}-{strength:g}-{seed}"
        for seed in range(1, arguments.seeds + 1)
        for objective, strength in points
    }
    train_all({path: configuration(*key, arguments.steps) for key, path in runs.items()}, arguments.jobs)
    material: Material | None = None
    found: dict[tuple[str, float, int], Scores] = {}
    start = time.perf_counter()
    for key, path in runs.items():
        print(f"scoring {path.name}", file=sys.stderr, flush=True)
        found[key], material = scored(path, material)
    print(describe())
    spent = time.perf_counter() - start
    print(f"{arguments.steps} steps of 64 images, {arguments.seeds} seeds; scoring took {spent:.0f} s")
    print()
    rows = []
    for objective, strength in points:
        cells = []
        for name in SHOWN:
            values = [found[objective, strength, seed].scores[name].value for seed in range(1, arguments.seeds + 1)]
            low, middle, high = (formatted(name, value) for value in (min(values), median(values), max(values)))
            cells.append(f"{middle} ({low} to {high})" if len(values) > 1 else middle)
        rows.append([objective, f"{GRID[objective][0]} {strength:g}", *cells])
    print(markdown_table(["objective", "strength", *map(row_label, SHOWN)], rows))


if __name__ == "__main__":
    main()
