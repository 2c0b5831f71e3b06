"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from corolla import __version__
from corolla.data import ImageCache
from corolla.files import write_text
from corolla.progress import OnProgress, steps_of
from corolla.report.header import header
from corolla.report.sections.curves import curves
from corolla.report.sections.latent_map import latent_map
from corolla.report.sections.latents import factors, traversals
from corolla.report.sections.reconstructions import reconstructions
from corolla.report.sections.reproduction import reproduction
from corolla.report.sections.samples import samples
from corolla.report.sections.scores import findings, scores
from corolla.report.subject import Section, Subject, examine
from corolla.trained.run_folder import RunFolder

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

_SETTING = re.compile(r"\b(?:data|network|likelihood|objective|training)\.[a-z_]+(?:=[\w.]*\w)?")


@cache
def environment() -> Environment:
    """Finds the templates, and escapes every text; a value that a template needs and does not get is an error."""
    made = Environment(
        loader=PackageLoader("corolla.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
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
