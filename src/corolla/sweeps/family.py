"""The auto-encoder, the VAE and the β-VAE on the same images with the same network: what does each step bring?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corolla.config import Config
from corolla.errors import command
from corolla.progress import Progress
from corolla.sweeps import train_run
from corolla.sweeps.record import refuse_other_run
from corolla.training import resolve

BETA = 4.0
"""Of the β-VAE, where the configuration is not of one."""


@dataclass(frozen=True)
class Member:
    """One of the three: its objective, and what people use it for."""

    title: str
    goal: str
    idea: str
    loss: str
    use: str


MEMBERS: Mapping[str, Member] = {
    "ae": Member(
        "auto-encoder",
        "a short code from which the image comes back",
        "what does not fit through a few numbers is left out",
        "-log p(x|z)",
        "compression, de-noising, anomaly detection",
    ),
    "vae": Member(
        "VAE",
        "a space of codes in which every point is an image",
        "a code is a small cloud, and all clouds together fill a standard normal",
        "-log p(x|z) + KL",
        "new images, inpainting, statistics of images",
    ),
    "beta_vae": Member(
        "β-VAE",
        "a space whose single directions mean something",
        "information has a higher price, so what is kept is ordered",
        "-log p(x|z) + β KL",
        "features, in place of PCA",
    ),
}


def train_family(
    base: Config, seeds: Sequence[int], folder: Path, *, progress: Progress | None = None
) -> dict[str, list[Path]]:
    """Train the three with each seed, or go on with that; returns the runs by objective.

    Args:
        base: All settings but the objective and the seed; if it is a beta_vae, its β is that of the third.
        seeds: Of which each gives one run of all three.
        folder: Where the run folders go.
        progress: That of `training.fit`, for each run.

    Raises as `training.fit`, and UsageError if a run in the folder has other settings.
    """
    beta = base.flat()["objective.beta"] if base.objective.name == "beta_vae" else BETA
    configs = {}
    for name in MEMBERS:
        member = base.updated({"objective.name": name} | ({"objective.beta": beta} if name == "beta_vae" else {}))
        for seed in seeds:
            configs[folder / f"{name}-{seed}"] = resolve(member.updated({"seed": seed}))
    for path, config in configs.items():
        refuse_other_run(path, config)
    for path, config in configs.items():
        train_run(config, path, go_on=command("compare", "--family", "...", "-o", folder), progress=progress)
    return {name: [folder / f"{name}-{seed}" for seed in seeds] for name in MEMBERS}


def notes(columns: Sequence[str]) -> dict[str, list[str]]:
    """The rows in words: goal, idea, loss and use of each column; a dash for runs that are none of the three."""
    return {
        row: [getattr(MEMBERS[name], row) if name in MEMBERS else "-" for name in columns]
        for row in ("goal", "idea", "loss", "use")
    }
