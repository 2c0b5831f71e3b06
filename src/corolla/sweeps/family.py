"""The auto-encoder, the VAE and the β-VAE on the same images with the same network: what does each step bring?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from corolla.config import Config
from corolla.errors import command
from corolla.progress import Progress
from corolla.sweeps import train_run
from corolla.sweeps.record import refuse_other_run
from corolla.training import resolve

BETA = 4.0
"""Of the β-VAE, where the configuration is not of one."""


MEMBERS: Mapping[str, Mapping[str, str]] = {
    "ae": {
        "goal": "a short code from which the image comes back",
        "idea": "what does not fit through a few numbers is left out",
        "loss": "-log p(x|z)",
        "use": "compression, de-noising, anomaly detection",
    },
    "vae": {
        "goal": "a space of codes in which every point is an image",
        "idea": "a code is a small cloud, and all clouds together fill a standard normal",
        "loss": "-log p(x|z) + KL",
        "use": "new images, inpainting, statistics of images",
    },
    "beta_vae": {
        "goal": "a space whose single directions mean something",
        "idea": "information has a higher price, so what is kept is ordered",
        "loss": "-log p(x|z) + β KL",
        "use": "features, in place of PCA",
    },
}
"""The three by their objectives, and what people use each for."""


def train_family(
    base: Config, seeds: Sequence[int], folder: Path, *, progress: Progress | None = None
) -> dict[str, list[Path]]:
    """Train the three with each seed in run folders of `folder`, or go on with that; returns the runs by objective.

    `base` holds all settings but the objective and the seed; if it is a beta_vae, its β is that of the third. Raises as
    `training.fit`, and UsageError if a run in the folder has other settings.
    """
    beta = base.flat()["objective.beta"] if base.objective.name == "beta_vae" else BETA
    runs = {name: [folder / f"{name}-{seed}" for seed in seeds] for name in MEMBERS}
    configs = {}
    for name, paths in runs.items():
        changes = {"objective.name": name} | ({"objective.beta": beta} if name == "beta_vae" else {})
        for path, seed in zip(paths, seeds, strict=True):
            configs[path] = resolve(base.updated(changes).updated({"seed": seed}))
            refuse_other_run(path, configs[path])
    for path, config in configs.items():
        train_run(config, path, go_on=command("compare", "--family", "...", "-o", folder), progress=progress)
    return runs


def notes(columns: Sequence[str]) -> dict[str, list[str]]:
    """The rows in words: goal, idea, loss and use of each column; a dash for runs that are none of the three."""
    return {
        row: [MEMBERS[name][row] if name in MEMBERS else "-" for name in columns]
        for row in ("goal", "idea", "loss", "use")
    }
