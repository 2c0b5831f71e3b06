"""Disentanglement, where the factors of variation are known: every score from one set of codes, and two from votes."""

from __future__ import annotations

from typing import Any

import numpy as np

from corolla.apps.scores.codec import Codec
from corolla.apps.scores.material import KnownFactors
from corolla.apps.scores.record import Score
from corolla.metrics import beta_vae_score, dci, explicitness, factor_vae_score, irs, mig, modularity_of, sap

VOTES, HELD_OUT_VOTES = 10_000, 5_000
"""As Locatello et al. 2019 have them: votes are cheap, as every image is encoded once."""


def disentanglement(codec: Codec, known: KnownFactors, *, seed: int = 0) -> tuple[dict[str, Score], dict[str, Any]]:
    """The scores, and the matrices latents × factors behind them for `details`.

    Raises:
        UsageError: too few images for a score; the message says how many it needs.
    """
    space = known.space
    factors = space.factors(np.arange(len(space)))
    z = codec.encode(known.images)
    gap, importance = mig(z, factors), dci(z, factors, seed=seed)
    votes = factor_vae_score(space, z.__getitem__, votes=VOTES, held_out_votes=HELD_OUT_VOTES, seed=seed)
    pairs = beta_vae_score(space, z.__getitem__, points=VOTES, held_out_points=HELD_OUT_VOTES, seed=seed)
    values = {
        "mig": gap.value,
        "dci_disentanglement": importance.disentanglement,
        "dci_completeness": importance.completeness,
        "dci_informativeness": importance.informativeness,
        "sap": sap(z, factors).value,
        "modularity": modularity_of(gap.information_nats).value,
        "explicitness": explicitness(z, factors, seed=seed).value,
        "irs": irs(z, factors).value,
        "factor_vae_score": votes.value,
        "beta_vae_score": pairs.value,
    }
    details = {
        "factors": list(known.names),
        "images": len(space),
        "mig_per_factor": gap.gaps.tolist(),
        "mutual_information_nats": gap.information_nats.tolist(),
        "factor_entropy_nats": gap.entropy_nats.tolist(),
        "dci_importance": importance.importance.tolist(),
        "accuracy_per_factor": importance.accuracies.tolist(),
    }
    return {name: Score(value) for name, value in values.items()}, details
