"""What all commands that take images have in common: how images are named, and what becomes of bad ones."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from corolla.apps.features import read_features
from corolla.apps.restoration import denoise_files
from corolla.config import Config
from corolla.models.vae import build_model
from corolla.trained import load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder

Cli = Callable[..., tuple[int, str, str]]

SOURCE = Path(__file__).resolve().parent.parent / "src"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and, in `photos`, eight pictures, of which one is empty."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(photos / f"{number}.png")
    (photos / "3.png").write_bytes(b"")
    config = Config.from_dict(
        {
            "data": {"size": 16, "source": "florets:60"},
            "network": {"width": 8, "latent_dim": 6, "patch": 4},
            "objective": {"beta": 2.0},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(tmp_path / "model").save(build_model(config), ModelCard(config, 7, {}, (1.0,) * 6))
    return tmp_path


COMMANDS: dict[str, list[str]] = {
    "reconstruct": ["reconstruct", "model", "{}"],
    "interpolate": ["interpolate", "model", "{}", "--count", "9"],
    "loop": ["loop", "model", "{}", "--count", "9", "-o", "loop.png"],
    "sample": ["sample", "model", "--like", "{}"],
    "poster": ["poster", "model", "--size", "64x64", "--like", "{}"],
    "direction": ["direction", "model", "--from", "{}", "--to", "photos/[124].png"],
    "move": [
        "direction",
        "model",
        "--from",
        "photos/[0-2].png",
        "--to",
        "photos/[4-7].png",
        "--images",
        "{}",
        "--count",
        "9",
    ],
    "compress": ["compress", "model", "{}", "-o", "x.corolla"],
    "embed": ["embed", "model", "{}", "-o", "x.npz"],
    "anomalies": ["anomalies", "model", "{}", "-o", "odd", "--fpr", "0.5"],
    "denoise": ["denoise", "model", "{}", "-o", "clean", "--noise", "salt_pepper"],
    "inpaint": ["inpaint", "model", "{}", "-o", "whole", "--box", "4,4,8,8"],
    "preview": ["data", "preview", "folder:photos", "--count", "9"],
}


def _command(name: str, images: str = "photos") -> list[str]:
    if name == "compress":
        pytest.importorskip("constriction")
    return [part.format(images) for part in COMMANDS[name]]


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_file_is_left_out_and_said_or_refused(cli: Cli, name: str) -> None:
    code, _, err = cli(*_command(name), "--strict")
    assert code == 1
    assert "photos/3.png: empty; repair or remove it" in err
    shutil.rmtree("whole", ignore_errors=True)  # with what came before the fault
    code, out, err = cli(*_command(name))
    assert code == 0, err
    assert err.count("photos/3.png: empty; left out") == 1
    assert "wrote " in out


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("name", ["reconstruct", "interpolate", "loop", "sample", "poster", "direction", "preview"])
def test_a_damaged_file_is_left_out_but_refused_where_it_is_the_only_one(cli: Cli, name: str) -> None:
    picture = Path("photos/2.png").read_bytes()
    Path("photos/3.png").write_bytes(picture[: len(picture) // 2])
    code, out, err = cli(*_command(name))
    assert code == 0, err
    assert err.count("photos/3.png") == 1
    assert "left out" in err
    assert "wrote " in out
    for content in (picture[: len(picture) // 2], b""):
        Path("alone").mkdir(exist_ok=True)
        Path("alone/3.png").write_bytes(content)
        line = [word.replace("folder:photos", "folder:alone") for word in _command(name, "alone")]
        code, out, err = cli(*line)
        assert (code, out) == (1, "")
        assert "alone/3.png" in err


def _without_remarks(err: str) -> str:
    """What is said but of a direction between so few images, which tells nothing."""
    return "".join(line for line in err.splitlines(keepends=True) if "AUROC" not in line)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "preview"])
def test_all_commands_have_one_grammar(work: Path, cli: Cli, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open("photos.tar", "w") as tar:
        tar.add("photos/4.png")
    Path("list.txt").write_bytes(b"\xef\xbb\xbfphotos/[0-2].png\r\nphotos.tar\n")
    for path, reason in {"none.png": "no such file", "*.jpg": "matches nothing", "@none": "none: no such file"}.items():
        code, _, err = cli(*_command(name, path))
        assert code == 1
        assert reason in err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("list.txt").read_bytes())))
    code, out, err = cli(*_command(name, "-"))
    assert (code, _without_remarks(err)) == (0, "")
    results = [line for line in out.splitlines() if line.startswith("wrote ") and "residual" not in line]
    for folder in (*work.glob("clean"), *work.glob("whole"), *work.glob("odd")):
        shutil.rmtree(folder)
    code, again, err = cli(*_command(name, "@list.txt"))
    assert (code, _without_remarks(err)) == (0, "")
    assert [line for line in again.splitlines() if line.startswith("wrote ")][-len(results) :] == results or (
        name == "anomalies"  # which calibrates at the first time
    )


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name][2] == "{}" or name == "anomalies"])
def test_a_mistyped_flag_is_no_path(cli: Cli, name: str) -> None:
    code, _, err = cli(*_command(name), "--strickt")
    assert code == 2
    assert "--strickt" in err
    assert "Did you mean --strict?" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "preview"])
def test_a_pipe_is_refused(work: Path, cli: Cli, name: str) -> None:
    os.mkfifo(work / "pipe.png")
    code, _, err = cli(*_command(name, "pipe.png"))
    assert code == 1
    assert "pipe.png: not a regular file" in err


def test_reconstruct_takes_a_spread_sample(work: Path, cli: Cli) -> None:
    for kind in ("aster", "rose"):
        (work / "kinds" / kind).mkdir(parents=True)
        for number in (0, 1, 2, 4):
            shutil.copy(work / f"photos/{number}.png", work / f"kinds/{kind}/{number}.png")
    code, out, _ = cli("reconstruct", "model", "kinds", "--count", 4, "--npz", "x.npz")
    assert code == 0
    assert "4 images" in out
    with np.load("x.npz") as arrays:
        paths = [Path("kinds") / name for name in ("aster/0.png", "aster/2.png", "rose/0.png", "rose/4.png")]
        np.testing.assert_array_equal(arrays["originals"], load("model").pixels(paths))


@pytest.mark.usefixtures("work")
def test_the_noise_of_an_image_depends_on_the_seed_and_its_name_alone() -> None:
    model = load("model")

    def noisy(output: str, *paths: str, seed: int = 0) -> dict[str, bytes]:
        denoise_files(model, paths, Path(output), "salt_pepper", corruption="gaussian:25", seed=seed)
        return {file.name: file.read_bytes() for file in Path(output, "noisy").iterdir()}

    alone = noisy("a", "photos/5.png")
    among = noisy("b", "photos")
    assert len(among) == 7
    assert among["5.png"] == alone["5.png"]
    assert noisy("c", "photos/5.png", seed=1) != alone
    original = load("model").pixels("photos/5.png")[0].astype(int)
    error = np.asarray(Image.open("a/noisy/5.png")).astype(int) - original
    inside = (original > 60) & (original < 195)
    assert abs(error[inside].std() - 25) < 4  # 16·16·3 values, of which about half are far from the ends


@pytest.mark.usefixtures("work")
def test_restored_images_are_no_source_unless_they_are_named(cli: Cli) -> None:
    assert cli("denoise", "model", "photos", "-o", "photos/clean", "--noise", "salt_pepper")[0] == 0
    code, out, err = cli("embed", "model", "photos", "-o", "x.npz")
    assert code == 0
    assert "7 images, 1 left out" in out
    assert err.count("photos/clean, which Corolla wrote: left out") == 1
    code, out, err = cli("embed", "model", "photos/clean", "-o", "y.npz")
    assert (code, err) == (0, "")
    assert "7 images" in out


def test_training_in_the_folder_of_photos_takes_the_photos_alone(
    work: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "photos/3.png").unlink()
    for number in range(30):
        shutil.copy(work / "photos/1.png", work / f"photos/more-{number}.png")
    monkeypatch.chdir(work / "photos")
    small = ["--set", "data.size=16", "--set", "network.latent_dim=4", "--set", "training.samples_every=2"]
    steps = ["--set", "training.max_steps=6", "--set", "training.evaluate_every=2", "--set", "training.batch_size=8"]
    train = ["train", "--preset", "quick", "--source", "folder:.", *small, *steps, "--no-report"]
    code, _, err = cli(*train)
    assert code == 0, err
    (run,) = Path("runs").iterdir()
    assert list((run / "samples").glob("*.png"))
    assert RunFolder(run).facts()["images"] == 37
    code, _, err = cli(*train)  # the run is no image, and the cache the same
    assert code == 0, err
    assert "which Corolla wrote: left out" in err
    other = next(path for path in Path("runs").iterdir() if path != run)
    assert RunFolder(other).facts()["images"] == 37
    assert RunFolder(other).facts()["data_fingerprint"] == RunFolder(run).facts()["data_fingerprint"]
    code, _, err = cli("train", "--resume", run)
    assert code == 0, err
    assert "have changed" not in err


def corolla(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUTF8": "1"}
    line = [sys.executable, "-m", "corolla", *arguments]
    return subprocess.run(line, capture_output=True, check=False, env=environment)


def _rename(photo: str, name: bytes) -> None:
    if os.name != "posix":
        pytest.skip("names are bytes on POSIX alone")
    try:
        Path("photos", photo).rename(Path("photos", os.fsdecode(name)))
    except OSError:
        pytest.skip("no such names on this file system")


@pytest.mark.usefixtures("work")
def test_names_that_are_not_utf8_come_through() -> None:
    name = b"ros\xe9.png"
    _rename("1.png", name)

    done = corolla("embed", "model", "photos", "-o", "x.npz")
    assert done.returncode == 0, done.stderr
    assert os.fsdecode(b"photos/" + name) in read_features("x.npz").paths
    done = corolla("search", "model", "photos/0.png", "--in", "x.npz", "-o", "sheet.png")
    assert b"photos/" + name in done.stdout
    assert b"no readable file" not in done.stdout
    done = corolla("anomalies", "model", "photos", "-o", "odd", "--fpr", "0.5")
    assert done.returncode == 0, done.stderr
    assert b"photos/" + name + b"," in Path("odd/anomalies.csv").read_bytes()
    done = corolla("denoise", "model", os.fsdecode(b"photos/" + name), "-o", "clean", "--noise", "salt_pepper")
    assert done.returncode == 0, done.stderr
    assert Path("clean", os.fsdecode(name)).is_file()
    _rename("3.png", b"caf\xe9.png")
    done = corolla("reconstruct", "model", "photos")
    assert done.returncode == 0
    assert b"photos/caf\xe9.png: empty; left out" in done.stderr


@pytest.mark.usefixtures("work")
def test_a_run_on_such_names_is_scored_and_reported() -> None:
    _rename("1.png", b"ros\xe9.png")
    folder = Path(os.fsdecode(b"caf\xe9"))
    folder.mkdir()
    for number in range(30):
        shutil.copy("photos/2.png", folder / os.fsdecode(b"ros\xe9-%d.png" % number))
    small = ["--set", "data.size=16", "--set", "network.latent_dim=4", "--set", "training.max_steps=2"]
    done = corolla("train", "--preset", "quick", "--source", f"folder:{folder}", *small, "--run", "run")
    assert done.returncode == 0, done.stderr
    assert b"caf\xe9" in Path("run/report.html").read_bytes()
    done = corolla("evaluate", "run", "--samples", "16")
    assert done.returncode == 0, done.stderr
    assert b"ros\xe9-" in Path("run/scores/images.csv").read_bytes()


@pytest.mark.usefixtures("work")
def test_a_parquet_file_shows_such_names(cli: Cli) -> None:
    pytest.importorskip("pyarrow")
    _rename("1.png", b"ros\xe9.png")
    assert cli("embed", "model", "photos", "-o", "x.parquet")[0] == 0
    assert "photos/ros?.png" in read_features("x.parquet").paths


@pytest.mark.usefixtures("work")
def test_a_compressed_name_that_is_not_utf8_can_be_decompressed(cli: Cli) -> None:
    pytest.importorskip("constriction")
    _rename("1.png", b"ros\xe9.png")
    assert cli("compress", "model", "photos", "-o", "x.corolla", "--names")[0] == 0
    assert cli("decompress", "model", "x.corolla", "-o", "back")[0] == 0
    assert "000007-ros_.png" in {path.name for path in Path("back").iterdir()}
