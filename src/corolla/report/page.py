"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from corolla import __version__
from corolla.data import ImageCache
from corolla.pictures.grids import write_file
from corolla.progress import Progress, steps_of
from corolla.report import factors, latent_map, latents, numbers, pictures, repeat, words
from corolla.report.elements import document
from corolla.report.subject import Subject, examine
from corolla.trained.run_folder import RunFolder

__all__ = ["write_report"]

SECTIONS: Sequence[Callable[[Subject], str]] = (
    numbers.findings,
    numbers.curves,
    pictures.reconstructions,
    pictures.samples,
    latents.latents,
    latent_map.latent_map,
    factors.factors,
    numbers.scores,
    repeat.repeat,
)
"""In their order; one that has nothing to show for a run gives an empty text."""


def write_report(
    run: Path | str,
    *,
    output: Path | str | None = None,
    images: ImageCache | None = None,
    source: str | None = None,
    mirror: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write the report of a run, with the scores of `corolla evaluate` if they are there; returns the file.

    Args:
        run: the run folder, or a model folder.
        output: the HTML file; by default `report.html` in the run folder.
        images: the model's own images, where they are at hand; otherwise they are found by its configuration.
        source: where the images are now, if they have moved.
        mirror: folder or URL that holds the files of the source.
        seed: fixes what is drawn.
        progress: called while images are read and sections written.

    Raises:
        ModelError: there is no model, or something in the folder is damaged.
        DataError: the model's images are not there, or have changed.
        UsageError: there is no such source.
        CorollaError: the file cannot be written.
    """
    file = RunFolder(Path(run)).report if output is None else Path(output)
    subject = examine(Path(run), images=images, source=source, mirror=mirror, seed=seed, progress=progress)
    title = words.title(subject)
    sections = []
    for done, write in enumerate(SECTIONS):
        steps_of(progress, "writing the report, sections", len(SECTIONS))(done)
        sections.append(write(subject))
    name = Path(run).absolute().name
    opening = (
        f'<header>\n<p class="kicker">Corolla · {escape(name)}</p>\n<h1>{escape(title)}</h1>\n'
        f'<div class="hero"><div>{words.lead(subject)}{words.facts(subject)}</div>{pictures.walk(subject)}</div>\n'
        f"{_contents(sections)}</header>\n"
    )
    footer = f"<footer>Made by Corolla {escape(__version__)}. This page needs no network.</footer>\n"
    write_file(file, document(f"{title} · {name}", f"{opening}<main>\n{''.join(sections)}</main>\n{footer}").encode())
    return file


def _contents(sections: list[str]) -> str:
    """Links to the sections, by the anchors and headings that `elements.section` gave them."""
    links = (re.match(r'<section id="([a-z]+)">\n<h2>(.*?)</h2>', text) for text in sections if text)
    entries = "".join(f'<li><a href="#{link[1]}">{link[2]}</a></li>' for link in links if link)
    return f'<nav aria-label="Contents"><ul>{entries}</ul></nav>\n'
