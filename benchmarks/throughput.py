"""What `corolla train` costs beside a bare PyTorch loop with the same network, batch and data in memory.

Both train the `flowers` network on the same uint8 images for the same number of steps, in turns; the bare loop flips,
converts, runs forward, backward and AdamW, and nothing else. The ratio is what counts, the median over the rounds: the
machine's speed drifts.

    python dev.py bench throughput
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import corolla
from corolla.config import Config, preset
from corolla.data.florets import render, sample_factors
from corolla.models.vae import build_model
from corolla.trained.run_folder import RunFolder
from corolla.training import resolve
from environment import describe, markdown_table


def bare_loop(config: Config, images: torch.Tensor, steps: int) -> float:
    """Images per second of the plainest loop that trains the same model."""
    torch.manual_seed(config.seed)
    vae = build_model(config).train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.training.learning_rate, fused=True)
    batch_size = config.training.batch_size
    mixed = config.training.precision == "bf16-mixed"
    start = time.perf_counter()
    for step in range(steps):
        if step == steps // 4:  # the first quarter warms up
            start = time.perf_counter()
        rows = torch.randint(0, len(images), (batch_size,))
        x = images[rows].float().div_(255)
        x = torch.where(torch.rand(batch_size, 1, 1, 1) < 0.5, x.flip(3), x)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            q, _, p = vae(x)
            loss = (-p.log_prob(x) + (config.objective.effective_beta() or 0.0) * q.kl()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (steps - steps // 4) * batch_size / (time.perf_counter() - start)


def corolla_train(config: Config, steps: int, folder: Path) -> tuple[float, float]:
    """Images per second of training as users run it: of the steps alone, and with all that comes between them.

    The steps alone include the moving average, augmentation and the record of the terms. What comes between are
    evaluations, as often as the preset has them at the default number of steps, the best model, and sample pictures.
    The time of half as many steps is taken off that of all, so that neither counts the start and the last checkpoint.
    """
    half = steps // 2
    config = config.updated({"training.evaluate_every": half})
    run = RunFolder(folder / "run")
    seconds = []
    for count in (half, 2 * half):
        start = time.perf_counter()
        corolla.fit(config.updated({"training.max_steps": count}), run.path, force=True)
        seconds.append(time.perf_counter() - start)
    first, last = (float(row["train_seconds"]) for row in run.rows())
    images = half * config.training.batch_size
    return images / (last - first), images / (seconds[1] - seconds[0])


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()

    config = resolve(preset("flowers").updated({"data.source": "florets:1275"}))  # 1,020 of them train
    pixels = render(sample_factors(1020, np.random.default_rng(0)))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.pairs):
            ours = corolla_train(config, arguments.steps, Path(folder))
            rounds.append((*ours, bare_loop(config, images, arguments.steps)))
    print(describe())
    print()
    rows = [
        [name, *(f"{statistics.median(values):.{digits}f}" for values, digits in ((rates, 0), (ratios, 3)))]
        for name, rates, ratios in (
            ("corolla train, the steps", [one for one, _, _ in rounds], [one / bare for one, _, bare in rounds]),
            ("corolla train, everything", [all_ for _, all_, _ in rounds], [all_ / bare for _, all_, bare in rounds]),
            ("bare PyTorch loop", [bare for _, _, bare in rounds], [1.0]),
        )
    ]
    print(
        markdown_table(
            [f"{config.training.precision}, batch {config.training.batch_size}", "images/s", "of the bare loop"], rows
        )
    )


if __name__ == "__main__":
    main()
