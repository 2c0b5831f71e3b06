"""The best, typical and worst reconstructions of images that the model was not trained on."""

from __future__ import annotations

from typing import Any

from corolla.evaluation.reconstructions import extremes
from corolla.report.embedding import image
from corolla.report.subject import Section, Subject

SHOWN = 6


def reconstructions(subject: Subject) -> Section:
    """Images beside what came back, by state: best, typical and worst."""
    shown = subject.returned

    def pair(state: str, number: int, index: int) -> dict[str, Any]:
        return {
            "original": image(shown.originals[index], f"{state} {number}, the original"),
            "returned": image(shown.images[index], f"{state} {number}, through the model"),
            "psnr_db": shown.psnr_db[index],
        }

    chosen = extremes(shown.psnr_db, SHOWN)
    pairs = {state: [pair(state, *one) for one in enumerate(indices, 1)] for state, indices in chosen.items()}
    values = {"pairs": pairs, "images": len(shown.images)}
    return Section("reconstructions", "Through the model and back", "reconstructions.html.j2", values)
