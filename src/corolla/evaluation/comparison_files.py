"""A comparison and its models -> whether seeds found the same latents, and files: tables and pictures of all models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from corolla.data import select_rows, spread_rows
from corolla.evaluation.comparison import Column, Comparison, Spread, comparison_table
from corolla.evaluation.reconstructions import reconstruction
from corolla.evaluation.tables import in_order
from corolla.files import write_text
from corolla.metrics import udr
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, sheet
from corolla.trained import TrainedModel, load
from corolla.trained.own_images import own_images

SHOWN = 8
IMAGES, LEAST_IMAGES = 1024, 3


def with_agreement(
    found: Comparison, paths: Mapping[str, Path], *, source: str | None = None, mirror: str | None = None
) -> Comparison:
    """The comparison with UDR (Duan et al. 2020) for each column of several seeds; others are left as they are.

    Auto-encoders have no KL by which it tells latents that matter from those that do not, so they get none; nor does it
    say anything of fewer than three images.
    """
    columns = tuple(_with_agreement(column, paths, source, mirror) for column in found.columns)
    present = {key for column in columns for key in column.scores}
    return replace(found, columns=columns, keys=tuple(in_order(sorted(present))))


def _with_agreement(column: Column, paths: Mapping[str, Path], source: str | None, mirror: str | None) -> Column:
    if len(column.members) < 2:
        return column
    models = [load(paths[name]) for name in column.members]
    config = models[0].config
    if config.objective.auto_encoder:
        return column
    cache = own_images(models[0], source=source, mirror=mirror)
    images = np.asarray(cache.images[spread_rows(select_rows(cache.splits, config.data.eval_split), IMAGES)])
    if len(images) < LEAST_IMAGES:
        return column
    posteriors = [model.posterior(images) for model in models]
    values = udr([q.mean.numpy() for q in posteriors], [q.kl_per_latent().mean(0).numpy() for q in posteriors]).values
    agreement = Spread(float(np.median(values)), float(values.min()), float(values.max()), len(values))
    return replace(column, scores={**column.scores, "udr": agreement})


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

    `paths` are the models by name; `notes` are more rows for the Markdown table, above the scores: a text a column.
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
