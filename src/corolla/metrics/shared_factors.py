"""Scores from rows that share the value of one factor: FactorVAE and β-VAE, which guess which one it was, and IRS.

Rows are those of the codes there are, drawn with replacement, so no image is encoded twice, whatever the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from corolla.errors import UsageError
from corolla.metrics.samples import codes_and_classes, rows_sharing


@dataclass(frozen=True, eq=False)
class VoteScore:
    """The accuracy on held-out votes (chance is 1/K), the others counted D×K, and which latents take part (D)."""

    value: float
    votes: NDArray[np.int64]
    active: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class InterventionalRobustness:
    """IRS, at most 1, with each latent's own (D), the factor that it is best for (D), and all of them, D×K.

    A latent that does not vary has NaN, and the factor −1.
    """

    value: float
    per_latent: NDArray[np.float64]
    factor_of_latent: NDArray[np.int64]
    robustness: NDArray[np.float64]


def factor_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    factor_bins: int | None = None,
    votes: int = 800,
    held_out_votes: int = 400,
    batch: int = 64,
    least_spread: float = 0.05,
    seed: int = 0,
) -> VoteScore:
    """Whether the latent that varies least tells which factor was held: Kim & Mnih 2018 (arXiv 1802.05983, section 4).

    A vote takes rows that share the value of one random factor, divides the variance of each latent among them by its
    variance over all rows, and is for the latent with the least. The classifier gives each latent the factor that it
    got most votes for; the score is its accuracy on other votes. Of equal latents, and of factors with equally many
    votes, the first is taken; a latent without votes counts as an error. If no latent takes part, the score is 0.

    Votes default to the paper's 800. `batch` is that of Locatello et al. 2019
    (arXiv 1811.12359), who use 10,000 and 5,000 votes. Latents with a standard deviation below `least_spread` over all
    rows, or of zero, take no part; 0.05 is meant for latents with a standard normal prior.
    """
    spread, classes = codes_and_classes(codes, factors, factor_bins, least=2)
    _at_least(1, votes=votes, held_out_votes=held_out_votes)
    _at_least(2, batch=batch)
    if not least_spread >= 0:
        raise UsageError(f"least_spread = {least_spread:g}: give 0 or more")
    rng = np.random.default_rng(seed)
    shared = rng.integers(classes.shape[1], size=votes + held_out_votes)
    groups = spread[rows_sharing(classes, shared, batch, rng)]

    active = (np.ptp(spread, axis=0) > 0) & (spread.std(0, ddof=1) >= least_spread)
    counted = np.zeros((len(active), classes.shape[1]), dtype=np.int64)
    if not active.any():
        return VoteScore(0.0, counted, active)
    relative = groups[:, :, active].var(1, ddof=1) / spread[:, active].var(0, ddof=1)
    winner = np.flatnonzero(active)[relative.argmin(1)]
    np.add.at(counted, (winner[:votes], shared[:votes]), 1)
    answer = np.where(counted.any(1), counted.argmax(1), -1)
    return VoteScore(float((answer[winner] == shared)[votes:].mean()), counted, active)


def beta_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    factor_bins: int | None = None,
    points: int = 800,
    held_out_points: int = 400,
    pairs: int = 64,
    seed: int = 0,
) -> float:
    """Whether a linear classifier tells from differences of codes which factor was shared: Higgins et al. 2017 (ICLR).

    A point is the mean of |z₁ − z₂| over pairs of rows, each of which shares a value of one factor; a multinomial
    logistic regression learns to name the factor, and the score is its accuracy on other points (section 3), by chance
    1/K. Latents are first divided by the standard deviation of their points, so that the penalty on the weights
    (scikit-learn's C = 1) does not depend on their scale.

    The counts are as for `factor_vae_score`; `pairs` of rows make a point.
    """
    values, classes = codes_and_classes(codes, factors, factor_bins, least=2)
    kinds = classes.shape[1]
    _at_least(1, held_out_points=held_out_points, pairs=pairs)
    _at_least(10 * kinds, points=points)
    rng = np.random.default_rng(seed)
    shared = rng.integers(kinds, size=points + held_out_points)
    drawn = values[rows_sharing(classes, np.repeat(shared, pairs), 2, rng)]
    differences = np.abs(drawn[:, 0] - drawn[:, 1]).reshape(len(shared), pairs, -1).mean(1)
    mean, spread = differences[:points].mean(0), differences[:points].std(0)
    # Centred, as the intercept would have it anyway: the solver takes thousands of steps to find that by itself.
    scaled = (differences - mean) / np.where(np.ptp(differences[:points], axis=0) > 0, spread, 1.0)
    classifier = LogisticRegression(max_iter=2000).fit(scaled[:points], shared[:points])
    return float((classifier.predict(scaled[points:]) == shared[points:]).mean())


def irs(
    codes: ArrayLike, factors: ArrayLike, *, quantile: float = 0.99, factor_bins: int | None = None
) -> InterventionalRobustness:
    """The interventional robustness score: Suter et al. 2019 (arXiv 1811.00007), for independent factors.

    For latent d and factor k, 1 − (mean over the factor's values of the deviation of z_d from its mean among the rows
    with that value) / (largest deviation of z_d from its mean among all rows). A latent takes the best factor's; IRS
    is the mean of that, weighted by the latents' largest deviations, over those that vary. If none does, it is 0.

    The deviation among rows of a value is its `quantile`, 0.99 as in Locatello et al. 2019 (arXiv 1811.12359), as the
    paper's maximum (1.0) hangs on a single row. Give a hundred rows or more for each value, as fewer make noise look
    robust. Noise does not score 0, but one minus its 0.99-quantile over its maximum; and a latent on a larger scale
    weighs more.
    """
    if not 0 < quantile <= 1:
        raise UsageError(f"quantile = {quantile:g}: give more than 0 and at most 1")
    values, classes = codes_and_classes(codes, factors, factor_bins)
    varies = np.ptp(values, axis=0) > 0
    active = values[:, varies]
    largest = np.abs(active - active.mean(0)).max(0)
    robustness = np.full((values.shape[1], classes.shape[1]), np.nan)
    for column in range(classes.shape[1]):
        order = np.argsort(classes[:, column], kind="stable")
        groups = np.split(active[order], np.cumsum(np.bincount(classes[:, column]))[:-1])
        deviations = [np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups]
        robustness[varies, column] = 1 - np.mean(deviations, axis=0) / largest
    per_latent, factor = np.full(len(varies), np.nan), np.full(len(varies), -1, dtype=np.int64)
    per_latent[varies], factor[varies] = robustness[varies].max(1), robustness[varies].argmax(1)
    value = float(np.average(per_latent[varies], weights=largest)) if varies.any() else 0.0
    return InterventionalRobustness(value, per_latent, factor, robustness)


def _at_least(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise UsageError(f"{name} = {count}: this score needs at least {least}")
