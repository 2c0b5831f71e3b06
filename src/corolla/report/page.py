"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from jinja2 import Template

from corolla import __version__
from corolla.data import ImageCache
from corolla.files import write_text
from corolla.progress import OnProgress, steps_of
from corolla.report.header import header
from corolla.report.rendering import environment
from corolla.report.sections.curves import curves
from corolla.report.sections.factors import factors
from corolla.report.sections.findings import findings
from corolla.report.sections.latent_map import latent_map
from corolla.report.sections.reconstructions import reconstructions
from corolla.report.sections.reproduction import reproduction
from corolla.report.sections.samples import samples
from corolla.report.sections.scores import scores
from corolla.report.sections.traversals import traversals
from corolla.report.subject import Subject, examine
from corolla.trained.run_folder import RunFolder


class Section(Protocol):
    """The values of a section, and how they are shown."""

    @property
    def anchor(self) -> str:
        """The name that links point to."""

    @property
    def title(self) -> str:
        """The heading."""

    @property
    def template(self) -> str | Template:
        """A file among the templates, or `environment().from_string(...)`; it sees the values as `section`."""


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
    """Write the report of a run, with the scores of `corolla evaluate` if there are any; returns the file.

    Args:
        run: The run folder, or a model folder.
        output: The HTML file; by default `report.html` in the run folder.
        images: The model's own images, where they are at hand; otherwise they are found by its configuration.
        source: Where the images are now, if they have moved.
        mirror: Folder or URL that holds the files of the source.
        seed: Fixes what is drawn.
        progress: Called while images are read and sections made.
        sections: What the page shows, in order; to add a section, give `[*SECTIONS, yours]`.

    Raises:
        ModelError: there is no model, or something in the folder is damaged.
        DataError: the model's images are not there, or have changed.
        UsageError: there is no such source.
        WriteError: the file cannot be written.
    """
    subject = examine(Path(run), images=images, source=source, mirror=mirror, seed=seed, progress=progress)
    file = RunFolder(subject.path).report if output is None else Path(output)
    made = []
    for done, make in enumerate(sections):
        steps_of(progress, "writing the report, sections", len(sections))(done)
        made.append(make(subject))
    page = environment().get_template("page.html.j2")
    text = page.render(
        header=header(subject),
        name=subject.path.absolute().name,
        sections=[section for section in made if section is not None],
        version=__version__,
    )
    write_text(file, text)
    return file
