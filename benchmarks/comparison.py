"""Auto-encoder, VAE, β-VAE, PCA and the notebook's model on Oxford Flowers 102 at 64x64: every score, side by side.

The first three are the preset `flowers` with another objective: the same network, images and steps. PCA has as many
components as they have latents. All are trained on the official train split and scored on the test split, as by
`corolla evaluate`. Finished runs and scores are kept: the command goes on where it was stopped.

    python dev.py bench comparison --mirror FOLDER
    python dev.py bench comparison --mirror FOLDER --max-steps 50 --runs /tmp/try
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from corolla import load
from corolla.config import Config, preset
from corolla.evaluation import (
    FILE_NAME,
    SCORES,
    PrincipalComponents,
    Scores,
    evaluate,
    gather,
)
from corolla.evaluation.tables import formatted, in_order, row_label_with_unit
from environment import describe, markdown_table
from jobs import train_all

OBJECTIVES = ("ae", "vae", "beta_vae")


def configurations(mirror: str | None, max_steps: int | None) -> dict[str, Config]:
    """The four models by name; only the end of their training counts, so there are few evaluations."""
    shared: dict[str, object] = {
        "data.mirror": mirror,
        "data.eval_split": "test",
        "data.select_split": "val",
        "training.threads": 1,
    }
    if max_steps:
        shared["training.max_steps"] = max_steps
    found = {
        name: preset("flowers").updated(shared | {"objective.name": name, "training.evaluate_every": 1600})
        for name in OBJECTIVES
    }
    notebook = {"data.size": 64, "data.recipe": "fit", "training.evaluate_every": 960}
    return found | {"notebook": preset("notebook").updated(shared | notebook)}


def main() -> None:
    """Train what is missing, score it, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the official host")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-comparison"), help="where the runs are kept")
    parser.add_argument("--max-steps", type=int, help="fewer steps, for a try")
    arguments = parser.parse_args()

    configs = configurations(arguments.mirror, arguments.max_steps)
    train_all({arguments.runs / name: config for name, config in configs.items()}, arguments.jobs)
    material = gather(load(arguments.runs / "beta_vae"), mirror=arguments.mirror)
    found: dict[str, Scores] = {}
    for name in configs:
        model, file = load(arguments.runs / name), arguments.runs / name / FILE_NAME
        if not file.is_file() or SCORES.read(file)[0].weights_sha256 != model.card.weights_sha256:
            print(f"scoring {name}", file=sys.stderr, flush=True)
            SCORES.write(file, evaluate(model, material).scores)
        found[name] = SCORES.read(file)[0]
    latent_dim = configs["beta_vae"].network.latent_dim
    print(f"scoring PCA with {latent_dim} components", file=sys.stderr, flush=True)
    components = PrincipalComponents(material.training.images, latent_dim)
    found[f"PCA-{latent_dim}"] = evaluate(components, material).scores

    print(describe())
    first = found["beta_vae"]
    print(f"{first.images:,} images of {first.split}; {first.samples:,} samples of each model, seed {first.seed}")
    print()
    keys = in_order(sorted({key for scores in found.values() for key in scores.scores}))
    rows = []
    for key in keys:
        cells = [formatted(key, scores.scores[key].value) if key in scores.scores else "-" for scores in found.values()]
        rows.append([row_label_with_unit(key), *cells])
    print(markdown_table(["", *found], rows))


if __name__ == "__main__":
    main()
