"""What the latents that matter do to an image, still and moving, and which factors they follow if these are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.errors import ModelError
from corolla.evaluation.record import FILE_NAME
from corolla.gallery.generation import latents_by_kl, swing, traversal
from corolla.report.embedding import animation, strip
from corolla.report.subject import Section, Subject

LATENTS = 10
LEAST_SHARE = 0.03
"""Latents that weigh less than this share of the heaviest are not shown: nothing would be seen to move."""
STEPS, MOVING_STEPS = 7, 24
REACH = 3.0
"""How far a latent moves, in standard deviations of the prior."""
REACH_OF_POINTS = 2.0
"""The same for auto-encoders, in standard deviations of their codes."""
FOLLOWS = 0.1
"""The share of a factor's entropy from which on a latent is said to follow it."""


Moved = Iterable[tuple[int, float, str, NDArray[np.uint8], NDArray[np.uint8]]]
"""Latents that were moved: the number of each, its weight as a share of the first one's, what the move does in words,
stills S×H×W×3 and frames M×H×W×3."""


def traversals(subject: Subject) -> Section:
    """The latents that matter as a strip and an animation each, with the factor that each follows, if known."""
    moved = _moved_points(subject) if subject.has_points else _moved(subject)
    names, by_latent = factor_details(subject) or ([], [])
    follows = {
        latent: f"follows {names[row.argmax()]} ({row.max():.0%})"
        for latent, row in enumerate(by_latent)
        if row.max() >= FOLLOWS
    }
    latents = [
        {
            "number": latent,
            "share": share,
            "effect": " · ".join(filter(None, [effect, follows.get(latent)])),
            "moving": animation(frames, f"latent {latent} moving"),
            "still": strip(stills, f"latent {latent} from low to high"),
        }
        for latent, share, effect, stills, frames in moved
    ]
    values = {
        "latents": latents,
        "others": subject.model.latent_dim - len(latents),
        "reach": REACH_OF_POINTS if subject.has_points else REACH,
        "has_points": subject.has_points,
    }
    return Section("latents", "What the latents mean", "traversals.html.j2", values)


def _moved(subject: Subject) -> Moved:
    still = traversal(subject.model, latents=LATENTS, steps=STEPS, span=REACH)
    # Without a record of the KL, the first latents are shown, all alike.
    weights = np.nan_to_num(still.kl_nats, nan=1.0)
    shown = ~still.dead & (weights >= LEAST_SHARE * weights[0])
    if not shown.any():
        return ()
    frames = traversal(subject.model, latents=LATENTS, values=swing(REACH, MOVING_STEPS)).images
    effects = ["" if np.isnan(kl) else f"{kl:.2f} nats" for kl in still.kl_nats[shown]]
    shares = weights[shown] / weights[shown][0]
    return zip(still.latents[shown].tolist(), shares, effects, still.images[shown], frames[shown], strict=True)


def _moved_points(subject: Subject) -> Moved:
    """The latents of an auto-encoder: about the mean of its codes, by their own standard deviation."""
    model, codes = subject.model, subject.codes
    centre, spread = codes.mean(0), codes.std(0)

    def decoded(latents: NDArray[np.int64], positions: NDArray[np.float32]) -> NDArray[np.uint8]:
        points = np.tile(centre, (len(latents), len(positions), 1))
        for row, latent in enumerate(latents):
            points[row, :, latent] += positions * spread[latent]
        images = model.decode(points.reshape(-1, model.latent_dim))
        return images.reshape(len(latents), len(positions), *images.shape[1:])

    every = np.arange(model.latent_dim)
    ends = decoded(every, np.array([-REACH_OF_POINTS, REACH_OF_POINTS], np.float32)).astype(np.float64)
    change = np.abs(ends[:, 1] - ends[:, 0]).mean(axis=(1, 2, 3))
    chosen = np.argsort(-change, kind="stable")[:LATENTS]
    chosen = chosen[change[chosen] > LEAST_SHARE * change[chosen[0]]]
    if not len(chosen):
        return ()
    effects = [f"changes pixels by {value / 2.55:.1f} %" for value in change[chosen]]
    stills = decoded(chosen, np.linspace(-REACH_OF_POINTS, REACH_OF_POINTS, STEPS, dtype=np.float32))
    frames = decoded(chosen, swing(REACH_OF_POINTS, MOVING_STEPS))
    return zip(chosen.tolist(), change[chosen] / change[chosen[0]], effects, stills, frames, strict=True)


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
