from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.evaluation.reconstructions import reconstruction
from corolla.gallery.generation import interpolation, traversal
from corolla.gallery.sheets import (
    interpolation_frames,
    interpolation_sheet,
    reconstruction_sheet,
    traversal_frames,
    traversal_sheet,
)
from corolla.trained import TrainedModel

same_model = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_traversal_ranks_latents_by_kl_and_marks_the_dead(model: TrainedModel) -> None:
    result = traversal(model, steps=3)
    assert result.latents.tolist() == [1, 3, 5, 0, 2, 4]
    assert result.kl_nats.tolist() == [3.0, 2.0, 1.0, 0.5, 0.001, 0.0]
    assert result.dead.tolist() == [False, False, False, False, True, True]
    assert result.images.shape == (6, 3, 16, 16, 3)


def test_traversal_moves_one_latent_and_nothing_else(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    result = traversal(model, image=images[0], latents=[0, 3], steps=5, span=2)
    assert result.latents.tolist() == [3, 0]
    np.testing.assert_allclose(result.values, [-2, -1, 0, 1, 2])
    base = model.encode(images[0])[0]
    np.testing.assert_array_equal(result.base, base)
    for row, latent in enumerate(result.latents):
        for column, value in enumerate(result.values):
            point = base.copy()
            point[latent] = value
            wanted = model.decode(point)[0].astype(int)
            assert np.abs(result.images[row, column].astype(int) - wanted).max() <= 1


def test_traversal_starts_from_the_centre_or_from_a_seeded_draw(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    assert not traversal(model, latents=1).base.any()
    drawn = traversal(model, latents=1, seed=3).base
    np.testing.assert_array_equal(drawn, model.sample_latents(1, seed=3)[0])
    q = model.posterior(images[0])
    noise = (traversal(model, image=images[0], latents=1, seed=3).base - q.mean.numpy()[0]) / q.stddev.numpy()[0]
    np.testing.assert_allclose(noise, drawn, atol=1e-5)


def test_traversal_refuses_impossible_requests(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="latent 6: give 0 to 5"):
        traversal(model, latents=[1, 6])
    with pytest.raises(UsageError, match="0 latents"):
        traversal(model, latents=0)
    with pytest.raises(UsageError, match="0 steps"):
        traversal(model, steps=0)
    with pytest.raises(UsageError, match="span of -1"):
        traversal(model, span=-1)
    with pytest.raises(UsageError, match="5 images"):
        traversal(model, image=images)


finite = st.floats(-4, 4, width=32)


@same_model
@given(ends=arrays(np.float32, (3, 6), elements=finite), steps=st.integers(2, 7), loop=st.booleans())
@pytest.mark.parametrize("method", ["spherical", "linear"])
def test_interpolation_passes_through_its_endpoints(
    model: TrainedModel, ends: NDArray[np.float32], steps: int, loop: bool, method: str
) -> None:
    result = interpolation(model, ends, steps=steps, loop=loop, method=method)  # type: ignore[arg-type]
    assert len(result.latents) == len(result.images) == (3 if loop else 2) * (steps - 1) + (not loop)
    passed = result.latents[:: steps - 1]
    np.testing.assert_allclose(passed[:3], ends, atol=1e-4)
    assert np.isfinite(result.latents).all()


@same_model
@given(seed=st.integers(0, 1000))
def test_spherical_steps_turn_by_equal_angles_and_change_length_evenly(model: TrainedModel, seed: int) -> None:
    ends = model.sample_latents(2, seed=seed)
    result = interpolation(model, ends, steps=6)
    lengths = np.linalg.norm(result.latents, axis=1)
    np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 6), rtol=1e-4)
    unit = result.latents / lengths[:, None]
    angles = np.arccos(np.clip((unit[1:] * unit[:-1]).sum(1), -1, 1))
    np.testing.assert_allclose(angles, angles.mean(), atol=5e-3)
    # Every step stays in the plane of the two ends.
    assert np.linalg.matrix_rank(np.concatenate([ends, result.latents]), tol=1e-3) == 2


def test_linear_interpolation_is_a_straight_line(model: TrainedModel) -> None:
    ends = np.array([[0.0] * 6, [6.0] * 6], np.float32)
    result = interpolation(model, ends, steps=4, method="linear")
    np.testing.assert_allclose(result.latents[:, 0], [0, 2, 4, 6], atol=1e-5)


def test_interpolation_between_images_goes_through_their_codes(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    result = interpolation(model, images[:2], steps=3)
    np.testing.assert_allclose(result.latents[[0, 2]], model.encode(images[:2]), atol=1e-6)
    with pytest.raises(UsageError, match="1 endpoint: give at least 2"):
        interpolation(model, images[:1])
    with pytest.raises(UsageError, match="1 steps"):
        interpolation(model, images, steps=1)


def test_reconstruction_pairs_images_with_their_psnr(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    result = reconstruction(model, images)
    np.testing.assert_array_equal(result.originals, images)
    np.testing.assert_array_equal(result.images, model.reconstruct(images))
    mse = ((images.astype(float) - result.images) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(result.psnr_db, 20 * np.log10(255) - 10 * np.log10(mse))
    floats = reconstruction(model, images.astype(np.float32) / 255)
    np.testing.assert_array_equal(floats.originals, images)


def test_sheets_show_all_there_is(model: TrainedModel, images: NDArray[np.uint8]) -> None:
    moved = traversal(model, steps=4)
    assert traversal_sheet(moved).width > 4 * 96
    frames = traversal_frames(moved)
    assert len(frames) == 4
    assert len({frame.size for frame in frames}) == 1
    walked = interpolation(model, images[:3], steps=4, loop=True)
    assert interpolation_sheet(walked).size == (4 * 100 + 4, 3 * 100 + 4)
    assert len(interpolation_frames(walked)) == 9
    there = interpolation(model, images[:3], steps=4)
    assert interpolation_sheet(there).size == (4 * 100 + 4, 2 * 100 + 4)
    assert len(interpolation_frames(there)) == 7 + 5
    one, two = reconstruction(model, images[:2]), reconstruction(model, images)
    assert reconstruction_sheet(two, columns=2).height > 2 * reconstruction_sheet(one, columns=2).height
