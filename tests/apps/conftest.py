from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from corolla.checkpoint import ModelCard, save_model
from corolla.config import Config
from corolla.model import build_model
from corolla.trained import TrainedModel, load

LATENT_KL_NATS = (0.5, 3.0, 0.001, 2.0, 0.0, 1.0)


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    config = Config.from_dict(
        {"data": {"size": 16}, "network": {"width": 8, "latent_dim": 6, "patch": 4}, "objective": {"beta": 2.0}}
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_model(tmp_path / "model", build_model(config), ModelCard(config, 7, {}, LATENT_KL_NATS))
    return load(tmp_path / "model")


@pytest.fixture
def images() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
