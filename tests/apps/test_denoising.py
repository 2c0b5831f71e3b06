from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from corolla import cli
from corolla.apps.restoration import Noise, ResidualPrior, corrupt, denoise, fit_residual_prior, parse_noise
from corolla.apps.restoration.denoising import clipped_mean, impulses, unclipped
from corolla.apps.restoration.inpainting import drawn_latents, log_posterior, map_latents, membrane, standard_log_prior
from corolla.apps.restoration.residuals import PATCH_PX, SCALES, residual_prior
from corolla.distributions.priors import GaussianPrior
from corolla.errors import ModelError, UsageError
from corolla.metrics import psnr
from corolla.trained import TrainedModel

SIZE = 3 * PATCH_PX**2
LATENTS = 3
RNG = np.random.default_rng(4)
WEIGHTS = torch.tensor(RNG.standard_normal((LATENTS, 3 * 4 * 4)), dtype=torch.float32)
BIAS = torch.tensor(RNG.standard_normal(3 * 4 * 4), dtype=torch.float32)


def _linear(z: torch.Tensor) -> torch.Tensor:
    return (z @ WEIGHTS + BIAS).reshape(-1, 3, 4, 4)


def _closed_form(
    y: torch.Tensor, precision: torch.Tensor, middle: np.ndarray | None = None, scale: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of p(z|y) for y = z·W + b + e and z ~ N(middle, scale·scaleᵀ), by default N(0, I)."""
    w, d = WEIGHTS.double().numpy(), precision.double().flatten().numpy()
    middle = np.zeros(LATENTS) if middle is None else middle
    scale = np.eye(LATENTS) if scale is None else scale
    inverse = np.linalg.inv(scale @ scale.T)
    covariance = np.linalg.inv(inverse + (w * d) @ w.T)
    seen = (w * d) @ (y.double().flatten().numpy() - BIAS.double().numpy())
    return covariance @ (seen + inverse @ middle), covariance


# --- latents ----------------------------------------------------------------------------------------------------------


def test_with_a_linear_decoder_the_latents_are_the_closed_form() -> None:
    y = torch.tensor(RNG.standard_normal((1, 3, 4, 4)), dtype=torch.float32)
    precision = torch.tensor(RNG.uniform(0, 2, (1, 1, 4, 4)), dtype=torch.float32)
    precision[..., :2] = 0  # half of the image is not known
    mean, _ = _closed_form(y, precision.expand_as(y))
    found = map_latents(_linear, y, precision, torch.zeros(1, LATENTS), steps=400)
    assert_allclose(found[0], mean, atol=2e-3)


def _gaussian() -> GaussianPrior:
    prior = GaussianPrior(LATENTS)
    prior.mean = torch.tensor([1.0, -2.0, 0.5]).double()
    prior.scale_tril = torch.tensor([[0.5, 0, 0], [0.3, 0.8, 0], [-0.2, 0.1, 1.5]]).double()
    return prior


@pytest.mark.parametrize("prior", [None, _gaussian()], ids=["standard", "gaussian"])
def test_draws_with_a_linear_decoder_have_the_posteriors_moments(prior: GaussianPrior | None) -> None:
    count = 4000
    rng = np.random.default_rng(5)
    y = torch.tensor(rng.standard_normal((1, 3, 4, 4)), dtype=torch.float32)
    precision = torch.tensor(rng.uniform(0, 0.2, (1, 1, 4, 4)), dtype=torch.float32)
    precision[..., :2] = 0
    about = () if prior is None else (prior.mean.numpy(), prior.scale_tril.numpy())
    mean, covariance = _closed_form(y, precision.expand_as(y), *about)
    drawn = drawn_latents(
        _linear,
        y.repeat(count, 1, 1, 1),
        precision.expand(count, 1, 4, 4),
        torch.zeros(count, LATENTS),
        torch.Generator().manual_seed(0),
        prior=prior,
        steps=300,
    ).numpy()
    scale = np.sqrt(np.diag(covariance))
    assert_allclose(drawn.mean(0), mean, atol=4 * scale.max() / np.sqrt(count) + 0.02)
    assert_allclose(np.cov(drawn.T), covariance, atol=0.08 * scale.max() ** 2)


def test_no_image_ends_below_its_start() -> None:
    y = torch.zeros(5, 3, 4, 4)
    start = torch.tensor(RNG.standard_normal((5, LATENTS)), dtype=torch.float32)
    found = map_latents(_linear, y, torch.ones(1), start, steps=3, learning_rate=50.0)  # far too fast
    before, after = (log_posterior(_linear, standard_log_prior, y, torch.ones(1), z) for z in (start, found))
    assert (after >= before).all()


# --- the residual prior -----------------------------------------------------------------------------------------------


def _prior(weights: np.ndarray) -> ResidualPrior:
    directions, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((SIZE, SIZE)))
    return ResidualPrior(directions, np.geomspace(1e-4, 1e-1, SIZE), weights)


def test_a_single_scale_is_the_blend_by_precision() -> None:
    weights = np.full(len(SCALES), 1e-300)
    weights[6] = 1.0
    prior = _prior(weights)
    y = RNG.standard_normal((PATCH_PX, PATCH_PX, 3)) * 0.1
    mean, variance = prior.posterior(y, 0.1, variance=True)
    covariance = (prior.directions * (SCALES[6] * prior.variances)) @ prior.directions.T
    total = np.linalg.inv(np.linalg.inv(covariance) + np.eye(SIZE) / 0.1**2)  # precisions add
    expected = total @ y.transpose(2, 0, 1).ravel() / 0.1**2
    shape = 3, PATCH_PX, PATCH_PX
    assert_allclose(mean, expected.reshape(shape).transpose(1, 2, 0), atol=1e-10)
    assert variance is not None
    assert_allclose(variance, np.diag(total).reshape(shape).transpose(1, 2, 0), atol=1e-10)


def test_several_scales_are_weighted_by_how_well_they_explain_the_patch() -> None:
    weights = np.zeros(len(SCALES)) + 1e-300
    weights[[6, 7]] = 0.7, 0.3
    prior = _prior(weights)
    rng = np.random.default_rng(0)
    sigma = 0.2
    spread = np.sqrt(1.4 * SCALES[6] * prior.variances + sigma**2)  # between the two
    drawn = prior.directions @ (spread * rng.standard_normal(SIZE))
    y = drawn.reshape(3, PATCH_PX, PATCH_PX).transpose(1, 2, 0)
    mean, variance = prior.posterior(y, sigma, variance=True)
    assert variance is not None
    flat = y.transpose(2, 0, 1).ravel()
    density, first, second = [], [], []
    for scale in SCALES[[6, 7]]:
        covariance = (prior.directions * (scale * prior.variances)) @ prior.directions.T
        total = covariance + sigma**2 * np.eye(SIZE)
        gain = covariance @ np.linalg.inv(total)
        density.append(-0.5 * (flat @ np.linalg.solve(total, flat) + np.linalg.slogdet(total)[1]))
        first.append(gain @ flat)
        second.append(np.diag(covariance - gain @ covariance) + first[-1] ** 2)
    shares = np.array([0.7, 0.3]) * np.exp(np.array(density) - max(density))
    shares /= shares.sum()
    assert 0.01 < shares[0] < 0.99
    expected = shares @ first
    assert_allclose(mean.transpose(2, 0, 1).ravel(), expected, atol=1e-10)
    assert_allclose(variance.transpose(2, 0, 1).ravel(), shares @ second - expected**2, atol=1e-10)


def _textured(count: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth residuals, stronger in some images than in others."""
    from scipy.ndimage import gaussian_filter

    rough = rng.standard_normal((count, 24, 24, 3)) * rng.choice([0.2, 1.0], (count, 1, 1, 1))
    return np.asarray(gaussian_filter(rough, (0, 1.5, 1.5, 0)))


def test_what_was_fitted_takes_noise_off_and_knows_how_much_is_left() -> None:
    rng = np.random.default_rng(2)
    prior = fit_residual_prior(_textured(60, rng))
    assert prior.weights.sum() == pytest.approx(1)
    clean = _textured(6, rng)
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    found = [prior.posterior(image, 0.1, variance=True) for image in noisy]
    error = np.stack([mean for mean, _ in found]) - clean
    foretold = np.mean([variance.mean() for _, variance in found if variance is not None])
    assert (error**2).mean() < 0.25 * 0.01
    assert 0.8 < foretold / (error**2).mean() < 1.6  # overlapping patches leave a little less


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.2])
def test_the_noises_strength_is_found_from_the_image(sigma: float) -> None:
    rng = np.random.default_rng(3)
    prior = fit_residual_prior(_textured(60, rng))
    clean = _textured(1, rng)[0]
    noisy = clean + sigma * rng.standard_normal(clean.shape)
    assert prior.estimate_sigma(noisy) == pytest.approx(sigma, rel=0.1)


# --- noise ------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0.01, 0.5))
def test_the_mean_of_cut_off_noise_is_the_integral_of_it(pixel: float, sigma: float) -> None:
    steps = (np.arange(20000) + 0.5) / 20000 * 20 - 10
    density = np.exp(-0.5 * steps**2) / np.sqrt(2 * np.pi) * (20 / 20000)
    expected = float((np.clip(pixel + sigma * steps, 0, 1) * density).sum())
    assert float(clipped_mean(np.array(pixel), sigma)) == pytest.approx(expected, abs=1e-6)
    assert float(unclipped(np.array(expected), sigma)) == pytest.approx(pixel, abs=2e-3)


def test_noise_is_as_strong_as_it_says_and_seeded() -> None:
    grey = np.full((4, 32, 32, 3), 128, np.uint8)
    noisy = corrupt(grey, Noise("gaussian", 20), seed=1)
    assert noisy.astype(float).std() == pytest.approx(20, rel=0.03)
    assert_array_equal(noisy, corrupt(grey, Noise("gaussian", 20), seed=1))
    assert (noisy != corrupt(grey, Noise("gaussian", 20), seed=2)).any()
    peppered = corrupt(grey, Noise("salt_pepper", 0.2), seed=1)
    hit = (peppered != 128).all(-1)
    assert hit.mean() == pytest.approx(0.2, abs=0.02)
    assert set(np.unique(peppered[hit])) == {0, 255}
    assert_array_equal(peppered[~hit], grey[~hit])


def test_impulses_are_lone_pixels_and_not_a_black_ground() -> None:
    image = np.full((12, 12, 3), 90, np.uint8)
    image[:, 6:] = 0
    image[3, 3] = 255
    image[8, 2] = 0
    assert {(int(y), int(x)) for y, x in np.argwhere(impulses(image))} == {(3, 3), (8, 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blur:3", "no such kind"),
        ("gaussian:-1", "from 0.5 to 128"),
        ("gaussian:nan", "from 0.5 to 128"),
        ("jpeg:10", "no such kind"),
        ("salt_pepper:x", "share"),
    ],
)
def test_impossible_noise_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_noise(text)


# --- the membrane -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000))
def test_a_membrane_solves_its_equation_and_keeps_what_is_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 9, 2)
    values, known = rng.standard_normal((height, width, 2)), rng.random((height, width)) < 0.4
    known[0, 0] = True
    filled = membrane(np.where(known[..., None], values, np.nan), known)
    assert_array_equal(filled[known], values[known])
    for y, x in np.argwhere(~known):
        around = [(y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)]
        flows = [filled[a, b] - filled[y, x] for a, b in around if 0 <= a < height and 0 <= b < width]
        assert_allclose(sum(flows), 0, atol=1e-9)
    assert filled.max() <= values[known].max() + 1e-9  # the maximum principle


def test_a_membrane_carries_on_what_is_linear() -> None:
    ramp = np.add.outer(2.0 * np.arange(9), 3.0 * np.arange(9))[..., None]
    known = np.ones((9, 9), bool)
    known[2:7, 3:6] = False
    assert_allclose(membrane(ramp * known[..., None], known), ramp, atol=1e-10)


def test_a_membrane_without_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="no pixel is known"):
        membrane(np.zeros((3, 3, 1)), np.zeros((3, 3), bool))


# --- a model ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def residuals() -> ResidualPrior:
    return fit_residual_prior(_textured(20, np.random.default_rng(5)))


@pytest.mark.parametrize("noise", ["gaussian", "gaussian:30", "salt_pepper"])
def test_denoising_is_repeatable_and_says_how_sure_it_is(
    model: TrainedModel, residuals: ResidualPrior, noise: str
) -> None:
    clean = np.clip(128 + 300 * _textured(3, np.random.default_rng(0))[:, :16, :16], 1, 254).astype(np.uint8)
    noisy = corrupt(clean, parse_noise({"gaussian": "gaussian:30", "salt_pepper": "salt_pepper:0.1"}.get(noise, noise)))
    found, again = (denoise(model, noisy, noise, residuals=residuals, trust=True, seed=3) for _ in range(2))
    assert_array_equal(found.observed, noisy)
    assert_array_equal(found.images, again.images)
    assert found.stddev is not None
    assert again.stddev is not None
    assert_array_equal(found.stddev, again.stddev)
    assert found.stddev.shape == clean.shape
    assert psnr(clean, found.images).mean() > psnr(clean, noisy).mean()
    if noise == "salt_pepper":
        untouched = ~np.stack([impulses(image) for image in noisy])
        assert_array_equal(found.images[untouched], noisy[untouched])
        assert_array_equal(found.stddev[untouched], 0)
        assert (found.stddev[~untouched] > 0).all()
    else:
        assert (found.stddev > 0).all()


def test_a_damaged_residual_prior_is_named(model: TrainedModel) -> None:
    assert model.path is not None
    (model.path / "residuals.safetensors").write_bytes(b"petals")
    with pytest.raises(ModelError, match=r"residuals\.safetensors: damaged"):
        residual_prior(model)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(model: TrainedModel, residuals: ResidualPrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The beginning of a command line: a model whose residual prior is there, and a photo and a file that is none."""
    monkeypatch.setattr("corolla.apps.restoration.files.residual_prior", lambda *_, **__: (residuals, None))
    (tmp_path / "photos").mkdir()
    pixels = np.clip(128 + 300 * _textured(1, np.random.default_rng(0))[0], 1, 254).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    Image.fromarray(pixels[:, ::-1]).save(tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"petals")
    return ["denoise", str(model.path), str(tmp_path / "photos"), "-o", str(tmp_path / "out")]


def test_the_command_writes_clean_images_and_what_they_were_worth(
    fitted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*fitted, "--corrupt", "gaussian:30", "--trust"]) == 0
    out, err = capsys.readouterr()
    assert "broken.png" in err
    assert "2 images of 16x16 pixels by the recipe `fit`, 1 left out" in out
    before, after = (float(part.split(" dB")[0].split()[-1]) for part in out.split("PSNR")[1].split(",")[:2])
    assert before < after
    with np.load(tmp_path / "out" / "a-trust.npz") as arrays:
        assert arrays["stddev"].shape == (16, 16, 3)
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert names == {"a.png", "a-trust.png", "b.png", "b-trust.png", "noisy/a.png", "noisy/b.png"}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--strict"], 1, "broken.png"),
        (["--noise", "blur"], 2, "no such kind"),
        (["--noise", ""], 2, "no such kind"),
        (["--corrupt", "gaussian"], 2, "give the standard deviation"),
    ],
)
def test_wrong_use_gets_one_line(
    fitted: list[str], more: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*fitted, *more]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_folder_with_something_in_it_is_left_alone(
    fitted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert cli.run(fitted) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"


def test_a_picture_of_trust_replaces_no_other_result(fitted: list[str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "b.png").rename(photos / "a-trust.png")
    assert cli.run([*fitted, "--trust", "--noise", "gaussian:30"]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


def test_salt_and_pepper_needs_no_training_images(fitted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise ModelError("the training images are gone")

    monkeypatch.setattr("corolla.apps.restoration.files.residual_prior", gone)
    assert cli.run([*fitted, "--noise", "salt_pepper"]) == 0
    assert cli.run([*fitted[:-1], f"{fitted[-1]}-2", "--noise", "gaussian"]) == 1
