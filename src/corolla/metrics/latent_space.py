"""What a latent space is like, from codes alone: N×D, such as the means of posteriors.

Whether it is complete is said by `density_coverage` of decoded draws from the prior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness as _trustworthiness
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from corolla.errors import UsageError
from corolla.metrics.features import checked_pair, checked_rows

# Inverse strengths of the probe's regularisation that are tried, for features with a mean square sum of 1.
_INVERSE_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_HELD_OUT = 5  # one row of so many of each class chooses between them


def correlation(codes: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Pearson's correlations of latents, D×D, 0 with one that does not vary, and the mean size of the others."""
    values = checked_rows(codes, "codes")
    mean = values.mean(0)
    deviations = values - mean
    spread = np.sqrt(np.square(deviations).mean(0))
    varies = spread > 8 * np.finfo(np.float64).eps * np.abs(mean)  # the mean itself is rounded
    scores = deviations / np.where(varies, spread, np.inf)
    matrix = np.clip(scores.T @ scores / len(values), -1, 1)
    np.fill_diagonal(matrix, 1)
    off = np.abs(matrix[np.ix_(varies, varies)])[~np.eye(varies.sum(), dtype=bool)]
    return matrix, float(off.mean()) if off.size else 0.0


def trustworthiness(images: ArrayLike, codes: ArrayLike, *, k: int = 10, most: int = 2000, seed: int = 0) -> float:
    """How far neighbours in the codes are neighbours among the images, in [0, 1]: 1 where all are, about ½ by chance.

    T = 1 − 2/(N·k·(2N − 3k − 1)) Σ_i Σ_j (r(i, j) − k), over those j among the k nearest of i in the codes that have a
    rank r(i, j) above k in the images (Venna & Kaski 2001, ICANN, section 2.1). Distances are Euclidean. Of more than
    `most` rows, that many are drawn, as time and memory grow with their square.
    """
    images, codes = _drawn(images, codes, k, most, seed)
    return float(_trustworthiness(images, codes, n_neighbors=k))


def continuity(images: ArrayLike, codes: ArrayLike, *, k: int = 10, most: int = 2000, seed: int = 0) -> float:
    """How far neighbours among the images are neighbours in the codes: `trustworthiness` with the two changed over.

    In [0, 1], and 1 where no neighbours are torn apart (Venna & Kaski 2001, ICANN, section 2.1).
    """
    images, codes = _drawn(images, codes, k, most, seed)
    return float(_trustworthiness(codes, images, n_neighbors=k))


def linear_probe(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike, *, seed: int = 0
) -> float:
    """The share of labels, in [0, 1], that a linear classifier tells: what the codes make plain.

    Multinomial logistic regression with an L2 penalty, on codes that are standardised by the training rows. Its
    strength is chosen from five by the accuracy on a fifth of the training rows of each label, then all of them are
    fitted. More columns than rows are turned into as many as rows, which changes nothing but the time. A test label
    without training rows counts as missed.
    """
    x, labels, x_test, test = _checked_labelled(train_codes, train_labels, test_codes, test_labels)
    scaler = StandardScaler().fit(x)
    x, x_test = (scaler.transform(rows) / np.sqrt(x.shape[1]) for rows in (x, x_test))
    if x.shape[1] > len(x):
        # The penalty is the same in any directions at right angles, and only those of the training rows matter.
        directions, _ = np.linalg.qr(x.T)
        x, x_test = x @ directions, x_test @ directions
    chooses = _chosen(labels, seed)
    classifier = LogisticRegression(max_iter=2000, warm_start=True)  # each strength starts from the last
    found = []
    for inverse in _INVERSE_STRENGTHS:
        classifier.set_params(C=inverse).fit(x[~chooses], labels[~chooses])
        found.append(float((classifier.predict(x[chooses]) == labels[chooses]).mean()))
    best = _INVERSE_STRENGTHS[int(np.argmax(found))]
    predicted = LogisticRegression(max_iter=2000, C=best).fit(x, labels).predict(x_test)
    return float((predicted == test).mean())


def knn_accuracy(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike, *, k: int = 5
) -> float:
    """The share of labels that the most frequent one of the k nearest training codes tells: what lies together.

    Distances are Euclidean, in the codes as they are. Of equally frequent labels, the first in order is taken.
    """
    x, labels, x_test, test = _checked_labelled(train_codes, train_labels, test_codes, test_labels)
    if not 1 <= k <= len(x):
        raise UsageError(f"{k} neighbours of {len(x)} training rows: give between 1 and {len(x)}")
    return float((KNeighborsClassifier(k, algorithm="brute").fit(x, labels).predict(x_test) == test).mean())


def _drawn(
    images: ArrayLike, codes: ArrayLike, k: int, most: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of both in a random order: codes that are all the same must not be neighbours by their place."""
    originals, latents = np.asarray(images), np.asarray(codes)
    if originals.ndim < 2 or len(originals) != len(latents):
        raise UsageError(f"{originals.shape} and {latents.shape}: give N×… images and N×D codes of the same images")
    rows = np.random.default_rng(seed).permutation(len(latents))[:most]
    if not 1 <= k < len(rows) / 2:
        raise UsageError(f"{k} neighbours of {len(rows)} rows: give at least 1, and at least {2 * max(k, 1) + 1} rows")
    return checked_rows(originals[rows].reshape(len(rows), -1), "images"), checked_rows(latents[rows], "codes")


def _checked_labelled(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.generic], NDArray[np.float64], NDArray[np.generic]]:
    x, x_test = checked_pair(train_codes, test_codes, 1)
    labels, test = np.asarray(train_labels), np.asarray(test_labels)
    for codes, own in ((x, labels), (x_test, test)):
        if own.shape != (len(codes),):
            raise UsageError(f"{len(codes)} codes and labels of shape {own.shape}: give one label for each")
    if len(np.unique(labels)) < 2:
        raise UsageError("all training rows have one label: there is nothing to tell; give at least two labels")
    return x, labels, x_test, test


def _chosen(labels: NDArray[np.generic], seed: int) -> NDArray[np.bool_]:
    """A fifth of the rows of each label, rounded down."""
    chosen = np.zeros(len(labels), bool)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen[rng.permutation(rows)[: len(rows) // _HELD_OUT]] = True
    if not chosen.any():
        raise UsageError(f"no label has {_HELD_OUT} training rows: a probe needs that of at least one of them")
    return chosen
