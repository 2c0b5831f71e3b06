"""Arrays of images: every number finds its pixel and comes back, and what cannot be read is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corolla.data.arrays import layout_of
from corolla.errors import UsageError

RNG = np.random.default_rng(3)
SHAPES = st.sampled_from([(8, 11), (9, 8, 1), (8, 10, 3)])


@given(shape=SHAPES, flat=st.booleans(), eight_bit=st.booleans(), seed=st.integers(0, 99))
def test_every_number_comes_back_to_within_8_bits(
    shape: tuple[int, ...], flat: bool, eight_bit: bool, seed: int
) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (5, *shape), dtype=np.uint8)
    array: Any = levels if eight_bit else levels.astype(np.float64) / 255
    array = array.reshape(5, -1) if flat else array
    layout = layout_of(array, shape if flat else None, None)
    pixels = layout.to_pixels(array)
    expected = levels if levels.ndim == 4 else levels[..., None]  # grey is one channel
    np.testing.assert_array_equal(pixels, expected, strict=True)
    back = layout.from_means((pixels / 255).astype(np.float32))
    assert back.dtype == (np.uint8 if eight_bit else np.float32)
    np.testing.assert_allclose(back, array, atol=1e-6)


def test_grey_comes_back_from_models_with_three_equal_channels_as_their_mean() -> None:
    layout = layout_of(np.zeros((1, 8, 8)), None, None)
    means = RNG.random((2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(layout.from_means(means), means.sum(-1) / 3, rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 7, 64, 65, 100, 1025])
def test_a_table_is_laid_out_in_a_square(columns: int) -> None:
    table = RNG.integers(0, 256, (3, columns), dtype=np.uint8)
    layout = layout_of(table, "table", None)
    height, width = layout.size
    assert height == width
    assert height % 8 == 0
    assert columns**0.5 <= height < columns**0.5 + 8
    pixels = layout.to_pixels(table)
    np.testing.assert_array_equal(layout.from_means((pixels / 255).astype(np.float32)), table)
    assert pixels.shape == (3, height, width, 1)
    assert not pixels.reshape(3, -1)[:, columns:].any()


def test_a_value_range_is_black_and_white() -> None:
    images = np.linspace(-3, 5, 64).reshape(1, 8, 8)
    layout = layout_of(images, None, (-3, 5))
    np.testing.assert_array_equal(layout.to_pixels(images).ravel(), np.rint(np.linspace(0, 255, 64)))
    np.testing.assert_allclose(layout.from_means(np.full((1, 8, 8, 1), 0.25, np.float32)), -1)
    with pytest.raises(UsageError, match=r"numbers from -6 to 10: pixels must lie in \[-3, 5\]"):
        layout.to_pixels(images * 2)


def test_the_range_of_the_data_is_kept_and_clips_later() -> None:
    images = np.linspace(-3, 5, 64).reshape(1, 8, 8)
    layout = layout_of(images, None, "data")
    assert layout.limits == (-3, 5)
    np.testing.assert_array_equal(np.unique(layout.to_pixels(np.sign(images) * 100)), [0, 255])
    assert not layout_of(np.full((1, 8, 8), 7), None, "data").to_pixels(np.full((1, 8, 8), 7)).any()


def test_rounding_may_pass_the_range() -> None:
    images = np.full((1, 8, 8), 1 + 1e-12)
    assert (layout_of(images, None, None).to_pixels(images) == 255).all()


@pytest.mark.parametrize(
    ("array", "image_shape", "value_range", "message"),
    [
        (np.zeros((2, 64)), None, None, r"rows of 64 numbers: say which images they are"),
        (np.zeros((2, 64)), (8, 9), None, r"rows of 64 numbers: images of shape \(8, 9\) have 72"),
        (np.zeros((2, 64)), "square", None, r"image_shape 'square': give"),
        (np.zeros((2, 64)), (8, 8.5), None, r"image_shape \(8, 8\.5\): give"),
        (np.zeros((2, 64)), 64, None, r"image_shape 64: give"),
        (np.zeros((2, 32)), (4, 8), None, r"at least 8 pixels; enlarge"),
        (np.zeros((2, 8, 8)), "table", None, r"these are images, not a table"),
        (np.zeros((2, 8, 8)), (8, 9), None, r"image_shape says \(8, 9\)"),
        (np.zeros((2, 3, 16, 16)), None, None, r"shape \(3, 16, 16\): they need height"),
        (np.zeros((16, 16, 3)), None, None, r"A single image needs an axis in front"),
        (np.zeros((2, 8, 8, 4)), None, None, r"× 1 or 3 channels"),
        (np.zeros((2, 8, 8), np.int64), None, None, r"numbers of type int64: give uint8"),
        (np.zeros((2, 8, 8)), None, (1, 1), r"value_range \(1, 1\): give"),
        (np.zeros((2, 8, 8)), None, (0, float("inf")), r"value_range \(0, inf\): give"),
        (np.zeros((2, 8, 8)), None, 255, r"value_range 255: give"),
        (np.zeros((2, 8, 8)), None, "auto", r"value_range 'auto': give"),
    ],
)
def test_what_cannot_be_read_is_refused(array: Any, image_shape: Any, value_range: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        layout_of(array, image_shape, value_range)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("array", [np.full((2, 8, 8), 1.5), np.full((2, 8, 8), -0.1)])
def test_floats_beyond_0_and_1_are_refused_with_the_remedy(array: Any) -> None:
    with pytest.raises(UsageError, match=r"pixels must lie in \[0, 1\]; say what black and white are.*MinMaxScaler"):
        layout_of(array, None, None).to_pixels(array)
