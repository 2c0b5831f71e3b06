"""Commands that measure: score a model, put scored models side by side, and estimate how likely images are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from corolla.cli.info import write_or_warn
from corolla.cli.inputs import MaybeOutput, Model, OwnMirror, OwnSource, listed
from corolla.cli.output import out
from corolla.cli.train import Flags, build_config
from corolla.errors import UsageError

if TYPE_CHECKING:
    from corolla.metrics.names import Group

SAMPLES, IMAGES = 1024, 2048
_LEAST = 16

_GROUPS = "images, samples, latents, factors; by default all that the images suffice for"
Only = Annotated[str | None, Parameter(help=f"The groups to score, joined by commas: {_GROUPS}.")]
Samples = Annotated[int | None, Parameter(help="How many to draw from each prior.")]
Images = Annotated[int | None, Parameter(help="At most this many images of the split.")]


def evaluate(  # noqa: D417, the shared flags describe themselves
    model: Model,
    /,
    *,
    split: str | None = None,
    only: Only = None,
    priors: str | None = None,
    features: str | None = None,
    samples: Samples = SAMPLES,
    images: Images = IMAGES,
    seed: int = 0,
    source: OwnSource = None,
    mirror: OwnMirror = None,
    output: MaybeOutput = None,
) -> None:
    """Score a model: reconstructions, samples, codes, and disentanglement where the factors are known.

    Prints a table, and writes scores.json; in the folder scores, the best and worst reconstructions, a row for each
    image, and samples with the training images closest to them. The report of a run is written again, with the scores.

    Args:
        split: Splits of the model's images that it was not trained on, joined by +; by default the evaluation split.
        priors: What to draw samples from, joined by commas; by default standard and the priors that are fitted.
        features: In what samples are compared with images: lite0 (extra perceptual), pixels, or pca and a number.
        seed: Fixes what is drawn.
        output: The folder to write into; by default that of the run or model.
    """
    groups = _groups(only)
    _check_counts(samples, images)
    names = None if priors is None else listed(priors, "--priors", str)
    from corolla.evaluation import SCORES, evaluate_folder
    from corolla.evaluation.tables import score_lines
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
        written += write_or_warn(home, source=source, mirror=mirror)
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
    from corolla.metrics.names import check_groups

    return check_groups(listed(only, "--only", str))


def compare(  # noqa: D417, the flags describe themselves
    *runs: Path,
    force: bool = False,
    family: bool = False,
    only: Only = None,
    samples: Samples = None,
    images: Images = None,
    seeds: str = "1",
    preset: str | None = None,
    config: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    output: MaybeOutput = None,
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
    paths, notes = list(runs), None
    if family:
        from corolla.sweeps.family import notes as family_notes
        from corolla.sweeps.family import train_family

        output, notes = output or Path("runs") / "family", family_notes
        base = build_config(preset, config, flags, set_)
        trained = train_family(base, listed(seeds, "--seeds", int), output, progress=out.training())
        paths = [*(run for runs_of_one in trained.values() for run in runs_of_one), *paths]
    from corolla.evaluation import compare_folders
    from corolla.evaluation.comparison import comparison_lines

    with out.progress() as progress:
        found, written = compare_folders(
            paths,
            groups=groups,
            samples=samples,
            images=images,
            force=force,
            output=output,
            notes=notes,
            progress=progress,
            **moved,
        )
    out.lines(comparison_lines(found), **asdict(found))
    out.wrote(*written)


def estimate(  # noqa: D417, the shared flags describe themselves
    model: Model,
    /,
    *,
    split: str | None = None,
    importance_samples: int = 100,
    count: int | None = None,
    seed: int = 0,
) -> None:
    """Estimate the likelihood of images, and what the latents know about them and about each other.

    Args:
        split: Splits of the model's images, joined by +; by default those it was evaluated on.
        importance_samples: Draws for each image: more give a tighter bound on the likelihood, and take longer.
        count: At most this many images, spread over the split.
        seed: Fixes the draws.
    """
    if importance_samples < 1:
        raise UsageError(f"--importance-samples {importance_samples}: give at least 1")
    if count is not None and count < 2:
        raise UsageError(f"--count {count}: give at least 2; averages need them")
    from corolla.evaluation import estimate_folder
    from corolla.evaluation.tables import estimate_lines

    with out.progress() as progress:
        found = estimate_folder(
            model, split=split, importance_samples=importance_samples, count=count, seed=seed, progress=progress
        )
    lines = estimate_lines(found)
    counts = {"active_latents": found.active_latents, "active_units": found.active_units}
    out.lines([f"{model}: {lines[0]}", *lines[1:]], path=model, **asdict(found), **counts)
