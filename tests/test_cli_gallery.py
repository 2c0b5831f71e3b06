"""The commands direction, loop and poster, and themes of sample."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from corolla.config import Config
from corolla.errors import UsageError
from corolla.gallery import commands, options
from corolla.gallery.directions import image_direction, save_direction
from corolla.gallery.themes import label_theme, theme
from corolla.models.vae import build_model
from corolla.trained import load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.own_images import open_images

Cli = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two kinds of images in folders by their names: 12 light ones and 12 dark ones."""
    pixels = np.random.default_rng(0).integers(0, 100, (24, 16, 16, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        folder = tmp_path / "photos" / ("dark", "light")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image + 120 * (index % 2)).save(folder / f"{index}.png")
    return tmp_path / "photos"


def make_model(folder: Path, photos: Path, seed: int) -> Path:
    config = Config.from_dict(
        {
            "data": {"source": f"folder:{photos}", "size": 16},
            "network": {"width": 8, "latent_dim": 6, "patch": 4},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ModelFolder(folder / "model").save(build_model(config), ModelCard(config, 1))
    return folder


@pytest.fixture
def model(tmp_path: Path, photos: Path) -> Path:
    return make_model(tmp_path / "trained", photos, 1)


def test_direction_finds_saves_and_is_used_again(cli: Cli, model: Path, photos: Path) -> None:
    sets = ["--from", photos / "dark", "--to", photos / "light"]
    code, out, err = cli("direction", model, *sets, "--save", "a.safetensors", "--npz", "a.npz", "--steps", 3)
    assert (code, err) == (0, "")
    first, *wrote = out.splitlines()
    told = r"light: 12 images against 12; AUROC [01]\.\d{3}, \d\.\d\d sd apart \(cross-validated in 5 parts\)"
    assert re.fullmatch(told, first)
    assert wrote[:2] == ["wrote a.safetensors (direction)", "wrote direction.png (6 images, 3 steps)"]
    images = ["--images", photos / "dark", "--images", photos / "light" / "1.png", "--count", 2]
    code, out, _ = cli("direction", model, "--use", "a.safetensors", *images, "-o", "b.png", "--npz", "b.npz")
    assert code == 0
    assert out.splitlines()[:2] == [first, "wrote b.png (3 images, 9 steps)"]
    with np.load("a.npz") as found, np.load("b.npz") as again:
        np.testing.assert_array_equal(found["axis"], again["axis"])
        starts = load(model).encode([photos / "dark" / "0.png", photos / "dark" / "8.png", photos / "light" / "1.png"])
        np.testing.assert_array_equal(again["latents"][:, 4], starts)


def test_direction_by_label(cli: Cli, model: Path) -> None:
    code, out, err = cli("direction", model, "--label", "LIGHT", "--count", 1)
    assert code == 0, err
    assert out.startswith("light: ")
    assert out.splitlines()[1] == "wrote direction.png (1 image, 9 steps)"


def test_sample_draws_around_a_theme(cli: Cli, model: Path, photos: Path) -> None:
    trained = load(model)
    images = [photos / "light" / "1.png", photos / "light" / "3.png"]
    assert (
        cli(
            "sample",
            model,
            "--like",
            images[0],
            "--like",
            images[1],
            "--count",
            3,
            "--temperature",
            0.5,
            "--npz",
            "a.npz",
        )[0]
        == 0
    )
    wanted = trained.sample_latents(3, seed=0, temperature=0.5, prior=theme(trained, images))
    with np.load("a.npz") as found:
        np.testing.assert_array_equal(found["latents"], wanted)
    assert cli("sample", model, "--label", "light", "--temperature", 0, "--count", 1, "--npz", "b.npz")[0] == 0
    cache = open_images(trained.config.data)
    assert cache.labels is not None
    rows = [row for row in cache.splits["train"] if cache.label_names[cache.labels[row]] == "light"]
    with np.load("b.npz") as found:
        np.testing.assert_allclose(found["latents"][0], trained.encode(cache.images[rows]).mean(0), atol=1e-5)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4", ".png"])
def test_loop_comes_back(cli: Cli, model: Path, suffix: str) -> None:
    if suffix == ".mp4":
        pytest.importorskip("av")
    code, out, err = cli("loop", model, "-o", f"a{suffix}", "--count", 3, "--steps", 4, "--npz", "a.npz")
    assert (code, err) == (0, "")
    seconds = "" if suffix == ".png" else ", 0.8 seconds"
    assert out.splitlines()[0] == f"wrote a{suffix} (12 images past 3 points{seconds})"
    with np.load("a.npz") as found:
        assert found["latents"].shape == (12, 6)
    if suffix in (".gif", ".webp"):
        with Image.open(f"a{suffix}") as picture:
            assert (picture.n_frames, picture.info["loop"]) == (12, 0)  # type: ignore[attr-defined]


def test_loop_passes_by_images(cli: Cli, model: Path, photos: Path) -> None:
    assert cli("loop", model, photos / "light", "-o", "a.png", "--count", 4, "--steps", 2, "--npz", "a.npz")[0] == 0
    with np.load("a.npz") as found:
        np.testing.assert_allclose(
            found["latents"][0], load(model).encode(photos / "light" / "1.png")[0], rtol=1e-4, atol=1e-5
        )


def test_poster_has_its_size(cli: Cli, model: Path) -> None:
    code, out, _ = cli("poster", model, "--size", "100x60", "--columns", 5, "--span", 1, "--label", "dark")
    assert code == 0
    assert out == "wrote poster.png (100 pixels wide, 60 high; 15 images in 5 columns)\n"
    with Image.open("poster.png") as found:
        assert found.size == (100, 60)


def test_a_poster_of_one_image_is_told_of_as_one(cli: Cli, model: Path) -> None:
    assert cli("poster", model, "--size", "10x10")[1].endswith("10 high; 1 image in 1 column)\n")


def test_what_a_command_does_is_one_call(model: Path) -> None:
    how = options.Interpolate(count=2, steps=3, npz=Path("a.npz"))
    written = commands.interpolate(model, (), "a.png", how, options.Draws(label="light", seed=2))
    assert written.files == {
        Path("a.png"): "3 images between 2 points",
        Path("a.npz"): "images 3×16×16×3, latents 3×6",
    }
    assert (written.facts, written.fitted) == ({"images": 3, "points": 2}, None)
    trained = load(model)
    ends = trained.sample_latents(2, seed=2, prior=label_theme(trained, open_images(trained.config.data), "light"))
    with np.load("a.npz") as found, Image.open("a.png") as picture:
        np.testing.assert_allclose(found["latents"][[0, 2]], ends, atol=1e-5)
        assert picture.size == (3 * 100 + 4, 104)
    with pytest.raises(UsageError, match="images and label: each says where to go"):
        commands.loop(trained, ["photos"], "a.gif", options.Loop(), options.Draws(label="light"))
    with pytest.raises(UsageError, match="prior and label: each says what to draw from"):
        options.Draws(label="light", prior="gmm")


def test_mistakes_are_one_line(cli: Cli, model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    other = make_model(tmp_path / "other", photos, 2)
    save_direction(
        tmp_path / "other.safetensors",
        image_direction(load(other), sorted((photos / "dark").iterdir()), sorted((photos / "light").iterdir())),
    )
    light, dark = photos / "light", photos / "dark"
    for expected, arguments, told in (
        (2, ["direction", model], "what direction? give one of a label"),
        (2, ["direction", model, "--label", "dark", "--use", "a"], "one of"),
        (2, ["direction", model, "--from", dark], "from without to"),
        (2, ["direction", model, "--label", "drak"], "there are dark, light"),
        (2, ["direction", model, "--label", "dark", "--steps", 1], "1 steps"),
        (2, ["direction", model, "--label", "dark", "--save", "a.npz"], ".safetensors"),
        (2, ["direction", model, "--from", dark / "0.png", "--to", light], "interpolate"),
        (2, ["direction", model, "--use", "a", "--mirror", "b"], "mirror: goes with a label"),
        (1, ["direction", model, "--from", dark, "--to", tmp_path / "empty"], "empty"),
        (1, ["direction", model, "--use", tmp_path / "gone.safetensors"], "no such file"),
        (
            1,
            ["direction", model, "--use", tmp_path / "other.safetensors"],
            "made with other weights",
        ),
        (2, ["sample", model, "--label", "dark", "--like", dark], "label and like: each"),
        (2, ["sample", model, "--like", dark, "--prior", "gmm"], "prior and like: each"),
        (1, ["sample", model, "--like", tmp_path / "empty"], "empty"),
        (2, ["sample", model, "--source", "florets"], "source: goes with a label"),
        (2, ["loop", model, "--count", 2], "2 points: a loop needs at least 3"),
        (2, ["loop", model, "--fps", 0], "fps 0"),
        (2, ["loop", model, "--steps", 0], "0 steps"),
        (2, ["loop", model, dark / "0.png", light / "1.png"], "2 points: a loop needs at least 3"),
        (2, ["loop", model, dark / "0.png"], "1 point: a loop needs"),
        (2, ["loop", model, dark, "--label", "dark"], "give one of them"),
        (2, ["loop", model, "--temperature", 0], "waypoint 1 is 0"),
        (2, ["poster", model, "--size", "big"], "3000x2000"),
        (2, ["poster", model, "--size", "20000x10", "-o", "a.webp"], ".webp goes to 16383"),
        (2, ["poster", model, "--span", 2, "--prior", "gmm"], "goes with standard, gaussian"),
        (2, ["poster", model, "--span", -1], "span -1"),
        (2, ["poster", model, "--columns", 0], "0 columns"),
        (2, ["poster", model, "--size", "100000x100000", "--columns", 100_000], "10000000000 images"),
        (2, ["poster", model, "-o", "a.gif"], ".png"),
    ):
        code, out, err = cli(*arguments)
        assert (code, out) == (expected, ""), (arguments, err)
        assert err.startswith("corolla: ")
        assert err.count("\n") == 1, err
        assert told in err, (arguments, err)
    assert list(Path.cwd().iterdir()) == []


def test_without_the_extra_no_work_is_done_for_a_video(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("corolla.gallery.commands.load", lambda *_arguments: pytest.fail("the model was loaded"))
    code, out, err = cli("loop", model, "-o", "a.mp4")
    assert (code, out) == (2, "")
    assert err == "corolla: An MP4 file needs the extra `video`; in a clone, add it with: pip install -e '.[video]'\n"
