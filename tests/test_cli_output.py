"""What every command says: one JSON object with --json, only what was asked for with --quiet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corolla.cli import run
from corolla.cli.output import Output
from corolla.cli.program import COMMANDS
from corolla.config import Config
from corolla.training import fit

Cli = Callable[..., tuple[int, str, str]]
TINY = "--source florets:200 --size 16 --max-steps 2 --latent-dim 4 --batch-size 8 --threads 1"
LINES = {
    "demo": "demo --quick -o page",
    "train": f"train {TINY} --run trained",
    "sweep": f"sweep {TINY} --beta 1,2 -o grid",
    "tune": f"tune {TINY} --trials 1 --choice objective.beta=1,2 -o search",
    "presets": "presets",
    "settings": "settings beta_vae",
    "sample": "sample run --count 2 --npz sample.npz",
    "fit-prior": "fit-prior run gaussian",
    "reconstruct": "reconstruct run photos",
    "traverse": "traverse run --latents 2 --steps 3",
    "interpolate": "interpolate run --count 2 --steps 3",
    "direction": "direction run --from photos/[0-2].png --to photos/[3-5].png --save d.safetensors",
    "loop": "loop run --count 3 --steps 2 -o loop.png",
    "poster": "poster run --size 64x32 --columns 4",
    "compress": "compress run photos -o photos.corolla",
    "decompress": "decompress run photos.corolla -o back",
    "embed": "embed run photos -o codes.npz",
    "search": "search run photos/0.png --in codes.npz",
    "anomalies": "anomalies run photos -o odd --fpr 0.5",
    "denoise": "denoise run photos -o clean --corrupt gaussian:25",
    "inpaint": "inpaint run photos --box 2,2,4,4 -o whole",
    "export": "export run -o exported",
    "info": "info run",
    "report": "report run -o page.html",
    "evaluate": "evaluate run --samples 16 --images 16 --features pca4 --only images,samples -o scores",
    "compare": "compare run other --samples 16 --images 16 --only images -o table",
    "estimate": "estimate run --importance-samples 2 --count 4",
    "data": "data info florets:20",
    "data list": "data list",
    "data get": "data get florets:20",
    "data preview": "data preview folder:photos",
}
WRITTEN = {
    "sample": ["samples.png", "sample.npz"],
    "direction": ["d.safetensors", "direction.png"],
    "embed": ["codes.npz"],
    "evaluate": ["scores/scores.json"],
    "sweep": ["grid/sweep.csv", "grid/rate-distortion.png", "grid/reconstructions.png"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and photos."""
    folder, before = tmp_path_factory.mktemp("output"), Path.cwd()
    os.chdir(folder)
    Path("photos").mkdir()
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(f"photos/{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COROLLA_HOME", str(folder / "home"))
        fit(_tiny(), "run")
        fit(_tiny().updated({"seed": 1}), "other")
    os.chdir(before)
    return folder


def _tiny() -> Config:
    data, network = {"source": "florets:200", "size": 16}, {"width": 8, "latent_dim": 4, "patch": 4}
    training = {"max_steps": 2, "batch_size": 8, "threads": 1}
    return Config.from_dict({"data": data, "network": network, "training": training})


def test_each_command_has_a_line_here() -> None:
    assert COMMANDS.keys() <= LINES.keys()


@pytest.mark.parametrize("name", LINES)
def test_each_command_gives_one_json_object(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("corolla.config.preset", lambda _name: _tiny())
    monkeypatch.setattr("corolla.demo.preset", lambda _name: _tiny())
    monkeypatch.setattr("corolla.demo.QUICK_STEPS", 2)
    if name == "search" and not Path("codes.npz").exists():
        assert run(LINES["embed"].split()) == 0
    if name == "decompress" and not Path("photos.corolla").exists():
        assert run(LINES["compress"].split()) == 0
    cli("presets")  # what was said so far is no part of it
    code, out, err = cli(*LINES[name].split(), "--json")
    assert code == 0, err
    facts = json.loads(out, parse_constant=pytest.fail)
    assert isinstance(facts, dict)
    assert facts
    assert facts.get("wrote", [])[: len(WRITTEN.get(name, []))] == WRITTEN.get(name, [])
    assert all(Path(path).exists() for path in facts.get("wrote", []))


def test_quiet_leaves_only_what_was_asked_for(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert cli("--quiet", *LINES["embed"].split()) == (0, "", "")
    assert cli("train", *TINY.split(), "--run", "silent", "--quiet") == (0, "", "")
    code, out, err = cli("search", "run", "photos/0.png", "--quiet", "--in", "codes.npz", "-o", "near.png")
    assert (code, err, len(out.splitlines())) == (0, "", 5)
    assert Path("near.png").is_file()
    code, out, err = cli("search", "run", "photos/none.png", "--quiet", "--in", "codes.npz")
    assert (code, out) == (1, "")
    assert "photos/none.png" in err


def test_what_is_no_number_is_null_and_what_was_done_before_an_error_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output()
    out.begin(json_=True)
    out.end()
    assert capsys.readouterr().out == ""
    out.wrote(Path("a"), Path("b"), note="two")
    out.lines(["text"], mean=float("nan"), codes=np.array([[1.5, np.inf]]), path=Path("c"), number=np.float32(0.5))
    out.end()
    expected = {"wrote": ["a", "b"], "mean": None, "codes": [[1.5, None]], "path": "c", "number": 0.5}
    assert json.loads(capsys.readouterr().out) == expected
