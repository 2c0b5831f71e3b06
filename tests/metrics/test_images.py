"""PSNR and SSIM against their definitions, window by window."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import psnr, ssim


def _pair(seed: int, *shape: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, shape)
    return a.astype(np.uint8), np.clip(a + rng.integers(-40, 41, shape), 0, 255).astype(np.uint8)


def _window_by_window(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """SSIM of two images as Wang et al. write it, with means and moments about the mean of each window."""
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * 1.5**2)) for i in range(-5, 6) for j in range(-5, 6)}
    total = sum(weights.values())
    weights = {place: weight / total for place, weight in weights.items()}
    found = []
    for channel in range(a.shape[2]):
        for row in range(5, a.shape[0] - 5):
            for column in range(5, a.shape[1] - 5):
                x, y = ({(i, j): float(v[row + i, column + j, channel]) for i, j in weights} for v in (a, b))
                mean_x, mean_y = (sum(w * v[at] for at, w in weights.items()) for v in (x, y))
                var_x = sum(w * (x[at] - mean_x) ** 2 for at, w in weights.items())
                var_y = sum(w * (y[at] - mean_y) ** 2 for at, w in weights.items())
                covariance = sum(w * (x[at] - mean_x) * (y[at] - mean_y) for at, w in weights.items())
                c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
                found.append(luminance * (2 * covariance + c2) / (var_x + var_y + c2))
    return sum(found) / len(found)


def test_ssim_is_what_its_definition_says() -> None:
    a, b = _pair(1, 2, 13, 16, 3)
    assert ssim(a, b) == pytest.approx([_window_by_window(x, y) for x, y in zip(a, b, strict=True)], rel=1e-9)


def test_ssim_of_a_large_image_is_taken_in_pieces() -> None:
    """The mean over the windows of a wide image is that over all of its 11-pixel strips."""
    a, b = _pair(2, 1, 11, 140, 1)
    strips = [ssim(a[:, :, at : at + 11], b[:, :, at : at + 11])[0] for at in range(130)]
    assert ssim(a, b)[0] == pytest.approx(np.mean(strips), rel=1e-10)
    assert ssim(a.swapaxes(1, 2), b.swapaxes(1, 2))[0] == pytest.approx(np.mean(strips), rel=1e-10)


def test_flat_images_have_the_ssim_of_their_means() -> None:
    a, b = np.full((1, 16, 16, 3), 0.25), np.full((1, 16, 16, 3), 0.75)
    exact = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim(a, b)[0] == pytest.approx(exact, rel=1e-9)


def test_psnr_is_that_of_the_mean_squared_error() -> None:
    a, b = np.zeros((3, 2, 5, 3), np.uint8), np.zeros((3, 2, 5, 3), np.uint8)
    b[0, 0, 0, 0], b[1] = 255, 255
    assert psnr(a, b) == pytest.approx([10 * math.log10(30), 0, math.inf])  # one of 30 values is wrong by all it can be
    x, y = _pair(3, 4, 6, 7, 3)
    by_hand = [10 * math.log10(255**2 / np.mean((p.astype(float) - q) ** 2)) for p, q in zip(x, y, strict=True)]
    assert psnr(x, y) == pytest.approx(by_hand, rel=1e-12)


def test_many_images_are_taken_in_chunks() -> None:
    a, b = _pair(4, 600, 24, 24, 3)  # 1.04 million values: more than one chunk
    for score in (psnr, ssim):
        assert score(a, b)[[0, 599]] == pytest.approx(
            np.concatenate([score(a[i : i + 1], b[i : i + 1]) for i in (0, 599)])
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 20), st.integers(11, 20), st.integers(1, 4))
def test_both_are_symmetric_and_know_no_type_order_or_mirror(seed: int, height: int, width: int, channels: int) -> None:
    a, b = _pair(seed, 3, height, width, channels)
    for score in (psnr, ssim):
        found = score(a, b)
        assert found == pytest.approx(score(b, a), rel=1e-9)
        assert found == pytest.approx(score(a / 255, b), rel=1e-9)
        assert found == pytest.approx(score(a[::-1], b[::-1])[::-1], rel=1e-9)
        assert found == pytest.approx(score(a[:, ::-1], b[:, ::-1]), rel=1e-9)
        assert found == pytest.approx(score(a[..., ::-1], b[..., ::-1]), rel=1e-9)
    assert (np.abs(ssim(a, b)) <= 1).all()
    assert ssim(a, a) == pytest.approx(1)
    assert np.isposinf(psnr(a, a)).all()


def test_more_noise_is_worse_and_a_negative_is_below_zero() -> None:
    rng = np.random.default_rng(5)
    a = rng.uniform(0.3, 0.7, (1, 32, 32, 3))
    noise = rng.uniform(-1, 1, a.shape)
    for score in (psnr, ssim):
        assert score(a, a + 0.01 * noise)[0] > score(a, a + 0.1 * noise)[0]
    assert ssim(a, 1 - a)[0] < 0


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 17, 3)), "one shape"),
        (np.zeros((16, 16, 3)), np.zeros((16, 16, 3)), "N×H×W×C"),
        (np.zeros((0, 16, 16, 3)), np.zeros((0, 16, 16, 3)), "N×H×W×C"),
        (np.zeros((1, 16, 16, 3)), np.full((1, 16, 16, 3), 1.5), "values from 1.5 to 1.5"),
        (np.zeros((1, 16, 16, 3)), np.full((1, 16, 16, 3), np.nan), "float in"),
        (np.zeros((1, 16, 16, 3), int), np.zeros((1, 16, 16, 3)), "int64"),
    ],
)
def test_what_is_not_two_sets_of_images_is_refused(a: NDArray[np.float64], b: NDArray[np.float64], word: str) -> None:
    for score in (psnr, ssim):
        with pytest.raises(UsageError, match=word) as caught:
            score(a, b)
        assert "\n" not in str(caught.value)


def test_images_smaller_than_the_window_have_a_psnr_but_no_ssim() -> None:
    a, b = _pair(6, 2, 10, 30, 3)
    assert np.isfinite(psnr(a, b)).all()
    with pytest.raises(UsageError, match="10x30 pixels: SSIM needs at least 11x11"):
        ssim(a, b)
