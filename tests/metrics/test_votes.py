"""The FactorVAE and β-VAE scores against votes counted one by one, and codes with known answers."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import beta_vae_score, factor_vae_score
from corolla.metrics.samples import rows_sharing

_SIZES = (4, 5, 6)
_ROWS = np.indices(_SIZES).reshape(3, -1).T.astype(float)  # 120 rows


def _voted(
    classes: NDArray[np.int64],
    codes: NDArray[np.float64],
    *,
    votes: int,
    held_out: int,
    batch: int,
    seed: int,
    least: float,
) -> float:
    """The score as its definition says, vote by vote, on the same draws."""
    rng = np.random.default_rng(seed)
    shared = rng.integers(classes.shape[1], size=votes + held_out)
    drawn = rows_sharing(classes, shared, batch, rng)
    spread = {d: np.var(codes[:, d], ddof=1) for d in range(codes.shape[1]) if np.std(codes[:, d], ddof=1) > least}
    cast = []
    for factor, rows in zip(shared.tolist(), drawn, strict=True):
        relative = {d: np.var([codes[row, d] for row in rows], ddof=1) / total for d, total in spread.items()}
        cast.append((min(relative, key=lambda d: (relative[d], d)), factor))
    counts = Counter(cast[:votes])
    winners = {d: max(range(classes.shape[1]), key=lambda k: (counts[d, k], -k)) for d, _ in cast[:votes]}
    return float(np.mean([winners.get(d) == factor for d, factor in cast[votes:]]))


@pytest.mark.parametrize("noise", [0.1, 2.0])
def test_votes_are_counted_as_the_definition_says(noise: float) -> None:
    rng = np.random.default_rng(1)
    codes = _ROWS @ rng.normal(size=(3, 5)) + noise * rng.normal(size=(120, 5))
    codes[:, 3] *= 0.001  # below the least spread
    found = factor_vae_score(codes, _ROWS, votes=150, held_out_votes=90, batch=9, seed=4)
    exact = _voted(_ROWS.astype(int), codes, votes=150, held_out=90, batch=9, seed=4, least=0.05)
    assert found.value == pytest.approx(exact, abs=1e-12)
    assert found.votes.sum() == 150
    assert (found.votes[3] == 0).all()
    assert found.active.tolist() == [True, True, True, False, True]


def test_perfect_codes_score_one_whatever_is_beside_them() -> None:
    noise = np.random.default_rng(2).normal(size=(120, 2))
    constant = np.full((120, 1), 0.1)
    for codes in (
        _ROWS,
        _ROWS[:, ::-1] * [-3, 1, 2.5] + 4,
        np.hstack([_ROWS, _ROWS]),
        np.hstack([constant, _ROWS, noise]),
    ):
        assert factor_vae_score(codes, _ROWS, votes=100, held_out_votes=50).value == 1
        assert beta_vae_score(codes, _ROWS, points=100, held_out_points=50) == 1


def test_latents_that_hardly_vary_take_no_part() -> None:
    codes = 0.01 * _ROWS
    found = factor_vae_score(codes, _ROWS, votes=50, held_out_votes=50)
    assert found.value == 0
    assert found.votes.tolist() == [[0, 0, 0]] * 3
    assert not found.active.any()
    assert factor_vae_score(codes, _ROWS, votes=50, held_out_votes=50, least_spread=0).value == 1
    constant = np.full((120, 3), 0.1)
    assert factor_vae_score(constant, _ROWS, votes=50, held_out_votes=50, least_spread=0).value == 0


def test_of_equal_latents_and_of_equal_counts_the_first_is_taken() -> None:
    twice = np.hstack([_ROWS[:, :1], _ROWS])
    found = factor_vae_score(twice, _ROWS, votes=100, held_out_votes=50)
    assert found.votes[0].sum() > 0
    assert found.votes[1].sum() == 0
    # One latent for all factors: the most frequent one is its answer, and of equally frequent ones the first.
    found = factor_vae_score(_ROWS[:, :1], _ROWS, votes=4, held_out_votes=400, seed=8)
    assert found.votes[0].tolist() == [2, 0, 2]
    shared = np.random.default_rng(8).integers(3, size=404)
    assert found.value == np.mean(shared[4:] == 0)


def test_noise_is_at_chance_and_a_rotation_hides_the_factors() -> None:
    noise = np.random.default_rng(3).normal(size=(4000, 5))
    table = np.random.default_rng(4).integers(5, size=(4000, 4))
    assert factor_vae_score(noise, table, votes=2000, held_out_votes=2000).value == pytest.approx(0.25, abs=0.05)
    assert beta_vae_score(noise, table, points=1000, held_out_points=1000) == pytest.approx(0.25, abs=0.05)
    grid = np.indices((8, 8)).reshape(2, -1).T
    rotated = grid @ np.array([[1.0, -1.0], [1.0, 1.0]])
    found = factor_vae_score(rotated, grid, votes=1000, held_out_votes=1000)
    assert found.value == pytest.approx(0.5, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(4)), scale=st.sampled_from([-8.0, 0.25, 2.0]))
def test_order_and_scale_do_not_matter(seed: int, order: list[int], scale: float) -> None:
    codes = _ROWS[:, [0, 1, 2, 0]] + np.random.default_rng(seed).normal(size=(120, 4))
    other = scale * codes[:, order]
    one = factor_vae_score(codes, _ROWS, votes=50, held_out_votes=50, batch=8, seed=seed)
    two = factor_vae_score(other, _ROWS, votes=50, held_out_votes=50, batch=8, seed=seed)
    assert two.value == one.value
    assert (two.votes == one.votes[order]).all()
    assert 0 <= one.value <= 1


def test_the_seed_fixes_it() -> None:
    codes = _ROWS + np.random.default_rng(5).normal(size=(120, 3))
    assert beta_vae_score(codes, _ROWS, seed=3) == beta_vae_score(codes, _ROWS, seed=3)
    one, same, other = (factor_vae_score(codes, _ROWS, seed=seed) for seed in (3, 3, 4))
    assert one.value == same.value
    assert (one.votes == same.votes).all()
    assert (one.votes != other.votes).any()


def test_points_are_means_of_absolute_differences() -> None:
    """The plain differences have mean zero whichever factor is shared; their sizes do not."""
    rows = np.array(list(itertools.product([0, 1], [0, 1])) * 10)
    score = beta_vae_score(rows, rows, points=100, held_out_points=100, pairs=30)
    assert score == 1


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
        factor_vae_score(_ROWS, _ROWS, **options)


def test_they_need_points_and_factors() -> None:
    with pytest.raises(UsageError, match="points = 29: this score needs at least 30"):
        beta_vae_score(_ROWS, _ROWS, points=29)
    for score in (factor_vae_score, beta_vae_score):
        with pytest.raises(UsageError, match="1 factors: this score needs at least 2"):
            score(_ROWS, _ROWS[:, :1])
        with pytest.raises(UsageError, match="not finite"):
            score(np.full((120, 2), np.nan), _ROWS)
