"""Run and model folders -> their comparison, and files: the table, and pictures of the same images through all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.data import select_rows, spread_rows
from corolla.errors import UsageError
from corolla.evaluation.comparison import Column, Comparison, Spread, compare, comparison_table
from corolla.evaluation.folders import scored
from corolla.evaluation.reconstructions import reconstruction
from corolla.evaluation.tables import in_order
from corolla.files import write_text
from corolla.metrics import udr
from corolla.metrics.names import Group
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, sheet
from corolla.progress import OnProgress
from corolla.trained import TrainedModel, load
from corolla.trained.own_images import own_images

SHOWN = 8
IMAGES, LEAST_IMAGES = 1024, 3

Notes = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""Rows of words above the scores, a text for each column, from the names of the columns' objectives."""


def compare_folders(
    paths: Sequence[Path],
    *,
    groups: Sequence[Group] | None = None,
    samples: int | None = None,
    images: int | None = None,
    force: bool = False,
    output: Path | None = None,
    notes: Notes | None = None,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> tuple[Comparison, list[Path]]:
    """Compare the models of run and model folders, scored first where need be; returns the files, too.

    Columns of several seeds get UDR (Duan et al. 2020), if they have a KL by which it tells latents that matter from
    those that do not, and at least three images. With `output`, `comparison.md`, `comparison.json`,
    `reconstructions.png` and `samples.png` are written there; the pictures only of models of one size. `source` and
    `mirror` say where the images are now, if they have moved. Raises as `scored` and `compare`, and WriteError.
    """

    def held_out(model: TrainedModel, count: int) -> NDArray[np.uint8]:
        cache = own_images(model, source=source, mirror=mirror)
        return np.asarray(cache.images[spread_rows(select_rows(cache.splits, model.config.data.eval_split), count)])

    entries = [
        scored(path, groups=groups, samples=samples, images=images, source=source, mirror=mirror, progress=progress)
        for path in paths
    ]
    by_name = {entry.name: entry for entry in entries}
    if len(by_name) < len(paths):
        raise UsageError("a run is named twice; name each once")
    found = compare(entries, force=force)
    columns = tuple(_with_agreement(column, held_out) for column in found.columns)
    present = {key for column in columns for key in column.scores}
    found = replace(found, columns=columns, keys=tuple(in_order(sorted(present))))
    if output is None:
        return found, []
    objectives = [by_name[column.members[0]].config.objective.name for column in columns]
    files = [output / name for name in ("comparison.md", "comparison.json", "reconstructions.png", "samples.png")]
    write_text(files[0], markdown(found, notes(objectives) if notes else {}))
    write_text(files[1], json.dumps(asdict(found), indent=2) + "\n")
    models = {column.name: load(Path(column.members[0])) for column in columns}
    if len({model.config.data.size for model in models.values()}) > 1:  # with force; they make no sheet
        return found, files[:2]
    originals = held_out(next(iter(models.values())), SHOWN)
    rows = [Row(originals, "original")]
    for name, model in models.items():
        made = reconstruction(model, originals)
        rows.append(Row(made.images, name, [f"{value:.1f} dB" for value in made.psnr_db]))
    save_picture(files[2], sheet(rows))
    save_picture(files[3], sheet([Row(model.sample(SHOWN, seed=0), name) for name, model in models.items()]))
    return found, files


def _with_agreement(column: Column, held_out: Callable[[TrainedModel, int], NDArray[np.uint8]]) -> Column:
    if len(column.members) < 2:
        return column
    models = [load(Path(name)) for name in column.members]
    if models[0].config.objective.auto_encoder:
        return column
    images = held_out(models[0], IMAGES)
    if len(images) < LEAST_IMAGES:
        return column
    posteriors = [model.posterior(images) for model in models]
    values = udr([q.mean.numpy() for q in posteriors], [q.kl_per_latent().mean(0).numpy() for q in posteriors])
    return replace(column, scores={**column.scores, "udr": Spread.of(values.tolist())})


def markdown(found: Comparison, notes: Mapping[str, Sequence[str]]) -> str:
    """The table of a comparison in Markdown, its best values marked with a star, and the remarks below it."""
    header, rows = comparison_table(found)
    rule = "|" + "---|" * len(header)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    body = [*([name, *texts] for name, texts in notes.items()), *rows]
    remarks = [text for remark in found.remarks for text in ("", remark)]
    return "\n".join([line(header), rule, *map(line, body), *remarks]) + "\n"
