"""A trained model takes pictures of every kind, and gives images back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import torch.utils.data
from PIL import Image

import corolla
from corolla.config import Config
from corolla.errors import DataError, UsageError
from corolla.models.vae import build_model
from corolla.trained import TrainedModel
from corolla.trained.model_folder import ModelCard, ModelFolder

CONFIG = Config.from_dict({"data": {"size": "12x16"}, "network": {"latent_dim": 5, "width": 8, "patch": 4}})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    ModelFolder(folder).save(build_model(CONFIG), ModelCard(CONFIG))
    return corolla.load(folder)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), dtype=np.uint8)


def test_the_same_picture_in_every_form_has_the_same_code(
    model: TrainedModel, pixels: np.ndarray, tmp_path: Path
) -> None:
    expected = model.encode(pixels)
    assert expected.shape == (4, 5)
    assert expected.dtype == np.float32
    paths = []
    for i, image in enumerate(pixels):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    floats = pixels.astype(np.float32) / 255
    nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for images in (
        paths,
        [str(path) for path in paths],
        [Image.fromarray(image) for image in pixels],
        list(pixels),
        nchw,
        list(nchw),
        floats,
        floats.astype(np.float64),
        nchw.float() / 255,
        [paths[0], Image.fromarray(pixels[1]), pixels[2], nchw[3].float() / 255],
    ):
        assert np.allclose(model.encode(images), expected, atol=1e-5)
    assert np.allclose(model.encode(paths[2])[0], expected[2], atol=1e-5)
    assert np.allclose(model.encode(pixels[2])[0], expected[2], atol=1e-5)


def test_pictures_of_another_size_go_through_the_recipe(model: TrainedModel) -> None:
    wide = Image.new("RGB", (160, 60), (200, 30, 60))
    assert model.pixels(wide).shape == (1, 12, 16, 3)
    assert np.array_equal(model.pixels(wide), model.pixels(np.asarray(wide)))
    assert np.array_equal(model.pixels(np.asarray(wide).astype(np.float32) / 255), model.pixels(wide))


def test_out_come_images(model: TrainedModel, pixels: np.ndarray) -> None:
    for images in (model.reconstruct(pixels), model.sample(4, seed=1), model.decode(np.zeros((4, 5)))):
        assert images.shape == (4, 12, 16, 3)
        assert images.dtype == np.uint8
    assert model.decode(np.zeros(5)).shape == (1, 12, 16, 3)
    assert model.decode(np.zeros((0, 5))).shape == (0, 12, 16, 3)


def test_decode_is_the_mean_of_the_likelihood(model: TrainedModel) -> None:
    z = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    with torch.no_grad():
        raw = model.vae.decoder(torch.from_numpy(z)).numpy()
    expected = np.round(255 / (1 + np.exp(-raw.astype(np.float64)))).transpose(0, 2, 3, 1)
    assert np.abs(model.decode(z).astype(int) - expected).max() <= 1


def test_seeds_fix_draws(model: TrainedModel, pixels: np.ndarray) -> None:
    assert np.array_equal(model.sample(3, seed=5), model.sample(3, seed=5))
    assert not np.array_equal(model.sample_latents(3, seed=5), model.sample_latents(3, seed=6))
    assert not np.array_equal(model.sample_latents(3), model.sample_latents(3))
    assert np.array_equal(model.reconstruct(pixels, seed=2), model.reconstruct(pixels, seed=2))
    assert np.array_equal(2 * model.sample_latents(2, seed=3), model.sample_latents(2, seed=3, temperature=2))
    assert not model.sample_latents(2, seed=3, temperature=0).any()


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**64, 10**30])
def test_a_seed_that_cannot_be_is_refused_with_its_range(model: TrainedModel, pixels: np.ndarray, seed: int) -> None:
    told = f"seed {seed}: give a whole number from 0 to 18446744073709551615"
    with pytest.raises(UsageError, match=told):
        model.sample(1, seed=seed)
    with pytest.raises(UsageError, match=told):
        model.reconstruct(pixels, seed=seed)


def test_the_largest_seed_is_a_seed(model: TrainedModel) -> None:
    largest = 2**64 - 1
    assert np.array_equal(model.sample(2, seed=largest), model.sample(2, seed=largest))
    assert not np.array_equal(model.sample_latents(2, seed=largest), model.sample_latents(2, seed=0))


def test_decode_takes_tensors_of_every_kind(model: TrainedModel) -> None:
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    expected = model.decode(z.numpy())
    for latents in (z.clone().requires_grad_(), 1 * z.clone().requires_grad_(), z.double(), z.tolist()):
        assert np.array_equal(model.decode(latents), expected)
    assert np.abs(model.decode(z.bfloat16()).astype(int) - expected).max() <= 2


def test_images_are_taken_in_half_precision(model: TrainedModel) -> None:
    x = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    for half in (x.half(), x.bfloat16()):
        assert np.array_equal(model.encode(half), model.encode(half.float()))


def test_an_open_picture_is_what_its_file_is(model: TrainedModel, pixels: np.ndarray, tmp_path: Path) -> None:
    alpha = np.arange(192, dtype=np.uint8).reshape(12, 16, 1)
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "alpha": Image.fromarray(np.concatenate([pixels[0], alpha], axis=2)),
        "deep": Image.fromarray(np.linspace(0, 65535, 192).astype(np.uint16).reshape(12, 16)),
        "turned": Image.fromarray(pixels[0].transpose(1, 0, 2)),
    }
    for name, picture in pictures.items():
        path = tmp_path / f"{name}.png"
        picture.save(path, exif=turned if name == "turned" else Image.Exif())
        with Image.open(path) as opened:
            assert np.array_equal(model.pixels(opened), model.pixels(path)), name
        assert np.array_equal(model.pixels(picture), model.pixels(path)) == (name != "turned")
    assert model.pixels(pictures["deep"]).std() > 50
    assert model.pixels(pictures["alpha"])[0, 0, 0].tolist() == [255, 255, 255]


def test_a_damaged_open_picture_is_a_data_error(model: TrainedModel, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(pixels[0]).save(path)
    path.write_bytes(path.read_bytes()[:300])
    with Image.open(path) as opened, pytest.raises(DataError, match=r"cut\.png: cannot be read"):
        model.pixels(opened)


def test_codes_do_not_depend_on_the_batch(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.random.default_rng(2).integers(0, 256, (7, 12, 16, 3), dtype=np.uint8)
    whole = model.encode(many)
    monkeypatch.setattr("corolla.trained.model.BATCH_SIZE", 2)
    assert np.allclose(model.encode(many), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no images"),
        (np.zeros((1, 2, 3, 12, 16), np.uint8), "N×H×W×C or N×C×H×W"),
        (torch.zeros(12), "N×H×W×C or N×C×H×W"),
        (np.zeros((0, 12, 16, 3), np.uint8), "there are none"),
        (np.full((1, 12, 16, 3), -1), "int64: give uint8, uint16, bool, or floats"),
        (np.full((1, 12, 16, 3), 1 << 16), "int64: give uint8, uint16, bool, or floats"),
        (np.full((1, 12, 16, 3), "a"), "<U1: give uint8"),
        ({"image": 1}, "dict: give its column of images"),
        (3, "int: no set of images"),
        (np.full((1, 12, 16, 3), 200.0), "0, 1"),
        (np.full((1, 12, 16, 3), np.nan), "0, 1"),
    ],
)
def test_what_is_no_image_is_refused(model: TrainedModel, images: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        model.encode(images)  # type: ignore[arg-type]


def test_axes_and_integers_that_leave_no_doubt_are_taken(model: TrainedModel, pixels: np.ndarray) -> None:
    expected = model.encode(pixels)
    for images in (
        pixels.transpose(0, 3, 1, 2),
        torch.from_numpy(pixels),
        pixels.astype(np.int64),
        pixels.astype(np.uint16) * np.uint16(257),
        pixels.astype(">u2") * np.uint16(257),
    ):
        assert np.array_equal(model.encode(images), expected)
    grey = pixels[..., 0]
    for same in (grey, torch.from_numpy(grey), list(grey), grey[..., None], np.repeat(grey[..., None], 3, axis=3)):
        assert np.array_equal(model.pixels(same), np.repeat(grey[..., None], 3, axis=3))
    assert np.array_equal(model.pixels(grey[0]), model.pixels(grey)[:1])
    rounded = np.nextafter(np.ones((1, 12, 16, 3), np.float32), np.float32(2))
    assert np.array_equal(model.pixels(rounded), np.ones_like(rounded))


def test_files_in_memory_are_taken(model: TrainedModel, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels[0]).save(path)
    content = path.read_bytes()
    with path.open("rb") as file:
        for image in (content, bytearray(content), memoryview(content), io.BytesIO(content), file, [content]):
            assert np.array_equal(model.pixels(image), pixels[:1])
    with pytest.raises(DataError, match="image: empty"):
        model.pixels(b"")


def test_data_sets_are_encoded_without_their_labels(model: TrainedModel, pixels: np.ndarray) -> None:
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    data = torch.utils.data.TensorDataset(tensors, torch.arange(4))
    assert np.allclose(model.encode(data), model.encode(pixels), atol=1e-6)
    rows = [{"image": Image.fromarray(image), "label": 0} for image in pixels]
    assert np.array_equal(model.encode(rows), model.encode(pixels))


def test_channels_that_cannot_be_converted_are_refused(model: TrainedModel) -> None:
    with pytest.raises(DataError, match="has 4 channels, not 3; convert it"):
        model.encode(np.zeros((2, 12, 16, 4), np.uint8))


@pytest.fixture(scope="module", params=[8, 16])
def grey_model(request: pytest.FixtureRequest) -> TrainedModel:
    torch.manual_seed(0)
    config = CONFIG.updated({"data.channels": 1, "data.bits": request.param})
    return TrainedModel(build_model(config), ModelCard(config))


def test_a_grey_model_takes_grey_and_makes_grey_of_color(grey_model: TrainedModel, pixels: np.ndarray) -> None:
    bits = grey_model.pixel_format.bits
    grey = np.random.default_rng(5).integers(0, 2**bits, (3, 12, 16)).astype(f"u{bits // 8}")
    for images in (grey, torch.from_numpy(grey), list(grey), grey[..., None], grey[:, None], list(grey[:, None])):
        np.testing.assert_array_equal(grey_model.pixels(images), grey[..., None], strict=True)  # three, not one of RGB
    np.testing.assert_array_equal(grey_model.pixels(grey[0]), grey[:1, ..., None], strict=True)
    out = grey_model.decode(np.zeros((2, 5)))
    assert (out.shape, out.dtype) == ((2, 12, 16, 1), grey.dtype)
    assert grey_model.sample(2, seed=0).shape == grey_model.reconstruct(grey[:2]).shape == (2, 12, 16, 1)
    red, green, blue = np.moveaxis(pixels.astype(np.float64), 3, 0)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    for images in (pixels, pixels.transpose(0, 3, 1, 2), list(pixels), list(pixels.transpose(0, 3, 1, 2))):
        levels = grey_model.pixels(images)
        assert levels.shape == (4, 12, 16, 1)
        np.testing.assert_allclose(levels[..., 0] / grey_model.pixel_format.largest, luma, atol=1 / 255)


def test_16_bits_go_in_and_out_to_1_of_65535(grey_model: TrainedModel, tmp_path: Path) -> None:
    deep = np.random.default_rng(6).integers(0, 65536, (12, 16)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    expected = deep if grey_model.pixel_format.bits == 16 else np.rint(deep / 257).astype(np.uint8)
    for image in (deep, tmp_path / "deep.tif", tmp_path / "deep.png", Image.open(tmp_path / "deep.png")):
        np.testing.assert_array_equal(grey_model.pixels(image), expected[None, ..., None], strict=True)
    floats = deep / 65535
    np.testing.assert_array_equal(grey_model.levels(floats), expected[None, ..., None], strict=True)
    z = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    with torch.no_grad():
        mean = grey_model.vae.decode(torch.from_numpy(z)).mean.double().numpy()
    largest = grey_model.pixel_format.largest
    np.testing.assert_array_equal(grey_model.decode(z), np.rint(mean * largest).transpose(0, 2, 3, 1))


def test_wrong_requests_are_refused(model: TrainedModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.png"):
        model.encode(tmp_path / "missing.png")
    with pytest.raises(UsageError, match="N×5"):
        model.decode(np.zeros((2, 4)))
    for count in (0, 2.0, "2"):
        with pytest.raises(UsageError, match=f"count {count}: give a whole number"):
            model.sample(count)  # type: ignore[arg-type]
    assert len(model.sample_latents(np.int64(2))) == 2  # type: ignore[arg-type]
    for value in (float("nan"), float("inf"), -float("inf")):
        latents = np.zeros((3, 5))
        latents[1:, 2] = value
        for given in (latents, torch.from_numpy(latents)):
            with pytest.raises(UsageError, match=rf"latents\[1, 2\] is {value}"):
                model.decode(given)
    for temperature in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="temperature"):
            model.sample(1, temperature=temperature)
