"""Nearest neighbours one by one, and copies that must be seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from corolla.errors import UsageError
from corolla.metrics import data_copying, nearest
from corolla.metrics import neighbours as module


def _one_by_one(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[np.sqrt(sum((a - b) ** 2)) for b in y] for a in x])


def test_nearest_are_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 7)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(23, 4)), rng.normal(size=(31, 4))
    distances = _one_by_one(x, y)
    for k in (1, 3, 31):
        found = nearest(x, y, k)
        assert (found.indices == np.argsort(distances, axis=1)[:, :k]).all()
        assert found.distances == pytest.approx(np.sort(distances, axis=1)[:, :k], rel=1e-12)


def test_a_copy_is_at_distance_zero_wherever_it_lies() -> None:
    rng = np.random.default_rng(2)
    y = 1e6 + rng.normal(size=(50, 300))
    found = nearest(y[[7, 33]], y, 2)
    assert found.indices[:, 0].tolist() == [7, 33]
    assert found.distances[:, 0].tolist() == [0, 0]
    assert found.distances[0, 1] == pytest.approx(np.sort(_one_by_one(y[[7]], y)[0])[1], rel=1e-9)


def test_own_neighbours_leave_out_the_row_itself_but_not_its_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 4)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(11, 3))
    x[9] = x[2]
    indices, squares = module.own_neighbours(x, 4)
    assert (indices[2, 0], indices[9, 0], squares[2, 0]) == (9, 2, 0)
    distances = _one_by_one(x, x)
    np.fill_diagonal(distances, np.inf)
    assert squares == pytest.approx(np.sort(distances, axis=1)[:, :4] ** 2, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_neighbours_move_with_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(12, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found, moved = nearest(x, y, 2), nearest(5 * x @ rotation + 100, 5 * y @ rotation + 100, 2)
    assert (found.indices == moved.indices).all()
    assert moved.distances == pytest.approx(5 * found.distances, rel=1e-9)


def test_the_test_of_copying_is_mann_whitneys() -> None:
    rng = np.random.default_rng(4)
    generated, held_out, train = (np.round(9 * rng.normal(size=(count, 1))) for count in (30, 40, 25))  # with ties
    ours, theirs = _one_by_one(generated, train).min(1), _one_by_one(held_out, train).min(1)
    found = data_copying(generated, held_out, train)
    pairs = ours[:, None] - theirs
    reference = stats.mannwhitneyu(ours, theirs, method="asymptotic", use_continuity=False)
    assert 2 * stats.norm.sf(abs(found)) == pytest.approx(reference.pvalue, rel=1e-9)
    assert (found > 0) == (np.mean((pairs < 0) + (pairs == 0) / 2) < 0.5)


def test_copies_have_a_low_z_fresh_ones_none_and_strangers_a_high_one() -> None:
    rng = np.random.default_rng(5)
    train, held_out, fresh = (rng.normal(size=(200, 5)) for _ in range(3))
    copies = train[:100] + 0.01 * rng.normal(size=(100, 5))
    assert data_copying(copies, held_out, train) < -10
    assert abs(data_copying(fresh, held_out, train)) < 3
    assert data_copying(fresh + 5, held_out, train) > 10
    assert data_copying(np.zeros((5, 2)), np.zeros((4, 2)), np.ones((3, 2))) == 0


def test_z_is_standard_normal_for_fresh_images() -> None:
    rng = np.random.default_rng(6)
    train = rng.normal(size=(50, 2))
    z = [data_copying(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)), train) for _ in range(400)]
    assert abs(np.mean(z)) < 3 / 400**0.5
    assert np.std(z) == pytest.approx(1, abs=0.12)


def test_what_has_no_neighbours_is_refused() -> None:
    x = np.zeros((4, 2))
    for k in (0, 5):
        with pytest.raises(UsageError, match=f"{k} nearest of 4 references: give between 1 and 4"):
            nearest(x, x, k)
    with pytest.raises(UsageError, match="2 and 3 values"):
        nearest(x, np.zeros((4, 3)))
    with pytest.raises(UsageError, match="2 and 3 values"):
        data_copying(x, np.zeros((4, 3)), x)
    with pytest.raises(UsageError, match="at least 1 rows"):
        data_copying(np.zeros((0, 2)), x, x)
    with pytest.raises(UsageError, match="not finite"):
        nearest(np.full((4, 2), np.inf), x)
