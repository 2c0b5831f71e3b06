"""The family of objectives on drawn flowers: what each pays in reconstruction for how little KL and dependence.

Every variant trains the `burgess` network with ten latents on the same 64x64 florets for equally many steps, with
several seeds. The table has the means over seeds and their standard deviations, on images that were not trained on; the
total correlation (TC) is that of the aggregated posterior of all of them, summed exactly. Finished runs are kept: the
command goes on where it was stopped. The whole takes about an hour on two cores.

    python dev.py bench family
    python dev.py bench family --seeds 1 --variants vae,beta_vae --steps 200 --runs /tmp/try
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from corolla import load
from corolla.config import Config
from corolla.data import select_rows
from corolla.evaluation.estimates import estimate
from corolla.trained.model_folder import ModelFolder
from corolla.trained.run_folder import RunFolder
from corolla.training import prepare
from environment import describe, markdown_table
from jobs import train_all

VARIANTS: dict[str, dict[str, object]] = {
    "ae": {},
    "dae": {"noise": 0.1},
    "vae": {},
    "beta_vae": {"beta": 4.0},
    "capacity_vae": {"gamma": 100.0, "capacity_nats": 10.0, "capacity_steps": 1000},
    "free_bits": {"free_nats": 0.5},
    "control_vae": {"target_nats": 10.0},
    "beta_tcvae": {"beta": 4.0},
    "factor_vae": {"gamma": 10.0},
    "dip_vae_i": {"lambda_offdiagonal": 10.0, "lambda_diagonal": 100.0},
    "dip_vae_ii": {"lambda_offdiagonal": 10.0, "lambda_diagonal": 10.0},
    "info_vae": {"alpha": 0.0, "lambda_mmd": 1000.0},
}


def configuration(variant: str, seed: int, steps: int) -> Config:
    """The run of one variant and seed; all but the objective and the seed is the same."""
    changes: dict[str, object] = {
        "seed": seed,
        "data.source": "florets:10000",
        "data.flip": False,
        "data.shift_px": 0,
        "network.name": "burgess",
        "network.latent_dim": 10,
        "training.max_steps": steps,
        "training.batch_size": 64,
        "training.optimizer": "adam",
        "training.weight_decay": 0.0,
        "training.ema_decay": 0.995,
        "training.evaluate_every": max(1, steps // 2),
        "training.threads": 1,
        "objective.name": variant,
    }
    changes |= {f"objective.{name}": value for name, value in VARIANTS[variant].items()}
    return Config().updated(changes)


def numbers(run: RunFolder) -> dict[str, float]:
    """What a finished run counts in the table, of the whole evaluation split."""
    model = load(run.path)
    cache = prepare(run.config())
    images = np.asarray(cache.images[select_rows(cache.splits, run.config().data.eval_split)])
    result = estimate(model.vae, images, importance_samples=1, seed=0)
    scores = ModelFolder.find(run.path).card.scores
    return {
        "reconstruction": scores["reconstruction"],
        "psnr": scores["psnr_db"],
        "kl": scores["kl"],
        "mi": result.mutual_information_nats.mean,
        "tc": result.total_correlation_nats.mean,
        "dwkl": result.dimension_wise_kl_nats.mean,
        "active": scores["active_latents"],
    }


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="joined by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-family"), help="where the runs are kept")
    arguments = parser.parse_args()

    variants = arguments.variants.split(",")
    runs = {
        (variant, seed): RunFolder(arguments.runs / f"{variant}-{seed}")
        for seed in range(1, arguments.seeds + 1)
        for variant in variants
    }
    configs = {run.path: configuration(*key, arguments.steps) for key, run in runs.items()}
    train_all(configs, arguments.jobs)
    rows = []
    for variant in variants:
        found = [numbers(runs[variant, seed]) for seed in range(1, arguments.seeds + 1)]

        def cell(name: str, digits: int = 1, found: list[dict[str, float]] = found) -> str:
            values = [entry[name] for entry in found]
            spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
            return f"{mean(values):.{digits}f}{spread}"

        settings = ", ".join(f"{name} {value:g}" for name, value in VARIANTS[variant].items())
        cells = [cell("reconstruction"), cell("psnr", 2), cell("kl", 2), cell("tc", 2), cell("mi", 2), cell("dwkl", 2)]
        rows.append([variant, settings, *cells, cell("active")])
    print(describe())
    print(f"{arguments.steps} steps of 64 images, {arguments.seeds} seeds")
    print()
    header = ["objective", "settings", "reconstruction, nats", "PSNR, dB", "KL, nats", "TC, nats", "MI, nats"]
    print(markdown_table([*header, "dimension-wise KL, nats", "active latents"], rows))


if __name__ == "__main__":
    main()
