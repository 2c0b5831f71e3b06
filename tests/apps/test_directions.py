from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.stats import norm

from corolla.data import ImageCache
from corolla.errors import DataError, ModelError, UsageError
from corolla.gallery.directions import (
    Direction,
    find_direction,
    image_direction,
    label_direction,
    load_direction,
    move,
    save_direction,
)
from corolla.gallery.sheets import direction_sheet
from corolla.gallery.themes import find_label
from corolla.trained import TrainedModel


def gaussians(
    count: int, difference: NDArray[np.float64], scales: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two sets around 0 and around the difference, with independent latents of these standard deviations."""
    rng = np.random.default_rng(seed)
    shape = (count, len(difference))
    return rng.standard_normal(shape) * scales, difference + rng.standard_normal(shape) * scales


DIFFERENCE, SCALES = np.array([3.0, 1.0, 0.0, 0.0]), np.array([3.0, 0.5, 1.0, 2.0])


def test_the_direction_of_two_gaussians_is_the_analytic_one() -> None:
    sets = gaussians(20_000, DIFFERENCE, SCALES)
    found = find_direction(*sets)
    axis = DIFFERENCE / np.linalg.norm(DIFFERENCE)
    np.testing.assert_allclose(found.axis, axis, atol=0.03)
    spread = np.sqrt((axis**2 * SCALES**2).sum())
    distance = DIFFERENCE @ axis / spread
    assert found.card.spread == pytest.approx(spread, rel=0.03)
    assert found.card.distance == pytest.approx(distance, rel=0.03)
    # Two Gaussians d spreads apart: their difference has variance 2, so that AUROC = Φ(d/√2).
    assert found.card.auroc == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.01)
    means = found.positions(sets[0]).mean(), found.positions(sets[1]).mean()
    np.testing.assert_allclose(means, (-distance / 2, distance / 2), atol=0.05)


def test_sets_that_do_not_differ_score_as_chance_however_many_latents_there_are() -> None:
    # On the images that it was found with, a direction in 50 latents seems to tell 20 from 20 apart.
    seen, scores = [], []
    for seed in range(20):
        others, target = gaussians(20, np.zeros(50), np.ones(50), seed)
        found = find_direction(others, target)
        seen.append((found.positions(target)[:, None] > found.positions(others)).mean())
        scores.append(found.card.auroc)
    assert np.mean(seen) > 0.85
    assert 0.43 < np.mean(scores) < 0.57


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_a_direction_turns_shifts_and_scales_with_the_codes(seed: int, scale: float) -> None:
    others, target = gaussians(12, DIFFERENCE, SCALES, seed)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    shift = rng.standard_normal(4)
    found = find_direction(others, target)
    again = find_direction(scale * others @ turn + shift, scale * target @ turn + shift)
    np.testing.assert_allclose(again.axis, found.axis @ turn, atol=1e-6)
    assert again.card.spread == pytest.approx(scale * found.card.spread, rel=1e-6)
    assert again.card.auroc == pytest.approx(found.card.auroc)
    back = find_direction(target, others)
    np.testing.assert_allclose(back.axis, -found.axis, atol=1e-9)


def test_held_out_codes_are_scored_in_place_of_parts(caplog: pytest.LogCaptureFixture) -> None:
    sets = gaussians(30, DIFFERENCE, SCALES)
    low, high = np.zeros((2, 4)), np.tile(DIFFERENCE, (3, 1))
    card = find_direction(*sets, held_out=(low, high, "split val")).card
    assert (card.auroc, card.held_out) == (1.0, "split val")
    assert not caplog.messages
    assert find_direction(*sets, held_out=(high, low, "split val")).card.auroc == 0
    assert "AUROC 0.000, and chance is 0.5" in caplog.text


def test_codes_that_give_no_direction_are_refused() -> None:
    others, target = gaussians(5, DIFFERENCE, SCALES)
    with pytest.raises(UsageError, match="2 images to go to: a direction needs at least 3"):
        find_direction(others, target[:2])
    with pytest.raises(UsageError, match="one mean code"):
        find_direction(others, others)
    with pytest.raises(UsageError, match="all the same"):
        find_direction(np.zeros((3, 4)), np.ones((3, 4)), held_out=(others, target, "others"))
    with pytest.raises(UsageError, match=r"shape \(5, 3\) to go to"):
        find_direction(others, target[:, :3])
    with pytest.raises(UsageError, match="all of them finite"):
        find_direction(others, np.full((3, 4), np.nan))


@pytest.fixture
def found(model: TrainedModel, images: NDArray[np.uint8]) -> Direction:
    return image_direction(model, images, 255 - images // 2, name="light")


def test_moved_images_are_decoded_from_shifted_codes(
    model: TrainedModel, found: Direction, images: NDArray[np.uint8]
) -> None:
    starts = model.encode(images[:2])
    moved = move(model, found, starts, steps=5, span=2)
    np.testing.assert_allclose(moved.shifts, [-2, -1, 0, 1, 2])
    places = found.positions(moved.latents.reshape(10, -1)).reshape(2, 5)
    np.testing.assert_allclose(places - found.positions(starts)[:, None], np.tile(moved.shifts, (2, 1)), atol=1e-4)
    np.testing.assert_array_equal(moved.latents[:, 2], starts)
    np.testing.assert_array_equal(moved.images[1], model.decode(moved.latents[1]))
    assert direction_sheet(moved).width > 5 * 96
    for steps, extent in ((1, 2.0), (5, 0.0), (5, float("nan"))):
        with pytest.raises(UsageError, match="at least 2 steps"):
            move(model, found, starts, steps=steps, span=extent)
    with pytest.raises(UsageError, match="N×6"):
        move(model, found, starts[:, :3])


def test_a_direction_comes_back_from_its_file(model: TrainedModel, found: Direction, tmp_path: Path) -> None:
    save_direction(tmp_path / "new" / "light.safetensors", found)
    again = load_direction(tmp_path / "new" / "light.safetensors", model)
    np.testing.assert_array_equal(again.axis, found.axis)
    assert again.card == found.card
    with pytest.raises(UsageError, match=r"written as \.safetensors"):
        save_direction(tmp_path / "light.npz", found)


def test_files_that_are_no_direction_of_this_model_are_refused(
    model: TrainedModel, found: Direction, tmp_path: Path
) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(DataError, match="no such file"):
        load_direction(file, model)
    save_direction(file, Direction(found.axis, replace(found.card, weights_sha256="ab" * 32)))
    with pytest.raises(ModelError, match=r"a\.safetensors: made with other weights .*`corolla direction`"):
        load_direction(file, model)
    save_direction(file, found)
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(DataError, match="damaged"):
        load_direction(file, model)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="altered"):
        load_direction(file, model)
    save_file({"axis": load_file_of(whole, file)}, file)
    with pytest.raises(DataError, match="does not say what direction"):
        load_direction(file, model)


def load_file_of(content: bytes, file: Path) -> NDArray[np.float64]:
    file.write_bytes(content)
    axis: NDArray[np.float64] = load_file(file)["axis"]
    return axis


def test_a_label_leads_from_the_other_training_images_and_is_scored_on_the_evaluation_split(
    model: TrainedModel, cache: ImageCache
) -> None:
    found = label_direction(model, cache, "Rose")
    assert cache.labels is not None
    codes = model.encode(np.asarray(cache.images))
    train, roses = np.arange(40) < 24, cache.labels == 0
    difference = codes[train & roses].mean(0) - codes[train & ~roses].mean(0)
    np.testing.assert_allclose(found.axis, difference / np.linalg.norm(difference), atol=1e-5)
    assert (found.card.name, found.card.target_images, found.card.other_images) == ("rose", 8, 16)
    assert found.card.held_out == "split val, 6 against 10 images"
    wins = found.positions(codes[~train & roses])[:, None] > found.positions(codes[~train & ~roses])
    assert found.card.auroc == pytest.approx(wins.mean())
    # Where the evaluation split lacks the label, parts of the training images are held out.
    only_train = replace(cache, labels=np.where(train, cache.labels, 1))
    assert label_direction(model, only_train, "rose").card.held_out == "cross-validated in 5 parts"


def test_a_label_that_is_not_there_is_refused_with_similar_ones(cache: ImageCache) -> None:
    with pytest.raises(UsageError, match=r"'roze': no such label \(did you mean 'rose'\?\); there are rose, .*, tulip"):
        find_label(cache, "roze")
    many = replace(cache, label_names=[*(f"kind {number}" for number in range(20)), "tiger lily", "sunflower"])
    with pytest.raises(UsageError, match="no such label among 22; similar ones are tiger lily"):
        find_label(many, "lily")
    with pytest.raises(UsageError, match="similar ones are sunflower"):
        find_label(many, "sunflwoer")
    with pytest.raises(UsageError, match=r"there are kind 0, .*, kind 11 and 10 more$"):
        find_label(many, "zzz")
    with pytest.raises(DataError, match="no labels"):
        find_label(replace(cache, labels=None, label_names=[]), "rose")
