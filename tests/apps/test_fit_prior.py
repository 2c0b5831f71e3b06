"""Priors fitted to a trained model: what they are fitted to, how they are kept, and when they are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from corolla.config import Config
from corolla.data import select_rows
from corolla.distributions.priors import GaussianPrior
from corolla.errors import DataError, ModelError, UsageError, WriteError
from corolla.models.vae import build_model
from corolla.trained import TrainedModel, load
from corolla.trained.fitted_priors import fit_prior
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.own_images import own_images
from corolla.trained.prior_file import PRIOR

TINY: dict[str, Any] = {
    "data": {"source": "florets:60", "size": 16},
    "network": {"width": 8, "latent_dim": 4, "patch": 4},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "gmm": {"components": 3, "covariance": "diagonal"},
    "flow": {"transforms": 1, "flow": "maf", "draws": 2},
}


def make(folder: Path, changes: Mapping[str, str] | None = None, *, seed: int = 1) -> TrainedModel:
    config = Config.from_dict(TINY).updated(changes or {})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ModelFolder(folder / "model").save(build_model(config), ModelCard(config))
    return load(folder)


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    return make(tmp_path / "run")


def training_posterior(model: TrainedModel) -> tuple[np.ndarray, np.ndarray]:
    cache = own_images(model)
    q = model.posterior(np.asarray(cache.images[select_rows(cache.splits, "train")]))
    return q.mean.double().numpy(), q.stddev.double().numpy()


def test_the_gaussian_has_the_moments_of_the_aggregated_posterior(model: TrainedModel) -> None:
    prior = fit_prior(model, "gaussian", draws=400).prior
    assert isinstance(prior, GaussianPrior)
    mean, stddev = training_posterior(model)
    # The mixture of all q(z|x): the covariance of the means, and the mean of the variances on top.
    expected = np.cov(mean.T, bias=True) + np.diag((stddev**2).mean(0))
    np.testing.assert_allclose(prior.mean, mean.mean(0), atol=0.03)
    covariance = (prior.scale_tril @ prior.scale_tril.T).numpy()
    np.testing.assert_allclose(covariance, expected, atol=0.04 * expected.max())
    # So it tells draws from means, of which the covariance is another.
    assert np.abs(covariance - np.cov(mean.T, bias=True)).max() > 0.2 * expected.max()


@pytest.mark.parametrize("objective", ["ae", "dae"])
def test_of_an_auto_encoder_the_means_count(tmp_path: Path, objective: str) -> None:
    model = make(tmp_path, {"objective.name": objective})
    fitted = fit_prior(model, "gaussian")
    mean, _ = training_posterior(model)
    assert isinstance(fitted.prior, GaussianPrior)
    np.testing.assert_allclose(fitted.prior.mean, mean.mean(0), atol=1e-6)
    covariance = fitted.prior.scale_tril @ fitted.prior.scale_tril.T
    np.testing.assert_allclose(covariance, np.cov(mean.T, bias=True), rtol=1e-3, atol=1e-6)
    assert fitted.card.codes == fitted.card.images == len(mean)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_prior_comes_back_bit_for_bit_from_the_folder_alone(model: TrainedModel, tmp_path: Path, name: str) -> None:
    fitted = fit_prior(model, name, **OPTIONS[name])
    assert fitted.file == tmp_path / "run" / "model" / f"prior-{name}.safetensors"
    shutil.move(tmp_path / "run" / "model", tmp_path / "elsewhere")
    again = load(tmp_path / "elsewhere")
    assert again.has_prior(name)
    ours, theirs = fitted.prior.tensors(), again.prior(name).tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert again.prior(name).options == fitted.prior.options
    drawn = again.sample_latents(5, seed=3, temperature=0.5, prior=name)
    assert np.array_equal(drawn, model.sample_latents(5, seed=3, temperature=0.5, prior=fitted.prior))
    assert not np.array_equal(drawn, model.sample_latents(5, seed=3, temperature=0.5))
    assert np.array_equal(again.sample(5, seed=3, temperature=0.5, prior=name), again.decode(drawn))


@pytest.mark.parametrize("name", OPTIONS)
def test_the_seed_fixes_the_file(model: TrainedModel, name: str) -> None:
    def fitted_with(seed: int) -> bytes:
        file = fit_prior(model, name, seed=seed, **OPTIONS[name]).file
        assert file is not None
        return file.read_bytes()

    before = torch.random.get_rng_state()
    first = fitted_with(2**64 - 1)
    assert fitted_with(2**64 - 1) == first
    assert fitted_with(0) != first
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_known_about_a_prior_is_in_its_file(model: TrainedModel) -> None:
    fitted = fit_prior(model, "gmm", components=2, seed=5, draws=3)
    images = len(training_posterior(model)[0])
    assert (fitted.card.images, fitted.card.codes, fitted.card.seed) == (images, 3 * images, 5)
    assert fitted.card.weights_sha256 == model.card.weights_sha256
    with safe_open(fitted.file, "pt") as opened:
        known = json.loads(opened.metadata()["prior"])
    assert known["options"] == {"components": 2, "covariance": "full"}
    assert known["log_prob_nats"] == fitted.card.log_prob_nats
    # These codes are far from standard normal; the fit must be far better, on images that it has not seen.
    assert fitted.card.log_prob_nats is not None
    assert fitted.card.standard_log_prob_nats is not None
    assert fitted.card.log_prob_nats > fitted.card.standard_log_prob_nats + 0.1


def test_draws_default_to_enough_codes(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    images = len(training_posterior(model)[0])
    assert fit_prior(model, "gaussian", save=False).card.codes == 10 * images
    monkeypatch.setattr("corolla.trained.fitted_priors.ENOUGH_CODES", 2 * images + 1)
    assert fit_prior(model, "gaussian", save=False).card.codes == 3 * images


def test_a_prior_of_other_weights_is_refused(model: TrainedModel, tmp_path: Path) -> None:
    fit_prior(model, "gaussian")
    newer = make(tmp_path / "run", seed=2)  # as training does when it goes on
    assert newer.has_prior("gaussian")
    with pytest.raises(ModelError, match=r"prior-gaussian.*other weights.*corolla fit-prior .*run.model gaussian`"):
        newer.sample(1, prior="gaussian")
    fit_prior(newer, "gaussian")
    assert newer.sample(2, prior="gaussian").shape == (2, 16, 16, 3)


def test_a_prior_that_is_not_fitted_says_how(model: TrainedModel) -> None:
    assert not model.has_prior("gmm")
    with pytest.raises(ModelError, match=r"corolla fit-prior .* gmm`"):
        model.sample(1, prior="gmm")
    unsaved = TrainedModel(model.vae, model.card)
    assert not unsaved.has_prior("gmm")
    with pytest.raises(ModelError, match="fit_prior"):
        unsaved.prior("gmm")
    fitted = fit_prior(unsaved, "gmm", components=2)
    assert fitted.file is None
    assert unsaved.prior("gmm") is fitted.prior


def damage_extra(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    tensors["more"] = torch.zeros(1)


def damage_missing(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    del tensors["means"]


def damage_shape(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    tensors["means"] = tensors["means"][:, :2].contiguous()


def damage_type(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    tensors["means"] = tensors["means"].float()


def damage_value(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    tensors["means"][0, 0] = float("nan")


def damage_weights(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    tensors["weights"] *= 2


def damage_scales(tensors: dict[str, torch.Tensor], _known: dict[str, Any]) -> None:
    tensors["scales"] = tensors["scales"].mT.contiguous()


def damage_options(_tensors: dict[str, torch.Tensor], known: dict[str, Any]) -> None:
    known["options"] = {"petals": 5}


def damage_option_value(_tensors: dict[str, torch.Tensor], known: dict[str, Any]) -> None:
    known["options"] = {"components": "many"}


def damage_name(_tensors: dict[str, torch.Tensor], known: dict[str, Any]) -> None:
    known["name"] = "flow"


def damage_format(_tensors: dict[str, torch.Tensor], known: dict[str, Any]) -> None:
    known["format"] = 99


def damage_key(_tensors: dict[str, torch.Tensor], known: dict[str, Any]) -> None:
    known["surprise"] = 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_extra, "tensor more is not part of this prior"),
        (damage_missing, "tensor means is missing"),
        (damage_shape, r"tensor means is \(2, 2\)"),
        (damage_type, "tensor means is .*float32"),
        (damage_value, "tensor means holds values that are not finite"),
        (damage_weights, "tensor weights are not those of a mixture"),
        (damage_scales, "tensor scales is no Cholesky factor"),
        (damage_options, "petals"),
        (damage_option_value, "many"),
        (damage_name, "holds the prior flow"),
        (damage_format, "format"),
        (damage_key, "surprise"),
    ],
)
def test_a_damaged_prior_is_named(model: TrainedModel, damage: Callable[..., None], words: str) -> None:
    file = fit_prior(model, "gmm", components=2).file
    assert file is not None
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        known = json.loads(opened.metadata()["prior"])
    damage(tensors, known)
    save_file(tensors, file, {"prior": json.dumps(known)})
    assert model.path is not None
    with pytest.raises(ModelError, match=rf"prior-gmm\.safetensors: .*{words}") as caught:
        load(model.path).prior("gmm")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100])
def test_a_file_that_is_no_prior_is_named(model: TrainedModel, content: bytes) -> None:
    assert model.folder is not None
    file = model.folder.file(PRIOR, "gmm")
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"prior-gmm\.safetensors: damaged .*`corolla fit-prior"):
        model.prior("gmm")
    save_file({"means": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="does not say what prior it holds"):
        model.prior("gmm")


def test_a_failed_write_leaves_the_former_prior(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fit_prior(model, "gaussian").file
    assert file is not None
    before = file.read_bytes()
    write = Path.write_bytes

    def full_disk(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(WriteError, match=r"prior-gaussian\.safetensors: cannot be written: No space left"):
        fit_prior(model, "gaussian", seed=1)
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "config.json",
        "model.safetensors",
        "prior-gaussian.safetensors",
    ]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vamp", {}, "no such prior as 'vamp'; there are standard, gaussian, gmm, flow"),
        ("standard", {}, "needs no fitting"),
        ("gmm", {"components": 0}, "components = 0"),
        ("gmm", {"components": 100_000}, "100000 components for .* codes"),
        ("gmm", {"components": 50, "draws": 1}, "50 components for 4. codes"),
        ("gmm", {"covariance": "tied"}, "tied"),
        (
            "gmm",
            {"transforms": 2},
            "transforms: gmm has no such setting; flow has it; gmm has comp",
        ),
        ("gaussian", {"components": 2}, "components: gaussian has no such setting; gmm has it; gaussian has none"),
        ("flow", {"flow": "planar"}, "planar"),
        ("flow", {"transforms": 0}, "transforms = 0"),
        ("gaussian", {"draws": 0}, "0 draws"),
        ("gaussian", {"seed": -1}, "seed -1"),
    ],
)
def test_wrong_requests_are_refused_before_the_fit(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("corolla.trained.fitted_priors._codes", lambda *_: pytest.fail("images were encoded"))
    with pytest.raises(UsageError, match=words):
        fit_prior(model, name, **options)


def test_images_that_are_gone_or_changed_are_said_to_be(tmp_path: Path) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 20, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(photos / f"{number}.png")
    model = make(tmp_path / "run", {"data.source": f"folder:{photos}"})
    assert fit_prior(model, "gaussian").card.source == f"folder:{photos}"
    photos.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"own images are needed: .*no such folder.*source="):
        fit_prior(model, "gaussian")
    assert fit_prior(model, "gaussian", source=f"folder:{tmp_path / 'moved'}").card.source.endswith("moved")
    config = Config.from_dict(TINY)
    ModelFolder(tmp_path / "other").save(model.vae, ModelCard(config, data={"fingerprint": "ab" * 32}))
    with pytest.raises(DataError, match=r"florets:60: its images have changed.*source= florets:60"):
        fit_prior(load(tmp_path / "other"), "gaussian")
    assert fit_prior(load(tmp_path / "other"), "gaussian", source="florets:60").card.images > 0
