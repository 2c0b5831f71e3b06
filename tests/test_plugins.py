"""Open tables: what a user registers is trained, scored and loaded like Corolla's own, and a fault names its file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import corolla
from corolla import cli
from corolla.config import registry
from corolla.config.registry import find, load_plugin, plugin_of, registered

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tables as they were, afterwards."""
    for kind in registry.HOMES:
        if kind in ("objective", "network", "likelihood"):
            registered(kind)
    before = {kind: dict(table) for kind, table in registry._TABLES.items()}
    loaded, files = set(registry._loaded), dict(registry._FILES)
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    yield
    for kind, table in before.items():
        registry._TABLES[kind].clear()
        registry._TABLES[kind].update(table)
    registry._FILES.clear()
    registry._FILES.update(files)
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
    assert plugin_of(type(config.objective)) == file
    assert plugin_of(find("objective", "vae")) is None
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
            r"'vae' is registered twice: by VAE in .*beta_vae\.py and by Mine in .*mine\.py",
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


@pytest.mark.parametrize(
    ("example", "flags"),
    [
        ("own_objective.py", ["--objective", "ladder_vae", "--set", "objective.high=8"]),
        ("own_network.py", ["--network", "mlp", "--set", "network.hidden=16"]),
    ],
)
def test_an_example_trains_scores_and_reports(
    tmp_path: Path, example: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = ["--plugin", str(EXAMPLES / example)]
    small = ["--source", "florets:300", "--size", "16", "--latent-dim", "3", "--max-steps", "8", "--batch-size", "16"]
    patch = [] if "--network" in flags else ["--set", "network.patch=4"]
    run = str(tmp_path / "run")
    for words in (
        ["train", *small, *flags, *patch, "--run", run],
        ["info", run],
        ["evaluate", run, "--only", "latents"],
        ["report", run, "-o", str(tmp_path / "page.html")],
        ["settings", "objective"],
    ):
        assert cli.run([*words, *plugin]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert flags[1] in out


def test_the_objective_of_the_examples_is_short() -> None:
    code = (EXAMPLES / "own_objective.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 40
