"""Where the factors behind the images are known: which latent follows which, in words and as a table of colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.errors import ModelError
from corolla.evaluation.record import FILE_NAME
from corolla.gallery.generation import latents_by_kl
from corolla.report.subject import Section, Subject

FOLLOWS = 0.1
"""The share of a factor's entropy from which on a latent is said to follow it."""


def factors(subject: Subject) -> Section | None:
    """The share of each factor that each latent holds, in the order of the KL; None if the factors are not known."""
    details = factor_details(subject)
    if details is None:
        return None
    names, shares = details
    values = {"names": names, "shares": {int(latent): shares[latent] for latent in latents_by_kl(subject.model)}}
    return Section("factors", "Which latent follows which factor", "factors.html.j2", values)


def factor_details(subject: Subject) -> tuple[list[str], NDArray[np.float64]] | None:
    """The names of the factors, and the share of each that each latent holds, latents×factors; None if unknown.

    Raises ModelError if `scores.json` does not hold them as `corolla evaluate` writes them.
    """
    details: Any = subject.scores.details.get("disentanglement") if subject.scores else None
    if not isinstance(details, dict):
        return None
    try:
        names = [str(name).replace("_", " ") for name in details["factors"]]
        information = np.asarray(details["mutual_information_nats"], np.float64)
        entropy = np.asarray(details["factor_entropy_nats"], np.float64)
        if information.shape != (subject.model.latent_dim, len(names)) or entropy.shape != (len(names),):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        file = subject.path / FILE_NAME
        raise ModelError(f"{file}: damaged: its factors; write it again with `corolla evaluate`") from None
    return names, np.clip(information / np.maximum(entropy, 1e-12), 0, 1)


def followed_factors(subject: Subject) -> dict[int, str]:
    """In words, the factor that each latent follows most, where that is worth saying."""
    details = factor_details(subject)
    if details is None:
        return {}
    names, shares = details
    return {
        latent: f"follows {names[row.argmax()]} ({row.max():.0%})"
        for latent, row in enumerate(shares)
        if row.max() >= FOLLOWS
    }
