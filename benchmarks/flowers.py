"""How well, and how fast, the presets learn Oxford Flowers 102 at 64x64.

Trains each model side by side on this machine and prints one table. Losses are in nats per image on images not
trained on: the official test split for `notebook` and `flowers`, val for `gallery` and `vivid`. They are those of the
last step, so that the choice of the best evaluation cannot flatter them. Times are of training alone, without
evaluations.

    python dev.py bench flowers --mirror FOLDER
    python dev.py bench flowers --mirror FOLDER --models gallery

With `--as-gallery`, the first two have the splits of the others: trained on train and test, scored on val.

    python dev.py bench flowers --mirror FOLDER --models notebook,vivid --as-gallery --runs runs/bench-vivid
"""

from __future__ import annotations

import argparse
from pathlib import Path

import corolla
from corolla.config import Config, preset
from corolla.progress import ProgressDisplay
from corolla.trained.run_folder import RunFolder
from environment import describe, markdown_table


def configuration(name: str, mirror: str | None, *, as_gallery: bool = False) -> Config:
    """The preset as it ships, but for what makes the models comparable: size, recipe, and where they are evaluated."""
    changes: dict[str, object] = {"data.mirror": mirror}
    if name == "notebook":
        # Only the end counts here, and evaluating 6,149 images takes this network as long as three epochs.
        changes |= {
            "data.size": 64,
            "data.recipe": "fit",
            "data.eval_split": "test",
            "data.select_split": "val",
            "training.evaluate_every": 960,
        }
    if name == "flowers":
        changes |= {"data.eval_split": "test", "data.select_split": "val", "training.evaluate_every": 160}
    if as_gallery:
        changes |= {"data.train_split": "train+test", "data.eval_split": "val", "data.select_split": None}
    return preset(name).updated(changes)


def main() -> None:
    """Train what is asked for, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the official host")
    parser.add_argument("--models", default="notebook,flowers", help="notebook, flowers, gallery, vivid; by commas")
    parser.add_argument("--as-gallery", action="store_true", help="train on train and test, score on val")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-flowers"), help="where the runs are kept")
    parser.add_argument("--max-steps", type=int, help="fewer steps, for a try")
    arguments = parser.parse_args()

    rows = []
    target: float | None = None
    for name in arguments.models.split(","):
        config = configuration(name, arguments.mirror, as_gallery=arguments.as_gallery)
        if arguments.max_steps:
            config = config.updated({"training.max_steps": arguments.max_steps})
        run = RunFolder(arguments.runs / name)
        model = corolla.fit(config, run.path, force=True, progress=ProgressDisplay("training"))
        history = run.rows()
        last = history[-1]
        if name == "notebook":
            target = float(last["loss"])
        reached = [row for row in history if target is not None and float(row["loss"]) <= target]
        rows.append(
            [
                name,
                config.data.eval_split,
                f"{config.objective.effective_beta():g}",
                f"{model.parameter_count / 1e6:.2f} M",
                run.config().training.precision,
                last["epoch"],
                f"{float(last['train_seconds']):.0f}",
                f"{float(reached[0]['train_seconds']):.1f}" if reached else "-",
                f"{float(last['loss']):.0f}",
                f"{float(last['reconstruction']):.0f}",
                f"{float(last['kl']):.1f}",
                f"{float(last['psnr_db']):.2f}",
            ]
        )
    print(describe())
    print()
    header = [
        "model",
        "scored on",
        "β",
        "parameters",
        "precision",
        "epochs",
        "training, s",
        "s to the notebook's loss",
        "loss, nats",
        "distortion, nats",
        "rate, nats",
        "PSNR, dB",
    ]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
