"""Scores of models: what is measured on what, kept whole, told in order, and refused where it would mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from corolla.config import Config
from corolla.data import FACTORS, ImageCache, render, select_rows, spread_rows
from corolla.distributions import DiagonalGaussian
from corolla.errors import ModelError, UsageError
from corolla.evaluation import (
    FILE_NAME,
    SCORES,
    PrincipalComponents,
    Score,
    Scores,
    evaluate,
    gather,
)
from corolla.evaluation.codec import encode_live
from corolla.evaluation.codes import code_scores, rate_scores
from corolla.evaluation.disentanglement import disentanglement
from corolla.evaluation.material import KnownFactors, Material, Part, known_factors
from corolla.evaluation.reconstructions import extremes
from corolla.evaluation.samples import compare_with_real
from corolla.evaluation.tables import in_order, row_label_with_unit, score_lines
from corolla.metrics import gaussian_total_correlation, generation_intervals, mutual_information_score
from corolla.metrics.names import GROUPS, KINDS, key, parse_key
from corolla.models.vae import build_model
from corolla.trained import TrainedModel, load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.own_images import own_images

TINY: dict[str, Any] = {
    "data": {"source": "florets:400", "size": 16},
    "network": {"width": 8, "latent_dim": 4, "patch": 4},
}


def make(folder: Path, **changes: object) -> TrainedModel:
    config = Config.from_dict(TINY).updated({name.replace("__", "."): value for name, value in changes.items()})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        ModelFolder(folder / "model").save(build_model(config), ModelCard(config))
    return load(folder)


class Painter:
    """A codec that is perfect: an image is painted from its code of four numbers, and read off again."""

    latent_dim = 4

    def encode(self, images: np.ndarray[Any, np.dtype[np.uint8]], /) -> np.ndarray[Any, np.dtype[np.float32]]:
        corners = images[:, ::8, ::8, 0].reshape(len(images), 4)
        return ((corners.astype(np.float32) - 128) / 40).astype(np.float32)

    def decode(self, latents: np.ndarray[Any, np.dtype[np.float32]], /) -> np.ndarray[Any, np.dtype[np.uint8]]:
        values = np.clip(np.rint(np.asarray(latents) * 40 + 128), 0, 255).astype(np.uint8)
        quarters = values.reshape(-1, 2, 2).repeat(8, axis=1).repeat(8, axis=2)
        return np.stack([quarters] * 3, axis=-1)

    def sample(self, count: int, *, seed: int, prior: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        assert prior == "standard"
        return self.decode(np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32))


def painted(count: int, seed: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.int64]]]:
    places = np.random.default_rng(seed).integers(0, 5, (count, 4))
    return Painter().decode(((places - 2) * 0.8).astype(np.float32)), places


@pytest.fixture(scope="module")
def paintings() -> Material:
    training, evaluation = painted(300, 1)[0], painted(200, 2)[0]
    images, places = painted(2000, 3)
    names = ("a", "b", "c", "d")
    labels = [(x[:, 0, 0, 0] > 128).astype(np.int64) for x in (training, evaluation)]
    return Material(
        Part(evaluation, tuple(map(str, range(200))), labels[1]),
        Part(training, tuple(map(str, range(300))), labels[0]),
        KnownFactors(places, names, images),
        {"source": "paintings"},
        "val",
    )


def test_a_perfect_codec_has_perfect_scores(paintings: Material) -> None:
    found = evaluate(Painter(), paintings, features="pixels", samples=64).scores
    values = {name: score.value for name, score in found.scores.items()}
    assert values["ssim"] == pytest.approx(1)
    for name in ("mig", "dci_disentanglement", "dci_completeness", "factor_vae_score", "beta_vae_score", "modularity"):
        assert values[name] == pytest.approx(1, abs=0.03), name
    assert values["probe_accuracy/codes"] == 1
    assert values["active_units"] == 4
    single = {name for name, score in found.scores.items() if score.low is None}
    assert {KINDS[parsed.name].label for name in single if (parsed := parse_key(name))} == {
        "active units",
        "data copying",
        "Fréchet distance",  # in 768 features
    }
    assert values["correlation"] < 0.15
    assert found.details["disentanglement"]["factors"] == ["a", "b", "c", "d"]
    assert {parsed.kind.group for name in values if (parsed := parse_key(name))} == set(GROUPS)


def test_a_prior_that_always_gives_one_image_covers_nothing(paintings: Material) -> None:
    class Stuck(Painter):
        def sample(self, count: int, *, seed: int, prior: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
            return super().sample(1, seed=seed, prior=prior).repeat(count, axis=0)

    def scores(codec: Painter) -> dict[str, float]:
        found = evaluate(codec, paintings, groups=["samples"], features="pixels", samples=100).scores
        return {name: score.value for name, score in found.scores.items()}

    good, stuck = scores(Painter()), scores(Stuck())
    assert good["coverage_pixels/training images"] == stuck["coverage_pixels/training images"] > 0.8
    assert good["coverage_pixels/standard"] > 0.5
    assert stuck["coverage_pixels/standard"] < 0.2
    assert stuck["recall_pixels/standard"] == 0
    assert stuck["kid_pixels/standard"] > 5 * abs(good["kid_pixels/standard"])


def test_a_codec_that_mixes_its_factors_scores_lower(paintings: Material) -> None:
    class Mixer(Painter):
        turn = (np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2).astype(np.float32)

        def encode(self, images: np.ndarray[Any, np.dtype[np.uint8]], /) -> np.ndarray[Any, np.dtype[np.float32]]:
            return super().encode(images) @ self.turn

    found = evaluate(Mixer(), paintings, groups=["factors"]).scores.scores
    assert found["mig"].value < 0.05
    assert found["dci_disentanglement"].value < 0.05
    assert found["explicitness"].value > 0.75  # a linear rule still reads off high and low


def test_a_trained_model_is_scored_in_every_group(tmp_path: Path) -> None:
    model = make(tmp_path / "run")
    material = gather(model, factors=False)
    found = evaluate(model, material, features="pca8", samples=40)
    names = set(found.scores.scores)
    assert {"psnr_db", "ssim", "kid_pca8/standard", "kid_pca8/training images", "rate_nats", "trustworthiness"} <= names
    assert {"probe_accuracy/codes", "probe_accuracy/pca", "probe_accuracy/pixels"} <= names
    assert "mig" not in names
    assert all(parse_key(name) is not None for name in names)
    assert all(np.isfinite(score.value) for score in found.scores.scores.values())
    assert found.scores.weights_sha256 == model.card.weights_sha256
    assert (found.scores.images, found.scores.split) == (40, "val")
    assert found.samples["standard"].shape == (40, 16, 16, 3)
    assert found.neighbours is not None
    assert found.neighbours.shape == (8, 3, 16, 16, 3)
    again = evaluate(model, material, features="pca8", samples=40)
    assert again.scores == found.scores  # the seed fixes everything


def test_psnr_and_rate_are_those_of_the_evaluation(tmp_path: Path) -> None:
    model = make(tmp_path / "run")
    material = gather(model, factors=False)
    scores = evaluate(model, material, groups=["images", "latents"]).scores.scores
    cache = own_images(model)
    images = np.asarray(cache.images[select_rows(cache.splits, "val")])
    back = model.reconstruct(images)
    error = ((images / 255.0 - back / 255.0) ** 2).mean((1, 2, 3))
    assert scores["psnr_db"].value == pytest.approx((-10 * np.log10(error)).mean())
    kl = float(model.posterior(images).kl().mean())
    assert scores["rate_nats"].value == pytest.approx(kl, rel=1e-5)
    low, high = scores["psnr_db"].low, scores["psnr_db"].high
    assert low is not None
    assert high is not None
    assert low < scores["psnr_db"].value < high


def test_florets_are_drawn_on_their_grid_to_be_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corolla.evaluation.material.MOST_FACTOR_ROWS", 1000)
    material = gather(make(tmp_path / "run"), most=100)
    assert material.factors is not None
    assert material.factors.names[:2] == ("petal_count", "petal_hue")
    assert (material.factors.factors.max(0) + 1).tolist() == [6, 12, 6, 6, 6, 8, 8]
    assert len(material.factors.images) == len(material.factors.factors) > 900
    values = material.factors.factors[:20]
    drawn = [[factor.grid[place] for factor, place in zip(FACTORS, row, strict=True)] for row in values]
    np.testing.assert_array_equal(material.factors.images[:20], render(drawn, 16, 16))


def test_an_auto_encoder_has_no_rate(tmp_path: Path) -> None:
    model = make(tmp_path / "run", objective__name="ae")
    names = evaluate(model, gather(model, factors=False), groups=["images", "latents"]).scores.scores
    assert "psnr_db" in names
    assert not {"rate_nats", "distortion_nats", "total_correlation_nats", "active_units"} & set(names)


def test_total_correlation_is_withheld_where_every_image_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Independent latents with narrow posteriors: the mixture of the posteriors gives rate − log N − …, not 0."""
    model = make(tmp_path / "run")
    images = gather(model, factors=False).evaluation.some(32)
    means = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(model.vae, "encode", lambda x: DiagonalGaussian(means[: len(x)], torch.full((len(x), 4), -8.0)))
    scores, left_out = rate_scores(model, images)
    assert "total_correlation_nats" not in scores
    assert "tell nearly all 32 images apart (3.4" in left_out["total correlation"]
    assert scores["total_correlation_bound_nats"].value == 0
    monkeypatch.setattr(model.vae, "encode", lambda x: DiagonalGaussian(means[: len(x)] / 9, torch.zeros(len(x), 4)))
    scores, left_out = rate_scores(model, images)
    assert not left_out
    assert abs(scores["total_correlation_nats"].value) < 0.1


def test_what_was_trained_on_is_no_measure(tmp_path: Path) -> None:
    model = make(tmp_path / "run")
    with pytest.raises(
        UsageError, match=r"split train\+val: 320 of its images were trained on \(train\); name another"
    ):
        gather(model, split="train+val")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"groups": ["beauty"]}, "'beauty' is no group of scores; there are images"),
        ({"groups": []}, "'nothing' is no group"),
        ({"features": "inception"}, "features inception: there are lite0, pixels"),
        ({"features": "pca999"}, "999 principal components"),
        ({"priors": ["cauchy"]}, "cauchy"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    model = make(tmp_path / "run")
    material = gather(model, factors=False)
    with pytest.raises(UsageError, match=told):
        evaluate(model, material, samples=40, **options)


def test_too_few_images_leave_a_group_out_unless_it_was_named(tmp_path: Path, paintings: Material) -> None:
    lonely = replace(paintings.training, labels=np.arange(300))
    few = replace(paintings, training=lonely, factors=None, too_few="factor a has 9 values for 12 images")
    found = evaluate(Painter(), few, features="pixels", samples=40).scores
    assert found.details["left out"] == {
        "labels from codes": "no label has 5 training rows: a probe needs that of at least one of them",
        "disentanglement": "factor a has 9 values for 12 images",
    }
    assert {"psnr_db", "trustworthiness", "kid_pixels/standard"} <= set(found.scores)
    assert score_lines(found)[-1] == "left out: disentanglement: factor a has 9 values for 12 images"
    with pytest.raises(UsageError, match="9 values for 12 images"):
        evaluate(Painter(), few, groups=["factors"])
    model = make(tmp_path / "run", data__source="florets:40")
    found = evaluate(model, gather(model, factors=False), samples=40).scores  # four images to evaluate on
    assert {"samples", "codes"} <= set(found.details["left out"])
    assert "psnr_db" in found.scores


def test_a_prior_that_is_not_fitted_is_said_before_anything_takes_long(tmp_path: Path) -> None:
    model = make(tmp_path / "run")
    with pytest.raises(ModelError, match="make it with `corolla fit-prior"):
        evaluate(model, priors=["standard", "gmm"])


def test_principal_components_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(128, 30, (60, 4, 4, 3)), 0, 255).astype(np.uint8)
    pca = PrincipalComponents(images, 5)
    codes = pca.encode(images)
    assert codes.shape == (60, 5)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(5), atol=1e-3)  # as the prior has it
    flat = images.reshape(60, -1) / 255
    values = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    lost = ((pca.decode(codes).reshape(60, -1) / 255 - flat) ** 2).sum() / 59
    assert lost == pytest.approx(values[5:].sum(), rel=0.02)  # but for rounding to 8 bits
    assert pca.sample(3, seed=0).shape == (3, 4, 4, 3)
    with pytest.raises(UsageError, match="60 principal components: 60 rows of 48 values have between 1 and 48"):
        PrincipalComponents(images, 60)
    with pytest.raises(UsageError, match="standard normal only"):
        pca.sample(3, seed=0, prior="gmm")


def test_the_worst_and_the_best_are_found() -> None:
    psnr = np.array([20.0, 10.0, 40.0, 30.0, 25.0])
    places = extremes(psnr, count=2)
    assert {name: found.tolist() for name, found in places.items()} == {
        "worst": [1, 0],
        "typical": [0, 4],
        "best": [2, 3],
    }


def test_rows_are_spread_over_all() -> None:
    assert spread_rows(np.arange(10, 20), 3).tolist() == [10, 14, 19]
    assert spread_rows(np.arange(10, 20), 99).tolist() == list(range(10, 20))


@pytest.mark.parametrize("name", KINDS)
def test_keys_are_taken_apart_as_they_were_made(name: str) -> None:
    for variant in ("", "standard", "training images"):
        for features in ("", "lite0", "pca64") if KINDS[name].featured else ("",):
            parsed = parse_key(key(name, features=features, variant=variant))
            assert parsed is not None
            assert (parsed.kind, parsed.features, parsed.variant) == (KINDS[name], features, variant)


def test_an_unknown_key_is_of_no_kind_and_comes_last() -> None:
    assert parse_key("beauty") is None
    assert parse_key("mig_lite0") is None
    assert in_order(["beauty", "mig", "psnr_db"]) == ["psnr_db", "mig", "beauty"]


def test_scores_are_kept_whole(tmp_path: Path) -> None:
    scores = Scores({"mig": Score(0.25), "psnr_db": Score(17.5, 17.25, 17.75)}, {"factors": ["a"]}, "val", 10)
    SCORES.write(tmp_path / FILE_NAME, scores)
    assert SCORES.read(tmp_path / FILE_NAME)[0] == scores


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "does not say what scores"),
        ("[]", "holds no scores of format 1"),
        ('{"format": 2}', "holds no scores of format 1"),
        ('{"format": 1}', "scores"),
        ('{"format": 1, "scores": {"mig": {"value": "high"}}}', "value"),
        ('{"format": 1, "scores": {}, "beauty": 1}', "beauty"),
    ],
)
def test_damaged_scores_are_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=f"{FILE_NAME}.*{told}.*make it again with `corolla evaluate .*`"):
        SCORES.read(tmp_path / FILE_NAME)[0]


@pytest.mark.parametrize(
    ("key", "value", "beyond"),
    [
        ("precision_lite0/gmm", 0.987, True),
        ("precision_lite0/gmm", 0.96, False),  # within the interval of real images
        ("kid_lite0/gmm", -0.002, True),
        ("kid_lite0/gmm", 0.004, False),
        ("data_copying/gmm", 9.0, False),  # no way is better
        ("recall_lite0/gmm", 1.0, False),  # not measured of real images
    ],
)
def test_samples_that_beat_real_images_are_marked(key: str, value: float, beyond: bool) -> None:
    real = {
        "precision_lite0/training images": Score(0.95, 0.93, 0.97),
        "kid_lite0/training images": Score(0.0, -0.001, 0.001),
        "data_copying/training images": Score(0.0),
    }
    lines = score_lines(Scores({**real, key: Score(value)}))
    assert any("BEYOND REAL IMAGES" in line for line in lines) == beyond
    assert any(line.startswith("beyond real images: ") and "no praise" in line for line in lines) == beyond


def test_the_table_says_what_each_kind_means_once() -> None:
    scores = Scores({"kid_lite0/gmm": Score(0.002, 0.001, 0.003), "kid_lite0/standard": Score(0.004)})
    lines = score_lines(scores)
    assert lines[0] == "samples"
    assert [line.split()[:5] for line in lines[1:]] == [
        ["kernel", "distance", "(lite0),", "gmm", "2.00"],
        ["kernel", "distance", "(lite0),", "standard", "4.00"],
    ]
    assert "1.00 to 3.00" in lines[1]
    assert "How unlike photographs" in lines[1]
    assert "How unlike photographs" not in lines[2]


def test_a_score_stands_beside_what_a_perfect_code_has() -> None:
    """One line against the rest cannot single out middle values: on the florets' grid, explicitness is .79 at best."""
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(len(factor.grid), size=3000) for factor in FACTORS], axis=1)

    class Noisy:
        latent_dim = 7

        def encode(self, _images: np.ndarray[Any, np.dtype[np.uint8]], /) -> np.ndarray[Any, np.dtype[np.float32]]:
            return (places + rng.normal(size=places.shape)).astype(np.float32)

    known = KnownFactors(places, tuple(factor.name for factor in FACTORS), np.zeros((3000, 1, 1, 3), np.uint8))
    scores, details, _ = disentanglement(cast("Any", Noisy()), known)
    assert details["ceilings"].keys() == scores.keys()
    assert details["ceilings"]["explicitness"] == pytest.approx(0.79, abs=0.01)
    assert details["ceilings"]["dci_disentanglement"] == pytest.approx(1)
    for name, score in scores.items():
        assert score.low is not None
        assert score.high is not None
        assert 0 <= score.low <= score.value <= score.high <= 1, name
    lines = score_lines(Scores(scores, {"disentanglement": details}))
    (line,) = (line for line in lines if "explicitness" in line)
    assert f"A perfect code has {details['ceilings']['explicitness']:.3f} here." in line
    assert not any("perfect" in other for other in lines if other != line)


def test_dead_latents_take_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four latents that hold a factor each, and six whose means move by 0.03: the scores of the four alone."""
    model = make(tmp_path / "run", network__latent_dim=10)
    images, places = painted(2000, 3)
    known = KnownFactors(places, ("a", "b", "c", "d"), images)
    means = np.hstack([Painter().encode(images), 0.03 * np.random.default_rng(0).normal(size=(2000, 6))])
    logvar = torch.full((2000, 10), 0.0)
    logvar[:, :4] = -5
    posterior = DiagonalGaussian(torch.from_numpy(means).float(), logvar)
    monkeypatch.setattr(model, "posterior", lambda _images: posterior)
    alone, _, _ = disentanglement(Painter(), known)
    scores, details, left_out = disentanglement(model, known)
    assert not left_out
    for name in ("mig", "dci_disentanglement", "dci_completeness", "sap", "modularity", "factor_vae_score"):
        assert scores[name].value == pytest.approx(1, abs=0.03), name
    assert scores["irs"].value == pytest.approx(alone["irs"].value)
    assert np.asarray(details["dci_importance"]).shape == (10, 4)
    _, live = encode_live(model, images)
    assert not live[:, 4:].any()
    together, _ = code_scores(means.astype(np.float32), live, images[:2000])
    assert together["mutual_information_score"].value == mutual_information_score(live[:, :4])
    assert together["gaussian_total_correlation_nats"].value == pytest.approx(gaussian_total_correlation(live[:, :4]))


def test_a_score_that_the_factors_do_not_suffice_for_leaves_the_others(paintings: Material) -> None:
    assert paintings.factors is not None
    images, first = paintings.factors.images, paintings.factors.factors[:, :1]
    single = replace(paintings, factors=KnownFactors(first, ("a",), images))
    found = evaluate(Painter(), single, groups=["factors"]).scores
    assert found.scores["mig"].value > 0.9
    assert {"sap", "explicitness", "irs"} <= set(found.scores)
    assert set(found.details["left out"]) == {"dci", "modularity", "factor_vae_score", "beta_vae_score"}
    assert all("at least 2 of them" in reason for reason in found.details["left out"].values())


def test_real_factors_are_binned_and_named() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.random(600), rng.integers(0, 4, 600)], axis=1).astype(np.float32)
    images = np.zeros((600, 16, 16, 3), np.uint8)
    cache = SimpleNamespace(factors=values, factor_names=("size", "kind"), categorical_factors=("kind",), images=images)
    cache.splits = {"train": np.arange(450), "val": np.arange(450, 600)}
    found = known_factors(cast("ImageCache", cache), Config.from_dict({"data": {"source": "factors:x.npz"}}).data)
    assert found is not None
    assert found.binned == ("size",)
    assert found.categorical == ("kind",)
    assert found.trained_on == 450
    assert (found.factors.max(0) + 1).tolist() == [10, 4]
    drawn = np.sort(np.random.default_rng(0).permutation(600)[:10_000])
    bins = np.digitize(values[drawn, 0], np.linspace(values[:, 0].min(), values[:, 0].max(), 11)[1:-1])
    assert (found.factors[:, 0] == bins).all()


def test_a_factor_without_an_order_is_predicted_as_such(paintings: Material) -> None:
    """Latent a tells factor a, but what it tells is a number, and the factor's names are in another order."""
    assert paintings.factors is not None
    images, places = paintings.factors.images, paintings.factors.factors.copy()
    places[:, 0] = np.array([2, 0, 4, 1, 3])[places[:, 0]]
    shuffled = KnownFactors(places, ("a", "b", "c", "d"), images)
    found = {}
    for categorical in ((), ("a",)):
        material = replace(paintings, factors=replace(shuffled, categorical=categorical))
        scores = evaluate(Painter(), material, groups=["factors"]).scores
        assert scores.details["disentanglement"]["categorical"] == list(categorical)
        found[categorical] = scores.scores["sap"].value
    assert found[()] < 0.85  # the line through the shuffled values tells next to nothing
    assert found[("a",)] > 0.9  # thresholds tell all: a gap of about 1 - 1/5 for a, 1 for the others


def test_a_row_is_labelled_with_its_unit_where_values_have_none() -> None:
    assert row_label_with_unit("psnr_db") == "PSNR, dB"
    assert row_label_with_unit("kid_lite0/gmm") == "kernel distance (lite0), gmm, × 1000"
    assert (row_label_with_unit("mig"), row_label_with_unit("beauty")) == ("MIG", "beauty")


def test_what_few_images_do_to_scores_is_told() -> None:
    found = {"psnr_db": Score(20.0), "kid_lite0/gmm": Score(0.002), "mutual_information_score": Score(0.1)}

    def told(images: int, samples: int) -> list[str]:
        return [
            line for line in score_lines(Scores(found, images=images, samples=samples)) if line.startswith("few images")
        ]

    assert told(images=500, samples=500) == []
    (line,) = told(images=2000, samples=100)
    assert "of 100 on a side, kernel distances scatter" in line
    _, line = told(images=100, samples=100)
    assert "too large by up to about 1.80 nats" in line  # 19 · 19 / 200
    codes = np.random.default_rng(0).uniform(size=(400, 4))  # which share nothing, and fill all bins
    assert mutual_information_score(codes) == pytest.approx(19 * 19 / 800, rel=0.15)


@pytest.mark.parametrize(("trained_on", "told"), [(1600, True), (0, False)])
def test_images_with_factors_that_were_trained_on_are_told(trained_on: int, told: bool) -> None:
    details = {"disentanglement": {"images": 2000, "trained_on": trained_on}}
    lines = score_lines(Scores({"mig": Score(0.5)}, details))
    assert ("  of 2,000 images of all splits, 1,600 of them trained on" in lines) is told


def test_the_rate_is_that_of_images_spread_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(tmp_path / "run")
    material = gather(model, factors=False)
    monkeypatch.setattr("corolla.evaluation.codes.ESTIMATED_IMAGES", 8)
    found = rate_scores(model, material.evaluation)[0]["rate_nats"].value
    kl = model.posterior(material.evaluation.images[spread_rows(np.arange(40), 8)]).kl_per_latent().sum(1)
    assert found == pytest.approx(float(kl.mean()), rel=1e-4)


def test_a_single_image_has_no_rate_but_the_rest_is_told(tmp_path: Path) -> None:
    model = make(tmp_path / "run")
    material = gather(model, most=1, factors=False)
    found = evaluate(model, material, features="pixels", samples=16).scores
    assert "at least 2" in found.details["left out"]["rate and distortion"]
    assert found.scores["psnr_db"].low is None
    with pytest.raises(UsageError, match="at least"):
        evaluate(model, material, groups=["latents"])


def test_intervals_of_shares_stay_within_0_and_1() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 40, 3))
    found = compare_with_real("standard", rows[0], rows[1], features="x", seed=0)
    whole = generation_intervals(rows[0], rows[1], repeats=50, seed=0)
    assert whole["coverage"].high > 1  # or there is nothing to test
    assert found["coverage_x/standard"].high == 1
    assert found["coverage_x/standard"].low == whole["coverage"].low
    assert all((score.low or 0) >= 0 for name, score in found.items() if "kid" not in name)
