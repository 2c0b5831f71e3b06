"""The FactorVAE and β-VAE scores against votes counted one by one, and codes with known answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import FactorTable, beta_vae_score, factor_vae_score
from corolla.metrics.votes import encode

_SIZES = (4, 5, 6)
_ROWS = np.indices(_SIZES).reshape(3, -1).T.astype(float)  # 120 rows
_GRID = FactorTable(_ROWS)

Represent = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def _lookup(codes: NDArray[np.float64]) -> Represent:
    return lambda rows: codes[rows]


def _voted(
    space: FactorTable, codes: NDArray[np.float64], *, votes: int, held_out: int, batch: int, seed: int, least: float
) -> float:
    """The score as its definition says, vote by vote, on the same draws."""
    rng = np.random.default_rng(seed)
    shared = rng.integers(len(space.sizes), size=votes + held_out)
    drawn = space.sample_sharing(shared, batch, rng)
    spread = {d: np.var(codes[:, d], ddof=1) for d in range(codes.shape[1]) if np.std(codes[:, d], ddof=1) > least}
    cast = []
    for factor, rows in zip(shared.tolist(), drawn, strict=True):
        relative = {d: np.var([codes[row, d] for row in rows], ddof=1) / total for d, total in spread.items()}
        cast.append((min(relative, key=lambda d: (relative[d], d)), factor))
    counts = Counter(cast[:votes])
    winners = {d: max(range(len(space.sizes)), key=lambda k: (counts[d, k], -k)) for d, _ in cast[:votes]}
    return float(np.mean([winners.get(d) == factor for d, factor in cast[votes:]]))


@pytest.mark.parametrize("noise", [0.1, 2.0])
def test_votes_are_counted_as_the_definition_says(noise: float) -> None:
    rng = np.random.default_rng(1)
    codes = _ROWS @ rng.normal(size=(3, 5)) + noise * rng.normal(size=(120, 5))
    codes[:, 3] *= 0.001  # below the least spread
    found = factor_vae_score(_GRID, _lookup(codes), votes=150, held_out_votes=90, batch=9, seed=4)
    exact = _voted(_GRID, codes, votes=150, held_out=90, batch=9, seed=4, least=0.05)
    assert found.value == pytest.approx(exact, abs=1e-12)
    assert found.votes.sum() == 150
    assert (found.votes[3] == 0).all()
    assert found.active.tolist() == [True, True, True, False, True]
    assert found.train == found.votes.max(1).sum() / 150


def test_perfect_codes_score_one_whatever_is_beside_them() -> None:
    noise = np.random.default_rng(2).normal(size=(120, 2))
    constant = np.full((120, 1), 0.1)
    for codes in (
        _ROWS,
        _ROWS[:, ::-1] * [-3, 1, 2.5] + 4,
        np.hstack([_ROWS, _ROWS]),
        np.hstack([constant, _ROWS, noise]),
    ):
        assert factor_vae_score(_GRID, _lookup(codes), votes=100, held_out_votes=50).value == 1
        assert beta_vae_score(_GRID, _lookup(codes), points=100, held_out_points=50).value == 1


def test_latents_that_hardly_vary_take_no_part() -> None:
    codes = 0.01 * _ROWS
    found = factor_vae_score(_GRID, _lookup(codes), votes=50, held_out_votes=50)
    assert (found.value, found.train) == (0, 0)
    assert found.votes.tolist() == [[0, 0, 0]] * 3
    assert not found.active.any()
    assert factor_vae_score(_GRID, _lookup(codes), votes=50, held_out_votes=50, least_spread=0).value == 1
    constant = np.full((120, 3), 0.1)
    assert factor_vae_score(_GRID, _lookup(constant), votes=50, held_out_votes=50, least_spread=0).value == 0


def test_of_equal_latents_and_of_equal_counts_the_first_is_taken() -> None:
    twice = np.hstack([_ROWS[:, :1], _ROWS])
    found = factor_vae_score(_GRID, _lookup(twice), votes=100, held_out_votes=50)
    assert found.votes[0].sum() > 0
    assert found.votes[1].sum() == 0
    # One latent for all factors: the most frequent one is its answer, and of equally frequent ones the first.
    found = factor_vae_score(_GRID, _lookup(_ROWS[:, :1]), votes=4, held_out_votes=400, seed=8)
    assert found.votes[0].tolist() == [2, 0, 2]
    shared = np.random.default_rng(8).integers(3, size=404)
    assert found.value == np.mean(shared[4:] == 0)


def test_noise_is_at_chance_and_a_rotation_hides_the_factors() -> None:
    noise = np.random.default_rng(3).normal(size=(4000, 5))
    table = FactorTable(np.random.default_rng(4).integers(5, size=(4000, 4)))
    assert factor_vae_score(table, _lookup(noise), votes=2000, held_out_votes=2000).value == pytest.approx(
        0.25, abs=0.05
    )
    assert beta_vae_score(table, _lookup(noise), points=1000, held_out_points=1000).value == pytest.approx(
        0.25, abs=0.05
    )
    grid = FactorTable(np.indices((8, 8)).reshape(2, -1).T)
    rotated = grid.factors(np.arange(64)) @ np.array([[1.0, -1.0], [1.0, 1.0]])
    found = factor_vae_score(grid, _lookup(rotated), votes=1000, held_out_votes=1000)
    assert found.value == pytest.approx(0.5, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(4)), scale=st.sampled_from([-8.0, 0.25, 2.0]))
def test_order_and_scale_do_not_matter(seed: int, order: list[int], scale: float) -> None:
    codes = _ROWS[:, [0, 1, 2, 0]] + np.random.default_rng(seed).normal(size=(120, 4))
    other = scale * codes[:, order]
    one = factor_vae_score(_GRID, _lookup(codes), votes=50, held_out_votes=50, batch=8, seed=seed)
    two = factor_vae_score(_GRID, _lookup(other), votes=50, held_out_votes=50, batch=8, seed=seed)
    assert (two.value, two.train) == (one.value, one.train)
    assert (two.votes == one.votes[order]).all()
    assert 0 <= one.value <= 1


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_every_row_is_encoded_once_in_large_batches(score: Callable[..., object]) -> None:
    grid = FactorTable(np.indices((10, 20, 30)).reshape(3, -1).T)
    asked: list[NDArray[np.int64]] = []

    def represent(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        asked.append(rows)
        return grid.factors(rows)

    score(grid, represent)
    rows = np.concatenate(asked)
    assert rows.dtype == np.int64
    assert len(np.unique(rows)) == len(rows) == 6000
    assert {256 <= len(one) < 512 for one in asked} == {True}


def test_codes_come_in_the_shape_of_their_draws() -> None:
    draws = [np.array([[5, 7], [7, 5]]), np.array([7, 9, 5])]
    one, two = encode(lambda rows: np.stack([rows, -rows], 1), draws, 2)
    assert one.tolist() == [[[5, -5], [7, -7]], [[7, -7], [5, -5]]]
    assert two.tolist() == [[7, -7], [9, -9], [5, -5]]


def test_the_seed_fixes_it() -> None:
    codes = _ROWS + np.random.default_rng(5).normal(size=(120, 3))
    for score in (factor_vae_score, beta_vae_score):
        one, same = (score(_GRID, _lookup(codes), seed=3) for _ in range(2))
        assert (one.value, one.train) == (same.value, same.train)
    counts = [factor_vae_score(_GRID, _lookup(codes), seed=seed).votes for seed in (3, 4)]
    assert (counts[0] != counts[1]).any()


def test_points_are_means_of_absolute_differences() -> None:
    """The plain differences have mean zero whichever factor is shared; their sizes do not."""
    rows = np.array(list(itertools.product([0, 1], [0, 1])) * 10)
    score = beta_vae_score(FactorTable(rows), _lookup(rows * 1.0), points=100, held_out_points=100, pairs=30)
    assert score.value == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"votes": 0}, "votes = 0: this score needs at least 1"),
        ({"held_out_votes": 0}, "held_out_votes = 0"),
        ({"batch": 1}, "batch = 1: this score needs at least 2"),
        ({"least_spread": -1.0}, "least_spread = -1"),
    ],
)
def test_counts_that_are_too_small_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        factor_vae_score(_GRID, _lookup(_ROWS), **options)


def test_the_beta_vae_score_needs_points_and_factors() -> None:
    with pytest.raises(UsageError, match="points = 29: this score needs at least 30"):
        beta_vae_score(_GRID, _lookup(_ROWS), points=29)
    with pytest.raises(UsageError, match="1 factor: the β-VAE score needs at least 2"):
        beta_vae_score(FactorTable([[0], [1], [2]] * 2), _lookup(_ROWS))


@pytest.mark.parametrize(
    ("represent", "word"),
    [
        (lambda rows: rows, r"codes of shape \(120,\) for 120 rows"),
        (lambda rows: _ROWS[rows[:7]], r"codes of shape \(7, 3\) for 120 rows"),
        (lambda rows: np.full((len(rows), 2), np.nan), "not finite"),
    ],
)
def test_bad_codes_are_refused(represent: Represent, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        factor_vae_score(_GRID, represent)


def test_every_batch_has_the_same_latents() -> None:
    with pytest.raises(UsageError, match="codes of 60 and 61 latents"):
        encode(lambda rows: np.ones((len(rows), 60 + int(rows[0] > 50))), [np.arange(120)], 60)
