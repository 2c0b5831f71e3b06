"""A comparison -> files: the table as Markdown and JSON, and pictures of the same images through each model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from corolla.data import select_rows, spread_rows
from corolla.evaluation.comparison import Comparison, comparison_table
from corolla.evaluation.reconstructions import reconstruction
from corolla.files import write_text
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, sheet
from corolla.trained import TrainedModel, load
from corolla.trained.own_images import own_images

SHOWN = 8


def write_comparison(
    folder: Path,
    found: Comparison,
    paths: Mapping[str, Path],
    notes: Mapping[str, Sequence[str]] | None = None,
    *,
    source: str | None = None,
    mirror: str | None = None,
) -> list[Path]:
    """Write `comparison.md`, `comparison.json`, `reconstructions.png` and `samples.png`; returns the files.

    Args:
        folder: where to.
        found: the comparison.
        paths: the model of each member, by its name.
        notes: more rows for the Markdown table, above the scores: a text for each column.
        source: where the images are now, if they have moved.
        mirror: folder or URL that holds the files of the source.

    Raises:
        DataError: the images are not there, or have changed.
        WriteError: a file cannot be written.
    """
    files = [folder / name for name in ("comparison.md", "comparison.json", "reconstructions.png", "samples.png")]
    write_text(files[0], markdown(found, notes or {}))
    write_text(files[1], json.dumps(asdict(found), indent=2) + "\n")
    models = {column.name: load(paths[column.members[0]]) for column in found.columns}
    same_size = len({model.config.data.size for model in models.values()}) == 1
    if not same_size:  # under --force; pictures of several sizes make no sheet
        return files[:2]
    save_picture(files[2], sheet(_through(models, source, mirror)))
    save_picture(files[3], sheet([Row(model.sample(SHOWN, seed=0), name) for name, model in models.items()]))
    return files


def _through(models: Mapping[str, TrainedModel], source: str | None, mirror: str | None) -> list[Row]:
    first = next(iter(models.values()))
    cache = own_images(first, source=source, mirror=mirror)
    rows = spread_rows(select_rows(cache.splits, first.config.data.eval_split), SHOWN)
    originals = np.asarray(cache.images[rows])
    rows_of = [Row(originals, "original")]
    for name, model in models.items():
        made = reconstruction(model, originals)
        rows_of.append(Row(made.images, name, [f"{value:.1f} dB" for value in made.psnr_db]))
    return rows_of


def markdown(found: Comparison, notes: Mapping[str, Sequence[str]]) -> str:
    """The table of a comparison in Markdown, its best values marked with a star, and the remarks below it."""
    header, rows = comparison_table(found)
    told = [[name, *texts] for name, texts in notes.items()]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "---|" * len(header)
    remarks = [text for remark in found.remarks for text in ("", remark)]
    return "\n".join([line(header), rule, *map(line, told), *map(line, rows), *remarks]) + "\n"
