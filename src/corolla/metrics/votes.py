"""Scores that draw their own samples: rows that share the value of one factor, and a guess at which one it was.

Everything random is drawn first, as rows of a factor space; then every row is encoded once, in large batches; then the
score is computed. On a `FactorTable` of N rows no more than N images are ever encoded, whatever the counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from corolla.errors import UsageError
from corolla.metrics.samples import FactorTable

Represent = Callable[[NDArray[np.int64]], ArrayLike]
"""Rows of a factor space, n, to their codes, n×D: usually the means of q(z|x)."""
SPREAD_SAMPLES = 10_000
ENCODE_BATCH = 256


@dataclass(frozen=True, eq=False)
class VoteScore:
    """The accuracy on held-out votes, that on the ones learnt from, those counted D×K, and which latents take part (D).

    Chance is 1/K.
    """

    value: float
    train: float
    votes: NDArray[np.int64]
    active: NDArray[np.bool_]


@dataclass(frozen=True)
class PairScore:
    """The accuracy on held-out points, and that on the ones learnt from. Chance is 1/K."""

    value: float
    train: float


def factor_vae_score(
    space: FactorTable,
    represent: Represent,
    *,
    votes: int = 800,
    held_out_votes: int = 400,
    batch: int = 64,
    least_spread: float = 0.05,
    seed: int = 0,
) -> VoteScore:
    """Whether the latent that varies least tells which factor was held: Kim & Mnih 2018 (arXiv 1802.05983, section 4).

    A vote takes rows that share the value of one random factor, divides the variance of each latent among them by its
    variance over the space, and is for the latent with the least. The classifier gives each latent the factor that it
    got most votes for; the score is its accuracy on other votes. Of equal latents, and of factors with equally many
    votes, the first is taken; a latent without votes counts as an error. If no latent takes part, the score is 0.

    Votes default to the paper's 800. `batch`, and the 10,000 rows for the variance over the space, are those of
    Locatello et al. 2019 (arXiv 1811.12359), who use 10,000 and 5,000 votes: on a `FactorTable` these encode no more
    images. Latents with a standard deviation below `least_spread` over the space, or of zero, take no part; 0.05 is
    meant for latents with a standard normal prior.
    """
    if len(space.sizes) < 2:
        raise UsageError(f"{len(space.sizes)} factor: the FactorVAE score needs at least 2 of them")
    _at_least(1, votes=votes, held_out_votes=held_out_votes)
    _at_least(2, batch=batch)
    if not least_spread >= 0:
        raise UsageError(f"least_spread = {least_spread:g}: give 0 or more")
    rng = np.random.default_rng(seed)
    over = np.arange(len(space), dtype=np.int64) if len(space) <= SPREAD_SAMPLES else space.sample(SPREAD_SAMPLES, rng)
    shared = rng.integers(len(space.sizes), size=votes + held_out_votes)
    rows = space.sample_sharing(shared, batch, rng)
    spread, groups = encode(represent, [over, rows])

    active = (np.ptp(spread, axis=0) > 0) & (spread.std(0, ddof=1) >= least_spread)
    counted = np.zeros((len(active), len(space.sizes)), dtype=np.int64)
    if not active.any():
        return VoteScore(0.0, 0.0, counted, active)
    relative = groups[:, :, active].var(1, ddof=1) / spread[:, active].var(0, ddof=1)
    winner = np.flatnonzero(active)[relative.argmin(1)]
    np.add.at(counted, (winner[:votes], shared[:votes]), 1)
    answer = np.where(counted.any(1), counted.argmax(1), -1)
    right = answer[winner] == shared
    return VoteScore(float(right[votes:].mean()), float(right[:votes].mean()), counted, active)


def beta_vae_score(
    space: FactorTable,
    represent: Represent,
    *,
    points: int = 800,
    held_out_points: int = 400,
    pairs: int = 64,
    seed: int = 0,
) -> PairScore:
    """Whether a linear classifier tells from differences of codes which factor was shared: Higgins et al. 2017 (ICLR).

    A point is the mean of |z₁ − z₂| over pairs of rows, each of which shares a value of one factor; a multinomial
    logistic regression learns to name the factor, and the score is its accuracy on other points (section 3). Latents
    are first divided by the standard deviation of their points, so that the penalty on the weights (scikit-learn's
    C = 1) does not depend on their scale.

    The counts are as for `factor_vae_score`; `pairs` of rows make a point.
    """
    kinds = len(space.sizes)
    if kinds < 2:
        raise UsageError(f"{kinds} factor: the β-VAE score needs at least 2 of them")
    _at_least(1, held_out_points=held_out_points, pairs=pairs)
    _at_least(10 * kinds, points=points)
    rng = np.random.default_rng(seed)
    shared = rng.integers(kinds, size=points + held_out_points)
    rows = space.sample_sharing(np.repeat(shared, pairs), 2, rng)
    (codes,) = encode(represent, [rows])
    differences = np.abs(codes[:, 0] - codes[:, 1]).reshape(len(shared), pairs, -1).mean(1)
    mean, spread = differences[:points].mean(0), differences[:points].std(0)
    # Centred, as the intercept would have it anyway: the solver takes thousands of steps to find that by itself.
    scaled = (differences - mean) / np.where(np.ptp(differences[:points], axis=0) > 0, spread, 1.0)
    classifier = LogisticRegression(max_iter=2000).fit(scaled[:points], shared[:points])
    right = classifier.predict(scaled) == shared
    return PairScore(float(right[points:].mean()), float(right[:points].mean()))


def encode(
    represent: Represent, draws: list[NDArray[np.int64]], batch: int = ENCODE_BATCH
) -> list[NDArray[np.float64]]:
    """The codes of every row drawn, in the shape of the draws and a last dimension of D; each row is encoded once.

    `represent` gets rows in ascending order, in batches of `batch` to twice that (or fewer, if there are fewer).
    """
    unique, places = np.unique(np.concatenate([rows.ravel() for rows in draws]), return_inverse=True)
    parts = []
    for rows in np.array_split(unique, max(1, len(unique) // batch)):
        part = np.asarray(represent(rows), dtype=np.float64)
        if part.ndim != 2 or len(part) != len(rows) or part.shape[1] == 0:
            raise UsageError(f"represent gave codes of shape {part.shape} for {len(rows)} rows: it must give rows × D")
        if not np.isfinite(part).all():
            raise UsageError("represent gave values that are not finite: look for the images that they came from")
        parts.append(part)
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise UsageError(f"represent gave codes of {widths[0]} and {widths[-1]} latents: it must always give the same")
    codes = np.concatenate(parts)[places.ravel()]
    ends = np.cumsum([rows.size for rows in draws])
    return [piece.reshape(*rows.shape, -1) for rows, piece in zip(draws, np.split(codes, ends[:-1]), strict=True)]


def _at_least(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise UsageError(f"{name} = {count}: this score needs at least {least}")
