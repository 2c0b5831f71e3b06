"""Recipes: the steps mean what they say, checked against independent arithmetic."""

from __future__ import annotations

import dataclasses
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from corolla.config import registered
from corolla.data.recipes import Recipe, Step, recipe_named
from corolla.errors import DataError, UsageError


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """A smooth, colourful picture, with some texture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray((pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8))


def naive_blur(pixels: NDArray[np.uint8], kernel_px: int, sigma_px: float) -> NDArray[np.float64]:
    """Two-dimensional Gaussian, pixel by pixel, with borders mirrored about the outermost pixel."""
    reach = kernel_px // 2
    padded = np.pad(pixels.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    total, blurred = 0.0, np.zeros(pixels.shape)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            weight = np.exp(-(dy * dy + dx * dx) / (2 * sigma_px**2))
            total += weight
            top, left = reach + dy, reach + dx
            blurred += weight * padded[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    return blurred / total


@pytest.mark.parametrize("name", registered("recipe"))
@pytest.mark.parametrize("shape", [(400, 500), (37, 12), (64, 64), (1, 1), (90, 700)])
@pytest.mark.parametrize("size", [(64, 64), (48, 96), (8, 136)])
def test_every_recipe_makes_the_wanted_size_from_any_picture(
    name: str, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels = recipe_named(name).apply(picture(*shape), *size)
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    name=st.sampled_from(["fit", "crop"]),
    color=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_a_plain_picture_keeps_its_color(
    shape: tuple[int, int], size: tuple[int, int], name: str, color: tuple[int, int, int]
) -> None:
    pixels = recipe_named(name).apply(Image.new("RGB", shape, color), *size)
    assert pixels.shape == (*size, 3)
    assert (pixels == np.array(color, dtype=np.uint8)).all()


def test_fit_changes_nothing_when_the_size_is_right() -> None:
    image = picture(48, 64)
    assert np.array_equal(recipe_named("fit").apply(image, 48, 64), np.asarray(image))


def test_fit_sees_the_middle() -> None:
    pixels = np.zeros((40, 100, 3), dtype=np.uint8)
    pixels[:, 30:70] = 255  # the middle square
    assert (recipe_named("fit").apply(Image.fromarray(pixels), 40, 40) == 255).all()
    assert (recipe_named("fit").apply(Image.fromarray(pixels.transpose(1, 0, 2)), 40, 40) == 255).all()


def test_fit_is_antialiased() -> None:
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = recipe_named("fit").apply(Image.fromarray(np.stack([board] * 3, axis=2)), 16, 16)
    assert abs(pixels.astype(int) - 127.5).max() < 3


def test_crop_is_the_notebooks_geometry() -> None:
    image = picture(500, 667)
    scaled = image.resize((int(384 * 667 / 500), 384), Image.Resampling.BICUBIC)
    assert scaled.size == (512, 384)
    cut = scaled.crop((96, 32, 416, 352)).resize((256, 256), Image.Resampling.BILINEAR)
    assert np.array_equal(recipe_named("crop").apply(image, 136, 136), np.asarray(cut)[60:196, 60:196])


def test_enhance_is_the_notebooks_list() -> None:
    image = picture(384, 384)
    cut = np.asarray(image)[32:352, 32:352]
    blurred = np.rint(naive_blur(cut, 3, 2.0)).astype(np.uint8)
    gamma = np.minimum(255, np.floor(255.999 * 1.1 * (blurred / 255) ** 1.6)).astype(np.uint8)
    bright = ImageEnhance.Brightness(Image.fromarray(gamma)).enhance(0.7)
    vivid = ImageOps.autocontrast(ImageEnhance.Color(bright).enhance(1.5))
    sharp = np.asarray(ImageEnhance.Sharpness(vivid).enhance(4.0))
    smooth = np.rint(naive_blur(sharp, 3, 1.5)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(smooth).resize((256, 256), Image.Resampling.BILINEAR))[60:196, 60:196]
    difference = recipe_named("enhance").apply(image, 136, 136).astype(int) - expected
    # A value that lies on a half may be rounded either way, and sharpening multiplies that.
    assert abs(difference).max() <= 8
    assert abs(difference).mean() < 0.01


@pytest.mark.parametrize(("kernel_px", "sigma_px"), [(3, 2.0), (3, 1.5), (7, 1.2)])
def test_blur_is_a_truncated_mirrored_gaussian(kernel_px: int, sigma_px: float) -> None:
    image = picture(23, 31)
    step = Step("blur", (("kernel_px", kernel_px), ("sigma_px", sigma_px)))
    expected = naive_blur(np.asarray(image), kernel_px, sigma_px)
    assert abs(np.asarray(step(image, 1, 1)) - expected).max() <= 0.5001


def test_gamma_clamps_and_rounds_as_torchvision_does() -> None:
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    values = np.asarray(Step("gamma", (("gamma", 1.6), ("gain", 1.1)))(ramp, 1, 1))[0, :, 0]
    assert values[0] == 0
    assert values[255] == 255  # 281 before clamping
    assert values[128] == int(255.999 * 1.1 * (128 / 255) ** 1.6)
    assert (np.diff(values.astype(int)) >= 0).all()


@pytest.mark.parametrize("name", ["crop", "enhance"])
def test_a_size_beyond_the_recipe_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(UsageError, match=rf"`{name}` makes at most 256x256 pixels, not 64x300; choose .* `fit`"):
        recipe_named(name).apply(picture(300, 300), 64, 300)
    with pytest.raises(UsageError, match="0x8: not a size"):
        recipe_named(name).check_size(0, 8)
    assert recipe_named("fit").apply(picture(30, 30), 64, 300).shape == (64, 300, 3)


def test_a_picture_smaller_than_a_crop_is_refused() -> None:
    recipe = Recipe("middle", (Step("center_crop", (("side_px", 50),)), Step("fit", (("method", "bicubic"),))))
    with pytest.raises(DataError, match="40x60 pixels is smaller than the crop, 50x50"):
        recipe.apply(picture(40, 60), 32, 32)


def test_a_picture_that_would_explode_is_refused() -> None:
    with pytest.raises(DataError, match="1x60000 pixels is too elongated"):
        recipe_named("crop").apply(Image.new("RGB", (60000, 1)), 64, 64)


def test_stages_show_each_step_and_end_in_the_result() -> None:
    recipe, image = recipe_named("enhance"), picture(60, 80)
    stages = recipe.stages(image, 40, 56)
    assert [label.split()[0] for label, _ in stages] == ["original", *(step.operation for step in recipe.steps)]
    assert np.array_equal(np.asarray(stages[0][1]), np.asarray(image))
    assert np.array_equal(np.asarray(stages[-1][1]), recipe.apply(image, 40, 56))
    assert "blur kernel_px 3, sigma_px 2.0" in dict(stages)


def test_the_digest_follows_steps_and_parameters() -> None:
    recipe = recipe_named("enhance")
    assert len({other.digest for other in registered("recipe").values()}) == 3
    assert recipe.digest == pickle.loads(pickle.dumps(recipe)).digest
    assert recipe.digest == dataclasses.replace(recipe, name="mine").digest
    for position, step in enumerate(recipe.steps):
        without = recipe.steps[:position] + recipe.steps[position + 1 :]
        assert dataclasses.replace(recipe, steps=without).digest != recipe.digest
        for name, value in step.parameters:
            changed = dict(step.parameters) | {name: "other" if isinstance(value, str) else value + 1}
            steps = (*recipe.steps[:position], Step(step.operation, tuple(changed.items())), *without[position:])
            assert dataclasses.replace(recipe, steps=steps).digest != recipe.digest


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(UsageError, match=r"melt: no such step; there are .*blur"):
        Step("melt")


@pytest.mark.parametrize("name", registered("recipe"))
def test_reduced_scale_decoding_is_exact_enough(name: str) -> None:
    """Over 40 dB PSNR between a full decode and the smallest decode that the recipe allows."""
    side = 64
    file = io.BytesIO()
    picture(1603, 2001).save(file, "JPEG", quality=90)
    whole, reduced = Image.open(file), Image.open(io.BytesIO(file.getvalue()))
    at_least = recipe_named(name).decode_at_least_px(side, side)
    assert at_least is not None
    scale = next(scale for scale in (8, 4, 2, 1) if 1603 // scale >= at_least)
    reduced.draft("RGB", (2001 // scale, 1603 // scale))
    assert at_least <= min(reduced.size) < min(whole.size)
    difference = recipe_named(name).apply(whole, side, side).astype(float) - recipe_named(name).apply(
        reduced, side, side
    )
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 40
