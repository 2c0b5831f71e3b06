"""Disentanglement, where the factors of variation are known: every score from one set of codes, and two from votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.evaluation.codec import Codec, encode_live
from corolla.evaluation.material import KnownFactors
from corolla.evaluation.record import Score
from corolla.metrics import (
    beta_vae_score,
    dci,
    explicitness,
    factor_vae_score,
    interval_of_parts,
    irs,
    mig,
    modularity,
    parts_of,
    sap,
)

VOTES, HELD_OUT_VOTES = 10_000, 5_000
"""As Locatello et al. 2019 have them: votes are cheap, as every image is encoded once."""
PARTS = 8
"""Of the images, each scored by itself for the intervals."""


def disentanglement(
    codec: Codec, known: KnownFactors, *, seed: int = 0
) -> tuple[dict[str, Score], dict[str, Any], dict[str, str]]:
    """Scores by key, the matrices latents × factors behind them, and why a score is not there, by its key.

    Dead latents take no part. `details["ceilings"]` are the scores of a perfect code: the factors themselves, each in a
    latent of its own. Raises UsageError if the images, latents and factors suffice for no score.
    """
    z, factors = encode_live(codec, known.images)[1].astype(np.float64), known.factors
    categorical = [known.names.index(name) for name in known.categorical]
    values, matrices, left_out = _measure(z, factors, categorical, seed)
    if not values:
        raise UsageError(next(iter(left_out.values())))
    parts = [
        _measure(z[rows], factors[rows], categorical, seed + number, share=PARTS)[0]
        for number, rows in enumerate(parts_of(len(factors), PARTS, seed))
    ]
    scores = {}
    for name, value in values.items():
        in_parts = [part[name] for part in parts if name in part]
        whole = len(in_parts) == PARTS  # each of them suffices for the score
        scores[name] = Score.of(interval_of_parts(value, in_parts), least=0, most=1) if whole else Score(value)
    details: dict[str, Any] = {
        "factors": list(known.names),
        "binned": list(known.binned),
        "categorical": list(known.categorical),
        "images": len(factors),
        "trained_on": known.trained_on,
        "ceilings": _measure(factors.astype(np.float64), factors, categorical, seed)[0],
    }
    return scores, details | matrices, left_out


def _measure(
    z: NDArray[np.float64], factors: NDArray[np.int64], categorical: Sequence[int], seed: int, *, share: int = 1
) -> tuple[dict[str, float], dict[str, Any], dict[str, str]]:
    """Scores of codes by key, the matrices behind them, and why a score is not there; with a share of the votes."""
    votes, held_out = VOTES // share, HELD_OUT_VOTES // share
    measures: dict[str, Callable[[], Any]] = {
        "mig": lambda: mig(z, factors),
        "dci": lambda: dci(z, factors, seed=seed),
        "sap": lambda: sap(z, factors, categorical=categorical),
        "modularity": lambda: modularity(z, factors),
        "explicitness": lambda: explicitness(z, factors, seed=seed),
        "irs": lambda: irs(z, factors),
        "factor_vae_score": lambda: factor_vae_score(
            z, factors, votes=votes, held_out_votes=held_out, least_spread=0, seed=seed
        ),
        "beta_vae_score": lambda: beta_vae_score(z, factors, points=votes, held_out_points=held_out, seed=seed),
    }
    values: dict[str, float] = {}
    details: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name, measure in measures.items():
        try:
            result = measure()
        except UsageError as error:  # one needs two latents, another two factors: the others are no worse for it
            left_out[name] = str(error)
            continue
        if name == "dci":
            for part in ("disentanglement", "completeness", "informativeness"):
                values[f"dci_{part}"] = getattr(result, part)
            details |= {
                "dci_importance": result.importance.tolist(),
                "accuracy_per_factor": result.accuracies.tolist(),
                "dci_weight_per_factor": result.predictable.tolist(),
            }
        else:
            values[name] = result if isinstance(result, float) else result.value
        if name == "mig":
            details |= {
                "mig_per_factor": result.gaps.tolist(),
                "mutual_information_nats": result.information_nats.tolist(),
                "factor_entropy_nats": result.entropy_nats.tolist(),
            }
    return values, details, left_out
