"""The engine ray against threads; with Ray where the extra `scale` is installed, on one processor of this machine."""

from __future__ import annotations

import copy
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from corolla import cli
from corolla.apps.features import read_features, write_features
from corolla.data.listing import list_images
from corolla.errors import DataError, ModelError, UsageError
from corolla.trained import TrainedModel
from corolla.trained.encoding import encoded


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Thirteen images, of which the last but one cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    paths = [folder / f"{number:02d}.png" for number in range(13)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    paths[-2].write_bytes(b"no image")
    return paths


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        ray = pytest.importorskip("ray", reason="the extra `scale` is not installed")
        pytest.importorskip("ray.data")
        options = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_ray_writes_the_same_rows_in_the_same_order(
    model: TrainedModel,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="the extra `features` is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("corolla.trained.encoding.PART_ENTRIES", 5)
    monkeypatch.setattr("corolla.apps.features.write._RAY_PARTS", 2)
    monkeypatch.setattr("corolla.trained.encoding.BATCH_SIZE", 3)
    relative = [path.relative_to(tmp_path) for path in files]
    done: list[int] = []
    here = write_features(model, relative, f"here{suffix}", variance=True)
    caplog.clear()
    there = write_features(
        model,
        relative,
        f"there{suffix}",
        variance=True,
        engine="ray",
        progress=lambda _title, step, _total: done.append(step),
    )
    assert there == here
    assert there.rows == 12
    assert done == [3, 5, 8, 10, 10, 13, 13]
    assert [record.message for record in caplog.records if record.name == "corolla"] == [
        f"{files[-2]}: not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image, or damaged; left out"
    ]
    ours, theirs = read_features(f"here{suffix}"), read_features(f"there{suffix}")
    assert theirs.paths == ours.paths == tuple(path.as_posix() for path in relative if path != relative[-2])
    assert theirs.fingerprint == ours.fingerprint
    np.testing.assert_array_equal(theirs.means, ours.means)
    assert ours.variances is not None
    assert theirs.variances is not None
    np.testing.assert_array_equal(theirs.variances, ours.variances)
    with pytest.raises(DataError, match=r"11\.png: not a JPEG.*repair or remove it"):
        write_features(model, relative, "strict.npz", on_error="refuse", engine="ray")


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_what_goes_wrong_in_a_task_is_told_as_it_is_here(model: TrainedModel, files: list[Path]) -> None:
    broken = copy.deepcopy(model.vae)
    with torch.no_grad():
        next(broken.encoder.parameters()).fill_(torch.nan)
    damaged = TrainedModel(broken, model.card)
    with pytest.raises(ModelError, match="codes of these images are not finite"):
        list(encoded(damaged, list_images(files[:2]), False, "skip", None, "ray"))
    assert not list(encoded(damaged, [], False, "skip", None, "ray"))


@pytest.mark.usefixtures("model")
def test_without_the_extra_one_line_says_how_to_add_it(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.run(["embed", "model", str(files[0]), "-o", "a.npz", "--engine", "ray"]) == 2
    error = capsys.readouterr().err
    assert "the engine ray needs the extra `scale`; in a clone, add it with: pip install -e '.[scale]'" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "a.npz.partial").exists()


def test_wrong_wishes_are_refused(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="engine 'dask': give threads or ray"):
        write_features(model, files, tmp_path / "a.npz", engine="dask")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="2 workers: these are threads"):
        write_features(model, files, tmp_path / "a.npz", engine="ray", workers=2)
