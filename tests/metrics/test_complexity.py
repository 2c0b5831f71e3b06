from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corolla.errors import UsageError
from corolla.metrics import complexity_nats

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.just(3)))


def _naive(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], differences: bool) -> float:
    """Pixel by pixel, with the median that defines the predictor."""
    total = 0.0
    for channel in range(3):
        values = image.astype(int)
        plane = values[..., channel] - (values[..., 1] if differences and channel != 1 else 0)
        errors: Counter[int] = Counter()
        for y in range(plane.shape[0]):
            for x in range(plane.shape[1]):
                if y and x:
                    left, above = plane[y, x - 1], plane[y - 1, x]
                    guess = sorted([left, above, left + above - plane[y - 1, x - 1]])[1]
                else:
                    guess = plane[y, x - 1] if x else plane[y - 1, x] if y else 0
                errors[int(plane[y, x] - guess) % 256] += 1
        total -= sum(count * math.log(count / plane.size) for count in errors.values())
    return total


@given(IMAGES, st.booleans())
def test_the_complexity_is_that_of_the_definition(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], differences: bool
) -> None:
    expected = [_naive(image, differences) for image in images]
    np.testing.assert_allclose(complexity_nats(images, differences=differences), expected, atol=1e-9)


def test_noise_costs_all_bits_and_a_grey_picture_one_channel() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    grey = np.repeat(noise[..., :1], 3, axis=3)
    whole = 256 * 256 * math.log(256)
    assert complexity_nats(noise)[0] == pytest.approx(3 * whole, rel=0.005)
    assert complexity_nats(grey)[0] == pytest.approx(whole, rel=0.005)
    assert complexity_nats(grey, differences=False)[0] == pytest.approx(3 * whole, rel=0.005)


def test_what_are_no_images_is_refused() -> None:
    with pytest.raises(UsageError, match="float64 of shape"):
        complexity_nats(np.zeros((1, 4, 4, 3)))  # type: ignore[arg-type]
