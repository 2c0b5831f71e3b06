"""The scikit-learn face: scikit-learn's own checks, and that numbers, pickles and signals are what they should be."""

from __future__ import annotations

import pickle
import pickletools
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import corolla
from corolla import BetaVAE, ModelError, UsageError
from corolla.config import Config
from corolla.estimator import _noise, _patch
from corolla.training import fit_cache, prepare
from corolla.training.recorder import evaluate

RNG = np.random.default_rng(11)
COLOUR: NDArray[np.uint8] = RNG.integers(0, 256, (14, 8, 10, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def _tiny(**parameters: Any) -> BetaVAE:
    return BetaVAE(
        **{"latent_dim": 3, "width": 8, "max_steps": 2, "threads": 1, "random_state": 0, "beta": 1.0} | parameters
    )


@pytest.fixture(scope="module")
def fitted() -> BetaVAE:
    """Of colour images; no test changes it."""
    return _tiny(max_steps=20, learning_rate=1e-2).fit(COLOUR)


# --- scikit-learn's own checks ----------------------------------------------------------------------------------------

# The checks feed rows of any numbers and of any length, which are no images: the two options that take such rows are
# on. None is expected to fail. Skipped: `check_array_api_input` unless SCIPY_ARRAY_API is set in the environment, and
# those of containers from libraries that are not installed.
EXPECTED_TO_FAIL: dict[str, str] = {}


@pytest.mark.slow
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [_tiny(image_shape="table", value_range="data", max_steps=1)],
    expected_failed_checks=lambda _estimator: EXPECTED_TO_FAIL,
)
def test_scikit_learn_is_content(estimator: BetaVAE, check: Any) -> None:
    check(estimator)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_same_pixels_have_the_same_codes_in_every_form(fitted: BetaVAE) -> None:
    codes = fitted.transform(COLOUR)
    assert codes.shape == (14, 3)
    assert codes.dtype == np.float32
    assert codes.std(0).min() > 0
    for form in (COLOUR / 255, (COLOUR / 255).astype(np.float32), COLOUR.reshape(14, -1), (COLOUR / 255).tolist()):
        np.testing.assert_array_equal(fitted.transform(form), codes)
    np.testing.assert_array_equal(fitted.model_.encode(COLOUR), codes)


@pytest.mark.parametrize(
    ("images", "image_shape"),
    [
        (COLOUR, None),
        (COLOUR / 255, None),
        (GREY, None),
        (GREY[..., None] / 255, None),
        (GREY.reshape(14, -1), (8, 10)),
    ],
    ids=["colour", "floats", "grey", "channel", "rows"],
)
def test_images_come_back_as_they_came_in(images: NDArray[Any], image_shape: Any) -> None:
    vae = _tiny(image_shape=image_shape).fit(images)
    back = vae.inverse_transform(vae.transform(images))
    assert back.shape == images.shape
    assert back.dtype == (np.uint8 if images.dtype == np.uint8 else np.float32)
    assert vae.sample(2, random_state=1).shape == (2, *images.shape[1:])
    assert vae.n_features_in_ == images[0].size
    assert vae.image_shape_ == (image_shape or images.shape[1:])


def test_decoding_is_the_models(fitted: BetaVAE) -> None:
    codes = fitted.transform(COLOUR)
    np.testing.assert_array_equal(fitted.inverse_transform(codes), fitted.model_.decode(codes))
    np.testing.assert_array_equal(fitted.inverse_transform(codes.astype(float).tolist()), fitted.model_.decode(codes))


def test_the_range_of_the_pixels_comes_back() -> None:
    vae = _tiny(value_range=(-1, 3), max_steps=1).fit(GREY / 255 * 4 - 1)
    back, unit = vae.inverse_transform(np.eye(3)), _tiny(max_steps=1).fit(GREY / 255).inverse_transform(np.eye(3))
    np.testing.assert_allclose(back, unit * 4 - 1, atol=1e-6)


def test_a_score_is_the_bound_by_its_definition(fitted: BetaVAE) -> None:
    scores = fitted.score_samples(COLOUR)
    q = fitted.model_.posterior(COLOUR)
    for image, mean, logvar, score in zip(COLOUR, q.mean.numpy(), q.logvar.numpy(), scores, strict=True):
        x = image / 255
        log_pixels = []
        for noise in _noise(image, 3):
            z = torch.from_numpy((mean + np.exp(logvar / 2) * noise)[None])
            p = fitted.model_.vae.decode(z).mean[0].detach().permute(1, 2, 0).numpy().astype(np.float64)
            log_pixels.append(np.sum(x * np.log(p) + (1 - x) * np.log1p(-p)))
        kl = -0.5 * np.sum(1 + logvar - mean**2 - np.exp(logvar))
        assert score == pytest.approx(np.mean(log_pixels) - kl, rel=1e-5)
    assert fitted.score(COLOUR) == pytest.approx(scores.mean())


def test_the_draws_of_a_score_are_standard_normal_and_the_images_own() -> None:
    draws = np.concatenate([_noise(image, 64) for image in COLOUR])
    assert abs(draws.mean()) < 0.05
    assert draws.std() == pytest.approx(1, abs=0.05)
    assert len(np.unique(draws[:, 0])) == len(draws)


def test_an_auto_encoder_scores_its_reconstruction() -> None:
    vae = _tiny(objective="ae", max_steps=5).fit(GREY)
    means = vae.model_.vae.decode(vae.model_.posterior(np.repeat(GREY[..., None], 3, 3)).mean).mean.detach().numpy()
    x = GREY[:, None] / 255
    expected = (x * np.log(means) + (1 - x) * np.log1p(-means)).sum((1, 2, 3))
    np.testing.assert_allclose(vae.score_samples(GREY), expected, rtol=1e-5)


@pytest.mark.slow
def test_unusual_images_score_lower() -> None:
    digits = load_digits().data
    vae = BetaVAE(image_shape=(8, 8), value_range=(0, 16), width=8, max_steps=60, threads=1, random_state=0)
    vae.fit(digits[:400])
    shuffled = np.random.default_rng(0).permuted(digits[400:440], axis=1)
    assert vae.score(digits[400:440]) > vae.score(shuffled) + 4


def test_learning_lowers_the_loss() -> None:
    vae = _tiny(latent_dim=8, epochs=12, max_steps=None, learning_rate=1e-2, batch_size=4).fit(GREY)
    assert vae.history_["loss"][-1] < vae.history_["loss"][0]
    assert vae.n_iter_ == vae.history_["step"][-1] == 12 * 3  # 12 of 14 images in batches of 4


def test_training_on_pixels_at_hand_is_training_on_their_source(tmp_path: Path) -> None:
    config = Config().updated(
        {
            "data.source": "florets:60",
            "data.size": 16,
            "network.width": 8,
            "network.latent_dim": 2,
            "training.max_steps": 3,
            "training.threads": 1,
        }
    )
    (tmp_path / "here").mkdir()
    run, here = corolla.fit(config, tmp_path / "run"), fit_cache(config, prepare(config), tmp_path / "here")
    assert run.card == here.card  # with the SHA-256 of the weights


@pytest.mark.parametrize(
    ("fraction", "trained", "held_out"), [(0.1, 18, 2), (0.5, 10, 10), (0.0, 20, 20), (0.99, 1, 19)]
)
def test_images_are_held_out(fraction: float, trained: int, held_out: int) -> None:
    splits = BetaVAE(validation_fraction=fraction)._splits(20, np.random.RandomState(0))
    assert [len(splits[name]) for name in ("train", "val")] == [trained, held_out]
    assert set(splits["train"]) | set(splits["val"]) == set(range(20))
    assert fraction == 0 or not set(splits["train"]) & set(splits["val"])


@given(height=st.integers(8, 200), width=st.integers(8, 200))
def test_patches_fit_every_size(height: int, width: int) -> None:
    patch = _patch(height, width)
    assert height % patch == width % patch == 0
    assert 1 <= patch <= 8
    assert min(height, width) // patch >= 8


def test_patches_of_common_sizes() -> None:
    assert [_patch(side, side) for side in (8, 28, 32, 64, 128)] == [1, 2, 4, 8, 8]


# --- randomness and the process ---------------------------------------------------------------------------------------


def test_the_random_state_fixes_everything() -> None:
    one, same, other = (_tiny(random_state=seed).fit(GREY) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.transform(GREY), same.transform(GREY))
    np.testing.assert_array_equal(one.history_["loss"], same.history_["loss"])
    assert not np.array_equal(one.transform(GREY), other.transform(GREY))
    np.testing.assert_array_equal(one.sample(3, random_state=2), same.sample(3, random_state=2))
    assert not np.array_equal(one.sample(3), one.sample(3))


def test_trainings_in_threads_do_not_disturb_each_other() -> None:
    with ThreadPoolExecutor(2) as threads:
        beside = list(threads.map(lambda seed: _tiny(random_state=seed).fit(GREY).transform(GREY), [5, 6]))
    for seed, codes in zip([5, 6], beside, strict=True):
        np.testing.assert_array_equal(codes, _tiny(random_state=seed).fit(GREY).transform(GREY))


def test_fitting_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path / "home"))
    before = torch.get_rng_state(), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    np.random.seed(0)
    _tiny().fit(GREY)
    assert not list(tmp_path.iterdir())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), signal.getsignal(signal.SIGINT))
    assert np.random.get_state()[2] == 624  # type: ignore[index]  # nothing was drawn
    assert capfd.readouterr() == ("", "")


def test_progress_shows_on_request(capfd: pytest.CaptureFixture[str]) -> None:
    _tiny(verbose=True).fit(GREY)
    assert "step 2/2: loss" in capfd.readouterr().err


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_an_interrupt_goes_through_and_nothing_stays(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keys = [signal.SIGINT] * times

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        if keys:
            signal.raise_signal(keys.pop())
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr("corolla.training.recorder.evaluate", interrupted)
    vae = _tiny(max_steps=50, settings={"training.evaluate_every": 1})
    with pytest.raises(KeyboardInterrupt):
        vae.fit(GREY)
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotFittedError):
        vae.transform(GREY)


# --- pickles ----------------------------------------------------------------------------------------------------------


def test_a_pickle_holds_the_files_of_the_model_folder(fitted: BetaVAE, tmp_path: Path) -> None:
    content = pickle.dumps(fitted)
    modules = [str(value) for opcode, value, _ in pickletools.genops(content) if opcode.name.endswith("UNICODE")]
    assert not [name for name in modules if name.startswith("torch")]
    files = fitted.__getstate__()["_model_files"]
    assert sorted(files) == ["config.json", "model.safetensors"]
    for name, file in files.items():
        (tmp_path / name).write_bytes(file)
    np.testing.assert_array_equal(corolla.load(tmp_path).encode(COLOUR), fitted.transform(COLOUR))

    again = pickle.loads(content)
    np.testing.assert_array_equal(again.transform(COLOUR), fitted.transform(COLOUR))
    np.testing.assert_array_equal(again.score_samples(COLOUR), fitted.score_samples(COLOUR))
    assert again.get_params() == fitted.get_params()
    assert pickle.dumps(again) == content


def test_a_damaged_pickle_is_refused(fitted: BetaVAE) -> None:
    content = pickle.dumps(fitted)
    weights = fitted.__getstate__()["_model_files"]["model.safetensors"]
    altered = content.replace(weights[-8:], bytes(8 - len(b"\0\0\0?")) + b"\0\0\0?")
    assert altered != content
    with pytest.raises(ModelError, match=r"not the weights that config\.json describes"):
        pickle.loads(altered)


def test_an_estimator_that_was_not_fitted_pickles() -> None:
    assert pickle.loads(pickle.dumps(_tiny(beta=2.5))).beta == 2.5


@pytest.mark.slow
def test_a_pickle_opens_without_lightning(fitted: BetaVAE, tmp_path: Path) -> None:
    (tmp_path / "vae.pickle").write_bytes(pickle.dumps(fitted))
    code = (
        f"import sys; sys.path.insert(0, {str(Path(corolla.__file__).parents[1])!r}); import pickle, pathlib\n"
        f"vae = pickle.loads(pathlib.Path({str(tmp_path / 'vae.pickle')!r}).read_bytes())\n"
        "print(vae.sample(1, random_state=0).shape, 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 8, 10, 3) False"


# --- in company -------------------------------------------------------------------------------------------------------


def test_it_is_a_step_of_a_pipeline() -> None:
    digits, labels = load_digits(return_X_y=True)
    digits, labels = digits[:120], labels[:120]
    vae = _tiny(image_shape=(8, 8), latent_dim=4)
    pipeline = make_pipeline(MinMaxScaler(clip=True), vae, StandardScaler(), LogisticRegression())
    pipeline.fit(digits, labels)
    assert pipeline.predict(digits).shape == (120,)
    assert list(pipeline[:2].get_feature_names_out()) == [f"betavae{number}" for number in range(4)]
    assert pipeline[:2].inverse_transform(pipeline[:2].transform(digits)).shape == digits.shape
    assert not hasattr(clone(pipeline)[1], "model_")


@pytest.mark.slow
def test_a_grid_search_scores_by_the_bound() -> None:
    grid = {"beta": np.array([0.5, 1.0]), "latent_dim": np.array([2, 5])}
    search = GridSearchCV(_tiny(), grid, cv=2, error_score="raise").fit(COLOUR)
    assert search.best_estimator_.transform(COLOUR).shape[1] == search.best_params_["latent_dim"]
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert len(set(search.cv_results_["mean_test_score"])) == 4


@pytest.mark.slow
def test_a_grid_search_in_processes_finds_the_same() -> None:
    beside, alone = (
        GridSearchCV(_tiny(), {"beta": [0.5, 8.0]}, cv=2, n_jobs=jobs, error_score="raise").fit(GREY) for jobs in (2, 1)
    )
    for one, other in zip(beside.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"latent_dim": 0}, r"network\.latent_dim = 0"),
        ({"objective": "gan"}, "no such objective as 'gan'"),
        ({"network": "burgess", "width": 32}, "burgess network takes 64x64"),
        ({"network": "burgess"}, "width 8: burgess has none"),
        ({"objective": "vae", "beta": 2.0}, "beta 2: vae has none"),
        ({"validation_fraction": 1.0}, r"validation_fraction 1\.0: give"),
        ({"settings": {"objective.beta": 2}}, r"settings objective\.beta: is a parameter of its own; set beta instead"),
        ({"settings": {"network.name": "resnet"}}, r"network\.name: is a parameter of its own; set network instead"),
        ({"settings": {"seed": 2}}, r"set random_state instead"),
        ({"settings": {"training.checkpoint_every": 5}}, r"settings training\.checkpoint_every: is for files of a run"),
        ({"settings": {"training.samples_every": 5}}, r"settings training\.samples_every"),
        ({"settings": {"data.source": "flowers102"}}, r"settings data\.source: the images are those given to fit"),
        ({"settings": {"training.speed": 2}}, r"training\.speed: no such setting"),
        ({"image_shape": (9, 9)}, r"image_shape says \(9, 9\)"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _tiny(**parameters).fit(GREY)


def test_other_images_than_those_of_the_training_are_refused(fitted: BetaVAE) -> None:
    with pytest.raises(UsageError, match=r"images of shape \(8, 10\): the model was fitted to \(8, 10, 3\)"):
        fitted.transform(GREY)
    with pytest.raises(ValueError, match="80 features, but BetaVAE is expecting 240 features"):
        fitted.score_samples(GREY.reshape(14, -1))
    with pytest.raises(UsageError, match=r"latents of shape \(2, 4\): this model needs N×3"):
        fitted.inverse_transform(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="NaN"):
        fitted.transform(np.full((1, 8, 10, 3), np.nan))


def test_a_setting_beyond_the_parameters_reaches_the_training() -> None:
    vae = _tiny(settings={"likelihood.sigma": 0.1, "network.blocks": 0}, likelihood="gaussian").fit(GREY)
    assert vae.model_.config.flat()["likelihood.sigma"] == 0.1
    assert vae.model_.config.flat()["network.blocks"] == 0
