"""Anomalies: the promise of a false-positive rate, each score by its definition, and what is written."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from corolla import cli
from corolla.apps.anomalies import (
    Calibration,
    anomaly_scores,
    calibrate,
    find_anomalies,
    load_calibration,
    save_calibration,
    write_anomalies,
)
from corolla.apps.anomalies.scoring import SCORES, check_rate, mahalanobis, measure, p_values, window_px
from corolla.apps.anomalies.search import heat
from corolla.config import Config
from corolla.data import select_rows
from corolla.errors import DataError, ModelError, UsageError
from corolla.metrics import complexity_nats
from corolla.models.vae import build_model
from corolla.trained import TrainedModel, load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.own_images import own_images

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def make(folder: Path, objective: str = "beta_vae", *, seed: int = 1) -> TrainedModel:
    config = Config.from_dict(
        {
            "data": {"source": "florets:200", "size": 16},
            "network": {"width": 8, "latent_dim": 4, "patch": 4},
            "objective": {"name": objective},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ModelFolder(folder / "model").save(build_model(config), ModelCard(config))
    return load(folder)


def own(model: TrainedModel, split: str) -> Pixels:
    cache = own_images(model)
    return np.asarray(cache.images[select_rows(cache.splits, split)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return make(tmp_path_factory.mktemp("anomalies"))


@pytest.fixture(scope="module")
def calibration(model: TrainedModel) -> Calibration:
    return calibrate(model)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(2)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"noise {number}.png")
    Image.new("RGB", (40, 30), "red").save(folder / "plain.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


# --- the promise ------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20, unique=True), st.floats(0.01, 0.99))
def test_of_exchangeable_scores_exactly_the_promised_share_is_flagged(values: list[float], fpr: float) -> None:
    """Whichever of n + 1 distinct scores is the new one, its p-value is its rank from above over n + 1."""
    scores, total, flagged = np.array(values), len(values), 0
    for place, score in enumerate(scores):
        p = p_values(np.sort(np.delete(scores, place)), np.array([score]))[0]
        assert p == sum(value >= score for value in values) / total
        flagged += p <= fpr
    assert flagged == sum(rank / total <= fpr for rank in range(1, total + 1))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.floats(0.01, 0.99))
def test_of_scores_with_ties_no_more_than_the_promised_share_is_flagged(values: list[int], fpr: float) -> None:
    scores = np.array(values, float)
    ps = [p_values(np.sort(np.delete(scores, place)), scores[[place]])[0] for place in range(len(scores))]
    assert np.mean(np.array(ps) <= fpr) <= fpr


def test_a_rate_that_the_images_cannot_hold_is_refused_with_one_that_they_can() -> None:
    check_rate(0.05, 19)
    with pytest.raises(
        UsageError, match=r"0\.05: 18 calibration images can hold none below 1/19 = 0\.053; ask for 0\.053"
    ):
        check_rate(0.05, 18)
    check_rate(0.053, 18)
    for rate in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="between 0 and 1"):
            check_rate(rate, 100)


# --- each score by its definition -------------------------------------------------------------------------------------


def test_the_mahalanobis_distance_is_scipys() -> None:
    generator = np.random.default_rng(0)
    rows, mean = generator.normal(size=(20, 3)), generator.normal(size=3)
    factor = generator.normal(size=(3, 3))
    precision = factor @ factor.T + np.eye(3)
    expected = [scipy_mahalanobis(row, mean, precision) for row in rows]
    np.testing.assert_allclose(mahalanobis(rows, mean, precision), expected)


def test_measures_are_those_of_the_model(model: TrainedModel) -> None:
    images = own(model, "val")[:3]
    found = measure(model, images)
    q = model.posterior(images)
    mean, variance = q.mean.double().numpy(), q.logvar.double().exp().numpy()
    assert found.rate_nats is not None
    np.testing.assert_allclose(found.rate_nats, 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1), rtol=1e-5)
    with torch.no_grad():
        decoded = model.vae.decode(q.mean).mean.double().permute(0, 2, 3, 1).numpy()
    x = images / 255
    cross_entropy = -(x * np.log(decoded) + (1 - x) * np.log(1 - decoded)).sum((1, 2, 3))
    np.testing.assert_allclose(found.distortion_nats, cross_entropy, rtol=1e-5)
    squares = np.square(x - decoded).mean(3)
    np.testing.assert_allclose(found.error, squares.mean((1, 2)), rtol=1e-5)
    reach = window_px(16, 16) // 2
    assert reach == 1
    for image, y, z in ((0, 0, 0), (1, 7, 15), (2, 8, 9)):
        around = squares[image, max(0, y - reach) : y + reach + 1, max(0, z - reach) : z + reach + 1]
        expected = math.log(around.mean() + 1 / 12 / 255**2)
        assert found.log_errors[image, y, z] == pytest.approx(expected, rel=1e-4)


def test_scores_are_those_of_their_definitions(model: TrainedModel, calibration: Calibration) -> None:
    images = own(model, "val")[:5]
    result = anomaly_scores(model, images, calibration, fpr=0.2)
    measures, reference = measure(model, images), calibration.reference
    assert tuple(result.scores) == SCORES
    assert measures.rate_nats is not None
    cost = measures.rate_nats + measures.distortion_nats
    np.testing.assert_allclose(result.scores["excess"], cost - complexity_nats(images))
    assert result.maps.shape == (5, 16, 16)
    codes = model.encode(own(model, "train")).astype(float)
    covariance, _ = ledoit_wolf(codes)
    distance = scipy_mahalanobis(measures.codes[0], codes.mean(0), np.linalg.inv(covariance))
    row = np.r_[measures.columns(np.full(5, distance))[0], result.maps[0].max()]
    joint = scipy_mahalanobis(row, reference.joint_mean, reference.joint_precision)
    assert result.scores["joint"][0] == pytest.approx(joint, rel=1e-5)
    found = np.stack([result.scores["joint"], result.scores["excess"]], axis=1)
    expected = ((found - reference.parts[:, 0]) / reference.parts[:, 1]).sum(1)
    np.testing.assert_allclose(result.scores["combined"], expected)


def test_normal_images_are_normal_to_their_own_reference(model: TrainedModel) -> None:
    """Over the reference images maps have mean 0 and deviation 1 at each pixel, and parts are standardised."""
    images = own(model, "train")[:60]
    calibration = calibrate(model, images=images)
    order = torch.Generator().manual_seed(0)
    torch.randperm(len(own(model, "train")), generator=order)
    rows = torch.randperm(60, generator=order).numpy()[:20]
    result = anomaly_scores(model, images[np.sort(rows)], calibration)
    assert calibration.card.reference_images == 20
    np.testing.assert_allclose(result.maps.mean(0), 0, atol=1e-4)
    varied = calibration.reference.log_error_stddev > 0.0501  # florets' ground hardly does
    assert varied.mean() > 0.5
    np.testing.assert_allclose(result.maps.std(0)[varied], 1, atol=1e-3)
    assert result.scores["combined"].mean() == pytest.approx(0, abs=1e-6)


def test_p_values_and_flags_are_those_of_the_calibration_images(model: TrainedModel, calibration: Calibration) -> None:
    images = own(model, "val")
    assert calibration.card.reference_images == len(images) // 3
    assert calibration.card.calibration_images == len(images) - len(images) // 3
    for name in calibration.card.scores:
        result = anomaly_scores(model, images, calibration, score=name, fpr=0.25)
        normal = calibration.normal[name]
        for score, p, flag in zip(result.scores[name], result.p_values, result.flagged, strict=True):
            assert p == (1 + sum(value >= score for value in normal)) / (1 + len(normal))
            assert flag == (p <= 0.25)


def test_an_auto_encoder_has_no_elbo(tmp_path: Path) -> None:
    model = make(tmp_path, "ae")
    calibration = calibrate(model)
    assert calibration.card.scores == ("combined", "joint")
    assert "excess" not in anomaly_scores(model, own(model, "val")[:2], calibration, fpr=0.2).scores
    with pytest.raises(UsageError, match="score excess: an auto-encoder has no ELBO; choose one of combined, joint"):
        anomaly_scores(model, own(model, "val")[:2], calibration, score="excess", fpr=0.2)
    save_calibration(model, calibration)
    assert load_calibration(model).card == calibration.card


def test_a_calibration_with_the_scores_that_were_removed_still_opens(tmp_path: Path) -> None:
    model = make(tmp_path)
    calibration = calibrate(model)
    file = save_calibration(model, calibration)
    arrays = load_arrays(file.read_bytes())
    with safe_open(file, "np") as opened:
        card = json.loads(opened.metadata()["calibration"])
    arrays |= {"elbo_mean": np.array(-1.0), "normal.elbo": arrays["normal.joint"], "normal.prior": np.zeros(3)}
    card |= {"scores": ["combined", "joint", "excess", "elbo", "prior"], "prior": "gmm", "prior_sha256": "ab"}
    file.write_bytes(save(arrays, metadata={"calibration": json.dumps(card)}))
    again = load_calibration(model)
    assert again.card == calibration.card
    for name, values in calibration.normal.items():
        np.testing.assert_array_equal(again.normal[name], values)


@pytest.mark.slow
def test_a_trained_model_tells_what_is_trivially_different(tmp_path: Path) -> None:
    from corolla.training import fit

    config = Config.from_dict(
        {
            "data": {"source": "florets:600", "size": 16},
            "network": {"width": 8, "latent_dim": 6, "patch": 4},
            "training": {"max_steps": 150, "batch_size": 32},
        }
    )
    model = fit(config, tmp_path / "run")
    calibration = calibrate(model)
    normal = anomaly_scores(model, own(model, "test"), calibration, fpr=0.2)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    plain = np.broadcast_to(generator.integers(0, 256, (40, 1, 1, 3), dtype=np.uint8), noise.shape)
    for images in (noise, np.ascontiguousarray(plain), 255 - own(model, "test")[:40]):
        odd = anomaly_scores(model, images, calibration, fpr=0.2)
        truth = np.r_[np.zeros(len(normal.p_values)), np.ones(40)]
        assert roc_auc_score(truth, np.r_[normal.scores["combined"], odd.scores["combined"]]) > 0.97
        assert odd.flagged.mean() > 0.9
    assert normal.flagged.mean() < 0.45


# --- keeping a calibration --------------------------------------------------------------------------------------------


def test_a_calibration_comes_back_bit_for_bit(model: TrainedModel, calibration: Calibration) -> None:
    file = save_calibration(model, calibration)
    assert model.path is not None
    assert file == model.path / "model" / "anomalies.safetensors"
    images = own(model, "val")
    before, after = (anomaly_scores(model, images, one, fpr=0.2) for one in (calibration, load_calibration(model)))
    for name, values in before.scores.items():
        np.testing.assert_array_equal(values, after.scores[name])
    np.testing.assert_array_equal(before.maps, after.maps)
    np.testing.assert_array_equal(before.p_values, after.p_values)


def test_calibrating_twice_gives_the_same(model: TrainedModel, calibration: Calibration) -> None:
    again = calibrate(model)
    for name, values in calibration.normal.items():
        np.testing.assert_array_equal(values, again.normal[name])
    other = calibrate(model, seed=1)
    assert (other.normal["excess"] != calibration.normal["excess"]).any()


def test_what_belongs_to_other_weights_or_is_damaged_is_refused(tmp_path: Path, calibration: Calibration) -> None:
    model = make(tmp_path, seed=2)
    with pytest.raises(ModelError, match="not calibrated yet"):
        load_calibration(model)
    with pytest.raises(ModelError, match="the calibration: made with other weights"):
        anomaly_scores(model, own(model, "val"), calibration)
    file = save_calibration(model, calibration)
    with pytest.raises(ModelError, match=r"other weights than the model has now; .*--recalibrate"):
        load_calibration(model)
    file.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged or not readable"):
        load_calibration(model)
    bare = TrainedModel(model.vae, model.card)
    with pytest.raises(ModelError, match="never saved"):
        save_calibration(bare, calibration)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("joint_mean"), "tensor joint_mean is missing"),
        (lambda arrays: arrays.update(more=np.zeros(1)), "tensor more is not part of this calibration"),
        (lambda arrays: arrays.update(parts=np.zeros(3)), r"tensor parts is \(3,\).* needs \(2, 2\)"),
        (lambda arrays: arrays["code_mean"].fill(np.nan), "tensor code_mean holds values that are not finite"),
    ],
)
def test_altered_arrays_are_named(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    model = make(tmp_path)
    file = save_calibration(model, calibrate(model))
    arrays = {name: array.copy() for name, array in load_arrays(file.read_bytes()).items()}
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
    change(arrays)
    file.write_bytes(save(arrays, metadata=metadata))
    with pytest.raises(ModelError, match=message):
        load_calibration(model)
    file.write_bytes(save(arrays))
    with pytest.raises(ModelError, match="does not say what calibration it holds"):
        load_calibration(model)


def test_too_few_images_are_refused(model: TrainedModel) -> None:
    with pytest.raises(UsageError, match="5 images to calibrate with: at least 6"):
        calibrate(model, images=own(model, "val")[:5])
    with pytest.raises(UsageError, match="bring them there"):
        measure(model, np.zeros((2, 8, 8, 3), np.uint8))


# --- what is written --------------------------------------------------------------------------------------------------


def test_files_are_scored_as_arrays_are(model: TrainedModel, calibration: Calibration, photos: Path) -> None:
    (block,) = find_anomalies(model, [photos], calibration, fpr=0.2, workers=1)
    assert block.paths == (
        *((photos / f"noise {n}.png").as_posix() for n in range(5)),
        (photos / "plain.png").as_posix(),
    )
    assert len(block.faults) == 1
    direct = anomaly_scores(model, list(block.paths), calibration, fpr=0.2)
    np.testing.assert_array_equal(block.images, direct.images)
    np.testing.assert_allclose(block.scores["combined"], direct.scores["combined"], rtol=1e-4)
    with pytest.raises(DataError, match=r"broken\.png: .*repair or remove it"):
        list(find_anomalies(model, [photos], calibration, fpr=0.2, on_error="refuse"))
    with pytest.raises(UsageError, match="score beauty: there is none such"):
        find_anomalies(model, [photos], calibration, score="beauty", fpr=0.2)


@pytest.mark.parametrize("maps", ["flagged", "all", "none"])
def test_the_table_is_ranked_and_names_the_maps(
    model: TrainedModel,
    calibration: Calibration,
    photos: Path,
    tmp_path: Path,
    maps: Literal["flagged", "all", "none"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("corolla.trained.encoding.BATCH_SIZE", 2)
    out = tmp_path / "out"
    done: list[tuple[str, int, int | None]] = []
    written = write_anomalies(
        model,
        [photos],
        out,
        calibration,
        score="excess",
        fpr=0.3,
        count=3,
        maps=maps,
        progress=lambda *call: done.append(call),
    )
    with (out / "anomalies.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", *calibration.card.scores, "p_value", "flagged", "map"]
    assert (written.rows, written.left_out, done[-1]) == (6, 1, ("scoring", 7, 7))
    assert written.flagged == sum(row["flagged"] == "1" for row in rows)
    scores = [float(row["excess"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    blocks = list(find_anomalies(model, [photos], calibration, score="excess", fpr=0.3))
    expected = {
        path: (block.scores["excess"][index], block.p_values[index], block.flagged[index])
        for block in blocks
        for index, path in enumerate(block.paths)
    }
    for row in rows:
        score, p, flag = expected[row["path"]]
        assert float(row["excess"]) == pytest.approx(score, rel=1e-5)
        assert float(row["p_value"]) == pytest.approx(p, rel=1e-5)
        assert row["flagged"] == str(int(flag))
        wanted = maps == "all" or (maps == "flagged" and flag)
        assert bool(row["map"]) == wanted
        if wanted:
            with Image.open(out / row["map"]) as picture:
                assert picture.size == (2 * 96 + 12, 96 + 8)
    with Image.open(out / "anomalies.png") as picture:
        assert picture.height == 2 * (96 + 4 + 22) + 4
    with pytest.raises(UsageError, match="is not empty"):
        write_anomalies(model, [photos], out, calibration, fpr=0.3)


def test_nothing_to_write_leaves_nothing(
    model: TrainedModel, calibration: Calibration, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corolla.trained.encoding.BATCH_SIZE", 1)
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"broken\.png"):
        write_anomalies(
            model,
            [photos / "plain.png", photos / "broken.png"],
            out,
            calibration,
            fpr=0.3,
            maps="all",
            on_error="refuse",
        )
    with pytest.raises(DataError, match="none of the 1 images can be used"):
        write_anomalies(model, [photos / "broken.png"], out, calibration, fpr=0.3)
    with pytest.raises(UsageError, match="no images given"):
        write_anomalies(model, [], out, calibration, fpr=0.3)
    with pytest.raises(UsageError, match="0 images on the sheet"):
        write_anomalies(model, [photos], out, calibration, fpr=0.3, count=0)
    assert not out.exists()


def test_heat_is_black_where_all_is_normal_warm_above_and_cold_below() -> None:
    colours = heat(np.array([[0.0, 3.0, 9.0, -3.0]], np.float32))[0].astype(int)
    assert colours.shape == (4, 3)
    assert colours[0].max() < 8
    np.testing.assert_array_equal(colours[1], colours[2])
    assert colours[1, 0] > colours[1, 2]
    np.testing.assert_array_equal(colours[3], colours[1, ::-1])


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("photos")
def test_the_command_calibrates_once_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    words = ["anomalies", "run", "photos", "--fpr", "0.1", "-o"]
    assert cli.run([*words, "first"]) == 0
    out, err = capsys.readouterr()
    kept = Path("run", "model", "anomalies.safetensors")
    assert f"wrote {kept} (calibrated on " in out
    assert "wrote first (6 images, 1 left out; " in out
    assert "broken.png: not a " in err
    before = kept.read_bytes()
    assert cli.run([*words, "second", "--score", "joint", "--maps", "all"]) == 0
    assert "calibrated" not in capsys.readouterr().out
    assert len(list(Path("second/maps").iterdir())) == 6
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"photos/plain.png\n")))
    assert cli.run(["anomalies", "run", "-", "--fpr", "0.1", "--recalibrate", "-o", "third"]) == 0
    assert kept.read_bytes() == before
    assert "(1 image; " in capsys.readouterr().out


@pytest.mark.usefixtures("photos")
def test_the_command_tells_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for words, code, message in (
        (["photos", "--fpr", "0.001"], 2, "can hold none below"),
        (["photos", "--fpr", "0.1", "--score", "elbo"], 2, "elbo"),
        (["photos", "--fpr", "0.1", "--strict"], 1, "broken.png"),
        (["nowhere"], 1, "nowhere: no such file"),
        ([], 2, "no images given"),
        (["photos", "-o", "photos"], 2, "photos: is not empty"),
        (["photos", "--source", "folder:nowhere", "--recalibrate"], 2, "no such folder"),
        (["photos", "--against", "photos"], 1, "holds no model"),  # the order of the release before
    ):
        words = words if "--against" in words else ["run", *words]
        rest = [*([] if "-o" in words else ["-o", "out"])]
        assert cli.run(["anomalies", *words, *rest]) == code, words
        last = capsys.readouterr().err.splitlines()[-1]
        assert message in last, words
        assert not Path("out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fpr", "nan"], "false-positive rate nan"),
        (["--fpr", "0"], "false-positive rate 0"),
        (["--count", "0"], "0 images on the sheet"),
        (["--workers", "0"], "0 workers"),
    ],
)
def test_wrong_numbers_are_refused_before_the_calibration(
    model: TrainedModel,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(
        "corolla.apps.anomalies.search.own_calibration", lambda *_, **__: pytest.fail("calibrated first")
    )
    assert cli.run(["anomalies", str(model.path), str(photos), "-o", str(tmp_path / "odd"), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
