"""Samples from each prior, beside the training images that they resemble."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from corolla.evaluation.closest import closest_training
from corolla.models.priors import fitted_prior_names
from corolla.report.embedding import image
from corolla.report.subject import Section, Subject

SAMPLES, SAMPLES_OF_FITTED = 12, 6
NEIGHBOURS = 3


def samples(subject: Subject) -> Section:
    """Samples from each prior that the model has, each with the training images closest to it."""
    values = {
        "by_prior": {prior: _drawn(subject, prior) for prior in _priors(subject)},
        "latent_dim": subject.model.latent_dim,
        "has_points": subject.has_points,
    }
    return Section("samples", "New images, and the closest it has seen", "samples.html.j2", values)


def _priors(subject: Subject) -> Iterator[str]:
    yield "standard"
    for name in fitted_prior_names():
        if subject.model.has_prior(name) and (name != "flow" or find_spec("zuko") is not None):
            yield name


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
