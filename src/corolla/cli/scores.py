"""Commands that measure: score a model, and put scored models side by side."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from corolla.cli.inputs import listed
from corolla.cli.output import out
from corolla.cli.train import Flags, build_config
from corolla.errors import CorollaError, UsageError, command

if TYPE_CHECKING:
    from corolla.evaluation import Group

_LOG = logging.getLogger("corolla")

SAMPLES, IMAGES = 1024, 2048
_LEAST = 16
_GROUPS: dict[str, Group] = {
    "images": "images",
    "samples": "generation",
    "latents": "latent space",
    "factors": "disentanglement",
}


def evaluate(
    model: Path,
    /,
    *,
    split: str | None = None,
    only: str | None = None,
    priors: str | None = None,
    features: str | None = None,
    samples: int = SAMPLES,
    images: int = IMAGES,
    seed: int = 0,
    source: str | None = None,
    mirror: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Score a model: reconstructions, samples, codes, and disentanglement where the factors are known.

    Prints a table, and writes scores.json; in the folder scores, the best and worst reconstructions, a row for each
    image, and samples with the training images closest to them. The report of a run is written anew, with the scores.

    Args:
        model: Run folder or model folder.
        split: Splits of the model's images that it was not trained on, joined by +; by default the evaluation split.
        only: The groups to score, joined by commas: images, samples, latents, factors; by default all
            that the images suffice for.
        priors: What to draw samples from, joined by commas; by default standard and the priors that are fitted.
        features: In what samples are compared with images: lite0 (extra perceptual), pixels, or pca and a number.
        samples: How many to draw from each prior.
        images: At most so many images of the split.
        seed: Fixes what is drawn.
        source: Where the images are now, if they have moved.
        mirror: Folder or URL that holds the files of the source.
        output: The folder to write into; by default that of the run or model.
    """
    groups = _groups(only)
    _check_counts(samples, images)
    names = None if priors is None else listed(priors, "--priors", str)
    from corolla.evaluation import SCORES
    from corolla.evaluation.folders import evaluate_folder
    from corolla.evaluation.tables import score_lines
    from corolla.report import write_report
    from corolla.trained.model_folder import ModelFolder
    from corolla.trained.run_folder import RunFolder

    with out.progress() as progress:
        found, written = evaluate_folder(
            model,
            output=output,
            split=split,
            groups=groups,
            priors=names,
            features=features,
            samples=samples,
            images=images,
            seed=seed,
            source=source,
            mirror=mirror,
            progress=progress,
        )
    home = ModelFolder.find(model).home
    if output is None and RunFolder(home).exists:
        try:
            with out.progress() as progress:
                written.append(write_report(home, source=source, mirror=mirror, progress=progress))
        except CorollaError as error:  # the scores took long, and are to be seen
            reason = error.message("--{}".format)
            _LOG.warning("%s; the report stays as it was, `%s` makes up for it", reason, command("report", home))
    noun = f"{found.scores.images:,} images of {found.scores.split} ({found.scores.data['source']})"
    drawn = f", {found.scores.samples:,} samples from each prior" if found.scores.samples else ""
    title = f"{model}: {noun}{drawn}, seed {seed}; with 95% intervals where there are any"
    out.lines([title, *score_lines(found.scores)], **json.loads(SCORES.to_json(found.scores)))
    out.wrote(*written)


def _check_counts(samples: int | None, images: int | None) -> None:
    for name, value in (("--samples", samples), ("--images", images)):
        if value is not None and value < _LEAST:
            raise UsageError(f"{name} {value}: give at least {_LEAST}; distances between sets of images need them")


def _groups(only: str | None) -> list[Group] | None:
    if only is None:
        return None
    names = listed(only, "--only", str)
    for name in names:
        if name not in _GROUPS:
            raise UsageError(f"--only {only}: {name!r} is no group of scores; there are {', '.join(_GROUPS)}")
    return [_GROUPS[name] for name in names]


def compare(  # noqa: D417, the flags describe themselves
    *runs: Path,
    force: bool = False,
    family: bool = False,
    only: str | None = None,
    samples: int | None = None,
    images: int | None = None,
    seeds: str = "1",
    preset: str | None = None,
    config: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    flags: Flags | None = None,
) -> None:
    """Put scored models side by side: the median over seeds and the spread, and what differs in their configurations.

    Runs that `corolla evaluate` has not scored yet are scored now; --only, --samples and --images say how. --source and
    --mirror say where the images are now, if they have moved. With --family, an auto-encoder, a VAE and a β-VAE are
    trained on the same images with the same network, scored and compared; the settings are those of `corolla train`.
    The same command again goes on where it was stopped.

    Args:
        runs: Run folders or model folders.
        force: Compare them although they were scored on different images.
        only: The groups to score, joined by commas: images, samples, latents, factors; by default all
            that the images suffice for.
        samples: How many to draw from each prior.
        images: At most so many images of the split.
        family: Train the auto-encoder, the VAE and the β-VAE, and compare these with the runs.
        seeds: With --family, a training of each for every seed, joined by commas.
        preset: With --family, start from a preset.
        config: With --family, start from a YAML file.
        set_: With --family, change any setting.
        output: A folder for the table as comparison.md and comparison.json, and for pictures of the same images through
            each model, and of samples; with --family also for the runs, and runs/family by default.
    """
    flags = flags or Flags()
    moved = {} if family else {name: flags.given().get(name) for name in ("source", "mirror")}
    if not family and (preset or config or set_ or flags.given().keys() - moved.keys() or seeds != "1"):
        raise UsageError("settings are for the models that --family trains; without it, give runs alone")
    for name, remedy in (("seed", "give --seeds 1,2,3"), ("objective", "it trains ae, vae and beta_vae")):
        if name in flags.given():
            raise UsageError(f"--{name} is not for --family: {remedy}")
    groups = _groups(only)
    _check_counts(samples, images)
    paths = list(runs)
    if family:
        from corolla.sweeps.family import train_family

        output = output or Path("runs") / "family"
        base = build_config(preset, config, flags, set_)
        trained = train_family(base, listed(seeds, "--seeds", int), output, progress=out.training())
        paths = [*(run for runs_of_one in trained.values() for run in runs_of_one), *paths]
    from corolla.evaluation.comparison import compare as compared
    from corolla.evaluation.comparison import comparison_lines
    from corolla.evaluation.comparison_files import with_agreement, write_comparison
    from corolla.evaluation.folders import scored

    with out.progress() as progress:
        entries = [
            scored(path, groups=groups, samples=samples, images=images, progress=progress, **moved) for path in paths
        ]
    places = {entry.name: Path(entry.name) for entry in entries}
    if len(places) < len(paths):
        raise UsageError("a run is named twice; name each once")
    result = with_agreement(compared(entries, force=force), places, **moved)
    written = []
    if output is not None:
        notes = {}
        if family:
            from corolla.sweeps.family import notes as in_words

            names = {entry.name: entry.config.objective.name for entry in entries}
            notes = in_words([names[column.members[0]] for column in result.columns])
        written = write_comparison(output, result, places, notes, **moved)
    out.lines(comparison_lines(result), **asdict(result))
    out.wrote(*written)
