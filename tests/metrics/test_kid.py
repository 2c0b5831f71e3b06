"""KID against pairs counted one by one, exhaustive expectations and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import kid as kid_of
from corolla.metrics.generation import _CHUNK_ROWS, kid


def _pair_by_pair(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """MMD² as its definition says, pair by pair."""

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    def mean(pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
        return sum(kernel(a, b) for a, b in pairs) / len(pairs)

    own = [list(itertools.combinations(rows, 2)) for rows in (x, y)]
    return mean(own[0]) + mean(own[1]) - 2 * mean(list(itertools.product(x, y)))


def test_it_is_the_mean_over_all_pairs_of_different_rows() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 5)), rng.normal(1, 2, size=(11, 5))
    assert kid(x, y).value == pytest.approx(_pair_by_pair(x, y), rel=1e-12)
    assert kid_of is kid


def test_the_standard_error_leaves_out_one_row_at_a_time() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 3)), rng.normal(1, 2, size=(5, 3))
    left_out = [
        [_pair_by_pair(np.delete(x, row, 0), y) for row in range(6)],
        [_pair_by_pair(x, np.delete(y, row, 0)) for row in range(5)],
    ]
    # Efron's jackknife of each sample: (n - 1)/n · Σ (θ without i - mean)²
    variance = sum((len(v) - 1) / len(v) * sum((one - sum(v) / len(v)) ** 2 for one in v) for v in left_out)
    assert kid(x, y).standard_error == pytest.approx(variance**0.5, rel=1e-9)


def test_it_is_unbiased_exactly() -> None:
    """Over all samples that two small discrete distributions can give, the mean is their own distance."""
    p, q = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([[0.5, 0.5], [1.0, 3.0]])

    def mean_kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(((a @ b.T / 2 + 1) ** 3).mean())

    exact = mean_kernel(p, p) + mean_kernel(q, q) - 2 * mean_kernel(p, q)
    samples = itertools.product(itertools.product(range(2), repeat=3), repeat=2)
    values = [kid(p[list(i)], q[list(j)]).value for i, j in samples]
    assert len(values) == 64
    assert np.mean(values) == pytest.approx(exact, rel=1e-12)


def test_at_equal_distributions_it_is_zero_on_average() -> None:
    rng = np.random.default_rng(3)
    values = [kid(rng.normal(size=(20, 4)), rng.normal(size=(30, 4))).value for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0  # an estimate that is never below zero would be biased


@pytest.mark.parametrize("shift", [0.25, 1.0])
def test_gaussians_have_the_distance_of_their_moments(shift: float) -> None:
    """In one dimension k(a, b) = 1 + 3ab + 3a²b² + a³b³, so MMD² is 3, 3 and 1 times the moments' squared differences.

    Those of N(μ, 1) and N(0, 1) differ by μ, μ² and μ³ + 3μ.
    """
    exact = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    rng = np.random.default_rng(4)
    found = [kid(rng.normal(size=(200, 1)), rng.normal(shift, 1, size=(150, 1))) for _ in range(300)]
    values = np.array([one.value for one in found])
    assert abs(values.mean() - exact) < 3 * values.std() / 300**0.5
    # The standard error is right: its square is the variance of the estimates, within the noise of 300 of them.
    assert np.mean([one.standard_error**2 for one in found]) == pytest.approx(values.var(), rel=0.35)


def test_it_is_symmetric_and_knows_no_order() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(40, 6)), rng.normal(0.3, 1, size=(30, 6))
    there, back = kid(x, y), kid(y[::-1], x[::-1])
    assert there.value == pytest.approx(back.value, rel=1e-9)
    assert there.standard_error == pytest.approx(back.standard_error, rel=1e-9)


def test_it_catches_a_shift_and_a_spread() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(300, 8))
    for other in (rng.normal(0.5, 1, size=(300, 8)), rng.normal(0, 1.6, size=(300, 8))):
        found = kid(x, other)
        assert found.value > 4 * found.standard_error > 0
    same = kid(x, rng.normal(size=(300, 8)))
    assert abs(same.value) < 3 * same.standard_error


def test_large_sets_are_taken_in_pieces() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(_CHUNK_ROWS + 77, 2)), rng.normal(1, 1, size=(50, 2))

    def off_diagonal(a: NDArray[np.float64]) -> float:
        kernel = (a @ a.T / 2 + 1) ** 3
        return float((kernel.sum() - np.trace(kernel)) / (len(a) * (len(a) - 1)))

    whole = off_diagonal(x) + off_diagonal(y) - 2 * ((x @ y.T / 2 + 1) ** 3).mean()
    assert kid(x, y).value == pytest.approx(whole, rel=1e-9)
    assert kid(x.astype(np.float32), y.tolist()).value == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (np.zeros((2, 3)), np.zeros((5, 3)), "at least 3 rows"),
        (np.zeros(5), np.zeros((5, 3)), "N×D"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 and 4 values"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
    ],
)
def test_what_is_not_two_sets_of_features_is_refused(x: NDArray[np.float64], y: NDArray[np.float64], word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        kid(x, y)
    assert "\n" not in str(caught.value)
