from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from corolla.config import Config
from corolla.data import ImageCache
from corolla.evaluation import SCORES, Score, Scores
from corolla.models.vae import build_model
from corolla.trained import TrainedModel, load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder

LATENT_KL_NATS = (0.5, 3.0, 0.001, 2.0, 0.0, 1.0)


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    config = Config.from_dict(
        {"data": {"size": 16}, "network": {"width": 8, "latent_dim": 6, "patch": 4}, "objective": {"beta": 2.0}}
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(tmp_path / "model").save(build_model(config), ModelCard(config, 7, {}, LATENT_KL_NATS))
    return load(tmp_path / "model")


@pytest.fixture
def images() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


ODD = '<u>&"'
"""A name that must come out as text wherever it is shown."""


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    """Noise with three labels, of which one has an odd name: 24 images to train on and 16 kept aside."""
    images = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    return ImageCache(
        folder=tmp_path,
        images=images,
        keys=[f"{number}.png" for number in range(40)],
        splits={"train": np.arange(24), "val": np.arange(24, 40)},
        labels=np.arange(40) % 3,
        label_names=["rose", ODD, "tulip"],
        factors=None,
        factor_names=[],
        manifest={"fingerprint": "ab" * 32},
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 30 steps with a model, the rows of three evaluations, and no scores; the loss falls by one a step."""
    folder = RunFolder(tmp_path / f"a {ODD} run")
    config = Config.from_dict(
        {
            "data": {"size": 16, "source": f"folder:{ODD}"},
            "network": {"width": 8, "latent_dim": 6, "patch": 4},
            "objective": {"beta": 2.0},
        }
    )
    scores = {"loss": 510.5, "reconstruction": 497.5, "kl": 6.5, "psnr_db": 12.25, "active_latents": 4.0}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(folder.model).save(build_model(config), ModelCard(config, 30, scores, LATENT_KL_NATS))
    folder.write_config(config, {"versions": {"python": ODD}})
    both = {"loss": 900.0, "train_loss": 950.0, "reconstruction": 890.0, "train_reconstruction": 940.0}
    folder.write_rows(
        [
            {name: value - step for name, value in both.items()}
            | {"step": step, "epoch": step / 10, "kl": step / 5, "train_kl": step / 4, "train_seconds": step / 2}
            for step in (10, 20, 30)
        ]
    )
    return folder.path


@pytest.fixture
def scored_run(run: Path) -> Path:
    """The run with scores of each group; latents 1 and 3 follow a factor each."""
    information = np.zeros((6, 2))
    information[1, 0], information[3, 1], information[0, :] = 0.6, 1.2, 0.05
    scores = Scores(
        {
            "psnr_db": Score(12.25, 12.0, 12.5),
            "kid_pca64/standard": Score(0.0125, 0.011, 0.014),
            "kid_pca64/gmm": Score(0.00425),
            "trustworthiness": Score(0.875),
            "mig": Score(0.5625),
        },
        {
            "disentanglement": {
                "factors": ["petal_count", ODD],
                "mutual_information_nats": information.tolist(),
                "factor_entropy_nats": [1.0, 1.5],
            }
        },
        split="val",
        images=16,
        samples=64,
        weights_sha256=ModelFolder.find(run).card.weights_sha256,
    )
    SCORES.write(run / "scores.json", scores)
    return run
