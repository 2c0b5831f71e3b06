"""Tables of factors: rows and values both ways, and draws that share a value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from corolla.errors import UsageError
from corolla.metrics import FactorTable

_PRODUCT = list(itertools.product(range(3), range(2), range(4)))
_SPACES = [
    FactorTable(_PRODUCT),
    FactorTable([row for row in _PRODUCT if sum(row) % 3]),  # not a full grid
]


def test_a_table_holds_its_rows() -> None:
    table = FactorTable(_PRODUCT)
    assert len(table) == 24
    assert table.factors(np.arange(24)).tolist() == [list(row) for row in _PRODUCT]


@pytest.mark.parametrize("space", _SPACES, ids=["table", "part"])
def test_rows_share_the_value_of_one_factor_and_no_other(space: FactorTable) -> None:
    rng = np.random.default_rng(1)
    shared = rng.integers(3, size=300)
    rows = space.sample_sharing(shared, 40, rng)
    assert rows.shape == (300, 40)
    values = space.factors(rows.ravel()).reshape(300, 40, 3)
    still = np.ptp(values, axis=1) == 0
    assert still[np.arange(300), shared].all()
    assert still.sum() == 300  # forty random rows never agree by chance
    # What is shared, and what is not, is spread over all values.
    for factor, size in enumerate(space.sizes):
        assert set(values[shared == factor, 0, factor].tolist()) == set(range(size))
        assert set(values[shared != factor, :, factor].ravel().tolist()) == set(range(size))


def test_draws_of_a_table_are_uniform_over_its_rows() -> None:
    """A row's chance is 1/N whether drawn alone or as one of a pair: the value is that of a random row."""
    table = FactorTable([[0, 0], [0, 1], [0, 0], [0, 1], [0, 0], [1, 1], [1, 0], [1, 1]])
    rng = np.random.default_rng(2)
    for rows in (table.sample(40_000, rng), table.sample_sharing(np.zeros(20_000, dtype=np.int64), 2, rng)):
        share = np.bincount(rows.ravel(), minlength=8) / rows.size
        assert share == pytest.approx(np.full(8, 1 / 8), abs=0.01)


def test_a_value_that_one_row_has_is_not_shared() -> None:
    table = FactorTable([[0], [0], [0], [1], [1], [2]])
    rows = table.sample_sharing(np.zeros(500, dtype=np.int64), 2, np.random.default_rng(3))
    assert sorted(set(rows.ravel().tolist())) == [0, 1, 2, 3, 4]


def test_real_factors_are_cut() -> None:
    factors = np.random.default_rng(4).uniform(size=(100, 2))
    assert FactorTable(factors, factor_bins=5).sizes == (5, 5)
    with pytest.raises(UsageError, match=r"100 classes among 100 samples: .* at least 200 samples.*factor_bins"):
        FactorTable(factors)


def test_what_is_no_space_is_refused() -> None:
    with pytest.raises(UsageError, match="factor 1 never varies among 4 samples"):
        FactorTable([[0, 3], [1, 3], [0, 3], [1, 3]])
    with pytest.raises(UsageError, match="shape"):
        FactorTable([0, 1, 0, 1])
    for space in _SPACES:
        with pytest.raises(UsageError, match=f"rows 0 to {len(space) - 1}"):
            space.factors(np.array([len(space)]))
        with pytest.raises(UsageError, match="factor 3: the factor space has factors 0 to 2"):
            space.sample_sharing(np.array([3]), 2, np.random.default_rng(0))
