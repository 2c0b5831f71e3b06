"""Images that the model was not trained on through it and back, and new ones beside those that it has seen."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from corolla.evaluation.closest import closest_training
from corolla.evaluation.reconstructions import extremes
from corolla.models.priors import fitted_prior_names
from corolla.report.embedding import image
from corolla.report.subject import Section, Subject

SHOWN = 6
SAMPLES, SAMPLES_OF_FITTED = 12, 6
NEIGHBOURS = 3


def reconstructions(subject: Subject) -> Section:
    """Held-out images beside what came back, by state: best, typical and worst."""
    shown = subject.returned
    pairs = {
        state: [
            {
                "original": image(shown.originals[index], f"{state} {number}, the original"),
                "returned": image(shown.images[index], f"{state} {number}, through the model"),
                "psnr_db": shown.psnr_db[index],
            }
            for number, index in enumerate(indices, 1)
        ]
        for state, indices in extremes(shown.psnr_db, SHOWN).items()
    }
    values = {"pairs": pairs, "images": len(shown.images)}
    return Section("reconstructions", "Through the model and back", "reconstructions.html.j2", values)


def samples(subject: Subject) -> Section:
    """Samples from each prior that the model has, each with the training images closest to it."""
    names = [name for name in fitted_prior_names() if name != "flow" or find_spec("zuko") is not None]
    priors = ["standard", *filter(subject.model.has_prior, names)]
    values = {
        "by_prior": {prior: _drawn(subject, prior) for prior in priors},
        "latent_dim": subject.model.latent_dim,
        "has_points": subject.has_points,
    }
    return Section("samples", "New images, and the closest it has seen", "samples.html.j2", values)


def _drawn(subject: Subject, prior: str) -> list[dict[str, Any]]:
    count = SAMPLES if prior == "standard" else SAMPLES_OF_FITTED
    drawn = subject.model.sample(count, seed=subject.seed, prior=prior)
    closest = closest_training(drawn, subject.cache.images, subject.training, NEIGHBOURS)
    return [
        {
            "picture": image(sample, f"sample {number}"),
            "closest": [image(other, f"training image close to sample {number}") for other in near],
        }
        for number, (sample, near) in enumerate(zip(drawn, closest, strict=True), 1)
    ]
