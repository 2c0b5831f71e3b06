"""The best, typical and worst reconstructions of images that the model was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from corolla.evaluation.reconstructions import Returned, extremes
from corolla.report.embedding import Picture, image
from corolla.report.subject import Subject

SHOWN = 6


@dataclass(frozen=True)
class Pair:
    """An image, what came back, and how close the two are."""

    original: Picture
    returned: Picture
    psnr_db: float


@dataclass(frozen=True)
class Reconstructions:
    """Pairs by state: best, typical and worst; and how many images they were chosen from."""

    anchor: ClassVar[str] = "reconstructions"
    title: ClassVar[str] = "Through the model and back"
    template: ClassVar[str] = "reconstructions.html.j2"
    pairs: dict[str, list[Pair]]
    images: int


def reconstructions(subject: Subject) -> Reconstructions:
    """The pairs of each state."""
    shown = subject.returned
    chosen = extremes(Returned(shown.images, {"psnr_db": shown.psnr_db}), SHOWN)
    pairs = {
        state: [
            Pair(
                image(shown.originals[index], f"{state} {number}, the original"),
                image(shown.images[index], f"{state} {number}, through the model"),
                float(shown.psnr_db[index]),
            )
            for number, index in enumerate(indices, 1)
        ]
        for state, indices in chosen.items()
    }
    return Reconstructions(pairs, len(shown.images))
