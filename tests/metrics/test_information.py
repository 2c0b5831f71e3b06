"""MIG, modularity and the mutual information of latents against sums over cells and codes with known answers."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score

from corolla.errors import UsageError
from corolla.metrics import mig, modularity, modularity_of, mutual_information_score

_GRID = np.array(list(itertools.product(range(3), range(4), range(5), range(3))), dtype=float)  # 180 rows


def _mutual_information(x: list[int], y: list[int]) -> float:
    """Σ p(x, y) log(p(x, y) / p(x) p(y)), cell by cell."""
    n, joint, left, right = len(x), Counter(zip(x, y, strict=True)), Counter(x), Counter(y)
    return sum(c / n * math.log((c / n) / (left[a] / n * right[b] / n)) for (a, b), c in joint.items())


def _bins(latent: NDArray[np.float64], bins: int) -> list[int]:
    """The bin of each value, by looking at the edges one after the other."""
    edges = [latent.min() + (latent.max() - latent.min()) * number / bins for number in range(1, bins)]
    return [sum(value >= edge for edge in edges) for value in latent]


def _mig(codes: NDArray[np.float64], factors: NDArray[np.float64], bins: int) -> float:
    binned = [_bins(latent, bins) for latent in codes.T]
    gaps = []
    for factor in factors.T:
        known = factor.astype(int).tolist()
        first, second = sorted((_mutual_information(z, known) for z in binned), reverse=True)[:2]
        gaps.append((first - second) / _mutual_information(known, known))  # I(v; v) = H(v)
    return sum(gaps) / len(gaps)


@pytest.mark.parametrize("bins", [20, 7])
def test_mig_is_the_gap_of_its_definition(bins: int) -> None:
    rng = np.random.default_rng(1)
    codes = _GRID @ rng.normal(size=(4, 6)) + 0.5 * rng.normal(size=(180, 6))
    found = mig(codes, _GRID, bins=bins)
    assert found.value == pytest.approx(_mig(codes, _GRID, bins), abs=1e-12)
    for latent, factor in itertools.product(range(6), range(4)):
        exact = mutual_info_score(_bins(codes[:, latent], bins), _GRID[:, factor])
        assert found.information_nats[latent, factor] == pytest.approx(exact, abs=1e-12)
    assert found.entropy_nats == pytest.approx(np.log([3, 4, 5, 3]))


@pytest.mark.parametrize("factors", [_GRID, _GRID[:, :2][np.sort(np.random.default_rng(0).integers(180, size=60))]])
def test_perfect_codes_have_mig_one_in_any_order_and_on_any_scale(factors: NDArray[np.float64]) -> None:
    """Their own factors are independent only on the full grid; elsewhere the runner-up has the factors' information."""
    perfect = factors[:, ::-1] * np.array([-3.7, 1e-9, 1e6, 0.2][: factors.shape[1]]) + 5
    exact = 1.0
    if factors is not _GRID:
        shared = mutual_info_score(factors[:, 0], factors[:, 1])
        exact -= np.mean([shared / mutual_info_score(factor, factor) for factor in factors.T])
    assert mig(perfect, factors).value == pytest.approx(exact, abs=1e-12)


def test_mig_of_duplicated_and_of_constant_latents() -> None:
    constant = np.full((180, 1), 0.1)
    assert mig(np.hstack([_GRID, _GRID]), _GRID).value == 0  # two latents tell all
    assert mig(np.hstack([_GRID, _GRID[:, :1]]), _GRID).value == pytest.approx(3 / 4)
    assert mig(np.hstack([_GRID, constant]), _GRID).value == pytest.approx(1)
    found = mig(np.hstack([constant, constant]), _GRID)
    assert found.value == 0
    assert (found.information_nats == 0).all()


def test_mig_of_rotated_codes_and_of_noise_is_small() -> None:
    rng = np.random.default_rng(2)
    factors = rng.integers(10, size=(20_000, 2))
    assert mig(factors, factors).value > 0.99
    assert mig(factors @ np.array([[1.0, -1.0], [1.0, 1.0]]), factors).value < 0.01
    noise = mig(rng.normal(size=(20_000, 5)), factors)
    assert 0 <= noise.value < 0.005
    # The plug-in estimate of zero is about (bins − 1)(classes − 1) / 2N.
    uniform = mig(rng.uniform(size=(20_000, 200)), factors).information_nats.mean()
    assert uniform == pytest.approx(19 * 9 / 40_000, rel=0.05)


def test_real_factors_are_cut_into_bins() -> None:
    factors = np.random.default_rng(3).uniform(size=(5000, 2))
    found = mig(factors, factors, factor_bins=20)
    assert found.value > 0.98
    assert found.entropy_nats == pytest.approx(math.log(20), abs=0.01)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.permutations(range(5)),
    scales=st.lists(st.sampled_from([-4.0, -1.0, 0.125, 2.0, 1024.0]), min_size=5, max_size=5),
)
def test_order_and_scale_of_latents_do_not_matter(seed: int, order: list[int], scales: list[float]) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.integers(4, size=(60, 3))
    codes = rng.normal(size=(60, 5)) + factors[:, [0, 1, 2, 0, 1]]
    other = (codes * scales)[:, order]
    rows = rng.permutation(60)
    for score in (mig, modularity):
        assert score(other, factors).value == pytest.approx(score(codes, factors).value, abs=1e-12)
        assert score(codes[rows], factors[rows]).value == pytest.approx(score(codes, factors).value, abs=1e-12)
        assert score(codes, factors[:, ::-1] * -7).value == pytest.approx(score(codes, factors).value, abs=1e-12)
        assert 0 <= score(codes, factors).value <= 1
    assert mutual_information_score(other) == pytest.approx(mutual_information_score(codes), abs=1e-12)


def test_modularity_is_the_deviation_from_a_template() -> None:
    """δ_i = Σ_k (m_ik − t_ik)² / (θ_i²(K − 1)), by hand for two latents of three factors."""
    information = np.array([[2.0, 1.0, 0.0], [0.3, 0.3, 0.3]])
    found = modularity_of(information)
    assert found.per_latent == pytest.approx([1 - 1 / (4 * 2), 0])
    assert found.value == pytest.approx((7 / 8 + 0) / 2)


def test_dead_latents_and_noise_have_no_modularity() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(6, size=(4000, 4))
    noise = rng.normal(size=(4000, 6))
    found = modularity(noise, factors)
    assert found.value == 0
    assert np.isnan(found.per_latent).all()
    found = modularity(np.hstack([factors + 0.1 * noise[:, :4], 1e-3 * noise]), factors)
    assert found.value == pytest.approx(1)
    assert np.isnan(found.per_latent).tolist() == [False] * 4 + [True] * 6


def test_latents_that_do_not_vary_share_nothing_and_do_not_count() -> None:
    codes = np.random.default_rng(0).normal(size=(500, 3))
    codes[:, 2] += codes[:, 0]
    assert mutual_information_score(np.hstack([codes, np.zeros((500, 4))])) == mutual_information_score(codes)
    assert mutual_information_score(np.hstack([codes[:, :1], np.zeros((500, 4))])) == 0


def test_modularity_of_known_codes() -> None:
    constant = np.full((180, 1), 3.3)
    assert modularity(_GRID, _GRID).value == pytest.approx(1)
    assert modularity(np.hstack([_GRID, _GRID]), _GRID).value == pytest.approx(1)  # whichever others tell of it too
    found = modularity(np.hstack([_GRID, constant]), _GRID)
    assert found.value == pytest.approx(1)
    assert np.isnan(found.per_latent).tolist() == [False] * 4 + [True]
    assert modularity(np.hstack([constant, constant]), _GRID).value == 0
    both = _GRID[:, :1] * 3 + _GRID[:, 3:]  # nine values, which tell the first and the last factor equally
    found = modularity(both, _GRID)
    assert found.value == pytest.approx(1 - 1 / 3)


def test_latents_share_information_as_counted_pair_by_pair() -> None:
    rng = np.random.default_rng(5)
    codes = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
    binned = [_bins(latent, 20) for latent in codes.T]
    exact = np.mean([_mutual_information(x, y) for x, y in itertools.permutations(binned, 2)])
    assert mutual_information_score(codes) == pytest.approx(exact, abs=1e-12)
    assert mutual_information_score(_GRID) == pytest.approx(0, abs=1e-12)
    doubled = np.repeat(np.arange(20.0), 5)[:, None] * [1, -2]
    assert mutual_information_score(doubled) == pytest.approx(math.log(20))
    assert mutual_information_score(np.hstack([doubled[:, :1], np.ones((100, 1))])) == 0


def test_bad_information_is_refused() -> None:
    for wrong in (np.ones(3), np.ones((3, 1)), -np.ones((2, 2)), np.full((2, 2), np.nan)):
        with pytest.raises(UsageError, match="information"):
            modularity_of(wrong)
    with pytest.raises(UsageError, match="bins = 1"):
        mig(_GRID, _GRID, bins=1)
    with pytest.raises(UsageError, match="at least 2"):
        modularity(_GRID, _GRID[:, :1])
