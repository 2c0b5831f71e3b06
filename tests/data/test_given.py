"""Images that a Python program has, in every shape that people hand over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from corolla.data.given import array_levels, channel_axis, given, picture
from corolla.data.levels import Reading
from corolla.errors import DataError, UsageError
from corolla.pixels import PixelFormat

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 28, 28), np.uint8)
COLOR = RNG.integers(0, 256, (4, 20, 30, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (4, 20, 30), np.uint16)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param(GREY, GREY[..., None], id="N×H×W"),
        pytest.param(GREY[..., None], GREY[..., None], id="N×H×W×1"),
        pytest.param(GREY[:, None], GREY[..., None], id="N×1×H×W"),
        pytest.param(COLOR, COLOR, id="N×H×W×3"),
        pytest.param(np.moveaxis(COLOR, 3, 1), COLOR, id="N×3×H×W"),
        pytest.param(torch.from_numpy(np.moveaxis(COLOR, 3, 1).copy()), COLOR, id="tensor N×3×H×W"),
        pytest.param(torch.from_numpy(COLOR), COLOR, id="tensor N×H×W×3"),
        pytest.param(DEEP, DEEP[..., None], id="16 bits"),
        pytest.param(DEEP.astype(np.int64), DEEP[..., None], id="16 bits as int64"),
        pytest.param(COLOR / 255, COLOR, id="floats that were 8 bits"),
        pytest.param((COLOR / 255).astype(np.float32) * np.float32(1.0000001), COLOR, id="a rounding above 1"),
        pytest.param(torch.from_numpy(COLOR / 255).to(torch.float32), COLOR, id="tensor of floats"),
        pytest.param(DEEP / 65535, DEEP[..., None], id="floats of 16 bits"),
        pytest.param(GREY > 100, (GREY > 100)[..., None] * np.uint8(255), id="booleans"),
        pytest.param((GREY > 100).astype(np.uint8), (GREY > 100)[..., None] * np.uint8(255), id="zeros and ones"),
        pytest.param(RNG.integers(0, 256, (2, 16, 16, 5), np.uint8), None, id="five bands last"),
    ],
)
def test_axes_and_values_are_told_apart(images: Any, expected: NDArray[Any] | None) -> None:
    levels = array_levels(images)
    expected = images if expected is None else expected
    assert levels.dtype == expected.dtype
    np.testing.assert_array_equal(levels, expected)


def test_the_axis_of_channels_follows_the_stated_rule() -> None:
    assert channel_axis((3, 32, 32), first=False) == 0
    assert channel_axis((32, 32, 3), first=True) == 2
    assert channel_axis((3, 32, 3), first=True) == 0
    assert channel_axis((3, 32, 3), first=False) == 2
    assert channel_axis((6, 64, 64), first=False) == 0
    assert channel_axis((64, 64, 6), first=True) == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY[0], r"images of shape \(28, 28\): give N×H×W"),
        (COLOR * 1.5, r"float images from 0 to 382.5: floats must lie in \[0, 1\]"),
        (np.full((2, 8, 8), np.nan), "float images from nan to nan"),
        (-GREY.astype(np.int32), "images of type int32: give uint8, uint16"),
        (np.zeros((0, 8, 8), np.uint8), "there are none"),
        ("photos", "str: no set of images"),
        ([], "no images given"),
        ([3, 4], "image 0: int: no image; give a path"),
        ({"a": 1}, "dict: give its column of images"),
    ],
)
def test_what_is_no_set_of_images_is_refused(images: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given(images)


class Pairs(Dataset[Any]):
    """As torchvision's data sets give: PIL images with a label."""

    def __len__(self) -> int:
        return len(GREY)

    def __getitem__(self, number: int) -> Any:
        return Image.fromarray(GREY[number]), number % 2


class Rows:
    """As Hugging Face's `datasets` give: rows with named columns."""

    features: ClassVar = {"image": None, "label": type("ClassLabel", (), {"names": ["rose", "tulip"]})()}

    def __len__(self) -> int:
        return len(COLOR)

    def __getitem__(self, number: int) -> Any:
        return {"image": Image.fromarray(COLOR[number]), "label": number % 2}


def test_data_sets_come_with_their_labels() -> None:
    pairs = given(Pairs())
    np.testing.assert_array_equal(pairs.images, GREY[..., None])
    assert pairs.labels is not None
    assert pairs.labels.tolist() == [0, 1, 0, 1]
    assert pairs.format == PixelFormat(1, 8)
    rows = given(Rows())
    np.testing.assert_array_equal(rows.images, COLOR)
    assert rows.label_names == ("rose", "tulip")
    tensors = given(TensorDataset(torch.from_numpy(COLOR / 255).movedim(3, 1), torch.tensor([3, 5, 3, 5])))
    np.testing.assert_array_equal(tensors.images, COLOR)
    assert tensors.label_names == ("3", "5")
    assert tensors.labels is not None
    assert tensors.labels.tolist() == [0, 1, 0, 1]


def test_labels_and_factors_stand_beside() -> None:
    images = given(GREY, labels=["b", "a", "b", "a"], factors={"size": [1, 2, 3, 4], "angle": [0, 0, 1, 1]})
    assert images.label_names == ("a", "b")
    assert images.factor_names == ("size", "angle")
    assert images.factors is not None
    assert images.factors.tolist() == [[1, 0], [2, 0], [3, 1], [4, 1]]
    with pytest.raises(UsageError, match=r"labels of shape \(3,\): give one for each of the 4 images"):
        given(GREY, labels=[1, 2, 3])
    with pytest.raises(UsageError, match=r"factors of shape \(4,\)"):
        given(GREY, factors=[1, 2, 3, 4])


def test_one_image_of_any_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(COLOR[0]).save(path)
    with path.open("rb") as file:
        for image in (path, str(path), path.read_bytes(), file, Image.open(path), COLOR[0], torch.from_numpy(COLOR[0])):
            np.testing.assert_array_equal(picture(image), COLOR[0])
    np.testing.assert_array_equal(picture(GREY[0]), GREY[0][..., None])
    with pytest.raises(DataError, match="image 1: image: not a JPEG"):
        given([path.read_bytes(), b"nothing of the kind"])


def test_mixed_formats_are_made_one_and_said(caplog: pytest.LogCaptureFixture) -> None:
    mixed = given([GREY[0], COLOR[0]])
    assert mixed.format == PixelFormat(3, 8)
    assert isinstance(mixed.images, list)
    np.testing.assert_array_equal(mixed.images[0], GREY[0][..., None].repeat(3, 2))
    assert "RGB, 8 bits and grey, 8 bits: all are made RGB, 8 bits" in caplog.text


def test_files_in_memory_may_be_of_several_sizes() -> None:
    contents = []
    for size in ((8, 9), (10, 11)):
        file = io.BytesIO()
        Image.new("RGB", size, (1, 2, 3)).save(file, "PNG")
        contents.append(file.getvalue())
    images = given(contents).images
    assert [image.shape for image in images] == [(9, 8, 3), (11, 10, 3)]


def test_one_dark_image_among_others_is_no_black_and_white() -> None:
    dark, light = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 200, np.uint8)
    dark[0, 0] = 1
    assert np.array_equal(given([dark, light]).images, np.stack([dark, light]))
    assert given([dark, dark]).images[0].max() == 255
    assert np.array_equal(given([dark, dark]).images, given(np.stack([dark, dark])).images)


def test_integers_of_one_set_are_levels_of_one_depth() -> None:
    dark, light = np.full((8, 8), 200, np.int32), np.full((8, 8), 4000, np.int32)
    assert np.array_equal(given([dark, light]).images, given(np.stack([dark, light])).images)
    assert given([dark, light]).images[0].max() == 200
    assert given([dark, dark]).format == PixelFormat(1, 8)


def test_files_are_read_as_the_configuration_says(tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (2, 20, 30), np.uint16)
    files = [tmp_path / f"{number}.tif" for number in range(2)]
    for file, value in zip(files, values, strict=True):
        tifffile.imwrite(file, value)
    images = np.asarray(given(files, reading=Reading(white=(0, 4095))).images)
    assert np.abs(images[..., 0] - np.rint(values * (65535 / 4095))).max() <= 1
