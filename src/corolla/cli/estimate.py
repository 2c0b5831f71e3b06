"""The command that estimates: how likely images are under a model, and what its latents know."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from corolla.cli.output import out
from corolla.errors import UsageError


def estimate(
    model: Path,
    /,
    *,
    split: str | None = None,
    importance_samples: int = 100,
    count: int | None = None,
    seed: int = 0,
) -> None:
    """Estimate the likelihood of images, and what the latents know about them and about each other.

    Args:
        model: Run folder or model folder.
        split: Splits of the model's images, joined by +; by default those it was evaluated on.
        importance_samples: Draws for each image: more give a tighter bound on the likelihood, and take longer.
        count: At most so many images, spread over the split.
        seed: Fixes the draws.
    """
    if importance_samples < 1:
        raise UsageError(f"--importance-samples {importance_samples}: give at least 1")
    if count is not None and count < 2:
        raise UsageError(f"--count {count}: give at least 2; averages need them")
    from corolla.evaluation import estimate_folder
    from corolla.evaluation.tables import estimate_lines

    with out.progress() as progress:
        found = estimate_folder(
            model, split=split, importance_samples=importance_samples, count=count, seed=seed, progress=progress
        )
    lines = estimate_lines(found)
    counts = {"active_latents": found.active_latents, "active_units": found.active_units}
    out.lines([f"{model}: {lines[0]}", *lines[1:]], path=model, **asdict(found), **counts)
