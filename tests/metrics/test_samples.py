"""Codes and factors as the scores take them, and the refusals that all of them share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from corolla import metrics
from corolla.errors import UsageError
from corolla.metrics.samples import discretise, factor_classes, rows_sharing

_SUPERVISED: list[Callable[..., Any]] = [
    metrics.dci,
    metrics.explicitness,
    metrics.irs,
    metrics.mig,
    metrics.modularity,
    metrics.sap,
]


def test_the_highest_value_shares_the_last_bin() -> None:
    values = np.array([[0.0], [0.49], [0.5], [0.99], [1.0]])
    assert discretise(values, 2)[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert discretise(np.array([[-3.0, 7.0], [5.0, 7.0]]), 20).tolist() == [[0, 0], [19, 0]]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30),
    st.integers(min_value=2, max_value=40),
)
def test_bins_keep_the_order_and_their_number(values: list[float], bins: int) -> None:
    column = np.sort(np.array(values))[:, None]
    found = discretise(column, bins)[:, 0]
    assert found[0] == 0
    assert (np.diff(found) >= 0).all()
    assert found[-1] == (bins - 1 if np.ptp(column / 2) > 0 else 0)


def test_every_value_is_a_class_and_real_ones_are_cut_on_demand() -> None:
    factors = np.stack([np.tile([3.0, -1.0, 10.0], 40), np.linspace(0, 1, 120)], 1)
    assert factor_classes(factors[:, :1])[:3, 0].tolist() == [1, 0, 2]
    cut = factor_classes(factors, 4)
    assert cut[:3, 0].tolist() == [1, 0, 2]  # it has no more than four values
    assert np.bincount(cut[:, 1]).tolist() == [30, 30, 30, 30]
    # Bins that nothing falls into are not classes.
    assert factor_classes(np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]]), 3)[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("score", _SUPERVISED)
@pytest.mark.parametrize(
    ("codes", "factors", "word"),
    [
        (np.zeros(50), np.zeros((50, 2)), "N×D"),
        (np.full((50, 2), np.nan), np.zeros((50, 2)), "not finite"),
        (np.zeros((50, 2)), np.zeros((49, 2)), "50×K"),
        (np.zeros((50, 2)), np.full((50, 2), np.inf), "not finite"),
        (np.zeros((50, 2)), np.stack([np.arange(50) % 2, np.ones(50)], 1), "factor 1 never varies among 50 samples"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "give N×D with at least [238] rows"),
    ],
)
def test_what_is_not_codes_and_factors_is_refused(
    score: Callable[..., Any], codes: NDArray[np.float64], factors: NDArray[np.float64], word: str
) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        score(codes, factors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", [metrics.mig, metrics.sap, metrics.dci])
def test_a_gap_needs_two_latents(score: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="rows and 2 columns"):
        score(np.arange(50.0)[:, None], np.stack([np.arange(50) % 2, np.arange(50) % 3], 1))


@pytest.mark.parametrize("score", [metrics.mig, metrics.modularity, metrics.dci, metrics.irs, metrics.explicitness])
def test_too_few_samples_are_counted(score: Callable[..., Any]) -> None:
    codes = np.random.default_rng(0).normal(size=(50, 3))
    factors = np.stack([np.arange(50) % 2, np.arange(50) % 30], 1)
    needed = 120 if score is metrics.explicitness else 60
    with pytest.raises(UsageError, match=f"factor 1 has 30 classes among 50 samples: .* at least {needed} samples"):
        score(codes, factors)
    score(codes, factors, factor_bins=5)


_PRODUCT = np.array(list(itertools.product(range(3), range(2), range(4))))


@pytest.mark.parametrize("classes", [_PRODUCT, _PRODUCT[_PRODUCT.sum(1) % 3 > 0]], ids=["grid", "part"])
def test_rows_share_the_value_of_one_factor_and_no_other(classes: NDArray[np.int64]) -> None:
    rng = np.random.default_rng(1)
    shared = rng.integers(3, size=300)
    rows = rows_sharing(classes, shared, 40, rng)
    assert rows.shape == (300, 40)
    values = classes[rows]
    still = np.ptp(values, axis=1) == 0
    assert still[np.arange(300), shared].all()
    assert still.sum() == 300  # forty random rows never agree by chance
    # What is shared, and what is not, is spread over all values.
    for factor, size in enumerate((3, 2, 4)):
        assert set(values[shared == factor, 0, factor].tolist()) == set(range(size))
        assert set(values[shared != factor, :, factor].ravel().tolist()) == set(range(size))


def test_rows_that_share_a_value_are_drawn_uniformly() -> None:
    """A row's chance is 1/N also as one of a pair: the value is that of a random row."""
    classes = np.array([[0, 0], [0, 1], [0, 0], [0, 1], [0, 0], [1, 1], [1, 0], [1, 1]])
    rows = rows_sharing(classes, np.zeros(20_000, dtype=np.int64), 2, np.random.default_rng(2))
    share = np.bincount(rows.ravel(), minlength=8) / rows.size
    assert share == pytest.approx(np.full(8, 1 / 8), abs=0.01)


def test_a_value_that_one_row_has_is_not_shared() -> None:
    classes = np.array([[0], [0], [0], [1], [1], [2]])
    rows = rows_sharing(classes, np.zeros(500, dtype=np.int64), 2, np.random.default_rng(3))
    assert sorted(set(rows.ravel().tolist())) == [0, 1, 2, 3, 4]
