"""The commands that measure: what they print and write, what they refuse, and that they go on where they stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from corolla.config import Config
from corolla.evaluation import SCORES
from corolla.models.vae import build_model
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder

Cli = Callable[..., tuple[int, str, str]]
TINY: dict[str, object] = {
    "data": {"source": "florets:400", "size": 16},
    "network": {"width": 8, "latent_dim": 4, "patch": 4},
    "training": {"max_steps": 4, "batch_size": 8, "threads": 1},
}
QUICK = ("--features", "pca4", "--samples", 40, "--only", "images,samples,latents")
SETTINGS = ["--source", "florets:400", "--size", "16", "--max-steps", "4", "--latent-dim", "4", "--threads", "1"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("corolla.evaluation.folders.SAMPLES", 20)  # where no number is given
    monkeypatch.setattr("corolla.evaluation.folders.IMAGES", 20)
    monkeypatch.setattr("corolla.evaluation.material.MOST_FACTOR_ROWS", 400)


def make(path: str, seed: int = 1, **changes: object) -> Path:
    """A run folder's model with random weights."""
    config = Config.from_dict(TINY).updated({"seed": seed} | {k.replace("__", "."): v for k, v in changes.items()})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ModelFolder(Path(path) / "model").save(build_model(config), ModelCard(config))
    return Path(path)


def test_evaluate_prints_a_table_and_leaves_files(cli: Cli) -> None:
    code, out, err = cli("evaluate", make("model"), *QUICK)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("model: 40 images of val (florets:400), 40 samples from each prior, seed 0")
    assert [line for line in lines if not line.startswith(" ")][1:4] == ["images", "samples", "latents"]
    assert any(line.split()[:1] == ["PSNR"] for line in lines)
    scores = SCORES.read(Path("model/scores.json"))[0]
    assert scores.scores["psnr_db"].low is not None
    with Path("model/scores/images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    mean = sum(float(row["psnr_db"]) for row in rows) / 40
    assert mean == pytest.approx(scores.scores["psnr_db"].value, abs=1e-3)
    assert rows[0]["image"].startswith("floret-")
    for name in ("reconstructions", "neighbours"):
        with Image.open(f"model/scores/{name}.png") as picture:
            assert picture.size[0] > 300
    assert lines[-1].startswith("wrote model/scores.json, ")


def test_scores_are_shown_though_the_report_cannot_be_written(cli: Cli) -> None:
    scored = RunFolder(make("run"))
    scored.write_config(ModelFolder.find(scored.path).card.config, {})
    scored.metrics_file.write_text("step,loss\n7\n")
    code, out, err = cli("evaluate", scored.path, "--only", "images")
    assert code == 0, err
    assert "PSNR" in out
    assert "metrics.csv: damaged" in err
    assert "`corolla report run` makes up for it" in err
    assert not scored.report.exists()
    scored.metrics_file.unlink()
    assert cli("evaluate", scored.path, "--only", "images")[0] == 0
    assert scored.report.is_file()


def test_evaluate_as_json_is_the_file(cli: Cli) -> None:
    code, out, _ = cli("evaluate", make("model"), "--only", "images", "--json", "-o", "elsewhere")
    assert code == 0
    facts = json.loads(out)
    assert facts.pop("wrote")[0] == "elsewhere/scores.json"
    assert facts == json.loads(Path("elsewhere/scores.json").read_text(encoding="utf-8"))
    assert not Path("model/scores.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 1, "nowhere: no such folder"),
        (
            ["model", "--only", "beauty"],
            2,
            "'beauty' is no group of scores; there are images, samples, latents, factors",
        ),
        (["model", "--samples", "3"], 2, "--samples 3: give at least 16"),
        (["model", "--images", "3"], 2, "--images 3: give at least 16"),
        (["model", "--split", "train"], 2, "320 of its images were trained on"),
        (["model", "--split", "tset"], 2, "no such split as 'tset'"),
        (["model", "--features", "inception", "--only", "samples"], 2, "features inception"),
        (["model", "--priors", "gmm", "--only", "samples"], 1, "missing; make it with `corolla fit-prior"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(cli: Cli, arguments: list[str], code: int, told: str) -> None:
    make("model")
    found, out, err = cli("evaluate", *arguments)
    said = [line for line in err.splitlines() if line.startswith("corolla: ")]
    assert (found, out, len(said)) == (code, "", 1)
    assert told in said[0]


@pytest.mark.parametrize("wrong", [["--features", "pca0"], ["--priors", "standard,gmm"]])
def test_what_cannot_be_is_told_before_images_are_drawn(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, wrong: list[str]
) -> None:
    def drawn(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("corolla.evaluation.gather", drawn)
    code, _, err = cli("evaluate", make("model"), *wrong)
    assert code != 0
    assert "gmm" in err or "features pca0: there are lite0" in err


def test_compare_scores_what_is_not_scored_and_groups_seeds(cli: Cli) -> None:
    first, second = make("vae-1", 1, objective__name="vae"), make("vae-2", 2, objective__name="vae")
    third = make("beta-1", 1)
    for path in (first, second, third):
        assert cli("evaluate", path, *QUICK)[0] == 0
    stamp = (first / "scores.json").stat().st_mtime_ns
    code, out, err = cli("compare", first, second, third, "-o", "table")
    assert code == 0, err
    assert "vae ×2" in out.splitlines()[0]
    assert any(line.startswith("objective.name") for line in out.splitlines())
    assert any(line.startswith("UDR") for line in out.splitlines())
    assert (first / "scores.json").stat().st_mtime_ns == stamp  # not scored again
    table = Path("table/comparison.md").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("|  | vae ×2 | beta-1 |")
    numbers = json.loads(Path("table/comparison.json").read_text(encoding="utf-8"))
    assert [column["members"] for column in numbers["columns"]] == [["vae-1", "vae-2"], ["beta-1"]]
    for name in ("reconstructions", "samples"):
        assert Path(f"table/{name}.png").is_file()


def test_compare_scores_as_it_is_told_and_finds_images_that_have_moved(cli: Cli, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for split, count in (("train", 20), ("val", 30)):
        (photos / split).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (16, 16), (5 * number, 100, 0)).save(photos / split / f"{number}.png")
    for number in (1, 2):
        make(f"run-{number}", number, data__source=f"folder:{photos}")
    moved = photos.rename(tmp_path / "moved")
    code, _, err = cli("compare", "run-1", "run-2", "--only", "images")
    assert (code, "--source" in err) == (1, True)
    given = ["--only", "images", "--images", "25", "--source", f"folder:{moved}", "-o", "table"]
    code, out, err = cli("compare", "run-1", "run-2", *given)
    assert code == 0, err
    assert "UDR" in out
    for number in (1, 2):
        scores = SCORES.read(Path(f"run-{number}/scores.json"))[0]
        assert scores.images == 25
        assert set(scores.scores) <= {"psnr_db", "ssim", "perceptual_lite0", "distortion_nats"}
    assert Path("table/reconstructions.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a"], "1 model: give at least two"),
        (["a", "a"], "a run is named twice"),
        (["a", "b", "--beta", "3"], "settings are for the models that --family trains"),
        (["a", "b", "--images", "3"], "--images 3: give at least 16"),
        (["a", "b", "--only", "beauty"], "'beauty' is no group of scores"),
        (["--family", "--seeds", "1,x"], "--seeds 1,x: give whole numbers"),
        (["--family", "--seeds", "1,1"], "has 1 twice"),
        (["--family", "--seed", "3"], "--seed is not for --family: give --seeds"),
        (["--family", "--objective", "vae"], "--objective is not for --family: it trains ae, vae and beta_vae"),
        (["--family", "--preset", "quick", "--config", "x.yaml"], "--preset and --config both say where to start"),
        (["a", "other"], "other: scored on other images than a: its size is [24, 24], not [16, 16]; .*--force"),
    ],
)
def test_what_cannot_be_compared_is_one_line(cli: Cli, arguments: list[str], told: str) -> None:
    for path in ("a", "b"):
        make(path)
    make("other", data__size=24)
    for path in ("a", "b", "other"):
        assert cli("evaluate", path, "--only", "images")[0] == 0
    code, out, err = cli("compare", *arguments)
    assert (code, out) == (2, "")
    said, _, rest = told.partition("; .*")
    assert said in err
    assert rest in err


@pytest.mark.slow
def test_the_family_is_trained_once_and_put_into_words(cli: Cli) -> None:
    arguments = ["compare", "--family", "--seeds", "1,2", *SETTINGS, "-o", "family"]
    code, out, err = cli(*arguments)
    assert code == 0, err
    assert {path.name for path in Path("family").iterdir() if path.is_dir()} == {
        f"{name}-{seed}" for name in ("ae", "vae", "beta_vae") for seed in (1, 2)
    }
    table = Path("family/comparison.md").read_text(encoding="utf-8")
    assert "| goal | a short code from which the image comes back |" in table
    assert "-log p(x\\|z) + β KL" in table
    weights = {path: path.read_bytes() for path in Path("family").glob("*/model/model.safetensors")}
    assert len(weights) == 6
    assert cli(*arguments)[:2] == (0, out)
    assert weights == {path: path.read_bytes() for path in weights}
    code, _, err = cli(*[text if text != "4" else "6" for text in arguments])
    assert code == 2
    assert "was trained with" in err
    assert "choose another folder (--output)" in err


def test_compare_scores_again_as_before_but_for_what_it_is_told(cli: Cli) -> None:
    for name, seed in (("model", 1), ("second", 2)):
        assert cli("evaluate", make(name, seed), *QUICK, "--seed", 3)[0] == 0
    file = Path("model/scores.json")
    SCORES.write(file, replace(SCORES.read(file)[0], weights_sha256="other"))
    assert cli("compare", "model", "second")[0] == 0
    again = SCORES.read(file)[0]
    assert (again.seed, again.samples, again.images) == (3, 40, 40)
    assert {"kid_pca4/standard", "psnr_db"} <= set(again.scores)
    before = file.read_bytes()
    assert cli("compare", "model", "second", "--only", "images", "--samples", 40)[0] == 0
    assert file.read_bytes() == before  # there is what is asked for
    assert cli("compare", "model", "second", "--only", "samples", "--samples", 24)[0] == 0
    assert "psnr_db" in SCORES.read(file)[0].scores  # what is not asked for stays
    assert [SCORES.read(Path(name) / "scores.json")[0].samples for name in ("model", "second")] == [24, 24]


def test_scores_of_other_weights_are_made_anew(cli: Cli) -> None:
    path = make("model")
    make("second", 2)
    for name in ("model", "second"):
        assert cli("evaluate", name, "--only", "images")[0] == 0
    before = SCORES.read(path / "scores.json")[0]
    SCORES.write(path / "scores.json", replace(before, weights_sha256="other"))
    code, _, err = cli("compare", "model", "second")
    assert code == 0
    assert "made with other weights than the model has now; scoring again" in err
    assert SCORES.read(path / "scores.json")[0].weights_sha256 == before.weights_sha256
