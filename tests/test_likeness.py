"""Images unlike a model's own are noticed, with both numbers; its own kind never is."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from corolla.config import Config
from corolla.data import render, sample_factors, select_rows
from corolla.metrics.images import mean_image_psnr
from corolla.trained import TrainedModel
from corolla.trained.encoding import embed, read_pixels
from corolla.trained.likeness import LOOKED_AT, QUANTILES, summarise, unlike
from corolla.trained.own_images import own_images
from corolla.training import fit

CONFIG = Config.from_dict(
    {
        "data": {"source": "florets:600", "size": 32, "shift_px": 0, "flip": False},
        "network": {"latent_dim": 10, "width": 16, "patch": 4, "dropout": 0.0},
        "objective": {"name": "vae"},
        "training": {"max_steps": 250, "batch_size": 32, "learning_rate": 0.003, "threads": 1, "precision": "32-true"},
    }
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COROLLA_HOME", str(tmp_path_factory.mktemp("home")))
        return fit(CONFIG, tmp_path_factory.mktemp("runs") / "florets")


def florets(count: int, seed: int) -> NDArray[np.uint8]:
    return render(sample_factors(count, np.random.default_rng(seed)), 32, 32)


def scenes(count: int) -> NDArray[np.uint8]:
    """A sky, a meadow, and a wall of bricks with a window: nothing that a floret has."""
    rng, y, x = np.random.default_rng(3), *np.mgrid[:32, :32]
    images = np.empty((count, 32, 32, 3))
    for image in images:
        image[:] = np.where((y < rng.integers(8, 20))[..., None], (110, 160, 230), (70, 130, 40))
        left = rng.integers(0, 16)
        image[10:30, left : left + 16] = np.where(((x + 4 * (y // 4) % 8) % 8 < 1) | (y % 4 == 0), 220, 120)[
            10:30, left : left + 16, None
        ]
    return images.astype(np.uint8)


def test_the_quantiles_are_those_of_the_images() -> None:
    values = np.arange(101) / 2
    assert QUANTILES == (0.01, 0.5)
    assert summarise(values, values / 100) == {"psnr_db": [0.5, 25.0], "contrast": [0.005, 0.25]}


def test_the_card_keeps_what_its_held_out_images_give(model: TrainedModel) -> None:
    cache = own_images(model)
    training, held_out = (np.asarray(cache.images[select_rows(cache.splits, name)]) / 255 for name in ("train", "val"))
    errors = ((held_out - model.reconstruct(held_out) / 255) ** 2).mean((1, 2, 3))
    kept = model.card.data["held_out"]
    assert kept["psnr_db"] == pytest.approx(np.quantile(-10 * np.log10(errors), QUANTILES), abs=0.01)
    contrast = [np.sqrt(np.mean([image[..., channel].var() for channel in range(3)])) for image in held_out]
    assert kept["contrast"] == pytest.approx(np.quantile(contrast, QUANTILES), abs=1e-4)
    of_mean = -10 * np.log10(((held_out - training.mean(0)) ** 2).mean((1, 2, 3)))
    assert model.card.data["mean_image_psnr_db"] == pytest.approx(of_mean.mean(), abs=1e-3)


def test_the_mean_image_in_the_place_of_each() -> None:
    seen = np.stack([np.full((2, 2, 3), level, np.uint8) for level in (0, 102)])  # their mean is 51, a fifth of white
    images = np.stack([np.full((2, 2, 3), level, np.uint8) for level in (51, 102)])
    assert mean_image_psnr(seen, images) == pytest.approx([58.9, 20 * np.log10(5)], abs=0.1)


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("seed", range(5))
def test_its_own_kind_is_never_noticed(model: TrainedModel, count: int, seed: int) -> None:
    assert unlike(model, florets(count, seed)) is None


@pytest.mark.parametrize("count", [1, 5, 40])
def test_other_images_are_noticed_with_both_numbers(model: TrainedModel, count: int) -> None:
    sentence = unlike(model, scenes(count))
    assert sentence is not None
    # Of those that are looked at, by an independent computation.
    some = scenes(count)[np.unique(np.linspace(0, count - 1, LOOKED_AT).astype(int))]
    errors = (some / 255.0 - model.reconstruct(some) / 255.0) ** 2
    reached = np.median(-10 * np.log10(errors.mean((1, 2, 3))))
    usual = model.card.data["held_out"]["psnr_db"][0]
    assert f"a PSNR of {reached:.1f} dB" in sentence
    assert f"more than {usual:.1f} dB" in sentence
    assert reached < usual


def test_flat_images_are_noticed_however_well_they_come_back(model: TrainedModel) -> None:
    easy = replace(model.card, data=model.card.data | {"held_out": {"psnr_db": [0.0, 1.0], "contrast": [0.1, 0.2]}})
    judged = TrainedModel(model.vae, easy)
    flat = np.full((3, 32, 32, 3), 90, np.uint8)
    flat[:, ::2] = 92  # a standard deviation of one level: 0.39% of white
    sentence = unlike(judged, flat)
    assert sentence is not None
    assert "nearly flat" in sentence
    assert "is 0.39% of white" in sentence
    assert "above 10.00%" in sentence
    assert unlike(judged, florets(3, 0)) is None
    assert "is 0.00% of white" in (unlike(judged, np.full((1, 32, 32, 3), (250, 10, 90), np.uint8)) or "")  # one colour


def test_a_model_that_keeps_nothing_is_not_judged(model: TrainedModel) -> None:
    assert unlike(TrainedModel(model.vae, replace(model.card, data={})), scenes(4)) is None


def test_every_use_warns_once(model: TrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind, images in (("own", florets(20, 7)), ("other", scenes(20))):
        (tmp_path / kind).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / kind / f"{number}.png")
    with caplog.at_level(logging.WARNING, "corolla"):
        read_pixels(model, [tmp_path / "own"])
        list(embed(model, [tmp_path / "own"]))
        assert not caplog.messages
        read_pixels(model, [tmp_path / "other"])
        list(embed(model, [tmp_path / "other"] * 20))  # 400 images, several batches
    assert len(caplog.messages) == 2
    assert all("unlike these images" in message for message in caplog.messages)
