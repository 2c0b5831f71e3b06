"""Run and model folders, scored: `scores.json` and pictures are kept in the folder, and taken from there again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from corolla.errors import StaleError
from corolla.evaluation.comparison import Entry
from corolla.evaluation.figures import write_pictures
from corolla.evaluation.material import gather
from corolla.evaluation.record import FILE_NAME, SCORES, save_scores
from corolla.evaluation.samples import check_features
from corolla.evaluation.scoring import Evaluated, evaluate
from corolla.metrics.names import Group
from corolla.progress import OnProgress
from corolla.trained import load
from corolla.trained.model_folder import ModelFolder

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

    Args:
        path: Run folder or model folder.
        output: The folder for `scores.json` and pictures; by default that of the run or model.
        split: As for `gather`.
        groups: As for `evaluate`, like `priors`, `features` and `seed`.
        priors: To draw from.
        features: In which samples are compared with images.
        samples: How many to draw from each prior; by default 1024.
        images: At most so many images of the split; by default 2048.
        seed: Fixes what is drawn.
        source: Where the images are now, if they have moved.
        mirror: Folder or URL that holds the files of the source.
        progress: Called with the title of what is done next, and while images are read.

    Raises:
        As `evaluate`, before images are drawn where a prior or feature is missing.
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
        factors=groups is None or "disentanglement" in groups,
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
    first = next(iter(found.samples.values()), None)
    pictures = write_pictures(folder / PICTURES, material, found.returned, first, found.neighbours)
    save_scores(folder / FILE_NAME, found.scores)
    return found, [folder / FILE_NAME, *pictures]


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
    """A run or model with its scores, made by `evaluate_folder` if they are missing or those of other weights."""
    model, folder, split = load(path), ModelFolder.find(path), None
    if folder.file(SCORES).is_file():
        try:
            scores, _ = folder.read(SCORES, model.card.weights_sha256)
            return Entry(str(folder.home), model.config, scores)
        except StaleError as error:
            _LOG.warning("%s; scoring again", error.problem)
        # As before, or the run could not be compared with those that it was scored with.
        scores = SCORES.read(folder.file(SCORES))[0]
        split, images, samples = scores.split or None, images or scores.images, samples or scores.samples
    found, _ = evaluate_folder(
        path,
        split=split,
        groups=groups,
        samples=samples,
        images=images,
        source=source,
        mirror=mirror,
        progress=progress,
    )
    return Entry(str(folder.home), model.config, found.scores)
