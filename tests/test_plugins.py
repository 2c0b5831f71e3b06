"""Open tables: what a user registers is trained, scored and loaded like Corolla's own, and a fault names its file."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import corolla
from corolla import cli
from corolla.config import registry
from corolla.config.registry import load_plugin, plugin_of, registered
from corolla.data import Step, open_source, operation, recipe_named
from corolla.distributions import DiagonalGaussian
from corolla.models.blocks import GaussianHead
from corolla.models.vae import VAE
from corolla.training import resume

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tables as they were, afterwards."""
    for kind in registry.HOMES:
        registered(kind)
    before = {kind: dict(table) for kind, table in registry._TABLES.items()}
    loaded, origins = set(registry._loaded), dict(registry._ORIGINS)
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    yield
    for kind, table in before.items():
        registry._TABLES[kind].clear()
        registry._TABLES[kind].update(table)
    registry._ORIGINS.clear()
    registry._ORIGINS.update(origins)
    registry._loaded.clear()
    registry._loaded.update(loaded)


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


OBJECTIVE = """
from typing import Literal
import corolla

@corolla.register
class Mine(corolla.Objective):
    name: Literal["{name}"] = "{name}"

    def terms(self, q, z, **_):
        return {{"kl": q.kl().mean()}}
"""


def test_what_is_registered_can_be_named(tmp_path: Path) -> None:
    file = write(tmp_path, OBJECTIVE.format(name="mine"))
    load_plugin(file)
    load_plugin(file)  # at most once
    config = corolla.Config().updated({"objective.name": "mine"})
    assert config.objective.name == "mine"
    assert plugin_of("objective", "mine") == file
    assert plugin_of("objective", "vae") is None
    assert corolla.Config.from_dict(config.model_dump(mode="json")) == config


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(corolla.UsageError, match=r"no such objective as 'beta_vea' \(did you mean 'beta_vae'\?\)"):
        corolla.Config().updated({"objective.name": "beta_vea"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_the_kind\n", r"mine\.py: cannot be loaded: ModuleNotFoundError: .*line 1 of .*mine\.py"),
        ("x = 1\nraise RuntimeError('broken')\n", r"RuntimeError: broken, line 2 of .*mine\.py"),
        ("def f(:\n", r"mine\.py: cannot be loaded: SyntaxError"),
        (
            OBJECTIVE.format(name="vae"),
            r"'vae' is registered twice: in .*beta_vae\.py and in .*mine\.py",
        ),
        ("import corolla\n@corolla.register\nclass A: ...\n", r"mine\.py: <class .*A'> cannot be registered"),
    ],
)
def test_a_broken_plugin_is_named_with_its_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(corolla.UsageError, match=words) as caught:
        load_plugin(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_plugin_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--plugin", str(tmp_path / "none.py"), "presets"]) == 2
    assert "none.py: no such file" in capsys.readouterr().err
    assert cli.run(["presets", "--plugin", "no_such_module"]) == 2
    assert "plugin no_such_module: cannot be loaded: ModuleNotFoundError" in capsys.readouterr().err
    assert cli.run(["presets", "--plugin"]) == 2
    assert "--plugin: name a module" in capsys.readouterr().err


def test_plugins_reach_the_processes_that_a_command_starts(tmp_path: Path) -> None:
    file = write(tmp_path, OBJECTIVE.format(name="inherited"))
    code = "from corolla.config.registry import find; print(find('objective', 'inherited').__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, registry.PLUGINS_VARIABLE: file},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Mine\n"


SMALL = ["--size", "16", "--latent-dim", "3", "--max-steps", "8", "--batch-size", "16"]


def corolla_(*words: object) -> None:
    assert cli.run([str(word) for word in words]) == 0


@pytest.mark.parametrize(
    ("example", "flags"),
    [
        ("own_objective.py", ["--objective", "ladder_vae", "--set", "objective.high=8", "--set", "network.patch=4"]),
        ("own_network.py", ["--network", "mlp", "--set", "network.hidden=16"]),
    ],
)
def test_an_example_trains_scores_and_reports(
    tmp_path: Path, example: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, run = ["--plugin", EXAMPLES / example], tmp_path / "run"
    corolla_("train", "--source", "florets:300", *SMALL, *flags, "--run", run, *plugin)
    corolla_("info", run, *plugin)
    corolla_("evaluate", run, "--only", "latents", *plugin)
    corolla_("report", run, "-o", tmp_path / "page.html", *plugin)
    corolla_("settings", flags[1], *plugin)
    assert flags[3].partition("=")[0] in capsys.readouterr().out


def test_the_objective_of_the_examples_is_swept(tmp_path: Path) -> None:
    plugin, flags = ["--plugin", EXAMPLES / "own_objective.py"], ["--objective", "ladder_vae"]
    small = ["--source", "florets:300", *SMALL, "--set", "network.patch=4"]
    corolla_("sweep", *small, *flags, "--set", "objective.high=2,8", "-o", tmp_path / "sweep", *plugin)
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "objective.high" in rows[0]


def test_a_source_a_score_and_a_prior_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    plugins = [w for kind in ("source", "score", "prior") for w in ("--plugin", EXAMPLES / f"own_{kind}.py")]
    corolla_(
        "train", "--source", "discs:300", *SMALL, "--set", "network.patch=4", "--run", run, "--no-report", *plugins
    )
    corolla_("evaluate", run, "--only", "images", *plugins)
    assert "edges kept" in capsys.readouterr().out
    corolla_("fit-prior", run, "student", "--set", "degrees=7", *plugins)
    corolla_("sample", run, "--prior", "student", "--count", "4", "--seed", "1", "-o", tmp_path / "s.png", *plugins)
    prior = corolla.load(run).prior("student")
    draws = prior.sample(100_000, torch.Generator().manual_seed(0))
    # The variance of the draws is that of the density: scale²·ν/(ν - 2) with ν = 7.
    assert torch.allclose(draws.double().var(0), prior.tensors()["scale"] ** 2 * 7 / 5, rtol=0.05)
    with pytest.raises(corolla.UsageError, match=r"'disc:3': no such source \(did you mean 'discs'\?\)"):
        open_source("disc:3")
    with pytest.raises(corolla.UsageError, match="write discs:COUNT"):
        open_source("discs:many")


def test_a_recipe_of_ones_own() -> None:
    from PIL import Image, ImageOps

    @operation
    def posterised(image: Image.Image, _size: tuple[int, int], *, bits: int) -> Image.Image:
        return ImageOps.posterize(image, bits)

    corolla.register(corolla.Recipe("poster", (Step("posterised", (("bits", 1),)), *recipe_named("fit").steps)))
    pixels = recipe_named("poster").apply(Image.new("RGB", (20, 20), (200, 100, 30)), 8, 8)
    assert pixels[0, 0].tolist() == [128, 0, 0]
    assert recipe_named("poster").digest != recipe_named("fit").digest


def test_a_model_says_which_plugin_it_needs(tmp_path: Path) -> None:
    file = write(tmp_path, OBJECTIVE.format(name="needed"))
    run = tmp_path / "run"
    small = ["--source", "florets:300", *SMALL, "--set", "network.patch=4", "--no-report"]
    corolla_("--plugin", file, "train", *small, "--objective", "needed", "--run", run)
    registry._TABLES["objective"].pop("needed")
    registry._loaded.discard(file)
    os.environ[registry.PLUGINS_VARIABLE] = ""
    with pytest.raises(corolla.ModelError, match=r"such objective as 'needed'.*with .*mine\.py: load that first"):
        corolla.load(run)
    with pytest.raises(corolla.UsageError, match=r"made with .*mine\.py: load that first"):
        resume(run)
    registry._ORIGINS.pop(("objective", "needed"))
    corolla.load_plugin(file)
    assert corolla.load(run).config.objective.name == "needed"


PICTURES = """
import numpy as np
import corolla
from corolla.data import ArraySource, recipe_named

corolla.register(corolla.Recipe("my_recipe", recipe_named("fit").steps))
images = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8)
corolla.register(corolla.SourceKind("noise", "noise", lambda *_: ArraySource("noise", images)))
"""


@pytest.mark.parametrize("flags", [["--recipe", "my_recipe", "--source", "florets:300"], ["--source", "noise"]])
def test_a_model_says_which_plugin_its_pictures_need(
    tmp_path: Path, flags: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = write(tmp_path, PICTURES, "pictures.py"), tmp_path / "run"
    corolla_("train", *SMALL, *flags, "--set", "network.patch=4", "--run", run, "--no-report", "--plugin", file)
    assert corolla.load(run).config.plugins == [file]
    monkeypatch.setattr(logging.getLogger("corolla"), "propagate", True)
    caplog.clear()
    corolla.load(run)
    assert not caplog.messages
    for kind, name in (("recipe", "my_recipe"), ("source", "noise")):
        del registry._TABLES[kind][name], registry._ORIGINS[kind, name]
    registry._loaded.discard(file)
    os.environ[registry.PLUGINS_VARIABLE] = ""
    model = corolla.load(run)
    assert model.sample(1, seed=0).shape == (1, 16, 16, 3)
    kind, name = flags[0].lstrip("-"), flags[1]
    (message,) = set(caplog.messages)
    assert f"no such {kind} as {name!r}" in message
    assert f"made with {file}: load that first" in message


def test_networks_and_objectives_made_by_hand(tmp_path: Path) -> None:
    class Unregistered(corolla.Objective):
        """Never registered."""

        name: Literal["unregistered"] = "unregistered"

        def terms(self, q: DiagonalGaussian, z: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:  # noqa: ARG002
            return {"kl": 2.0 * q.kl().mean()}

    small = {"data.source": "florets:100", "data.size": 16, "training.max_steps": 4, "training.batch_size": 16}
    config = corolla.Config().updated(small)

    def networks() -> VAE:
        torch.manual_seed(3)
        trunk = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 8), torch.nn.ReLU())
        decoder = torch.nn.Sequential(torch.nn.Linear(3, 768), torch.nn.Unflatten(1, (3, 16, 16)))
        return VAE(GaussianHead(trunk, 8, 3), decoder, config.likelihood.build())

    model = corolla.fit(config, tmp_path / "run", vae=networks())
    assert (model.latent_dim, model.config.network.name) == (3, "handmade")
    with pytest.raises(corolla.UsageError, match="made by hand; give it again"):
        corolla.load(tmp_path / "run")
    again = corolla.load(tmp_path / "run", vae=networks())
    assert (again.sample(2, seed=0) == model.sample(2, seed=0)).all()
    with pytest.raises(corolla.UsageError, match="do not take images"):
        corolla.fit(config.updated({"data.size": 24}), tmp_path / "other", vae=networks())
    assert not (tmp_path / "other").exists()
    with pytest.raises(corolla.UsageError, match="give the networks"):
        corolla.fit(config.updated({"network.name": "handmade"}), tmp_path / "other")
    taken = type("Taken", (Unregistered,), {"__annotations__": {"name": str}, "name": "vae"})(name="vae")
    with pytest.raises(corolla.UsageError, match="'vae' is another class already"):
        corolla.fit(config, tmp_path / "other", objective=taken)
    objective = Unregistered()
    trained = corolla.fit(config.updated({"network.patch": 4}), tmp_path / "third", objective=objective, vae=networks())
    assert trained.config.objective.name == "unregistered"


def test_the_objective_of_the_examples_is_short() -> None:
    code = (EXAMPLES / "own_objective.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 40
