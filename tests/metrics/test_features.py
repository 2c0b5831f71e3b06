"""Features by name: what they are, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from corolla.errors import UsageError
from corolla.metrics import named_features, pca, pixels
from corolla.metrics.features import fit_pca

_IMAGES = np.random.default_rng(1).integers(0, 256, (40, 4, 5, 3)).astype(np.uint8)


def test_pixels_are_the_pixels() -> None:
    found = pixels(_IMAGES)
    assert found.shape == (40, 60)
    assert found[7, 3 * (5 * 2 + 1) + 2] == pytest.approx(_IMAGES[7, 2, 1, 2] / 255, rel=1e-6)


def test_principal_components_are_those_of_the_covariance() -> None:
    rows = pixels(_IMAGES).astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(np.cov(rows.T))
    found = named_features("pca6", _IMAGES)(_IMAGES)
    assert found.shape == (40, 6)
    assert found.var(0, ddof=1) == pytest.approx(eigenvalues[::-1][:6], rel=1e-4)
    exact = (rows - rows.mean(0)) @ vectors[:, ::-1][:, :6]
    assert np.abs(found) == pytest.approx(np.abs(exact), abs=1e-4)


def test_principal_components_are_the_same_every_time() -> None:
    """Where they are many, the method starts at random: its seed is fixed."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(600, 700)) * 3 / np.arange(1, 701)  # as images have it: the first few matter most
    first, second = (fit_pca(rows, 5).transform(rows) for _ in range(2))
    assert (first == second).all()
    exact = np.linalg.svd(rows - rows.mean(0), compute_uv=False)[:5] ** 2 / 600
    assert first.var(0) == pytest.approx(exact, rel=1e-6)


def test_names() -> None:
    assert named_features("pixels", _IMAGES) is pixels


def test_what_cannot_be_is_refused() -> None:
    for name in ("lite0", "pca", "pca-3", ""):
        with pytest.raises(UsageError, match=f"unknown features '{name}': give pixels, or pca"):
            named_features(name, _IMAGES)
    with pytest.raises(UsageError, match="40 principal components: 40 rows of 60 values have between 1 and 39"):
        named_features("pca40", _IMAGES)
    with pytest.raises(UsageError, match="0 principal components"):
        pca(_IMAGES, 0)
    with pytest.raises(UsageError, match="48 values: these components are of images of 60"):
        pca(_IMAGES, 3)(_IMAGES[:, :, :4])
    with pytest.raises(UsageError, match="float64 of shape"):
        pixels(_IMAGES / 255)  # type: ignore[arg-type]


def test_principal_components_restore_as_much_as_any_linear_code_can() -> None:
    x = np.random.default_rng(15).normal(size=(40, 9)) * np.arange(1, 10)
    fitted = fit_pca(x, 3)
    restored = fitted.inverse_transform(fitted.transform(x))
    lost = np.linalg.svd(x - x.mean(0), compute_uv=False)[3:]  # Eckart & Young
    assert np.square(x - restored).sum() == pytest.approx(np.square(lost).sum(), rel=1e-9)
    with pytest.raises(UsageError, match="3 principal components: 8 rows of 2 values have between 1 and 2"):
        fit_pca(np.zeros((8, 2)), 3)
