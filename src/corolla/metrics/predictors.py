"""Scores from simple predictors of a factor: SAP from single latents, explicitness from all of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from corolla.errors import UsageError
from corolla.metrics.features import checked_rows, unit_columns
from corolla.metrics.samples import checked_factors, codes_and_classes, factor_classes

_ROWS_PER_CLASS = 4  # one of them is held out


@dataclass(frozen=True, eq=False)
class AttributePredictability:
    """SAP, 0 to 1, as the mean of the factors' gaps (K), and the scores D×K of single latents that they come from."""

    value: float
    gaps: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Explicitness:
    """The mean area under the ROC curve, ½ (chance) to 1, on held-out rows, and that of each factor (K).

    A classifier that is worse than chance on held-out rows gives less than ½.
    """

    value: float
    per_factor: NDArray[np.float64]


def sap(codes: ArrayLike, factors: ArrayLike, *, categorical: Collection[int] = ()) -> AttributePredictability:
    """Separated attribute predictability: how much better the best latent predicts a factor than the next best.

    Kumar et al. 2018 (arXiv 1711.00848, section 3) score a single latent in two ways, and both are exact here:

    - ordered factors, integers or reals: R² of the linear regression, which is their squared correlation;
    - factors named in `categorical`: the balanced accuracy of the best C − 1 thresholds on the latent for C classes,
      each interval between them being given to any class. Chance is 1/C, so the gap is at most about 1 − 1/C over
      latents that are noise.

    A latent that does not vary scores 0. Locatello et al. train a linear support vector machine instead, whose answer
    depends on its regularisation and on the latents' scale. The time of categorical factors, given by their columns,
    grows as N·D·C.
    """
    values = checked_rows(codes, "codes", rows=3, columns=2)
    known = checked_factors(factors, len(values))
    wrong = [column for column in categorical if not 0 <= column < known.shape[1]]
    if wrong:
        raise UsageError(f"categorical = {wrong[0]}: the factors' columns are 0 to {known.shape[1] - 1}")
    scores = np.minimum((unit_columns(values).T @ unit_columns(known)) ** 2, 1.0)  # R²
    if categorical:
        columns = sorted(set(categorical))
        classes = factor_classes(known[:, columns])
        for place, column in enumerate(columns):
            scores[:, column] = threshold_accuracy(values, classes[:, place])
    ranked = np.sort(scores, axis=0)
    gaps = ranked[-1] - ranked[-2]
    return AttributePredictability(float(gaps.mean()), gaps, scores)


def threshold_accuracy(codes: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The highest balanced accuracy that C − 1 thresholds on each single latent can have for C classes: D.

    Exact, by dynamic programming over each latent's sorted values: the most that can be had so far, by the number of
    intervals and by the class of the latest. Equal values are never parted. Latents that do not vary have 0.

    An interval is opened no sooner than a row of its class comes: what others have by then is never less.
    """
    rows, latents = codes.shape
    counts = np.bincount(classes)
    order = np.argsort(codes, axis=0, kind="stable")
    ordered, labels = np.take_along_axis(codes, order, axis=0), classes[order]
    fresh = np.diff(ordered, axis=0) > 0
    gain = 1 / (len(counts) * counts)
    best = np.full((latents, len(counts), len(counts)), -np.inf)  # latent × class of the latest × intervals − 1
    best[:, :, 0] = 0
    most = np.where(np.arange(len(counts)), -np.inf, np.zeros((latents, 1)))  # over the classes
    before = np.full_like(most, -np.inf)  # the same, where the present value began
    each = np.arange(latents)
    for row in range(rows):
        if row:
            np.copyto(before, most, where=fresh[row - 1, :, None])
        now = best[each, labels[row]]
        np.maximum(now[:, 1:], before[:, :-1], out=now[:, 1:])
        now += gain[labels[row], None]
        best[each, labels[row]] = now
        np.maximum(most, now, out=most)
    return np.where(fresh.any(0), np.minimum(most.max(1), 1.0), 0.0)


def explicitness(
    codes: ArrayLike, factors: ArrayLike, *, factor_bins: int | None = None, seed: int = 0
) -> Explicitness:
    """Whether a linear classifier finds each value of each factor in the codes.

    For every class of a factor a logistic regression tells it from the others; explicitness is the area under its ROC
    curve, averaged over the classes of a factor, then over the factors: Ridgeway & Mozer 2018 (arXiv 1802.05312,
    section 3), on the area itself, whose chance level is ½. Latents are first scaled to unit variance, so that the
    penalty on the weights (scikit-learn's C = 1) does not depend on their scale. One row in four of each class is
    held out.
    """
    values, classes = codes_and_classes(codes, factors, factor_bins, rows_per_class=_ROWS_PER_CLASS)
    rng = np.random.default_rng(seed)
    areas = np.empty(classes.shape[1])
    for column in range(classes.shape[1]):
        known = classes[:, column]
        counts = np.bincount(known)
        if counts.min() < _ROWS_PER_CLASS:
            raise UsageError(
                f"factor {column} has a class of {counts.min()} samples: explicitness needs at least {_ROWS_PER_CLASS} "
                "of each; give more samples, or leave the rare ones out"
            )
        train, test = _split(known, counts, rng)
        scaled = _standardised(values, train)
        areas[column] = np.mean([_area(scaled, known == one, train, test) for one in range(len(counts))])
    return Explicitness(float(areas.mean()), areas)


def _split(
    known: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to test on: of each class a quarter, rounded up, is in the latter."""
    order = rng.permutation(len(known))
    order = order[np.argsort(known[order], kind="stable")]
    held_out = (np.arange(len(known)) - np.repeat(np.cumsum(counts) - counts, counts)) % 4 == 0
    return order[~held_out], order[held_out]


def _standardised(values: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Columns with mean 0 and variance 1 over the training rows; those that do not vary there become 0."""
    varies = np.ptp(values[train], axis=0) > 0
    spread = np.where(varies, values[train].std(0), 1.0)
    return np.where(varies, (values - values[train].mean(0)) / spread, 0.0)


def _area(
    codes: NDArray[np.float64], positive: NDArray[np.bool_], train: NDArray[np.int64], test: NDArray[np.int64]
) -> float:
    """The area under the ROC curve on the held-out rows."""
    # Newton's method: many rows, few latents, and an optimum that does not hang on where an approximate one stops.
    classifier = LogisticRegression(solver="newton-cholesky").fit(codes[train], positive[train])
    return float(roc_auc_score(positive[test], classifier.decision_function(codes[test])))
