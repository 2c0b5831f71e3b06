"""Themes, loops, posters and video."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from corolla.data import ImageCache
from corolla.distributions.priors import GaussianPrior, MixturePrior
from corolla.errors import CorollaError, DataError, UsageError
from corolla.gallery.commands import poster
from corolla.gallery.generation import closed_path, loop
from corolla.gallery.options import Draws, Poster
from corolla.gallery.poster import (
    Layout,
    check_poster,
    parse_size,
    plan,
    poster_latents,
    save_poster,
    smooth_noise,
    strips,
)
from corolla.gallery.themes import label_theme, theme, theme_of_codes
from corolla.pictures.files import encode_animation, save_animation
from corolla.pictures.grids import grid
from corolla.trained import TrainedModel

# --- themes -----------------------------------------------------------------------------------------------------------


def covariance_of(prior: GaussianPrior) -> NDArray[np.float64]:
    return (prior.scale_tril @ prior.scale_tril.T).numpy()


def test_the_theme_of_one_image_is_its_posterior(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    q = model.posterior(images[0])
    found = theme(model, images[:1])
    np.testing.assert_allclose(found.mean, q.mean[0])
    np.testing.assert_allclose(covariance_of(found), np.diag(q.logvar[0].exp()), rtol=1e-4, atol=1e-12)


def test_the_theme_of_many_codes_has_the_moments_of_their_mixture() -> None:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((50_000, 3)) @ np.array([[1, 0.5, 0], [0, 2, 0], [0, 0, 0.3]]) + [1, -2, 0.5]
    variances = rng.uniform(0.1, 0.5, means.shape)
    found = theme_of_codes(means, variances)
    draws = means + np.sqrt(variances) * rng.standard_normal(means.shape)
    np.testing.assert_allclose(found.mean, draws.mean(0), atol=0.02)
    np.testing.assert_allclose(covariance_of(found), np.cov(draws.T), atol=0.06)
    again = found.sample(50_000, torch.Generator().manual_seed(0), 0.5).double().numpy()
    np.testing.assert_allclose(np.cov(again.T), covariance_of(found) / 4, atol=0.03)


def test_a_theme_keeps_the_total_variance_of_few_codes_and_shrinks_their_correlations() -> None:
    means = np.random.default_rng(1).standard_normal((5, 20)) * np.linspace(0.5, 2, 20)
    found = covariance_of(theme_of_codes(means, np.zeros_like(means)))
    plain = np.cov(means.T, bias=True)
    assert np.trace(found) == pytest.approx(np.trace(plain), rel=1e-5)
    off = ~np.eye(20, dtype=bool)
    ratios = found[off] / plain[off]
    assert ratios.min() > 0
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)
    assert ratios[0] < 0.9


def test_codes_without_any_variance_still_make_a_theme() -> None:
    found = theme_of_codes(np.ones((3, 4)), np.zeros((3, 4)))
    np.testing.assert_allclose(found.sample(2), 1, atol=0.01)


def test_the_theme_of_a_label_is_that_of_its_training_images(model: TrainedModel, cache: ImageCache) -> None:
    wanted = theme(model, np.asarray(cache.images[0:24:3]))
    found = label_theme(model, cache, "rose")
    np.testing.assert_array_equal(found.mean, wanted.mean)
    np.testing.assert_array_equal(found.scale_tril, wanted.scale_tril)
    with pytest.raises(DataError, match="no training image has it"):
        label_theme(model, replace(cache, labels=np.ones(40, int)), "rose")


# --- loops ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), waypoints=st.integers(3, 8), latent_dim=st.integers(3, 40))
def test_a_loop_is_even_also_where_it_closes_and_passes_its_waypoints(
    seed: int, waypoints: int, latent_dim: int
) -> None:
    ends = np.random.default_rng(seed).standard_normal((waypoints, latent_dim)) + 0.1
    path = closed_path(ends, 400)
    np.testing.assert_allclose(path[0], ends[0])
    steps = np.linalg.norm(np.roll(path, -1, axis=0) - path, axis=1)  # the last one leads back to the first
    assert steps.max() < 1.2 * np.median(steps)
    for end in ends:
        assert np.linalg.norm(path - end, axis=1).min() < steps.max()


def test_a_loop_has_no_corner_where_it_closes() -> None:
    ends = np.random.default_rng(3).standard_normal((4, 16))
    path = closed_path(ends, 2000)
    forward = np.roll(path, -1, axis=0) - path
    turns = (forward * np.roll(forward, 1, axis=0)).sum(1) / np.linalg.norm(forward, axis=1) ** 2
    assert turns.min() > 0.999


def test_a_loop_on_a_sphere_stays_there() -> None:
    ends = np.random.default_rng(4).standard_normal((5, 12))
    ends *= 3 / np.linalg.norm(ends, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(closed_path(ends, 50), axis=1), 3)


def test_a_loop_through_the_corners_of_a_square_is_its_circle() -> None:
    path = closed_path(np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), 8)
    angles = np.arange(8) * np.pi / 4
    np.testing.assert_allclose(path, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-3)


def test_waypoints_that_make_no_loop_are_refused() -> None:
    ends = np.eye(3)
    for wrong, told in (
        (ends[:2], "2 points: a loop needs at least 3"),
        (np.concatenate([ends, 2 * ends[2:]]), "waypoints 3 and 4 lie in one direction"),
        (np.concatenate([ends, ends[:1]]), "waypoints 4 and 1"),
        (np.concatenate([ends, np.zeros((1, 3))]), "waypoint 4 is 0"),
    ):
        with pytest.raises(UsageError, match=told):
            closed_path(wrong, 10)
    with pytest.raises(UsageError, match="2 images"):
        closed_path(ends, 2)


def test_a_loop_of_images_is_decoded_from_its_path(model: TrainedModel) -> None:
    waypoints = model.sample_latents(3, seed=0)
    result = loop(model, waypoints, steps=4)
    assert result.latents.shape == (12, 6)
    np.testing.assert_array_equal(result.images, model.decode(result.latents))


# --- video ------------------------------------------------------------------------------------------------------------


def test_a_video_comes_back_with_its_frames_and_an_even_size(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    frames = [grid(np.full((1, 33, 47, 3), colour, np.uint8), padding=0, shown_px=1) for colour in colours]
    save_animation(tmp_path / "a.mp4", frames, fps=12.5)
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 48, 34)
        assert float(stream.average_rate) == 12.5
        found = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(found) == 3
    for pixels, colour in zip(found, colours, strict=True):
        assert np.abs(pixels.astype(int) - colour).max() < 12
    assert encode_animation(frames, "MP4", fps=12.5) == (tmp_path / "a.mp4").read_bytes()


def test_without_the_extra_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install -e '.\[video\]'"):
        save_animation(tmp_path / "a.mp4", [Image.new("RGB", (8, 8))])
    assert not list(tmp_path.iterdir())


# --- posters ----------------------------------------------------------------------------------------------------------


def test_a_poster_is_its_tiles(model: TrainedModel, tmp_path: Path) -> None:
    written = poster(model, tmp_path / "a.png", Poster(size="80x48", columns=5), Draws(seed=3))
    assert written.facts == {"images": 15, "columns": 5, "width": 80, "height": 48}
    wanted = grid(model.sample(15, seed=3), columns=5, padding=0, shown_px=1)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(wanted))


@settings(deadline=None, max_examples=30)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    columns=st.integers(1, 9),
    tile=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_tiles_fill_a_poster_of_any_size(width: int, height: int, columns: int, tile: tuple[int, int]) -> None:
    layout = plan(width, height, tile, min(columns, width))
    colours = np.random.default_rng(0).integers(0, 256, (layout.rows, layout.columns, 3), dtype=np.uint8)

    def decode(points: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.tile(colours[int(points[0, 0])][:, None, None], (1, *tile, 1))

    latents = np.arange(layout.rows, dtype=np.float32).repeat(layout.columns)[:, None]
    parts = list(strips(layout, latents, decode))
    picture = np.concatenate(parts)
    assert picture.shape == (height, width, 3)
    across, down = (np.arange(width) + 0.5) * layout.columns / width, (np.arange(height) + 0.5) * layout.rows / height
    wanted = colours[down.astype(int)][:, across.astype(int)]
    inside = (np.abs(across - across.round()) * width >= layout.columns)[None] & (
        np.abs(down - down.round()) * height >= layout.rows
    )[:, None]
    np.testing.assert_array_equal(picture[inside], wanted[inside])


def test_a_png_that_is_written_in_strips_is_the_picture(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    layout = Layout(31, 23, 1, 1)
    for suffix in (".png", ".webp", ".jpg"):
        save_poster(tmp_path / f"a{suffix}", layout, iter([pixels[:10], pixels[10:11], pixels[11:]]))
        with Image.open(tmp_path / f"a{suffix}") as found:
            assert (found.size, found.mode) == ((31, 23), "RGB")
            if suffix == ".png":
                np.testing.assert_array_equal(np.asarray(found), pixels)


def test_a_poster_that_breaks_off_leaves_the_former_one(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    poster(model, path, Poster(size="32x32", columns=2))
    former = path.read_bytes()

    def stop(_title: str, done: int, _total: int | None) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        poster(model, path, Poster(size="64x64", columns=4), progress=stop)
    assert path.read_bytes() == former
    assert list(tmp_path.glob(".*")) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CorollaError, match="cannot be written"):
        poster(model, tmp_path / "file" / "a.png", Poster(size="32x32"))


def test_smooth_noise_is_standard_everywhere_and_alike_to_neighbours() -> None:
    field = smooth_noise(12, 14, 4000, span=1.5, seed=1)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field.mean(2), 0, atol=0.08)
    np.testing.assert_allclose(field.var(2), 1, atol=0.12)
    for apart in (1, 2, 4):
        wanted = np.exp(-(apart**2) / (4 * 1.5**2))
        assert (field[apart:] * field[:-apart]).mean() == pytest.approx(wanted, abs=0.02)
        assert (field[:, apart:] * field[:, :-apart]).mean() == pytest.approx(wanted, abs=0.02)
    white = smooth_noise(3, 4, 5, span=0, seed=2)
    np.testing.assert_array_equal(white, np.random.default_rng(2).standard_normal((3, 4, 5), np.float32))
    with pytest.raises(UsageError, match="span -1"):
        smooth_noise(3, 4, 5, span=-1)


def test_a_smooth_poster_goes_with_priors_that_are_gaussian(
    model: TrainedModel, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    noise = smooth_noise(2, 2, 6, span=1, seed=5).reshape(4, 6)
    chosen = theme(model, images)
    layout = Layout(32, 32, 2, 2)
    for prior, expected in (("standard", 0.5 * noise), (chosen, chosen.unwhiten(torch.from_numpy(0.5 * noise)))):
        latents = poster_latents(model, layout, span=1, seed=5, temperature=0.5, prior=prior)
        np.testing.assert_array_equal(latents, np.asarray(expected, np.float32))
    with pytest.raises(UsageError, match="span needs the prior"):
        poster_latents(model, layout, span=1, seed=5, temperature=0.5, prior=MixturePrior(6))
    poster(model, tmp_path / "a.png", Poster(size="32x32", columns=2, span=1), Draws(seed=5, temperature=0.5))
    wanted = grid(model.decode(0.5 * noise), columns=2, padding=0, shown_px=1)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(wanted))


def test_sizes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    assert parse_size("3000x2000") == (3000, 2000)
    for text in ("3000", "0x10", "10x", "axb", "-3x4", "3.5x2"):
        with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
            parse_size(text)
    with pytest.raises(UsageError, match=r"\.webp goes to 16383"):
        check_poster(tmp_path / "a.webp", 20_000, 10)
    with pytest.raises(UsageError, match="11 columns on 10 pixels"):
        plan(10, 10, (16, 16), 11)
    with pytest.raises(UsageError, match="give more columns"):
        plan(100_000, 100_000, (16, 16), 1)


def test_png_files_are_what_the_standard_says(tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3], [0, 0, 255]]], np.uint8)
    save_poster(tmp_path / "a.png", Layout(2, 1, 1, 1), [pixels])
    with Image.open(tmp_path / "a.png") as found:
        found.verify()  # raises if a chunk's length or checksum is wrong
    with Image.open(tmp_path / "a.png") as found:
        np.testing.assert_array_equal(np.asarray(found), pixels)
