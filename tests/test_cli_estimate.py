"""`corolla estimate`: the numbers of `corolla.evaluation.estimates`, and plain words where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from corolla.cli import run
from corolla.config import Config
from corolla.data import open_cache, open_source, recipe_named
from corolla.evaluation.estimates import estimate
from corolla.models.vae import build_model
from corolla.trained import load
from corolla.trained.model_folder import ModelCard, ModelFolder

TINY = {
    "data": {"source": "florets:60", "size": 16, "eval_split": "test"},
    "network": {"width": 8, "latent_dim": 6, "patch": 4},
}


def _model(folder: Path, **objective: object) -> Path:
    config = Config.from_dict(TINY | {"objective": objective})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(folder).save(build_model(config), ModelCard(config))
    return folder


def test_json_holds_what_the_function_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model(tmp_path / "model", name="vae")
    flags = ["--split", "train", "--importance-samples", "3", "--count", "9", "--seed", "5"]
    assert run(["estimate", str(model), *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cache = open_cache(open_source("florets:60"), recipe_named("fit"), 16, 16)
    rows = cache.splits["train"][np.linspace(0, len(cache.splits["train"]) - 1, 9).astype(int)]
    expected = estimate(load(model).vae, cache.images, rows, importance_samples=3, seed=5)
    assert found["images"] == 9
    assert (found["split"], found["seed"], found["source"]) == ("train", 5, "florets:60")
    for name in ("elbo_nats", "log_likelihood_nats", "total_correlation_nats"):
        assert found[name] == vars(getattr(expected, name))
    assert found["latent_rate_nats"] == list(expected.latent_rate_nats)
    assert found["latent_distortion_nats"] == list(expected.latent_distortion_nats)
    assert (found["active_latents"], found["active_units"]) == (expected.active_latents, expected.active_units)
    assert found["elbo_bits_per_dim"] is None


def test_text_names_the_split_and_each_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model(tmp_path / "model", name="vae")
    assert run(["estimate", str(model), "--importance-samples", "2"]) == 0
    out = capsys.readouterr().out
    images = len(open_source("florets:60").splits["test"])
    assert out.splitlines()[0] == f"{model}: {images} images of test (florets:60), 2 draws each, seed 0"
    for label in ("log-likelihood", "ELBO", "distortion", "rate", "mutual information", "total correlation"):
        assert any(line.strip().startswith(label) and "±" in line for line in out.splitlines()), label
    assert "not a density" in out
    assert "how much the distortion rises without it" in out
    assert f"log {images} = {np.log(images):.2f}" in out


@pytest.mark.parametrize(
    ("objective", "flags", "message"),
    [
        ({"name": "ae"}, [], "an auto-encoder (ae) has no distribution"),
        ({"name": "dae"}, [], "an auto-encoder (dae) has no distribution"),
        ({"name": "vae"}, ["--importance-samples", "0"], "--importance-samples 0: give at least 1"),
        ({"name": "vae"}, ["--count", "1"], "--count 1: give at least 2"),
        ({"name": "vae"}, ["--split", "petals"], "no such split as 'petals'"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: dict[str, object], flags: list[str], message: str
) -> None:
    model = _model(tmp_path / "model", **objective)
    assert run(["estimate", str(model), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
