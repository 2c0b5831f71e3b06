"""Where the factors behind the images are known: which latent follows which, in words and as a table of colours."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.errors import ModelError
from corolla.evaluation.record import FILE_NAME
from corolla.gallery.generation import latents_by_kl
from corolla.report.elements import paragraph, section
from corolla.report.subject import Subject

FOLLOWS = 0.1
"""The share of a factor that a latent tells from which on it is said to follow it."""


def factor_details(subject: Subject) -> tuple[list[str], NDArray[np.float64]] | None:
    """The names of the factors, and which share of each is told by each latent, latents×factors; None if unknown.

    Raises:
        ModelError: `scores.json` does not hold them as `corolla evaluate` writes them.
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
        raise ModelError(f"{file}: damaged: its factors; write it anew with `corolla evaluate`") from None
    return names, np.clip(information / np.maximum(entropy, 1e-12), 0, 1)


def followed_factors(subject: Subject) -> dict[int, str]:
    """In words, the factor that each latent tells most of, where that is worth saying."""
    found = factor_details(subject)
    if found is None:
        return {}
    names, shares = found
    return {
        latent: f"follows {names[row.argmax()]} ({row.max():.0%})"
        for latent, row in enumerate(shares)
        if row.max() >= FOLLOWS
    }


def factors(subject: Subject) -> str:
    """Latents against factors, as a table of colours; nothing if the factors are not known."""
    found = factor_details(subject)
    if found is None:
        return ""
    names, shares = found
    order = latents_by_kl(subject.model)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">latent {latent}</th>{"".join(_cell(share) for share in shares[latent])}</tr>\n'
        for latent in order
    )
    text = (
        "These images were made from known factors. Each cell says how much of a factor a latent tells: its mutual "
        "information, in per cent of the factor's entropy. In a disentangled code each column has one strong cell, and "
        "so has each row of a latent that is used. Those that tell most about an image come first."
    )
    table = f'<table class="heat"><thead><tr><th></th>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n'
    return section("factors", "Which latent follows which factor", paragraph(text), table)


def _cell(share: float) -> str:
    return f'<td style="background:rgb(var(--heat) / {0.04 + 0.76 * share:.2f})">{100 * share:.0f}</td>'
