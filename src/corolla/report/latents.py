"""What the latents that matter do to an image, still and moving."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from corolla.gallery.generation import traversal
from corolla.report.elements import moving, paragraph, section, strip
from corolla.report.factors import followed_factors
from corolla.report.subject import Subject

LATENTS = 10
LEAST_SHARE = 0.03
"""Latents that weigh less than this share of the heaviest are not shown: nothing would be seen to move."""
STEPS, MOVING_STEPS = 7, 24
REACH = 3.0
"""How far a latent moves, in standard deviations of the prior."""
REACH_OF_POINTS = 2.0
"""The same for auto-encoders, in standard deviations of their codes."""


@dataclass(frozen=True, eq=False)
class Moved:
    """Latents k, moved one at a time: what each weighs, the same in words, stills k×S×H×W×3 and frames k×M×H×W×3."""

    latents: NDArray[np.int64]
    weights: NDArray[np.float64]
    words: list[str]
    stills: NDArray[np.uint8]
    frames: NDArray[np.uint8]


def latents(subject: Subject) -> str:
    """What the latents that matter do, as a strip and an animation each; with the factor that it follows, if known."""
    factors = followed_factors(subject)
    moved = _moved_points(subject) if subject.has_points else _moved(subject)
    title = "What the latents mean"
    if moved is None:
        text = "No latent tells the decoder anything, so none can be shown: whatever the code, the image is the same."
        return section("latents", title, paragraph(text))
    text = (
        f"One number moves by {REACH_OF_POINTS:g} standard deviations of the codes to either side, while the others "
        "stay at their means. Those that change the image most come first."
        if subject.has_points
        else f"One number moves from -{REACH:g} to +{REACH:g} standard deviations of the prior, while the others stay "
        "at zero. Those that tell most about an image come first; the KL says how much."
    )
    if (rest := subject.model.latent_dim - len(moved.latents)) > 0:
        text += f" The other {rest} matter less." if rest > 1 else " The other one matters less."
    rows = []
    for index, latent in enumerate(moved.latents):
        label = f"latent {latent}"
        words = " · ".join(filter(None, [moved.words[index], factors.get(int(latent), "")]))
        share = 100 * moved.weights[index] / moved.weights[0]
        rows.append(
            f'<div class="latent"><div class="name"><b>{label}</b><div class="bar" aria-hidden="true">'
            f'<span style="width:{share:.0f}%"></span></div><span class="soft">{escape(words)}</span></div>'
            f"{moving(moved.frames[index], f'{label} moving')}"
            f"{strip(moved.stills[index], f'{label} from low to high')}</div>\n"
        )
    return section("latents", title, paragraph(text), f'<div class="latents">\n{"".join(rows)}</div>\n')


def _swing(reach: float) -> NDArray[np.float32]:
    """There and back, slower at the ends, beginning in the middle."""
    return (reach * np.sin(2 * np.pi * np.arange(MOVING_STEPS) / MOVING_STEPS)).astype(np.float32)


def _moved(subject: Subject) -> Moved | None:
    still = traversal(subject.model, latents=LATENTS, steps=STEPS, span=REACH)
    # A model that has no record of its KL shows the first latents, all alike.
    weights = np.nan_to_num(still.kl_nats, nan=1.0)
    shown = ~still.dead & (weights >= LEAST_SHARE * weights[0])
    if not shown.any():
        return None
    frames = traversal(subject.model, latents=LATENTS, values=_swing(REACH)).images
    words = ["" if np.isnan(kl) else f"{kl:.2f} nats" for kl in still.kl_nats[shown]]
    return Moved(still.latents[shown], weights[shown], words, still.images[shown], frames[shown])


def _moved_points(subject: Subject) -> Moved | None:
    """Of an auto-encoder: about the mean of its codes, by their own standard deviation."""
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
        return None
    words = [f"changes pixels by {value / 2.55:.1f} %" for value in change[chosen]]
    stills = decoded(chosen, np.linspace(-REACH_OF_POINTS, REACH_OF_POINTS, STEPS, dtype=np.float32))
    return Moved(chosen, change[chosen], words, stills, decoded(chosen, _swing(REACH_OF_POINTS)))
