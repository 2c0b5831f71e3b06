"""Total correlation against determinants and integrals' closed forms; UDR against sums over latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from corolla.errors import UsageError
from corolla.metrics import gaussian_total_correlation, udr


def test_total_correlation_is_the_divergence_from_independence() -> None:
    """KL of the fitted Gaussian from the product of its marginals, by the general formula for two Gaussians."""
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) * [1, 10, 0.1, 3] + 5
    covariance = np.cov(codes, rowvar=False)
    product = np.diag(np.diag(covariance))
    divergence = 0.5 * (
        np.trace(np.linalg.solve(product, covariance))
        - 4
        + math.log(np.linalg.det(product))
        - math.log(np.linalg.det(covariance))
    )
    assert gaussian_total_correlation(codes) == pytest.approx(divergence, rel=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9])
def test_two_latents_have_that_of_their_correlation(rho: float) -> None:
    x = np.tile([1.0, -1.0], 50)
    y = np.repeat([1.0, -1.0], 50)
    codes = np.stack([x, rho * x + math.sqrt(1 - rho**2) * y], 1)  # correlated by exactly ρ
    assert gaussian_total_correlation(codes) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=1e-12)


def test_total_correlation_of_known_codes() -> None:
    rng = np.random.default_rng(2)
    codes = rng.normal(size=(5000, 3))
    constant = np.full((5000, 1), 0.1)
    assert 0 <= gaussian_total_correlation(codes) < 0.005
    assert gaussian_total_correlation(np.hstack([codes, 3.7 * codes[:, :1] - 2])) == math.inf
    assert gaussian_total_correlation(np.hstack([codes, codes.sum(1, keepdims=True)])) == math.inf
    assert gaussian_total_correlation(np.hstack([codes, constant])) == gaussian_total_correlation(codes)
    assert gaussian_total_correlation(np.hstack([constant, codes[:, :1]])) == 0
    with pytest.raises(UsageError, match="3 codes of 3 latents: TC needs at least 4"):
        gaussian_total_correlation(codes[:3])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(4)), scale=st.floats(1e-3, 1e3))
def test_order_and_scale_do_not_matter(seed: int, order: list[int], scale: float) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(30, 4)) + rng.normal(size=(30, 1))
    other = (codes * [scale, -1, 3, 1])[:, order] - 9
    assert gaussian_total_correlation(other) == pytest.approx(gaussian_total_correlation(codes), abs=1e-7)
    third = rng.normal(size=(30, 4))
    kl = [0.5, 0.0, 0.2, 3.0]
    one = udr([codes, third], [kl, kl])
    two = udr([other, third], [[kl[place] for place in order], kl])
    assert two == pytest.approx(one, abs=1e-9)
    assert ((one >= 0) & (one <= 1)).all()


def _udr(x: NDArray[np.float64], kl_x: NDArray[np.float64], y: NDArray[np.float64], kl_y: NDArray[np.float64]) -> float:
    """Equation of Duan et al. for one pair, sum by sum."""
    mine = [a for a in range(x.shape[1]) if kl_x[a] > 0.01]
    theirs = [b for b in range(y.shape[1]) if kl_y[b] > 0.01]
    r = {(a, b): abs(spearmanr(x[:, a], y[:, b]).statistic) for a in mine for b in theirs}
    total = sum(max(r[a, b] for a in mine) ** 2 / sum(r[a, b] for a in mine) for b in theirs)
    total += sum(max(r[a, b] for b in theirs) ** 2 / sum(r[a, b] for b in theirs) for a in mine)
    return float(total / (len(mine) + len(theirs)))


def test_udr_is_the_median_of_the_equation() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=(50, 3)).round(1)  # with ties
    codes = [base @ rng.normal(size=(3, width)) + rng.normal(size=(50, width)) for width in (4, 3, 5, 4)]
    kl = [rng.exponential(0.05, size=one.shape[1]) + 0.02 * (np.arange(one.shape[1]) == 0) for one in codes]
    found = udr(codes, kl)
    exact = np.full((4, 4), np.nan)
    for i in range(4):
        for j in range(4):
            if i != j:
                exact[i, j] = _udr(codes[i], kl[i], codes[j], kl[j])
    assert found == pytest.approx([np.median(np.delete(row, i)) for i, row in enumerate(exact)], abs=1e-12)


def test_udr_of_known_codes() -> None:
    rng = np.random.default_rng(4)
    codes = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), -1).reshape(-1, 3)  # exactly uncorrelated
    informative, dead = np.ones(3), np.zeros(3)
    # Permuted, flipped, bent and scaled without a change of order: they agree wholly.
    other = np.stack([-codes[:, 2], np.exp(codes[:, 0]), 5 * codes[:, 1]], 1)
    assert udr([codes, other, codes], [informative] * 3) == pytest.approx([1, 1, 1])
    # A latent without KL does not count, whatever it correlates with.
    wider = np.hstack([other, codes[:, :1]])
    assert udr([codes, wider], [informative, [1, 1, 1, 0.005]]) == pytest.approx([1, 1])
    # If it does, one latent has two equal partners: six of the seven sums are 1, one is ½.
    assert udr([codes, wider], [informative, np.ones(4)]) == pytest.approx([6.5 / 7] * 2)
    assert udr([codes, other], [informative, dead]).tolist() == [0, 0]
    assert udr([codes, np.full_like(codes, 0.1)], [informative] * 2).tolist() == [0, 0]
    # A rotation of two of three latents: each of the two has two equal partners, so r²/Σ is r/2.
    rotated = codes @ np.array([[1.0, -1.0, 0], [1.0, 1.0, 0], [0, 0, 1]])
    r = abs(spearmanr(codes[:, 0], rotated[:, 0]).statistic)
    assert udr([codes, rotated], [informative] * 2) == pytest.approx([(2 * (r / 2) + 1) / 3] * 2)
    noise = [rng.normal(size=(5000, 4)) for _ in range(3)]
    assert (udr(noise, [np.ones(4)] * 3) < 0.03).all()


def test_models_that_cannot_be_compared_are_refused() -> None:
    codes = np.random.default_rng(5).normal(size=(20, 3))
    for models, kl, word in (
        ([codes], [np.ones(3)], "1 models: UDR compares at least 2"),
        ([codes, codes], [np.ones(3)], "KL of 1 models for the codes of 2"),
        ([codes, codes[:-1]], [np.ones(3)] * 2, "model 1 has 19 codes, model 0 20"),
        ([codes, codes], [np.ones(3), np.ones(4)], "KL of model 1: give a finite one for each of its 3 latents"),
        ([codes[:2], codes[:2]], [np.ones(3)] * 2, "at least 3 rows"),
    ):
        with pytest.raises(UsageError, match=word):
            udr(models, kl)
