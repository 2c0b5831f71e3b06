"""A run in plain words: what was trained on what, how long, and how good it became."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from corolla.data import spread_rows
from corolla.objectives.weights import beta_of, weights_in_words
from corolla.report.elements import paragraph
from corolla.report.subject import MOST_IMAGES, Subject
from corolla.training.advice import BIT_NATS

_SUBJECTS = {"florets": "drawn flowers", "flowers102": "photos of flowers"}
_SHORT = {"hours": "h", "minutes": "min", "seconds": "s"}
KINDS: Mapping[str, str] = {
    "ae": "an auto-encoder",
    "dae": "a denoising auto-encoder",
    "vae": "a VAE",
    "beta_vae": "a β-VAE",
    "capacity_vae": "a β-VAE with a capacity",
    "free_bits": "a VAE with free bits",
    "control_vae": "a ControlVAE",
    "beta_tcvae": "a β-TCVAE",
    "factor_vae": "a FactorVAE",
    "dip_vae_i": "a DIP-VAE-I",
    "dip_vae_ii": "a DIP-VAE-II",
    "info_vae": "an InfoVAE",
}


def images_of(subject: Subject) -> str:
    """What the images are, as far as the source tells."""
    return _SUBJECTS.get(subject.model.config.data.source.partition(":")[0], "images")


def title(subject: Subject) -> str:
    """The headline."""
    kind = KINDS[subject.model.config.objective.name]
    return f"What {kind} learnt from {len(subject.training):,} {images_of(subject)}"


def lead(subject: Subject) -> str:
    """What was trained on what, how long, and how good it became: two paragraphs."""
    model = subject.model
    config, card = model.config, model.card
    parameters = sum(parameter.numel() for parameter in model.vae.parameters())
    weights = weights_in_words(config.objective, beta_of(config.objective, subject.rows))
    spent = _duration(subject)
    trained = (
        f"This is {KINDS[config.objective.name]} ({weights}): a {config.network.name} network of {parameters:,} "
        f"parameters that turns each image of {model.height}×{model.width} pixels into {numbers(model.latent_dim)}, "
        f"and back into an image. It was trained on {len(subject.training):,} images of {config.data.source} for "
        f"{card.step:,} steps{f', which took {spent}' if spent else ''}."
    )
    psnr_db = subject.returned.psnr_db
    return paragraph(trained) + paragraph(
        f"Images that it has never seen come back with a PSNR of {np.median(psnr_db):.1f} dB in the typical case; the "
        f"average training image, shown in place of each, would reach {_baseline_db(subject):.1f} dB. {_code(subject)}"
    )


def facts(subject: Subject) -> str:
    """The few numbers to remember."""
    card = subject.model.card
    entries = [("typical PSNR", f"{np.median(subject.returned.psnr_db):.1f}", "dB")]
    if "kl" in card.scores and not subject.has_points:
        entries.append(("in a code", f"{card.scores['kl'] / BIT_NATS:.0f}", "bits"))
    if "bits_per_dim" in card.scores and not subject.has_points:
        entries.append(("per dimension", f"{card.scores['bits_per_dim']:.2f}", "bits"))
    if "active_latents" in card.scores and not subject.has_points:
        entries.append(("active latents", f"{card.scores['active_latents']:.0f}", f"of {subject.model.latent_dim}"))
    if subject.scores is not None and "mig" in subject.scores.scores:
        entries.append(("MIG, of 1", f"{subject.scores.scores['mig'].value:.2f}", ""))
    entries.append(("steps", f"{card.step:,}", ""))
    if spent := _duration(subject):
        value, _, unit = spent.partition(" ")
        entries.append(("of training", value, _SHORT[unit]))
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)} <small>{escape(unit)}</small></dd></div>"
        for name, value, unit in entries
    )
    return f'<dl class="facts">{tiles}</dl>\n'


def numbers(count: int, kind: str = "") -> str:
    """So many numbers, in words."""
    return f"one {kind}number" if count == 1 else f"{count} {kind}numbers"


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
    mean = seen.mean(axis=0, dtype=np.float32) / 255
    originals = subject.returned.originals.astype(np.float32) / 255
    error = ((originals - mean) ** 2).mean(axis=(1, 2, 3))
    return float(np.median(-10 * np.log10(np.maximum(error, 1e-10))))


def _code(subject: Subject) -> str:
    model = subject.model
    pixels = 8 * 3 * model.height * model.width
    if subject.has_points:
        return (
            f"Its codes are {numbers(model.latent_dim, 'plain ')} with no price on what they say, so they need not be "
            "in any order, and the space between them need not hold images."
        )
    rate = model.card.scores.get("kl", math.nan)
    if not math.isfinite(rate):
        return ""
    return f"A code tells {rate / BIT_NATS:.0f} bits about its image, of the {pixels:,} bits that its pixels take."
