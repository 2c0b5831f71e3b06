"""What `corolla train` costs beside a bare PyTorch loop with the same network, batch and data in memory.

Both train the `flowers` network on the same uint8 images for the same number of steps, in turns; the bare loop flips,
converts, runs forward, backward and AdamW, and nothing else. The ratio is what counts: the machine's speed drifts.

    python dev.py bench throughput
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import corolla
from corolla.config import Config, preset
from corolla.data.florets import render, sample_factors
from corolla.model import build_model
from corolla.runs import RunFolder
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
            loss = (-p.log_prob(x) + config.objective.beta * q.kl()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (steps - steps // 4) * batch_size / (time.perf_counter() - start)


def corolla_train(config: Config, steps: int, folder: Path) -> float:
    """Images per second of training as users run it, the moving average, augmentation and run folder included."""
    config = config.updated({"training.max_steps": steps, "training.evaluate_every": steps // 4})
    run = RunFolder(folder / "run")
    corolla.fit(config, run.path, force=True)
    rows = run.rows()
    seconds = float(rows[-1]["train_seconds"]) - float(rows[0]["train_seconds"])
    return (int(rows[-1]["step"]) - int(rows[0]["step"])) * config.training.batch_size / seconds


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()

    config = resolve(preset("flowers").updated({"data.source": "florets:1275"}))  # 1,020 of them train
    pixels = render(sample_factors(1020, np.random.default_rng(0)))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.pairs):
            with contextlib.redirect_stderr(None):
                ours = corolla_train(config, arguments.steps, Path(folder))
            pairs.append((ours, bare_loop(config, images, arguments.steps)))
    print(describe())
    print()
    rows = [
        ["corolla train", f"{statistics.median(ours for ours, _ in pairs):.0f}"],
        ["bare PyTorch loop", f"{statistics.median(bare for _, bare in pairs):.0f}"],
        ["ratio, median of pairs", f"{statistics.median(ours / bare for ours, bare in pairs):.3f}"],
        ["ratio, all pairs", ", ".join(f"{ours / bare:.3f}" for ours, bare in pairs)],
    ]
    print(markdown_table([f"{config.training.precision}, batch {config.training.batch_size}", "images/s"], rows))


if __name__ == "__main__":
    main()
