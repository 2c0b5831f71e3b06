"""DCI: disentanglement, completeness and informativeness, from the importance of each latent for each factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from corolla.errors import UsageError
from corolla.metrics.samples import codes_and_classes

_HELD_OUT = 0.25  # of the rows for the accuracy, and of the others for the choice of depth
_LEAST_ROWS = 8
_LEAF_ROWS, _DEEPEST = 5, 12
_LEAST_SHARE = 1e-3  # of a class in a leaf, so that a single surprise does not decide the depth
_LEAST_ERRORS = 3.0  # standard errors above chance from which on a factor counts as predicted
_PATIENCE = 5
_LEAST_FOR_BOOSTING = 4  # rows of each class to learn from, as one in four of each chooses the number of rounds


@dataclass(frozen=True, eq=False)
class ImportanceEntropies:
    """Disentanglement (per latent: D) and completeness (per factor: K), 0 to 1, as means weighted by importance."""

    disentanglement: float
    completeness: float
    per_latent: NDArray[np.float64]
    per_factor: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Dci:
    """The three scores, 0 to 1, and what they come from.

    `importance`, D×K, has columns of sum 1, or 0 where no split helps. `accuracies` (K) are those on rows that the
    predictors did not see; informativeness is their mean, and chance is not 0 but the share of a factor's most frequent
    value. `predictable` (K) is how much of the way from chance to 1 they go: the weights of the factors.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    accuracies: NDArray[np.float64]
    importance: NDArray[np.float64]
    predictable: NDArray[np.float64]


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    factor_bins: int | None = None,
    predictor: Literal["forest", "boosting"] = "forest",
    trees: int = 10,
    seed: int = 0,
) -> Dci:
    """Disentanglement, completeness and informativeness: Eastwood & Williams 2018 (ICLR), section 2.

    The importance of a latent for a factor is the decrease in impurity that its splits bring, on average over the trees
    that predict the factor's class from all latents. A quarter of the rows is held out for the accuracy, and a quarter
    of the others chooses how far the trees are believed, as splits below that find importance in noise:

    - `forest`: `trees` trees, of which every split looks at every latent; the depth, from 0 to 12, is that at which the
      chosen rows are most likely.
    - `boosting`: scikit-learn's gradient boosting, up to 100 rounds of a tree for each class, as in Locatello et al.
      2019 (arXiv 1811.12359); it ends when the chosen rows are predicted no better for 5 rounds. It takes minutes.

    A factor weighs as much as its accuracy is above chance, (accuracy − chance) / (1 − chance), and nothing if that is
    within three standard errors.
    """
    values, classes = codes_and_classes(codes, factors, factor_bins, rows=_LEAST_ROWS, latents=2, least=2)
    if trees < 1:
        raise UsageError(f"trees = {trees}: give at least 1")
    if predictor not in ("forest", "boosting"):
        raise UsageError(f"predictor = {predictor!r}: give forest or boosting")
    order = np.random.default_rng(seed).permutation(len(values))
    test, train = np.split(order, [int(len(order) * _HELD_OUT)])
    importance = np.zeros((values.shape[1], classes.shape[1]))
    accuracies, predictable = np.empty(classes.shape[1]), np.zeros(classes.shape[1])
    for column in range(classes.shape[1]):
        labels = classes[:, column]
        if predictor == "forest":
            importance[:, column], predicted = _forest(values, labels, train, test, trees, seed)
        else:
            fewest = int(np.bincount(labels[train], minlength=labels.max() + 1).min())
            if fewest < _LEAST_FOR_BOOSTING:
                raise UsageError(
                    f"factor {column} has a class of {fewest} samples to learn from: boosting needs at least "
                    f"{_LEAST_FOR_BOOSTING} of each; give more samples, or leave the rare ones out"
                )
            boosting = GradientBoostingClassifier(
                n_iter_no_change=_PATIENCE, validation_fraction=_HELD_OUT, random_state=seed
            ).fit(values[train], labels[train])
            importance[:, column], predicted = boosting.feature_importances_, boosting.predict(values[test])
        accuracies[column] = np.mean(predicted == labels[test])
        chance = np.mean(labels[test] == np.bincount(labels[train]).argmax())
        above = accuracies[column] - chance
        if above > _LEAST_ERRORS * np.sqrt(chance * (1 - chance) / len(test)):
            predictable[column] = above / (1 - chance)
    entropies = importance_entropies(importance * predictable)
    scores = entropies.disentanglement, entropies.completeness, float(accuracies.mean())
    return Dci(*scores, accuracies, importance, predictable)


def _forest(
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    trees: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The importance of each latent (D) and the predictions for the test rows, at the depth that `train` chooses."""
    chooses, grows = np.split(train, [int(len(train) * _HELD_OUT)])
    forest = RandomForestClassifier(
        trees, max_features=None, max_depth=_DEEPEST, min_samples_leaf=_LEAF_ROWS, n_jobs=-1, random_state=seed
    ).fit(values[grows], labels[grows])
    grown = [one.tree_ for one in forest.estimators_]
    # A class that no row to grow from has is in no leaf: it counts as missed, at every depth alike.
    own = np.searchsorted(forest.classes_, labels[chooses]).clip(max=len(forest.classes_) - 1)
    own_share = np.where(
        forest.classes_[own] == labels[chooses], _shares(grown, values[chooses])[:, range(len(own)), own], 0
    )
    depth = int(np.log(np.maximum(own_share, _LEAST_SHARE)).mean(1).argmax())
    importance = np.sum([_gains(tree, depth, values.shape[1]) for tree in grown], axis=0)
    total = float(importance.sum())
    predicted = forest.classes_[_shares(grown, values[test])[depth].argmax(1)]
    return importance / total if total > 0 else importance, predicted


def _shares(trees: list[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean share of each class in the nodes that rows come to, were the trees cut off at each depth: depth×N×C."""
    rows, of_trees = values.astype(np.float32), []  # in which scikit-learn's trees compare
    for tree in trees:
        node, shares = np.zeros(len(rows), np.int64), []
        for _ in range(_DEEPEST + 1):
            shares.append(tree.value[node, 0])
            left = rows[np.arange(len(rows)), np.maximum(tree.feature[node], 0)] <= tree.threshold[node]
            below = np.where(left, tree.children_left[node], tree.children_right[node])
            node = np.where(below < 0, node, below)
        of_trees.append(np.stack(shares))
    return np.asarray(np.mean(of_trees, axis=0))


def _gains(tree: Any, depth: int, latents: int) -> NDArray[np.float64]:
    """The decrease in impurity by the splits on each latent above a depth (D)."""
    gains, nodes = np.zeros(latents), np.zeros(1, np.int64)
    mass = tree.weighted_n_node_samples * tree.impurity
    for _ in range(depth):
        nodes = nodes[tree.children_left[nodes] >= 0]
        left, right = tree.children_left[nodes], tree.children_right[nodes]
        np.add.at(gains, tree.feature[nodes], mass[nodes] - mass[left] - mass[right])
        nodes = np.concatenate([left, right])
    return gains


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
