"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from corolla import __version__
from corolla.data import ImageCache, spread_rows
from corolla.files import write_text
from corolla.gallery.generation import interpolation
from corolla.metrics.images import ROUNDING_DB, psnr
from corolla.metrics.names import TRAINING_SCORES
from corolla.models.vae import parameter_count
from corolla.progress import OnProgress, steps_of
from corolla.report.embedding import animation
from corolla.report.sections.curves import curves
from corolla.report.sections.images import reconstructions, samples
from corolla.report.sections.latent_map import latent_map
from corolla.report.sections.latents import factors, traversals
from corolla.report.sections.reproduction import reproduction
from corolla.report.sections.scores import findings, scores
from corolla.report.subject import MOST_IMAGES, Section, Subject, examine
from corolla.trained.run_folder import RunFolder
from corolla.training.advice import BIT_NATS

SectionMaker = Callable[[Subject], Section | None]

SECTIONS: Sequence[SectionMaker] = (
    findings,
    curves,
    reconstructions,
    samples,
    traversals,
    latent_map,
    factors,
    scores,
    reproduction,
)
"""In their order; one that has nothing to show for a run gives None."""

WALK_POINTS, WALK_STEPS, WALK_PX = 6, 13, 224
_SUBJECTS = {"florets": "drawn flowers", "flowers102": "photos of flowers"}
_SETTING = re.compile(r"\b(?:data|network|likelihood|objective|training)\.[a-z_]+(?:=[\w.]*\w)?")


@cache
def environment() -> Environment:
    """Finds the templates, and escapes every text; a value that a template needs and does not get is an error."""
    loader = PackageLoader("corolla.report")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["mark_settings"] = lambda text: Markup(_SETTING.sub(r"<code>\g<0></code>", str(escape(text))))
    return made


def write_report(
    run: Path | str,
    *,
    output: Path | str | None = None,
    images: ImageCache | None = None,
    source: str | None = None,
    mirror: str | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
    sections: Sequence[SectionMaker] = SECTIONS,
) -> Path:
    """Write the report of a run or model folder, with the scores of `corolla evaluate` if there are any.

    Returns the file, which is `report.html` in the folder unless `output` says otherwise. To add a section, give
    `[*SECTIONS, yours]`. The rest is as for `examine`, with its errors; also raises WriteError.
    """
    subject = examine(Path(run), images=images, source=source, mirror=mirror, seed=seed, progress=progress)
    file = RunFolder(subject.path).report if output is None else Path(output)
    made: list[Section] = []
    for done, make in enumerate(sections):
        steps_of(progress, "writing the report, sections", len(sections))(done)
        made += filter(None, [make(subject)])
    page = environment().get_template("page.html.j2")
    name = subject.path.absolute().name
    write_text(file, page.render(header=header(subject), name=name, sections=made, version=__version__))
    return file


def header(subject: Subject) -> dict[str, Any]:
    """What the template of the head shows; `duration` is empty, and `rate_bits` None, where there is no such thing."""
    model, config = subject.model, subject.model.config
    objective = config.objective.title
    images = _SUBJECTS.get(config.data.source.partition(":")[0], "images")
    rate_nats = np.nan if subject.has_points else model.card.scores.get("kl", np.nan)
    rate_bits = rate_nats / BIT_NATS if np.isfinite(rate_nats) else None
    ends = model.sample_latents(WALK_POINTS, seed=subject.seed)
    if subject.has_points:
        ends = subject.codes[np.linspace(0, len(subject.codes) - 1, WALK_POINTS).astype(int)]
    frames = interpolation(model, ends, steps=WALK_STEPS, loop=True).images
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
        "walk": animation(frames, "A walk through latent space: one image turns into the next", shown_px=WALK_PX),
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
        yield "of training", value, {"hours": "h", "minutes": "min", "seconds": "s"}[unit]


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
