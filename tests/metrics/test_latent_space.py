"""What is said of codes, against ranks counted one by one and codes whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from corolla.errors import UsageError
from corolla.metrics import (
    continuity,
    correlation,
    knn_accuracy,
    latent_space,
    linear_probe,
    trustworthiness,
)

# --- correlation ------------------------------------------------------------------------------------------------------


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)) + 100
    found, exact = correlation(codes), np.asarray(np.corrcoef(codes.T))
    assert found[0] == pytest.approx(exact, abs=1e-12)
    pairs = [abs(exact[i, j]) for i in range(4) for j in range(i)]
    assert found[1] == pytest.approx(sum(pairs) / 6, rel=1e-12)


def test_twins_go_together_and_what_is_constant_with_nothing() -> None:
    x = np.random.default_rng(2).normal(size=200)
    found = correlation(np.stack([x, -3 * x + 1, np.full(200, 0.1), np.zeros(200)], axis=1))
    assert found[0] == pytest.approx(np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert found[1] == pytest.approx(1)
    for constant in (np.full((9, 3), 0.1), np.stack([np.arange(9.0), np.ones(9)], axis=1)):
        assert correlation(constant)[1] == 0


def test_noise_is_nearly_uncorrelated() -> None:
    found = correlation(np.random.default_rng(3).normal(size=(10000, 5)))
    assert found[1] < 0.02  # the mean size of a correlation by chance is √(2/π·N) = 0.008


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-100, 100))
def test_correlations_know_no_scale_shift_or_order(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(12, 3))
    changed = rng.permutation(codes) * [2, 0.01, 50] + shift
    assert correlation(changed)[0] == pytest.approx(correlation(codes)[0], abs=1e-9)


# --- neighbourhoods ---------------------------------------------------------------------------------------------------


def _rank_by_rank(original: NDArray[np.float64], codes: NDArray[np.float64], k: int) -> float:
    """Trustworthiness as Venna & Kaski define it."""
    n, penalty = len(codes), 0

    def nearest(rows: NDArray[np.float64], own: int) -> list[int]:
        return sorted((j for j in range(n) if j != own), key=lambda j: float(np.sum((rows[j] - rows[own]) ** 2)))

    for i in range(n):
        by_original, by_codes = nearest(original, i), nearest(codes, i)
        for j in by_codes[:k]:
            rank = by_original.index(j) + 1
            if rank > k:
                penalty += rank - k
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty


@pytest.mark.parametrize("k", [1, 4, 9])
def test_trustworthiness_and_continuity_are_what_their_definitions_say(k: int) -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(size=(24, 2, 2, 3))
    rows = images.reshape(24, -1)
    codes = rows[:, :2] + 0.1 * rng.normal(size=(24, 2))
    found = trustworthiness(images, codes, k=k), continuity(images, codes, k=k)
    assert found == pytest.approx((_rank_by_rank(rows, codes, k), _rank_by_rank(codes, rows, k)), rel=1e-12)
    assert found[0] != found[1]


def test_a_fold_is_not_trusted_and_a_cut_not_continuous() -> None:
    x = np.random.default_rng(5).uniform(0, 1, (200, 1))
    folded = np.abs(x - 0.5)
    assert continuity(x, folded) > 0.97 > 0.9 > trustworthiness(x, folded)
    angle = 2 * np.pi * x
    circle = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    assert trustworthiness(circle, x) > 0.995 > continuity(circle, x)  # to lay out a circle, it has to be cut
    assert trustworthiness(x, 3 * x + 1) == continuity(x, 3 * x + 1) == 1


def test_codes_that_say_nothing_are_at_chance_even_in_the_order_of_the_images() -> None:
    x = np.arange(600.0)[:, None]
    for codes in (np.zeros((600, 2)), np.random.default_rng(6).normal(size=(600, 2))):
        assert trustworthiness(x, codes) == pytest.approx(0.5, abs=0.05)
        assert continuity(x, codes) == pytest.approx(0.5, abs=0.05)


def test_of_many_rows_some_are_drawn_by_the_seed() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 3))
    codes = x[:, :2]
    first, again, other = (trustworthiness(x, codes, most=100, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    rows = np.random.default_rng(0).permutation(300)[:100]
    assert first == pytest.approx(_rank_by_rank(x[rows], codes[rows], 10), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_neighbourhoods_know_no_rotation_shift_scale_or_order(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, codes = rng.normal(size=(25, 4)), rng.normal(size=(25, 3))
    order, rotation = rng.permutation(25), scale * np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for score in (trustworthiness, continuity):
        found = score(x, codes, k=5)
        assert score(scale * x[order] + 1, codes[order] @ rotation - scale, k=5) == pytest.approx(found, rel=1e-12)
        assert 0 <= found <= 1


# --- labels -----------------------------------------------------------------------------------------------------------


def _clusters(rng: np.random.Generator, labels: NDArray[np.int64], dim: int, spread: float) -> NDArray[np.float64]:
    centres = np.random.default_rng(8).normal(size=(labels.max() + 1, dim))
    return centres[labels] + spread * rng.normal(size=(len(labels), dim))


def test_clusters_are_told_and_noise_is_not() -> None:
    rng = np.random.default_rng(9)
    train, test = np.repeat(np.arange(12), 15), np.repeat(np.arange(12), 20)
    x, x_test = _clusters(rng, train, 6, 0.1), _clusters(rng, test, 6, 0.1)
    noise, noise_test = rng.normal(size=(180, 6)), rng.normal(size=(240, 6))
    for probe in (linear_probe, knn_accuracy):
        assert probe(x, train, x_test, test) == 1
        assert probe(noise, train, noise_test, test) < 0.18  # 1/12 ± 5 standard deviations
        assert probe(x, np.array(list("abcdefghijkl"))[train], x_test[:1], ["a"]) == 1


def test_three_labels_on_a_line_are_told() -> None:
    """A regression on indicators would never choose the middle one."""
    rng = np.random.default_rng(10)
    labels = np.repeat([0, 1, 2], 40)
    x = (labels + 0.05 * rng.normal(size=120))[:, None]
    assert linear_probe(x, labels, x, labels) == 1


def test_only_neighbours_tell_a_ring_from_its_centre() -> None:
    rng = np.random.default_rng(11)
    labels, angle = np.repeat([0, 1], 100), rng.uniform(0, 2 * np.pi, 200)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + labels[:, None])
    assert knn_accuracy(x, labels, x, labels) == 1
    assert linear_probe(x, labels, x, labels) < 0.65


def test_more_columns_than_rows_are_turned_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalty knows no rotation: the probe agrees with a regression on all columns."""
    rng = np.random.default_rng(12)
    train, test = np.repeat(np.arange(4), 8), np.repeat(np.arange(4), 30)
    x, x_test = _clusters(rng, train, 90, 2.5), _clusters(rng, test, 90, 2.5)
    monkeypatch.setattr(latent_space, "_INVERSE_STRENGTHS", (1.0,))
    mean, spread = x.mean(0), x.std(0) * 90**0.5
    whole = LogisticRegression(max_iter=2000).fit((x - mean) / spread, train)
    exact = whole.score((x_test - mean) / spread, test)
    assert 0.4 < exact < 1
    assert linear_probe(x, train, x_test, test) == pytest.approx(exact, abs=0.01)


def test_a_neighbour_vote_is_a_vote() -> None:
    rng = np.random.default_rng(13)
    labels, test = rng.integers(0, 3, 60), rng.integers(0, 3, 40)
    x, x_test = rng.normal(size=(60, 2)), rng.normal(size=(40, 2))
    right = []
    for code, label in zip(x_test, test, strict=True):
        near = labels[np.argsort(((x - code) ** 2).sum(1))[:5]]
        right.append(np.bincount(near, minlength=3).argmax() == label)
    assert knn_accuracy(x, labels, x_test, test) == np.mean(right)


def test_labels_are_counted_and_an_unseen_one_is_missed() -> None:
    x = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0], [9.1], [9.2], [9.3], [9.4]])
    labels = np.repeat(["near", "far"], 5)
    x_test, test = np.array([[0.0], [0.1], [0.2], [9.0], [9.1]]), ["near", "near", "near", "near", "far"]
    for probe in (linear_probe, knn_accuracy):
        assert probe(x, labels, x_test, test) == pytest.approx(4 / 5)
        assert probe(x, labels, x_test, [*test[:4], "elsewhere"]) == pytest.approx(3 / 5)


def test_the_probe_is_the_same_every_time_and_bears_constant_latents() -> None:
    rng = np.random.default_rng(14)
    labels = np.repeat(np.arange(5), 12)
    x = np.concatenate([_clusters(rng, labels, 3, 0.8), np.full((60, 2), 0.7)], axis=1)
    assert linear_probe(x, labels, x, labels) == linear_probe(x, labels, x, labels)
    assert linear_probe(100 * x - 3, labels, 100 * x - 3, labels) == linear_probe(x, labels, x, labels)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_neighbourhoods_out_of_bounds_are_refused() -> None:
    x = np.zeros((20, 3))
    for score in (trustworthiness, continuity):
        with pytest.raises(UsageError, match="10 neighbours of 20 rows: give at least 1, and at least 21 rows"):
            score(x, x)
        with pytest.raises(UsageError, match="0 neighbours of 20 rows"):
            score(x, x, k=0)
        with pytest.raises(UsageError, match="of the same images"):
            score(x, x[:19], k=2)
        with pytest.raises(UsageError, match="not finite"):
            score(x, np.full((20, 3), np.nan), k=2)


def test_labels_that_cannot_be_told_are_refused() -> None:
    x, labels = np.zeros((8, 2)), np.repeat([0, 1], 4)
    for probe in (linear_probe, knn_accuracy):
        with pytest.raises(UsageError, match=r"8 codes and labels of shape \(7,\)"):
            probe(x, labels[:7], x, labels)
        with pytest.raises(UsageError, match="at least two labels"):
            probe(x, np.zeros(8), x, labels)
        with pytest.raises(UsageError, match="2 and 3 values"):
            probe(x, labels, np.zeros((8, 3)), labels)
        with pytest.raises(UsageError, match="not finite"):
            probe(np.full((8, 2), np.inf), labels, x, labels)
        with pytest.raises(UsageError, match="at least 1 rows"):
            probe(x, labels, x[:0], labels[:0])
    with pytest.raises(UsageError, match="no label has 5 training rows"):
        linear_probe(x, labels, x, labels)
    with pytest.raises(UsageError, match="9 neighbours of 8 training rows"):
        knn_accuracy(x, labels, x, labels, k=9)
    with pytest.raises(UsageError, match="at least 2 rows"):
        correlation(x[:1])
