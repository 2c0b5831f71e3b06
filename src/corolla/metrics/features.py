"""Features of images by name, and the check that a matrix is one of features.

A score is named after the features that it is measured in, as `kid_lite0`: distances in different ones cannot be
compared. A feature function takes images, uint8 N×H×W×3, and gives N×D numbers; any callable that does so will serve.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA

from corolla.errors import UsageError
from corolla.pixels import to_float

FeatureFunction = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The pixels themselves in [0, 1], N×(H·W·C)."""
    if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"images are {images.dtype} of shape {images.shape}: features need levels, N×H×W×C")
    return to_float(images.reshape(len(images), -1), np.float32)


def pca(reference: NDArray[np.uint8], dim: int) -> FeatureFunction:
    """The first principal components of reference images as features of others, N×dim; the same at every call."""
    fitted = fit_pca(pixels(reference), dim)

    def components(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        rows = pixels(images)
        if rows.shape[1] != fitted.n_features_in_:
            raise UsageError(
                f"images of {rows.shape[1]} values: these components are of images of {fitted.n_features_in_}"
            )
        return np.asarray(fitted.transform(rows))

    return components


def named_features(name: str, reference: NDArray[np.uint8]) -> FeatureFunction:
    """The feature function of a name: `pixels`, or `pca` with a number of components, as `pca64`."""
    if name == "pixels":
        return pixels
    if match := re.fullmatch(r"pca(\d+)", name):
        return pca(reference, int(match[1]))
    raise UsageError(f"unknown features {name!r}: give pixels, or pca and a number of components, as pca64")


def fit_pca(rows: NDArray[np.floating], dim: int) -> PCA:
    """The first principal components of rows N×D; exactly, and the same every time."""
    most = min(len(rows) - 1, rows.shape[1])
    if not 1 <= dim <= most:
        raise UsageError(
            f"{dim} principal components: {len(rows)} rows of {rows.shape[1]} values have between 1 and {most}"
        )
    # Lanczos's method where few of many are wanted; what is random about it is where it starts.
    few = min(rows.shape) > 500 and dim < min(rows.shape) / 4
    return PCA(dim, svd_solver="arpack" if few else "full", random_state=0).fit(rows)


def checked_rows(values: ArrayLike, name: str, *, rows: int = 2, columns: int = 1) -> NDArray[np.float64]:
    """Features or codes as float64, N×D: at least this many rows and columns, and all finite."""
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 2 or len(checked) < rows or checked.shape[1] < columns:
        width = f" and {columns} columns" if columns > 1 else ""
        raise UsageError(f"{name} of shape {checked.shape}: give N×D with at least {rows} rows{width}")
    if not np.isfinite(checked).all():
        raise UsageError(f"{name} hold values that are not finite: look for the images that they came from")
    return checked


def checked_pair(x: ArrayLike, y: ArrayLike, least: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two sets of features as float64, M×D and N×D."""
    pair = checked_rows(x, "features", rows=least), checked_rows(y, "features", rows=least)
    if pair[0].shape[1] != pair[1].shape[1]:
        raise UsageError(
            f"features of {pair[0].shape[1]} and {pair[1].shape[1]} values: the two sets need the same features"
        )
    return pair


def unit_columns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns with mean 0 and length 1; those that do not vary become 0."""
    varies = np.ptp(values, axis=0) > 0
    size = np.where(varies, np.abs(values).max(0), 1.0)  # first, so that no square is out of range
    centred = values / size
    centred = np.where(varies, centred - centred.mean(0), 0.0)
    return centred / np.where(varies, np.linalg.norm(centred, axis=0), 1.0)
