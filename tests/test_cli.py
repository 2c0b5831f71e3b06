from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import corolla
from corolla.cli import run
from corolla.cli.train import SETTINGS, Flags, build_config
from corolla.config import Config, preset, preset_names
from corolla.config.describing import describe_setting
from corolla.data import open_source
from corolla.errors import UsageError
from corolla.models.vae import build_model
from corolla.trained import load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder

Cli = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("own_folders")
SOURCE = Path(corolla.__file__).parents[1]
TINY: dict[str, object] = {
    "data": {"source": "florets:40", "size": 16},
    "network": {"width": 8, "latent_dim": 6, "patch": 4},
    "training": {"max_steps": 2, "batch_size": 8, "threads": 1},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    config = Config.from_dict(TINY)
    card = ModelCard(
        config,
        step=7,
        scores={"loss": 510.5, "kl": 6.5, "psnr_db": 12.25, "active_latents": 4.0},
        latent_kl_nats=(0.5, 3.0, 0.001, 2.0, 0.0, 1.0),
        data={"source": "florets:40", "fingerprint": "ab" * 32, "training_images": 32, "evaluation_images": 4},
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(tmp_path / "trained" / "model").save(build_model(config), card)
    return tmp_path / "trained"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 24, 30, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def in_subprocess(*arguments: object, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "corolla"]
    environment = {"PYTHONIOENCODING": "utf-8"} | os.environ | {"PYTHONPATH": str(SOURCE)}
    line = [sys.executable, *command, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, encoding="utf-8", env=environment)


# --- sample, reconstruct, traverse, interpolate -----------------------------------------------------------------------


def test_sample_writes_a_picture_and_arrays_that_the_seed_fixes(cli: Cli, model: Path) -> None:
    code, out, err = cli("sample", model, "-o", "a.png", "--count", 5, "--seed", 3, "--npz", "a.npz")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["wrote a.png (5 images)", "wrote a.npz (images 5×16×16×3, latents 5×6)"]
    with np.load("a.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], load(model).sample(5, seed=3))
        np.testing.assert_array_equal(arrays["latents"], load(model).sample_latents(5, seed=3))
    cli("sample", model, "-o", "b.png", "--count", 5, "--seed", 3)
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    cli("sample", model, "-o", "b.png", "--count", 5, "--seed", 4)
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()


def test_sample_at_temperature_zero_is_the_middle_of_the_prior(cli: Cli, model: Path) -> None:
    cli("sample", model, "--count", 2, "--temperature", 0, "--npz", "a.npz")
    with np.load("a.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"][0], load(model).decode(np.zeros(6))[0])


def test_fit_prior_keeps_a_prior_that_sample_draws_from(cli: Cli, tmp_path: Path) -> None:
    model = _without_fingerprint(tmp_path)
    code, out, err = cli("fit-prior", model, "gmm", "--components", 2, "--seed", 3, "--draws", 2)
    assert (code, err) == (0, "")
    file = model / "model" / "prior-gmm.safetensors"
    assert out.startswith(f"wrote {file} (fitted to 64 codes of 32 images; log p(z) of evaluation images ")
    assert out.count("\n") == 1
    code, out, err = cli("sample", model, "--prior", "gmm", "--count", 5, "--temperature", 0, "--npz", "a.npz")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "wrote samples.png (5 images)"
    with np.load("a.npz") as arrays:
        means = load(model).prior("gmm").tensors()["means"].float().numpy()
        assert all(any(np.array_equal(z, mean) for mean in means) for z in arrays["latents"])


def test_sample_fits_a_prior_that_is_missing_and_says_so(cli: Cli, tmp_path: Path) -> None:
    model = _without_fingerprint(tmp_path)
    _, first, err = cli("sample", model, "--prior", "gaussian", "-o", "a.png")
    file = model / "model" / "prior-gaussian.safetensors"
    assert err == ""
    assert [line.split(" (")[0] for line in first.splitlines()] == [f"wrote {file}", "wrote a.png"]
    assert "fitted first, with the defaults, to 320 codes of 32 images" in first
    fitted = file.read_bytes()
    assert cli("sample", model, "--prior", "gaussian", "-o", "b.png") == (0, "wrote b.png (64 images)\n", "")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert file.read_bytes() == fitted
    cli("sample", model, "-o", "b.png")
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()


def test_priors_that_cannot_be_are_one_line(cli: Cli, model: Path, tmp_path: Path) -> None:
    usable = _without_fingerprint(tmp_path)
    for exit_code, arguments, told in (
        (2, ["fit-prior", usable, "vamp"], "there are standard, gaussian, gmm, flow"),
        (2, ["sample", usable, "--prior", "vamp"], "there are standard, gaussian, gmm, flow"),
        (2, ["fit-prior", usable, "gmm", "--components", 999], "999 components for 320 codes"),
        (
            2,
            ["fit-prior", usable, "gaussian", "--components", 2],
            "gaussian has no such setting; gmm has it",
        ),
        (2, ["sample", usable, "--prior", "gmm", "--seed", -1], "seed -1"),
        (2, ["sample", usable, "--prior", "gmm", "--count", 0], "count 0"),
        (1, ["fit-prior", model, "gmm"], "--source florets:40"),
        (1, ["sample", model, "--prior", "gmm"], "its images have changed"),
    ):
        code, out, err = cli(*arguments)
        assert (code, out) == (exit_code, ""), (arguments, err)
        assert err.startswith("corolla: ")
        assert err.count("\n") == 1
        assert told in err
    assert list(Path.cwd().iterdir()) == []
    assert not list(usable.rglob("prior-*"))


def _without_fingerprint(tmp_path: Path) -> Path:
    """A model that does not say what its images were, so that those there are will do."""
    config = Config.from_dict(TINY)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(tmp_path / "plain" / "model").save(build_model(config), ModelCard(config))
    return tmp_path / "plain"


def test_reconstruct_takes_files_and_folders(cli: Cli, model: Path, photos: Path) -> None:
    code, out, err = cli("reconstruct", model, photos / "1.png", photos, "--count", 3, "--npz", "a.npz")
    assert (code, err) == (0, "")
    assert out.startswith("wrote reconstructions.png (3 images, PSNR ")
    with np.load("a.npz") as arrays:
        wanted = load(model).pixels([photos / "1.png", photos / "1.png", photos / "3.png"])  # spread over all five
        np.testing.assert_array_equal(arrays["originals"], wanted)
        assert arrays["images"].shape == wanted.shape
        assert arrays["latents"].shape == (3, 6)
        assert arrays["psnr_db"].shape == (3,)


def test_reconstruct_without_images_takes_the_evaluation_split(cli: Cli, model: Path) -> None:
    code, out, _ = cli("reconstruct", model, "-o", "a.jpg", "--npz", "a.npz")
    assert code == 0
    source = open_source("florets:40")
    assert f"({len(source.splits['val'])} images" in out


def test_traverse_orders_latents_and_marks_the_dead(cli: Cli, model: Path, photos: Path) -> None:
    code, out, _ = cli("traverse", model, "--image", photos / "0.png", "--npz", "a.npz", "--steps", 3)
    assert (code, out.splitlines()[0]) == (0, "wrote traversal.png (6 latents, 2 dead, 3 steps)")
    with np.load("a.npz") as arrays:
        assert arrays["latents"].tolist() == [1, 3, 5, 0, 2, 4]
        assert arrays["images"].shape == (6, 3, 16, 16, 3)
        np.testing.assert_array_equal(arrays["values"], [-3, 0, 3])
    _, out, _ = cli("traverse", model, "--latent", 5, "--latent", 3, "-o", "b.png", "--npz", "b.npz")
    with np.load("b.npz") as arrays:
        assert arrays["latents"].tolist() == [3, 5]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_traverse_and_interpolate_move(cli: Cli, model: Path, suffix: str) -> None:
    assert cli("traverse", model, "-o", f"t{suffix}", "--steps", 8, "--latents", 2)[0] == 0
    assert cli("interpolate", model, "-o", f"i{suffix}", "--steps", 4, "--count", 3, "--loop")[0] == 0
    with Image.open(f"t{suffix}") as moving:
        assert moving.n_frames == 8  # type: ignore[attr-defined]
    with Image.open(f"i{suffix}") as moving:
        assert moving.n_frames == 9  # type: ignore[attr-defined]


def test_interpolate_walks_between_images(cli: Cli, model: Path, photos: Path) -> None:
    code, out, _ = cli("interpolate", model, photos / "0.png", photos / "1.png", "--steps", 4, "--npz", "a.npz")
    assert (code, out.splitlines()[0]) == (0, "wrote interpolation.png (4 images between 2 points)")
    with np.load("a.npz") as arrays:
        codes = load(model).encode([photos / "0.png", photos / "1.png"])
        np.testing.assert_allclose(arrays["latents"][[0, -1]], codes, atol=1e-6)


# --- info, presets, data ----------------------------------------------------------------------------------------------


def test_info_describes_a_model(cli: Cli, model: Path) -> None:
    code, out, err = cli("info", model)
    assert (code, err) == (0, "")
    assert "resnet, 6 latents, 16x16 pixels" in out
    assert "data.size: [16, 16]" in out
    assert "4 active, 2 dead" in out
    assert "32 for training, 4 for evaluation" in out


def test_info_as_json_has_the_numbers(cli: Cli, model: Path) -> None:
    code, out, _ = cli("info", model, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["parameters"] == sum(p.numel() for p in load(model).vae.parameters())
    assert facts["bytes"] == (model / "model" / "model.safetensors").stat().st_size
    assert facts["normalised_beta"] == pytest.approx(4 * 6 / (3 * 16 * 16))
    assert [entry["latent"] for entry in facts["latents"]] == [1, 3, 5, 0, 2, 4]
    assert [entry["dead"] for entry in facts["latents"]] == [False] * 4 + [True] * 2
    assert facts["settings"]["training.max_steps"] == 2
    assert "objective.beta" not in facts["settings"]


def test_info_shows_bits_per_dimension(cli: Cli, model: Path) -> None:
    card = ModelFolder.find(model).card
    card = replace(card, scores=card.scores | {"bits_per_dim": 4.567})
    (model / "model" / "config.json").write_text(card.to_json())
    (line,) = (line for line in cli("info", model)[1].splitlines() if "bits per dim" in line)
    assert line.split() == ["bits", "per", "dimension", "4.57", "bits"]


def test_info_gives_advice(cli: Cli, model: Path) -> None:
    write_card(model, step=4000, kl=0.02, latents=(0.02, 0.0, 0.0, 0.0, 0.0, 0.0))
    (finding,) = json.loads(cli("info", model, "--json")[1])["advice"]
    assert (finding["kind"], finding["alarm"]) == ("collapsed", True)
    assert f"advice\n  {finding['text']}\n" in cli("info", model)[1]
    write_card(model, step=4000, kl=6.5, latents=(0.5, 3.0, 0.02, 2.0, 0.02, 1.0))
    assert json.loads(cli("info", model, "--json")[1])["advice"] == []
    assert "\nadvice\n" not in cli("info", model)[1]


def write_card(model: Path, *, step: int, kl: float, latents: tuple[float, ...]) -> None:
    card = replace(
        ModelFolder.find(model).card, step=step, scores={"kl": kl, "active_latents": 1.0}, latent_kl_nats=latents
    )
    (model / "model" / "config.json").write_text(card.to_json())


def test_info_of_an_objective_without_a_beta_says_what_holds(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    config = Config.from_dict(TINY).updated({"objective.name": "capacity_vae", "objective.capacity_nats": 12})
    RunFolder(tmp_path / "run").write_config(config, {})
    assert "capacity_vae, KL led to 12 nats, gamma 1000\n" in cli("info", tmp_path / "run")[1]
    facts = json.loads(cli("info", tmp_path / "run", "--json")[1])
    assert (facts["beta"], facts["normalised_beta"]) == (None, None)


def test_info_on_a_run_without_a_model_says_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").write_config(Config.from_dict(TINY), {})
    code, out, _ = cli("info", tmp_path / "run")
    assert code == 0
    assert f"corolla train --resume {tmp_path / 'run'}" in out


def test_commands_to_copy_are_ready_for_a_shell(cli: Cli, model: Path) -> None:
    path = model.rename(model.with_name("it's my $HOME"))
    told = [cli("evaluate", path, "--priors", "gmm")[2]]
    shutil.rmtree(path / "model")
    RunFolder(path).write_config(Config.from_dict(TINY), {})
    told += [cli("info", path)[1], cli("sample", path)[2], cli("evaluate", path)[2]]
    for text, words in zip(
        told,
        (["fit-prior", f"{path}/model", "gmm"], *[["train", "--resume", str(path)]] * 3),
        strict=True,
    ):
        assert [shlex.split(text.split("`")[1])] == [["corolla", *words]]
    _, _, err = cli("train", "--run", path)
    assert f"`corolla train --resume {shlex.quote(str(path))}`" in err


def test_presets_are_listed_with_a_line_each(cli: Cli) -> None:
    code, out, _ = cli("presets")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == preset_names()
    assert all(len(line.split()) > 3 for line in out.splitlines())
    assert list(json.loads(cli("presets", "--json")[1])) == preset_names()


def test_data_commands_look_at_a_folder(cli: Cli, photos: Path) -> None:
    assert "folder:PATH" in cli("data", "list")[1]
    code, out, _ = cli("data", "info", f"folder:{photos}")
    assert code == 0
    assert "4 images" in out
    assert open_source(f"folder:{photos}").fingerprint in out
    assert "not yet" in out
    code, out, _ = cli("data", "preview", f"folder:{photos}", "--recipe", "enhance", "--count", 2, "-o", "p.png")
    assert (code, out) == (0, "wrote p.png (2 images, 11 steps of `enhance`)\n")
    with Image.open("p.png") as picture:
        assert picture.width > 12 * 160


def test_data_commands_draw_florets(cli: Cli) -> None:
    assert cli("data", "get", "florets:30")[:2] == (0, "florets:30: 30 images, drawn when they are needed\n")
    assert cli("data", "preview", "florets:30", "--size", "16x24")[0] == 0
    assert "7, with the number of values of each: petal_count 6, petal_hue 30," in cli("data", "info", "florets:30")[1]


def test_data_info_shows_what_is_decoded(cli: Cli, model: Path) -> None:
    cli("reconstruct", model)
    assert "40 images, `fit`, 16x16 in " in cli("data", "info", "florets:40")[1]


def test_report_writes_a_page(cli: Cli, model: Path) -> None:
    again = ("--source", "florets:40")
    assert cli("report", model, *again)[:2] == (0, f"wrote {model / 'report.html'}\n")
    assert cli("report", model, *again, "-o", "page.html", "--seed", 1) == (0, "wrote page.html\n", "")
    assert "What a β-VAE learnt" in Path("page.html").read_text(encoding="utf-8")


# --- train: the configuration that a command line means ---------------------------------------------------------------


def test_every_flag_reaches_a_setting_that_exists() -> None:
    for name, dotted in SETTINGS.items():
        assert describe_setting(dotted), f"--{name} -> {dotted}"
    assert len(set(SETTINGS.values())) == len(SETTINGS)


def test_flags_change_a_preset_and_set_reaches_the_rest() -> None:
    flags = Flags(source="florets:9", size="48x64", sigma="0.1", likelihood="gaussian", devices="2", beta="2.5")
    config = build_config("quick", None, flags, ("training.ema_decay=null", "training.learning_rate=1e-4"))
    assert config.data.source == "florets:9"
    assert config.data.size == (48, 64)
    assert config.flat()["likelihood.sigma"] == 0.1
    assert config.training.devices == 2
    assert config.flat()["objective.beta"] == 2.5
    assert config.training.ema_decay is None
    assert config.training.learning_rate == 1e-4
    assert config.training.batch_size == preset("quick").training.batch_size


def test_without_a_start_the_defaults_are_meant() -> None:
    assert build_config(None, None, Flags(), ()) == Config()
    assert build_config(None, None, Flags(devices="auto"), ()) == Config()


def test_a_scale_belongs_to_a_likelihood_that_has_one() -> None:
    gaussian = build_config(None, None, Flags(likelihood="gaussian", sigma="calibrated"), ())
    assert gaussian.flat()["likelihood.sigma"] == "calibrated"
    with pytest.raises(UsageError, match="bernoulli has no such setting"):
        build_config(None, None, Flags(sigma="0.1"), ())


def test_the_configuration_of_a_run_is_taken_as_it_is(tmp_path: Path) -> None:
    config = Config.from_dict(TINY)
    run_folder = RunFolder(tmp_path)
    run_folder.write_config(config, {"images": 40})
    assert build_config(None, run_folder.config_file, Flags(), ()) == config


def test_dry_run_prints_yaml_and_trains_nothing(cli: Cli) -> None:
    code, out, err = cli("train", "--preset", "quick", "--dry-run", "--beta", 2, "--precision", "32-true")
    assert (code, err) == (0, "")
    assert out.startswith("# ")
    assert " parameters; nothing was trained" in out
    assert Config.from_dict(yaml.safe_load(out)) == preset("quick").updated(
        {"objective.beta": 2, "training.precision": "32-true"}
    )
    assert list(Path.cwd().iterdir()) == []


def test_resume_refuses_everything_beside_it(cli: Cli) -> None:
    code, out, err = cli("train", "--resume", "runs/x", "--beta", 2, "--force", "--max-steps", 5)
    assert (code, out) == (2, "")
    assert err == "corolla: --resume goes on with the settings that are there; leave out --beta, --max-steps, --force\n"


# --- wrong use: one line, the right code, nothing left behind ---------------------------------------------------------

WRONG_USE = {
    "unknown command": (["samplee"], "sample"),
    "unknown option": (["sample", "m", "--cuont", "3"], "--count"),
    "not a number": (["sample", "m", "--count", "many"], "many"),
    "missing model": (["sample"], "MODEL"),
    "unknown suffix": (["sample", "m", "-o", "a.tga"], ".png"),
    "moving suffix for a still": (["sample", "m", "-o", "a.gif"], ".webp"),
    "unknown moving suffix": (["traverse", "m", "-o", "a.avi"], ".gif, .mp4"),
    "npz suffix": (["sample", "m", "--npz", "a.npy"], ".npz"),
    "no presets like that": (["train", "--preset", "quik"], "quick"),
    "two starts": (["train", "--preset", "quick", "--config", "a.yaml"], "one of them"),
    "no file": (["train", "--config", "a.yaml"], "a.yaml"),
    "negative beta": (["train", "--beta=-1", "--dry-run"], "objective.beta = '-1'"),
    "negative beta, apart": (["train", "--beta", "-1", "--dry-run"], "objective.beta = '-1'"),
    "no size": (["train", "--size", "big", "--dry-run"], "big"),
    "unknown setting": (["train", "--set", "training.lr=3", "--dry-run"], "training.lr"),
    "setting without a value": (["train", "--set", "seed", "--dry-run"], "--set seed"),
    "setting that is not YAML": (["train", "--set", "seed={", "--dry-run"], "not YAML"),
    "unknown recipe": (["data", "preview", "florets", "--recipe", "fry"], "crop"),
    "recipe size": (["data", "preview", "florets", "--recipe", "crop", "--size", "300"], "256"),
    "no images asked for": (["data", "preview", "florets", "--count", "0"], "at least 1"),
    "recipe size in training": (["train", "--recipe", "enhance", "--size", "512", "--dry-run"], "at most 256x256"),
    "unknown source": (["data", "info", "flowers103"], "flowers102"),
    "a report that is no page": (["report", "m", "-o", "report.pdf"], "end the name in .html"),
    "no run": (["train", "--resume", "runs/none"], "runs/none"),
    "a scale where there is none": (
        ["train", "--dry-run", "--likelihood", "bernoulli", "--sigma", "0.1"],
        "likelihood.sigma: bernoulli has no such setting",
    ),
    "a scale that is none": (
        ["train", "--dry-run", "--likelihood", "laplace", "--sigma", "wide"],
        "likelihood.sigma = 'wide'",
    ),
}


@pytest.mark.parametrize(("arguments", "told"), WRONG_USE.values(), ids=WRONG_USE.keys())
def test_wrong_use_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str], told: str) -> None:
    code, out, err = cli(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("corolla: ")
    assert err.count("\n") == 1
    assert told in err
    assert list(Path.cwd().iterdir()) == []


def test_wrong_use_of_a_model_is_one_line_and_exit_code_2(cli: Cli, model: Path, photos: Path) -> None:
    for arguments, told in (
        (["sample", model, "--count", 0], "count 0"),
        (["sample", model, "--temperature", -1], "temperature -1"),
        (["traverse", model, "--latent", 9], "latent 9: give 0 to 5"),
        (["traverse", model, "--steps", 0], "0 steps"),
        (["traverse", model, "-o", "a.gif", "--steps", 0], "0 steps"),
        (["traverse", model, "--span", -2, "-o", "a.gif"], "-2"),
        (["interpolate", model, photos / "0.png"], "1 endpoint"),
        (["interpolate", model, "--count", 1], "1 endpoint: give at least 2"),
        (["interpolate", model, "--steps", 1], "1 steps"),
        (["reconstruct", model, photos, "--count", 0], "count 0"),
    ):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("corolla: ")
        assert err.count("\n") == 1
        assert told in err
    assert list(Path.cwd().iterdir()) == []


def test_failures_are_one_line_and_exit_code_1(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    for arguments, told in (
        (["sample", tmp_path / "nowhere"], "nowhere"),
        (["info", tmp_path / "empty"], "holds no model"),
        (["reconstruct", model, tmp_path / "broken.png"], "broken.png"),
        (["reconstruct", model, tmp_path / "gone.png"], "no such file"),
        (["reconstruct", model, tmp_path / "empty"], "empty"),
        (["traverse", model, "--image", tmp_path / "broken.png"], "broken.png"),
        (["sample", model, "-o", tmp_path / "file" / "a.png"], "cannot be written"),
    ):
        code, out, err = cli(*arguments)
        assert (code, out) == (1, ""), (arguments, err)
        assert err.startswith("corolla: ")
        assert err.count("\n") == 1
        assert told in err
    assert list(Path.cwd().iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_damaged_model_is_named(cli: Cli, model: Path) -> None:
    (model / "model" / "model.safetensors").write_bytes(b"short")
    code, _, err = cli("sample", model)
    assert code == 1
    assert "model.safetensors" in err
    assert err.count("\n") == 1


def test_interruptions_have_their_own_exit_codes(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("corolla.gallery.commands.load", interrupted)
    code, out, err = cli("sample", model)
    assert (code, out, err) == (130, "", "corolla: interrupted\n")


def test_an_interrupted_training_exits_with_its_code(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import corolla.training
    from corolla.training import TrainingInterrupted

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise TrainingInterrupted("SIGTERM: stopped at step 3 of 9, all saved", 143)

    monkeypatch.setattr(corolla.training, "fit", interrupted)
    code, _, err = cli("train", "--source", "florets:40")
    assert (code, err) == (143, "corolla: SIGTERM: stopped at step 3 of 9, all saved\n")


@pytest.mark.parametrize("name", ["index.html", "samples.png"])
def test_the_demo_never_replaces_what_is_not_its_own(cli: Cli, name: str) -> None:
    Path("site").mkdir()
    Path("site", name).write_text("mine")
    code, _, err = cli("demo", "--quick", "-o", "site")
    assert code == 2
    assert f"holds {name}, but no demo" in err
    assert Path("site", name).read_text() == "mine"
    Path("site/index.html").touch()
    assert cli("demo", "-o", "site/index.html")[0] == 2


def test_the_demo_never_replaces_a_run_that_is_not_its_own(cli: Cli) -> None:
    mine = RunFolder(Path("work/run"))
    mine.path.mkdir(parents=True)
    mine.write_config(preset("quick").updated({"objective.beta": 7.5}), {})
    code, _, err = cli("demo", "--quick", "-o", "work")
    assert (code, err.count("\n")) == (2, 1)
    assert "is a run that is not the demo's" in err
    assert mine.config().flat()["objective.beta"] == 7.5


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "light", "shown"),
    [
        (["--help"], {"pydantic", "yaml"}, "Train a model"),
        (["train", "--help"], set(), "--latent-dim"),  # flags come from the classes of settings
    ],
)
def test_help_imports_nothing_slow(words: list[str], light: set[str], shown: str) -> None:
    slow = {"torch", "numpy", "lightning", "PIL", "scipy", "sklearn"} | light
    code = (
        f"import sys; from corolla.cli import run; code = run({words!r}); slow = {slow!r} & set(sys.modules);"
        "sys.exit(f'imports {slow}' if slow else code)"
    )
    done = in_subprocess(code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["fit-prior"], "they have moved: florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz"),
        (["settings"], "prior, which is for `corolla fit-prior`) or a choice (beta_vae)."),
        (["compare"], "--only, --samples and --images say how. --source and --mirror say where the images are now"),
        (["demo"], "Needs no download; takes a few minutes on two cores."),
    ],
)
def test_help_breaks_lines_at_the_width_of_the_terminal_alone(
    words: list[str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (400, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        done = in_subprocess(*words, "--help")
        lines = done.stdout.splitlines()
        assert (done.returncode, max(map(len, lines))) == (0, width)
        text = " ".join(" ".join(line.strip("│ ") for line in lines).split())
        assert shown in (text if width == 120 else done.stdout)


def test_sampling_imports_neither_lightning_nor_other_heavy_things(model: Path) -> None:
    code = (
        "import sys; from corolla.cli import run; code = run(sys.argv[1:]);"
        "slow = {'lightning', 'sklearn', 'matplotlib', 'scipy', 'torchmetrics'} & set(sys.modules);"
        "sys.exit(f'imports {slow}' if slow else code)"
    )
    done = in_subprocess("sample", model, code=code)
    assert (done.returncode, done.stderr) == (0, "")


def test_looking_at_images_does_not_import_torch(photos: Path) -> None:
    code = (
        "import sys; from corolla.cli import run; code = run(sys.argv[1:]);"
        "sys.exit('imports torch' if 'torch' in sys.modules else code)"
    )
    done = in_subprocess("data", "preview", f"folder:{photos}", "-o", "p.png", code=code)
    assert (done.returncode, done.stderr) == (0, "")


def test_version_is_the_package_s() -> None:
    done = in_subprocess("--version")
    assert (done.returncode, done.stdout.strip()) == (0, corolla.__version__)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_without_greek_letters_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = in_subprocess("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Train ?-VAEs" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break differently there")
@pytest.mark.parametrize("arguments", [["presets"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    line = [sys.executable, "-c", "from corolla.cli import main; main()", *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        done = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode != 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["presets"], ["--help"], ["--version"]])
def test_a_full_device_is_one_line(arguments: list[str], unbuffered: str) -> None:
    line = [sys.executable, "-c", "from corolla.cli import main; main()", *arguments]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.stderr == "corolla: standard output: No space left on device; send it elsewhere\n"
    assert done.returncode == 1


def test_an_error_that_is_not_of_standard_output_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("corolla.cli.program.app", fail)
    with pytest.raises(OSError, match="No space left"):
        run(["presets"])
    assert "standard output" not in capsys.readouterr().err


@pytest.mark.slow
def test_train_resume_and_use_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    done = in_subprocess("train", "--config", tmp_path / "tiny.yaml", "--run", "r", "--beta", 2, "--no-report")
    assert done.returncode == 0, done.stderr
    assert "corolla sample r" in done.stdout
    assert "beta_vae: beta 2 (normalised beta 0.0156)" in done.stdout
    assert "Only 2 steps" in done.stdout
    assert RunFolder(Path("r")).config().flat()["objective.beta"] == 2
    again = in_subprocess("train", "--config", "r/config.yaml", "--run", "r")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert in_subprocess("train", "--resume", "r", "--no-report").returncode == 0
    assert in_subprocess("sample", "r").stdout == "wrote samples.png (64 images)\n"


@pytest.mark.slow
def test_the_demo_leaves_a_page_that_needs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Config.from_dict(TINY)
    monkeypatch.setattr("corolla.demo.preset", lambda _name: small)
    monkeypatch.setattr("corolla.demo.QUICK_STEPS", 3)
    assert run(["demo", "--quick", "-o", "demo folder"]) == 0
    assert RunFolder(Path("demo folder/run")).config().seed == small.seed
    assert run(["demo", "--quick", "--seed", "7", "-o", "demo folder"]) == 0  # it replaces the first
    assert RunFolder(Path("demo folder/run")).config().seed == 7
    page = Path("demo folder/index.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") > 30
    assert "http" not in page
    assert "<script" not in page
    for name in ("flowers.png", "reconstructions.png", "samples.png", "traversal.png", "interpolation.gif"):
        assert (Path("demo folder") / name).stat().st_size > 0
