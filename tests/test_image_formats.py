"""Images of any channels and depth, from files or arrays to a run and back: what comes in is what is trained on."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

import corolla
from corolla import training
from corolla.config import Config
from corolla.data import open_source
from corolla.distributions.pixels import DiscretisedLogistic
from corolla.errors import DataError, ModelError, UsageError
from corolla.pixels import PixelFormat
from corolla.trained.own_images import open_images, own_images
from corolla.trained.run_folder import RunFolder

RNG = np.random.default_rng(11)
SIDE = 16
Cli = Callable[..., tuple[int, str, str]]


def tiny(source: str = "florets", **changes: Any) -> Config:
    """A configuration whose training takes a second."""
    config = Config.from_dict(
        {
            "data": {"source": source, "size": SIDE, "shift_px": 0, "flip": False},
            "network": {"latent_dim": 3, "width": 8, "patch": 4},
            "training": {
                "max_steps": 6,
                "evaluate_every": 2,
                "checkpoint_every": 2,
                "batch_size": 8,
                "threads": 1,
                "warmup_steps": 0,
            },
        }
    )
    return config.updated({name.replace("__", "."): value for name, value in changes.items()})


def grey_levels(count: int, bits: int = 8, side: int = SIDE) -> NDArray[Any]:
    """Smooth pictures that differ, N×H×W."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(3 * x + 0.3 * number) * np.cos(4 * y - 0.2 * number) for number in range(count)]
    levels: NDArray[Any] = np.rint((np.stack(waves) / 2 + 0.5) * (2**bits - 1)).astype(f"u{bits // 8}")
    return levels


def formats_of(run: Path) -> tuple[int | str, int | str]:
    data = RunFolder(run).config().data
    return data.channels, data.bits


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Thirty grey pictures of 8 bits in a folder."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, image in enumerate(grey_levels(30)):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    return folder


# ---- grey ----


def test_a_grey_folder_is_trained_on_as_one_channel_whose_nats_count_once(scans: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = corolla.fit(tiny(f"folder:{scans}", objective__name="ae", likelihood__name="bernoulli"), run)
    assert formats_of(run) == (1, 8)
    cache = own_images(model)
    assert cache.images.shape == (30, SIDE, SIDE, 1)
    rows = cache.splits["val"]
    x = cache.images[rows].astype(np.float64).transpose(0, 3, 1, 2) / 255
    with torch.no_grad():
        raw = model.vae.decoder(torch.from_numpy(model.encode(cache.images[rows]))).double().numpy()
    assert raw.shape == x.shape
    cross_entropy = -(x * -np.logaddexp(0, -raw) + (1 - x) * -np.logaddexp(0, raw))
    expected = cross_entropy.reshape(len(rows), -1).sum(axis=1).mean()
    assert model.card.scores["reconstruction"] == pytest.approx(expected, rel=1e-5)
    assert expected < 1.2 * SIDE * SIDE * math.log(2)  # three channels would have three times as many


def test_grey_as_rgb_on_request_counts_three_times(scans: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"objective__name": "ae", "likelihood__name": "bernoulli", "training__max_steps": 1}
    grey = corolla.fit(tiny(f"folder:{scans}", **changes), tmp_path / "grey")
    rgb = corolla.fit(tiny(f"folder:{scans}", **changes, data__channels=3), tmp_path / "rgb")
    assert own_images(rgb).images.shape[3] == rgb.reconstruct(scans / "00.png").shape[3] == 3
    ratio = rgb.card.scores["reconstruction"] / grey.card.scores["reconstruction"]
    assert ratio == pytest.approx(3, rel=0.1)


# ---- 16 bits ----


def test_16_bits_from_file_to_model_and_back(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    folder.mkdir()
    deep = grey_levels(20, 16)
    for number, image in enumerate(deep):
        tifffile.imwrite(folder / f"{number:02d}.tif", image)
    model = corolla.fit(tiny(f"folder:{folder}", likelihood__name="discretised_logistic"), tmp_path / "run")
    assert formats_of(tmp_path / "run") == (1, 16)
    cache = own_images(model)
    stored = np.stack([tifffile.imread(folder / key) for key in cache.keys])
    assert cache.images.dtype == np.uint16
    np.testing.assert_array_equal(cache.images[..., 0], stored)  # to 1/65535
    codes = model.encode(sorted(folder.glob("*.tif")))
    np.testing.assert_allclose(codes, model.encode(deep), atol=1e-6)
    np.testing.assert_allclose(codes, model.encode(deep / 65535), atol=1e-5)
    for images in (model.decode(codes), model.sample(2, seed=0), model.reconstruct(deep)):
        assert (images.dtype.name, images.shape[1:]) == ("uint16", (SIDE, SIDE, 1))
    with torch.no_grad():
        p = model.vae.decode(torch.from_numpy(codes[:1]))
    assert isinstance(p, DiscretisedLogistic)
    assert p.levels == 65536


@pytest.mark.parametrize(("location", "sigma"), [(0.3, 0.05), (0.0, 1e-3), (1.02, 0.01), (0.5, 2.0)])
def test_the_probabilities_of_65536_levels_sum_to_one(location: float, sigma: float) -> None:
    levels = torch.arange(65536, dtype=torch.float64).view(-1, 1, 1, 1) / 65535
    place, scale = torch.full_like(levels, location), torch.tensor(sigma, dtype=torch.float64)
    probabilities = DiscretisedLogistic(place, scale, 65536).log_prob(levels).exp()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-6)
    # The middle cell by its definition.
    x, half = 40000 / 65535, 0.5 / 65535
    cell = 1 / (1 + math.exp(-(x + half - location) / sigma)) - 1 / (1 + math.exp(-(x - half - location) / sigma))
    assert float(probabilities[40000]) == pytest.approx(cell, rel=1e-5, abs=1e-15)


def test_deep_images_train_as_8_bits_on_request(tmp_path: Path) -> None:
    deep = grey_levels(20, 16)
    np.save(tmp_path / "deep.npy", deep)
    model = corolla.fit(tiny(f"array:{tmp_path / 'deep.npy'}", data__bits=8), tmp_path / "run")
    np.testing.assert_array_equal(own_images(model).images[..., 0], np.rint(deep / 257).astype(np.uint8))
    assert model.sample(1, seed=0).dtype == np.uint8


# ---- mixed folders ----


@pytest.fixture
def mixed(scans: Path) -> Path:
    """Grey pictures among which there are colour, and 16 bits."""
    Image.new("RGB", (SIDE, SIDE), (200, 30, 60)).save(scans / "red.png")
    tifffile.imwrite(scans / "deep.tif", np.full((SIDE, SIDE), 0x8000, np.uint16))
    return scans


def test_a_mixed_folder_is_converted_by_the_stated_rule(mixed: Path) -> None:
    source = open_source(f"folder:{mixed}")
    assert source.formats == {PixelFormat(1, 8): 30, PixelFormat(3, 8): 1, PixelFormat(1, 16): 1}
    cache = open_images(tiny(f"folder:{mixed}").data)
    assert (cache.images.shape, cache.images.dtype.name) == ((32, SIDE, SIDE, 3), "uint8")
    images = dict(zip(cache.keys, cache.images, strict=True))
    assert (images["red.png"] == (200, 30, 60)).all()
    assert (images["deep.tif"] == 128).all()
    np.testing.assert_array_equal(images["03.png"], np.repeat(grey_levels(4)[3][..., None], 3, axis=2))


def test_a_mixed_folder_is_said(mixed: Path, cli: Cli) -> None:
    code, text, _ = cli("data", "info", f"folder:{mixed}")
    assert code == 0
    assert "  format      grey, 8 bits 30, grey, 16 bits 1, RGB, 8 bits 1\n" in text


def test_a_mixed_folder_is_refused_on_request(mixed: Path, cli: Cli) -> None:
    flags = ("train", "--source", f"folder:{mixed}", "--set", "data.mixed=refuse", "--max-steps", "1", "--no-report")
    code, _, error = cli(*flags)
    assert code == 1
    kinds = r"mixes formats (30 grey, 8 bits, 1 grey, 16 bits, 1 RGB, 8 bits); set data.channels and data.bits"
    assert kinds in error
    assert len(error.splitlines()) == 1
    grey = tiny(f"folder:{mixed}", data__mixed="refuse", data__channels=1, data__bits=8).data
    images = dict(zip(open_images(grey).keys, open_images(grey).images, strict=True))
    luma = 0.299 * 200 + 0.587 * 30 + 0.114 * 60
    assert images["red.png"].shape == (SIDE, SIDE, 1)
    assert (np.abs(images["red.png"] - luma) <= 0.51).all()


# ---- array: sources ----

GREY, COLOR = grey_levels(20), RNG.integers(0, 256, (20, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param(GREY, GREY[..., None], id="grey"),
        pytest.param(COLOR, COLOR, id="RGB"),
        pytest.param(np.moveaxis(COLOR, 3, 1), COLOR, id="N×C×H×W"),
        pytest.param(COLOR / 255, COLOR, id="floats of 8 bits"),
        pytest.param(grey_levels(20, 16) / 65535, grey_levels(20, 16)[..., None], id="floats of 16 bits"),
        pytest.param(grey_levels(20, 16), grey_levels(20, 16)[..., None], id="uint16"),
        pytest.param(grey_levels(20, 16).astype(">u2"), grey_levels(20, 16)[..., None], id="big-endian"),
        pytest.param(GREY // 2 + np.zeros((), ">u2"), (GREY // 2)[..., None].astype(np.uint16), id="dark big-endian"),
        pytest.param(GREY > 100, (GREY > 100)[..., None] * np.uint8(255), id="bool"),
        pytest.param((GREY > 100).astype(np.uint8), (GREY > 100)[..., None] * np.uint8(255), id="zeros and ones"),
        pytest.param(np.concatenate([COLOR, COLOR[..., :2]], axis=3), None, id="five channels"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_arrays_are_cached_as_they_are(tmp_path: Path, kind: str, images: NDArray[Any], expected: Any) -> None:
    path = tmp_path / f"set.{kind[:3] if kind != 'compressed' else 'npz'}"
    if kind == "npy":
        np.save(path, images)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, images=images)
    expected = images if expected is None else expected
    data = tiny(f"array:{path}").data
    cache = open_images(data)
    np.testing.assert_array_equal(cache.images, expected, strict=True)
    assert open_source(data.source).format(data) == PixelFormat(expected.shape[3], 8 * expected.itemsize)
    assert sorted(np.concatenate(list(cache.splits.values())).tolist()) == list(range(20))


def test_an_array_file_trains_scores_and_resumes(tmp_path: Path, cli: Cli) -> None:
    path, run = tmp_path / "digits.npz", tmp_path / "run"
    labels, factors = np.arange(20) % 4, np.stack([np.arange(20) % 4, np.arange(20) // 4], axis=1)
    np.savez(path, images=GREY, labels=labels, label_names=["a", "b", "c", "d"], factors=factors)
    flags = ("--size", SIDE, "--max-steps", 2, "--batch-size", 4, "--latent-dim", 3, "--no-report")
    small = ("--set", "network.patch=4", "--set", "network.width=8")
    assert cli("train", "--source", f"array:{path}", "--run", run, *flags, *small)[0] == 0
    assert formats_of(run) == (1, 8)
    cache = own_images(corolla.load(run))
    assert cache.labels is not None
    assert (cache.labels.tolist(), tuple(cache.label_names)) == (labels.tolist(), ("a", "b", "c", "d"))
    assert cache.factors is not None
    assert cache.factors.tolist() == factors.tolist()
    assert cli("train", "--resume", run, "--no-report")[0] == 0
    np.savez(path, images=GREY[::-1], labels=labels)
    with pytest.raises(DataError, match="its images have changed since the model was trained"):
        own_images(corolla.load(run))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.npy", None, "cut.npy: cannot be read"),
        ("no.npy", b"no array", "no.npy: cannot be read"),
        ("empty.npy", b"", "empty.npy: cannot be read"),
        ("no.npz", b"no archive", "no.npz: not an .npz file, or damaged"),
        ("flat.npy", np.zeros((9, 64), np.uint8), "flat.npy: `images` have shape (9, 64); give N×H×W"),
        ("one.npy", np.zeros((0, 8, 8), np.uint8), "one.npy: `images` have shape (0, 8, 8)"),
        ("deep.npy", np.zeros((2, 2, 8, 8, 3), np.uint8), "deep.npy: `images` have shape (2, 2, 8, 8, 3)"),
        ("far.npy", np.full((9, 8, 8), 200.0), "far.npy: float images from 200 to 200: floats must lie in [0, 1]"),
        ("nan.npy", np.full((9, 8, 8), np.nan), "nan.npy: float images from nan to nan"),
        ("below.npy", np.full((9, 8, 8), -1), "below.npy: images of type int64: give uint8"),
        ("text.npy", np.full((9, 8, 8), "a"), "text.npy: images of type <U1: give uint8"),
        ("flat.npz", np.zeros((9, 64), np.float32), "flat.npz: images of shape (9, 64): give N×H×W"),
    ],
)
def test_wrong_array_files_are_refused_in_one_line(
    tmp_path: Path, cli: Cli, name: str, content: Any, message: str
) -> None:
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content) if path.suffix == ".npy" else np.savez(path, images=content)
    elif content is None:
        np.save(path, GREY)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(content)
    code, _, error = cli("train", "--source", f"array:{path}", "--max-steps", "1", "--no-report")
    assert (code, len(error.splitlines())) == (1, 1), error
    assert message in error


def test_pickles_in_array_files_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", np.array([{"a": 1}] * 9, dtype=object))
    with pytest.raises(DataError, match=r"set\.npy: cannot be read: .*Python objects"):
        open_source(f"array:{tmp_path / 'set.npy'}")


# ---- images that a program has ----


class Pairs(Dataset[tuple[torch.Tensor, str]]):
    """Grey images and their labels, with a length and indices alone."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        return torch.from_numpy(GREY[index][None] / np.float32(255)), ("even", "odd")[index % 2]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param(GREY, GREY[..., None], id="NumPy N×H×W"),
        pytest.param(COLOR, COLOR, id="NumPy N×H×W×C"),
        pytest.param(torch.from_numpy(np.moveaxis(COLOR, 3, 1) / np.float32(255)), COLOR, id="tensor N×C×H×W"),
        pytest.param(grey_levels(20, 16), grey_levels(20, 16)[..., None], id="16 bits"),
        pytest.param(TensorDataset(torch.from_numpy(GREY[:, None].copy())), GREY[..., None], id="TensorDataset"),
        pytest.param([Image.fromarray(image) for image in COLOR], COLOR, id="PIL"),
    ],
)
def test_fit_takes_images_at_hand(
    images: Any, expected: NDArray[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = corolla.fit(tiny(), images)
    assert model.path is not None
    assert model.path.parent == Path("runs")
    cache = own_images(model)
    np.testing.assert_array_equal(cache.images, expected, strict=True)
    assert formats_of(model.path) == (expected.shape[3], 8 * expected.itemsize)
    assert model.encode(images).shape == (20, 3)
    assert model.sample(1, seed=0).dtype == expected.dtype


def test_fit_keeps_the_labels_of_a_data_set(tmp_path: Path) -> None:
    cache = own_images(corolla.fit(tiny(), tmp_path / "run", images=Pairs()))
    assert cache.labels is not None
    assert [cache.label_names[label] for label in cache.labels] == ["even", "odd"] * 10
    np.testing.assert_array_equal(cache.images, GREY[..., None])


def test_fit_keeps_labels_and_factors_that_are_given(tmp_path: Path) -> None:
    factors = {"hue": np.arange(20) % 5, "turn": np.arange(20) // 5}
    labels = np.array(["rose", "iris"])[np.arange(20) % 2]
    cache = own_images(corolla.fit(tiny(), tmp_path / "run", images=COLOR, labels=labels, factors=factors))
    assert cache.labels is not None
    assert [cache.label_names[label] for label in cache.labels] == labels.tolist()
    assert cache.factors is not None
    assert (cache.factor_names, cache.factors.T.tolist()) == (("hue", "turn"), [x.tolist() for x in factors.values()])
    with pytest.raises(UsageError, match="give one for each of the 20 images"):
        corolla.fit(tiny(), tmp_path / "other", images=COLOR, labels=labels[:3])


def test_images_of_several_sizes_are_made_the_models(tmp_path: Path) -> None:
    pictures = [Image.new("L", (20 + number, 30), 12 * number) for number in range(20)]
    cache = own_images(corolla.fit(tiny(), tmp_path / "run", images=pictures))
    assert cache.images[:, 5, 5, 0].tolist() == [12 * number for number in range(20)]
    assert cache.images.shape == (20, SIDE, SIDE, 1)


def test_a_run_of_images_at_hand_resumes_where_it_stopped(tmp_path: Path) -> None:
    """What was stopped half-way and resumed, without the images, is what ran through, number for number."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    expected = corolla.fit(tiny(), whole, images=GREY)
    interrupted(tiny(), halves, images=GREY)
    resumed = training.resume(halves)
    assert np.array_equal(resumed.encode(GREY), expected.encode(GREY))
    assert [row["loss"] for row in RunFolder(halves).rows()] == [row["loss"] for row in RunFolder(whole).rows()]


def interrupted(config: Config, run: Path, **options: Any) -> None:
    """Train, and break off between the checkpoint of step 2 and that of step 4."""

    class Killed(Exception):  # noqa: N818
        """Stands in for a kill."""

    def stop_at(row: Any) -> bool:
        if int(row["step"]) == 4:
            raise Killed
        return False

    with pytest.raises(Killed):
        corolla.fit(config, run, stop_at=stop_at, **options)
    state = RunFolder(run).checkpoint_state()
    assert state is not None
    assert (state["step"], state["finished"]) == (2, False)


# ---- folders that move, runs of before ----


def test_a_run_resumes_and_scores_after_its_folder_was_copied(scans: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", tiny(f"folder:{scans}")
    interrupted(config, run)
    copy = tmp_path / "copy"
    shutil.copytree(scans, copy, copy_function=shutil.copy)  # other inodes and times, as `cp -r` leaves them
    shutil.rmtree(scans)
    with pytest.raises(UsageError, match="no such folder"):
        training.resume(run)
    copy.rename(scans)
    shutil.copytree(run, tmp_path / "elsewhere")
    model = training.resume(tmp_path / "elsewhere")
    assert own_images(model).images.shape == (30, SIDE, SIDE, 1)
    assert int(RunFolder(tmp_path / "elsewhere").rows()[-1]["step"]) == 6


def test_a_changed_byte_stops_a_resume_though_size_and_time_are_the_same(scans: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", scans / "00.png"
    raw = scans / "raw.bmp"
    Image.fromarray(GREY[0]).save(raw)
    os.utime(raw, ns=(10**18, 10**18))
    interrupted(tiny(f"folder:{scans}"), run)
    content = bytearray(raw.read_bytes())
    content[-1] ^= 1
    raw.write_bytes(content)
    os.utime(raw, ns=(10**18, 10**18))
    assert file.exists()
    with pytest.raises(ModelError, match="have changed since it began"):
        training.resume(run)


NEW_SETTINGS = (
    *("channels", "bits", "mixed", "white", "icc", "truncated", "page", "max_pixels"),
    *("labels", "split_folders", "ignore", "select_split"),
)


def made_before(run: Path, fingerprint: str) -> None:
    """Make a run folder as earlier versions left it: without settings of formats, its folder known by a listing."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for name in NEW_SETTINGS:
        del config["data"][name]
    text = yaml.safe_dump(config, sort_keys=False).replace(RunFolder(run).facts()["data_fingerprint"], fingerprint)
    (run / "config.yaml").write_text(text, encoding="utf-8")
    path = run / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["settings"] = {k: v for k, v in state["settings"].items() if k.removeprefix("data.") not in NEW_SETTINGS}
    torch.save(state, path)


def test_a_run_made_before_formats_is_of_3_channels_of_8_bits(scans: Path, tmp_path: Path) -> None:
    """Its grey pictures were three equal channels, and stay so: it goes on number for number."""
    settings = {"data__channels": 3, "data__bits": 8, "data__icc": False, "data__truncated": "keep"}
    config = tiny(f"folder:{scans}", **settings)
    whole, run = tmp_path / "whole", tmp_path / "run"
    expected = corolla.fit(config, whole)
    interrupted(config, run)
    source = open_source(f"folder:{scans}")
    assert source.earlier_fingerprint not in (None, source.fingerprint)
    made_before(run, str(source.earlier_fingerprint))
    data = RunFolder(run).config().data
    assert (data.channels, data.bits, data.icc, data.truncated) == (3, 8, False, "keep")
    assert RunFolder(run).facts()["data_fingerprint"] == source.earlier_fingerprint
    file, changed_ns = scans / "00.png", (scans / "00.png").stat().st_mtime_ns
    os.utime(file, ns=(10, 10))  # by the rule of before, another folder
    with pytest.raises(ModelError, match="have changed since it began"):
        training.resume(run)
    os.utime(file, ns=(changed_ns, changed_ns))
    model = training.resume(run)
    assert own_images(model).images.shape == (30, SIDE, SIDE, 3)
    assert model.sample(1, seed=0).shape == (1, SIDE, SIDE, 3)
    assert np.array_equal(model.encode(GREY), expected.encode(GREY))


# ---- what the names of a folder mean, by settings ----

TRAIN = ("--size", SIDE, "--max-steps", 1, "--batch-size", 4, "--latent-dim", 3, "--no-report")
SMALL = ("--set", "network.patch=4", "--set", "network.width=8")


def trained(cli: Cli, folder: Path, run: Path, *changes: str) -> dict[str, list[str]]:
    """Train by the command, and return the keys of each split."""
    sets = [word for change in changes for word in ("--set", change)]
    code, _, error = cli("train", "--source", f"folder:{folder}", "--run", run, *TRAIN, *SMALL, *sets)
    assert code == 0, error
    cache = own_images(corolla.load(run))
    return {split: [cache.keys[row] for row in rows] for split, rows in cache.splits.items()}


def test_a_table_gives_labels_and_splits(scans: Path, tmp_path: Path, cli: Cli) -> None:
    rows = [f"{n:02d}.png,{('rose', 'iris')[n % 2]},{'training' if n < 20 else 'dev'}" for n in range(28)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label,split", *rows]), encoding="utf-8")
    splits = trained(cli, scans, tmp_path / "run", f"data.labels={table}")
    assert splits == {"train": [f"{n:02d}.png" for n in range(20)], "val": [f"{n:02d}.png" for n in range(20, 28)]}
    cache = own_images(corolla.load(tmp_path / "run"))
    assert cache.labels is not None
    assert [cache.label_names[label] for label in cache.labels] == ["rose", "iris"] * 14
    table.write_text("file,label\nother.png,rose\n", encoding="utf-8")
    code, _, error = cli("train", "--source", f"folder:{scans}", "--set", f"data.labels={table}", *TRAIN)
    assert code == 1
    assert "labels.csv: names none of the 30 images; its first is 'other.png'" in error


def test_folders_that_are_named_for_splits_are_splits(scans: Path, tmp_path: Path, cli: Cli) -> None:
    for year, numbers in ((2023, range(20)), (2024, range(20, 30))):
        (scans / str(year)).mkdir()
        for number in numbers:
            (scans / f"{number:02d}.png").rename(scans / str(year) / f"{number:02d}.png")
    splits = trained(cli, scans, tmp_path / "run", "data.split_folders={train: 2023, val: 2024}")
    assert splits["train"] == [f"2023/{number:02d}.png" for number in range(20)]
    assert splits["val"] == [f"2024/{number:02d}.png" for number in range(20, 30)]
    code, _, error = cli("train", "--source", f"folder:{scans}", "--set", "data.split_folders={train: 2034}", *TRAIN)
    assert code == 2
    assert "'2034': no images in a folder by that name (did you mean '2024'?)" in error


@pytest.mark.parametrize("pattern", ["*/thumbs/*", '["*/thumbs/*"]', '"*/thumbs/*"'])
def test_patterns_are_left_out(scans: Path, tmp_path: Path, cli: Cli, pattern: str) -> None:
    (scans / "a" / "thumbs").mkdir(parents=True)
    shutil.copy(scans / "00.png", scans / "a" / "thumbs" / "00.png")
    splits = trained(cli, scans, tmp_path / "run", f"data.ignore={pattern}")
    assert sorted(key for keys in splits.values() for key in keys) == [f"{number:02d}.png" for number in range(30)]
    code, _, error = cli("train", "--source", f"folder:{scans}", "--set", "data.ignore=*", *TRAIN)
    assert code == 2
    assert "ignore *: matches every image" in error


def test_settings_of_folders_are_refused_for_other_sources(cli: Cli) -> None:
    code, _, error = cli("train", "--source", "florets:100", "--set", "data.ignore=*/thumbs/*", *TRAIN)
    assert code == 2
    assert "florets:100: labels, split_folders and ignore are for folders and archives; leave them out" in error


def test_a_table_of_labels_is_for_the_models_own_folder(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    table = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(12))
    (tmp_path / "labels.csv").write_text(f"file,label\n{table}")
    config = tiny().updated(
        {"data.source": f"folder:{tmp_path / 'photos'}", "data.labels": str(tmp_path / "labels.csv")}
    )
    model = corolla.fit(config, tmp_path / "run")
    assert own_images(model).label_names == ("a", "b")
    assert len(own_images(model, source="florets:20").images) == 20
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert own_images(model, source=f"folder:{tmp_path / 'moved'}").label_names == ("a", "b")


def test_what_values_mean_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    binary = (RNG.random((20, 16, 16)) < 0.5).astype(np.uint8)
    deep = RNG.integers(0, 65536, (20, 16, 16)).astype(np.uint16)
    deep[0] //= 512
    for name, images in (("binary", binary), ("deep", deep)):
        model = corolla.fit(tiny(), tmp_path / name, images=images)
        whole = model.encode(images.astype(np.int32) if name == "deep" else images)
        for one in (images[:1], [images[0]]):
            np.testing.assert_allclose(model.encode(one)[0], whole[0], atol=1e-5)
        if name == "deep":
            np.testing.assert_allclose(model.encode(images[:1].astype(np.int32))[0], whole[0], atol=1e-5)


def test_another_table_of_splits_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(12):
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "photos" / f"{number:02}.png")

    def write(held_out: set[int]) -> None:
        rows = (f"{number:02}.png,a,{'val' if number in held_out else 'train'}" for number in range(12))
        (tmp_path / "table.csv").write_text("file,label,split\n" + "\n".join(rows) + "\n")

    write({0, 1, 2})
    config = tiny().updated(
        {"data.source": f"folder:{tmp_path / 'photos'}", "data.labels": str(tmp_path / "table.csv")}
    )
    model = corolla.fit(config, tmp_path / "run")
    assert own_images(model).splits["val"].tolist() == [0, 1, 2]
    write({3, 4, 5})  # on which the model was trained
    with pytest.raises(DataError, match="have changed since the model was trained"):
        own_images(model)
