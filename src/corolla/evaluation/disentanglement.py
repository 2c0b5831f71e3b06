"""Disentanglement, where the factors of variation are known: every score from one set of codes, and two from votes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corolla.errors import UsageError
from corolla.evaluation.codec import Codec, encode_live
from corolla.evaluation.material import KnownFactors
from corolla.evaluation.record import Score
from corolla.metrics import beta_vae_score, dci, explicitness, factor_vae_score, irs, mig, modularity, sap

VOTES, HELD_OUT_VOTES = 10_000, 5_000
"""As Locatello et al. 2019 have them: votes are cheap, as every image is encoded once."""


def disentanglement(
    codec: Codec, known: KnownFactors, *, seed: int = 0
) -> tuple[dict[str, Score], dict[str, Any], dict[str, str]]:
    """Scores by key, the matrices latents × factors behind them, and why a score is not there, by its key.

    Dead latents take no part. Raises UsageError if the images, latents and factors suffice for no score.
    """
    z, factors = encode_live(codec, known.images)[1], known.factors
    measures: dict[str, Callable[[], Any]] = {
        "mig": lambda: mig(z, factors),
        "dci": lambda: dci(z, factors, seed=seed),
        "sap": lambda: sap(z, factors, categorical=[known.names.index(name) for name in known.categorical]),
        "modularity": lambda: modularity(z, factors),
        "explicitness": lambda: explicitness(z, factors, seed=seed),
        "irs": lambda: irs(z, factors),
        "factor_vae_score": lambda: factor_vae_score(
            z, factors, votes=VOTES, held_out_votes=HELD_OUT_VOTES, least_spread=0, seed=seed
        ),
        "beta_vae_score": lambda: beta_vae_score(z, factors, points=VOTES, held_out_points=HELD_OUT_VOTES, seed=seed),
    }
    scores: dict[str, Score] = {}
    left_out: dict[str, str] = {}
    details: dict[str, Any] = {
        "factors": list(known.names),
        "binned": list(known.binned),
        "categorical": list(known.categorical),
        "images": len(factors),
        "trained_on": known.trained_on,
    }
    for name, measure in measures.items():
        try:
            found = measure()
        except UsageError as error:  # one needs two latents, another two factors: the others are no worse for it
            left_out[name] = str(error)
            continue
        if name == "dci":
            for part in ("disentanglement", "completeness", "informativeness"):
                scores[f"dci_{part}"] = Score(getattr(found, part))
            details |= {
                "dci_importance": found.importance.tolist(),
                "accuracy_per_factor": found.accuracies.tolist(),
                "dci_weight_per_factor": found.predictable.tolist(),
            }
        else:
            scores[name] = Score(found if isinstance(found, float) else found.value)
        if name == "mig":
            details |= {
                "mig_per_factor": found.gaps.tolist(),
                "mutual_information_nats": found.information_nats.tolist(),
                "factor_entropy_nats": found.entropy_nats.tolist(),
            }
    if not scores:
        raise UsageError(next(iter(left_out.values())))
    return scores, details, left_out
