"""Run and model folders, scored: `scores.json` and pictures are kept in the folder, and taken from there again."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corolla.data import select_rows, spread_rows
from corolla.data.sources import chosen_split
from corolla.errors import StaleError, UsageError
from corolla.evaluation.comparison import Entry
from corolla.evaluation.estimates import Estimates, estimate
from corolla.evaluation.material import Part, gather
from corolla.evaluation.reconstructions import extremes
from corolla.evaluation.record import FILE_NAME, SCORES, Scores
from corolla.evaluation.samples import TRAINING, check_features
from corolla.evaluation.scoring import Evaluated, evaluate
from corolla.files import write_text
from corolla.metrics.names import GROUPS, Group, parse_key
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, sheet
from corolla.progress import OnProgress
from corolla.trained import load
from corolla.trained.model_folder import ModelFolder
from corolla.trained.own_images import open_images

SAMPLES, IMAGES = 1024, 2048
PICTURES = "scores"

_LOG = logging.getLogger("corolla")


def evaluate_folder(
    path: Path,
    *,
    output: Path | None = None,
    split: str | None = None,
    groups: Sequence[Group] | None = None,
    priors: Sequence[str] | None = None,
    features: str | None = None,
    samples: int | None = None,
    images: int | None = None,
    seed: int = 0,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> tuple[Evaluated, list[Path]]:
    """Score the model of a run or model folder; returns what `evaluate` gives, and the files that were written.

    Scores and pictures go into the folder of the run or model, or into `output`. At most `images` of the split are
    taken, 2048 by default, and `samples`, 1024 by default, are drawn from each prior. `split`, `source` and `mirror`
    are as for `gather`, the rest as for `evaluate`; so are the errors, which come before images are drawn where a prior
    or feature is missing.
    """
    model, home = load(path), ModelFolder.find(path).home
    for name in priors or ():
        model.prior(name)
    if features is not None:
        check_features(features)
    material = gather(
        model,
        split=split,
        most=images or IMAGES,
        factors=groups is None or "factors" in groups,
        source=source,
        mirror=mirror,
        progress=progress,
    )
    found = evaluate(
        model,
        material,
        groups=groups,
        priors=priors,
        features=features,
        samples=samples or SAMPLES,
        seed=seed,
        progress=progress,
    )
    folder = output or home
    pictures = _write_pictures(folder / PICTURES, material.evaluation, found)
    SCORES.write(folder / FILE_NAME, found.scores)
    return found, [folder / FILE_NAME, *pictures]


def estimate_folder(
    path: Path,
    *,
    split: str | None = None,
    importance_samples: int = 100,
    count: int | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Estimates:
    """`estimate` of the model of a run or model folder on its own images: at most `count`, spread over a split.

    By default they are of the split that the model was evaluated on. Raises as `estimate` and `own_images`, and
    UsageError for an auto-encoder.
    """
    model = load(path)
    data, objective = model.config.data, model.config.objective
    if objective.auto_encoder:
        raise UsageError(
            f"{path}: an auto-encoder ({objective.name}) has no distribution over latents or images to estimate; "
            "train with another objective, such as vae"
        )
    cache = open_images(data, progress=progress)
    split = chosen_split(cache.splits, split or data.eval_split)
    rows = select_rows(cache.splits, split)
    rows = rows if count is None else spread_rows(rows, count)
    found = estimate(model.vae, cache.images, rows, importance_samples=importance_samples, seed=seed, progress=progress)
    return replace(found, source=data.source, split=split, seed=seed, likelihood=model.config.likelihood.name)


def scored(
    path: Path,
    *,
    groups: Sequence[Group] | None = None,
    samples: int | None = None,
    images: int | None = None,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> Entry:
    """A run or model with its scores, made by `evaluate_folder` where they are missing or not those that are asked for.

    What is not asked for is as in the scores that are there, or the run could not be compared with those that it was
    scored with.
    """
    model, folder = load(path), ModelFolder.find(path)
    before = Scores({})
    if folder.file(SCORES).is_file():
        before = SCORES.read(folder.file(SCORES))[0]
    names = [name for name in map(parse_key, before.scores) if name is not None]
    scored_groups = {name.kind.group for name in names}
    if before.scores:
        try:
            folder.read(SCORES, model.card.weights_sha256)
            of_all = images is not None and before.images == model.card.data.get("evaluation_images")
            enough = images in (None, before.images) or (of_all and before.images <= (images or 0))
            if scored_groups.issuperset(groups or ()) and samples in (None, before.samples) and enough:
                return Entry(str(folder.home), model.config, before)
        except StaleError as error:
            _LOG.warning("%s; scoring again", error.problem)
    drawn = [name for name in names if name.name == "kid"]
    variants = dict.fromkeys(name.variant for name in drawn if name.variant != TRAINING)
    found, _ = evaluate_folder(
        path,
        split=before.split or None,
        groups=groups and [group for group in GROUPS if group in groups or group in scored_groups],
        priors=[name for name in variants if model.has_prior(name)] or None,
        features=next((name.features for name in drawn), None),
        samples=samples or before.samples or None,
        images=images or before.images or None,
        seed=before.seed,
        source=source,
        mirror=mirror,
        progress=progress,
    )
    return Entry(str(folder.home), model.config, found.scores)


def _write_pictures(folder: Path, part: Part, found: Evaluated) -> list[Path]:
    """Write what there is of the images that were scored; returns the files. Raises WriteError."""
    written = []
    if found.returned is not None:
        psnr_db, rows, table = found.measures["psnr_db"], [], io.StringIO()
        for name, places in extremes(psnr_db).items():
            rows.append(Row(part.images[places], name))
            captions = [f"{value:.1f} dB" for value in psnr_db[places]]
            rows.append(Row(found.returned[places], "through the model", captions))
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["image", *found.measures])
        for key, *values in zip(part.keys, *found.measures.values(), strict=True):
            writer.writerow([key, *(f"{value:.6g}" for value in values)])
        written += [folder / "reconstructions.png", folder / "images.csv"]
        save_picture(written[0], sheet(rows))
        write_text(written[1], table.getvalue())
    if (closest := found.neighbours) is not None:  # below each sample: a copy would show
        rows = [Row(next(iter(found.samples.values()))[: len(closest)], "sample")]
        rows += [Row(closest[:, k], "closest in training" if k == 0 else "next") for k in range(closest.shape[1])]
        written.append(folder / "neighbours.png")
        save_picture(written[-1], sheet(rows))
    return written
