"""DCI: disentanglement, completeness and informativeness, from the importance of each latent for each factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import RandomForestClassifier

from corolla.errors import UsageError
from corolla.metrics.samples import codes_and_classes

_HELD_OUT = 0.25
_LEAST_ROWS = 8
_LEAF_ROWS = 5  # a tree that splits until every leaf is pure finds importance in noise


@dataclass(frozen=True, eq=False)
class ImportanceEntropies:
    """Disentanglement (per latent: D) and completeness (per factor: K), 0 to 1, as means weighted by importance."""

    disentanglement: float
    completeness: float
    per_latent: NDArray[np.float64]
    per_factor: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dci:
    """The three scores, 0 to 1, the accuracies for each factor (K) and the importance D×K that they come from.

    Informativeness is the mean accuracy on rows that the forests did not see, and chance is not 0 but the share of a
    factor's most frequent value.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    accuracies: NDArray[np.float64]
    importance: NDArray[np.float64]


def dci(codes: ArrayLike, factors: ArrayLike, *, factor_bins: int | None = None, trees: int = 20, seed: int = 0) -> Dci:
    """Disentanglement, completeness and informativeness: Eastwood & Williams 2018 (ICLR), section 2.

    The importance of a latent for a factor is that of a random forest which predicts the factor's class from all
    latents: the mean decrease in Gini impurity, of sum 1 over the latents. Every split looks at every latent, as
    otherwise latents that tell nothing would be used where the one that does is not on offer. Three rows in four
    train it. The forest rather than gradient boosting is chosen for its speed: the latter needs a tree for each class.
    """
    values, classes = codes_and_classes(codes, factors, factor_bins, rows=_LEAST_ROWS, latents=2, least=2)
    if trees < 1:
        raise UsageError(f"trees = {trees}: give at least 1")
    order = np.random.default_rng(seed).permutation(len(values))
    test, train = np.split(order, [int(len(order) * _HELD_OUT)])
    importance = np.zeros((values.shape[1], classes.shape[1]))
    accuracies = np.empty(classes.shape[1])
    for column in range(classes.shape[1]):
        known = classes[:, column]
        forest = RandomForestClassifier(
            trees, max_features=None, min_samples_leaf=_LEAF_ROWS, n_jobs=-1, random_state=seed
        )
        forest.fit(values[train], known[train])
        forest.n_jobs = 1  # the votes of parallel trees add up in any order, which can decide a tie
        importance[:, column] = forest.feature_importances_
        accuracies[column] = np.mean(forest.predict(values[test]) == known[test])
    entropies = importance_entropies(importance)
    scores = entropies.disentanglement, entropies.completeness, float(accuracies.mean())
    return Dci(*scores, accuracies, importance)


def importance_entropies(importance: ArrayLike) -> ImportanceEntropies:
    """Disentanglement and completeness from the importance of each of D latents for each of K factors, D×K.

    With rows p and columns q of the matrix, each as shares of its sum: a latent's disentanglement is 1 − H(p) / log K,
    a factor's completeness 1 − H(q) / log D, and the whole is their mean, weighted by the rows' and the columns' sums:
    Eastwood & Williams 2018, section 2. What has no importance weighs nothing; where nothing has any, both are 0.
    """
    matrix = np.asarray(importance, dtype=np.float64)
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        raise UsageError(f"importance of shape {matrix.shape}: give latents × factors, with at least two of either")
    if not (np.isfinite(matrix) & (matrix >= 0)).all():
        raise UsageError("importance below zero or not finite: give absolute values")
    disentanglement, per_latent = _concentration(matrix)
    completeness, per_factor = _concentration(matrix.T)
    return ImportanceEntropies(disentanglement, completeness, per_latent, per_factor)


def _concentration(matrix: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """1 − H / log(length) of each row as shares of its sum, and the mean of that with the sums as weights."""
    mass = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, mass, out=np.full_like(matrix, 1 / matrix.shape[1]), where=mass > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    each = np.clip(1 + (shares * logs).sum(1) / np.log(matrix.shape[1]), 0.0, 1.0)
    total = float(mass.sum())
    return float((each * mass[:, 0]).sum() / total) if total > 0 else 0.0, each
