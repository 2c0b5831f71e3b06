"""The head of the page: what was trained on what, how long, how good it became, and a walk through latent space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from corolla.data import spread_rows
from corolla.gallery.generation import interpolation
from corolla.metrics.images import ROUNDING_DB, psnr
from corolla.metrics.names import TRAINING_SCORES
from corolla.models.vae import parameter_count
from corolla.report.embedding import Picture, animation
from corolla.report.subject import MOST_IMAGES, Subject
from corolla.training.advice import BIT_NATS

WALK_POINTS, WALK_STEPS, WALK_PX = 6, 13, 224
_SUBJECTS = {"florets": "drawn flowers", "flowers102": "photos of flowers"}
_SHORT = {"hours": "h", "minutes": "min", "seconds": "s"}


def header(subject: Subject) -> dict[str, Any]:
    """What the template of the head shows; `duration` is empty, and `rate_bits` None, where there is no such thing."""
    model, config = subject.model, subject.model.config
    objective = config.objective.title
    images = _SUBJECTS.get(config.data.source.partition(":")[0], "images")
    rate_nats = np.nan if subject.has_points else model.card.scores.get("kl", np.nan)
    rate_bits = rate_nats / BIT_NATS if np.isfinite(rate_nats) else None
    psnr_db, duration = float(np.median(subject.returned.psnr_db)), _duration(subject)
    return {
        "title": f"What {objective} learnt from {len(subject.training):,} {images}",
        "subject": subject,
        "objective": objective,
        "weights": config.objective.describe(config.objective.effective_beta(subject.rows)),
        "parameters": parameter_count(config),
        "duration": duration,
        "psnr_db": psnr_db,
        "baseline_db": _baseline_db(subject),
        "rate_bits": rate_bits,
        "facts": _facts(subject, psnr_db, rate_bits, duration),
        "walk": _walk(subject),
    }


def _facts(subject: Subject, psnr_db: float, rate_bits: float | None, duration: str) -> Iterator[tuple[str, str, str]]:
    """Numbers to remember: the name, the value and the unit of each."""
    measured = {} if subject.has_points else subject.model.card.scores
    yield "typical PSNR", f"{psnr_db:.1f}", "dB"
    if rate_bits is not None:
        yield "in a code", f"{rate_bits:.0f}", "bits"
    if "bits_per_dim" in measured:
        yield "per dimension", f"{measured['bits_per_dim']:.2f}", "bits"
    if "active_latents" in measured:
        label = TRAINING_SCORES["active_latents"].label
        yield label, f"{measured['active_latents']:.0f}", f"of {subject.model.latent_dim}"
    if subject.scores is not None and "mig" in subject.scores.scores:
        yield "MIG, of 1", f"{subject.scores.scores['mig'].value:.2f}", ""
    yield "steps", f"{subject.model.card.step:,}", ""
    if duration:
        value, _, unit = duration.partition(" ")
        yield "of training", value, _SHORT[unit]


def _walk(subject: Subject) -> Picture:
    ends = subject.model.sample_latents(WALK_POINTS, seed=subject.seed)
    if subject.has_points:
        ends = subject.codes[np.linspace(0, len(subject.codes) - 1, WALK_POINTS).astype(int)]
    frames = interpolation(subject.model, ends, steps=WALK_STEPS, loop=True).images
    return animation(frames, "A walk through latent space: one image turns into the next", shown_px=WALK_PX)


def _duration(subject: Subject) -> str:
    seconds = max((float(row["train_seconds"]) for row in subject.rows if row.get("train_seconds")), default=0.0)
    if not seconds:
        return ""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _baseline_db(subject: Subject) -> float:
    """The median PSNR of the mean of the training images in the place of each; of many, of some evenly spread."""
    seen = np.asarray(subject.cache.images[spread_rows(subject.training, MOST_IMAGES)])
    originals = subject.returned.originals
    mean = np.broadcast_to(seen.mean(axis=0, dtype=np.float32) / np.iinfo(seen.dtype).max, originals.shape)
    return float(np.median(np.minimum(psnr(originals, mean), ROUNDING_DB)))
