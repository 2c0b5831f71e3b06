"""The command that trains. Every setting of a configuration can be reached: the common ones by a flag, all by --set."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from corolla.errors import UsageError, command

if TYPE_CHECKING:
    from corolla.config import Config

_IMAGES = Group("Images", sort_key=2)
_MODEL = Group("Model", sort_key=3)
_TRAINING = Group("Training", sort_key=4)
_MACHINE = Group("Machine", sort_key=5)


@Parameter(name="*")
@dataclass(frozen=True)
class Flags:
    """The settings that have a flag of their own; None leaves the value of the preset or file."""

    source: Annotated[
        str | None,
        Parameter(
            group=_IMAGES,
            help="florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz or a set such as dsprites[:COUNT].",
        ),
    ] = None
    mirror: Annotated[
        str | None, Parameter(group=_IMAGES, help="Folder or URL that holds the files of a downloaded source.")
    ] = None
    recipe: Annotated[str | None, Parameter(group=_IMAGES, help="From picture to pixels: fit, crop or enhance.")] = None
    size: Annotated[str | None, Parameter(group=_IMAGES, help="Pixels: 64, or 48x64 for height x width.")] = None
    train_split: Annotated[
        str | None, Parameter(group=_IMAGES, help="Splits to train on, joined by +: train+test.")
    ] = None
    eval_split: Annotated[str | None, Parameter(group=_IMAGES, help="Splits to evaluate on, joined by +.")] = None

    network: Annotated[str | None, Parameter(group=_MODEL, help="notebook, burgess or resnet.")] = None
    latent_dim: Annotated[int | None, Parameter(group=_MODEL, help="Number of latents.")] = None
    likelihood: Annotated[
        str | None,
        Parameter(group=_MODEL, help="bernoulli, continuous_bernoulli, gaussian, laplace or discretised_logistic."),
    ] = None
    sigma: Annotated[
        str | None,
        Parameter(
            group=_MODEL,
            help="Scale of the last three: a number on the [0, 1] pixel scale, calibrated (not discretised_logistic) "
            "or learned.",
        ),
    ] = None
    objective: Annotated[
        str | None,
        Parameter(
            group=_MODEL,
            help="ae, dae, vae, beta_vae, capacity_vae, free_bits, control_vae, beta_tcvae, factor_vae, dip_vae_i, "
            "dip_vae_ii or info_vae.",
        ),
    ] = None
    beta: Annotated[
        float | None, Parameter(group=_MODEL, help="Of beta_vae: weight of the KL; of beta_tcvae: of the correlation.")
    ] = None
    target_nats: Annotated[
        float | None, Parameter(group=_MODEL, help="Of control_vae: the KL that is wanted, in nats per image.")
    ] = None

    epochs: Annotated[int | None, Parameter(group=_TRAINING, help="Passes over the training images.")] = None
    max_steps: Annotated[int | None, Parameter(group=_TRAINING, help="Optimiser steps; overrides epochs.")] = None
    batch_size: Annotated[int | None, Parameter(group=_TRAINING, help="Images in a step.")] = None
    learning_rate: Annotated[float | None, Parameter(group=_TRAINING, help="Of the optimiser, at its peak.")] = None
    seed: Annotated[int | None, Parameter(group=_TRAINING, help="Fixes everything random.")] = None
    checkpoint_every: Annotated[int | None, Parameter(group=_TRAINING, help="Steps between checkpoints.")] = None

    precision: Annotated[str | None, Parameter(group=_MACHINE, help="auto, 32-true, bf16-mixed or 16-mixed.")] = None
    accelerator: Annotated[str | None, Parameter(group=_MACHINE, help="auto, cpu, gpu or mps.")] = None
    devices: Annotated[str | None, Parameter(group=_MACHINE, help="How many of them, or auto.")] = None
    num_nodes: Annotated[int | None, Parameter(group=_MACHINE, help="How many machines.")] = None
    threads: Annotated[int | None, Parameter(group=_MACHINE, help="CPU threads.")] = None

    def given(self) -> dict[str, Any]:
        """The flags that were used, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


_DATA_SETTINGS = ("source", "mirror", "recipe", "size", "train_split", "eval_split")
_OTHER_SETTINGS = {
    "network": "network.name",
    "latent_dim": "network.latent_dim",
    "likelihood": "likelihood.name",
    "sigma": "likelihood.sigma",
    "objective": "objective.name",
    "beta": "objective.beta",
    "target_nats": "objective.target_nats",
    "seed": "seed",
}
SETTINGS = {
    field.name: f"data.{field.name}"
    if field.name in _DATA_SETTINGS
    else _OTHER_SETTINGS.get(field.name, f"training.{field.name}")
    for field in fields(Flags)
}
"""Where each flag lives in the configuration."""


def train(  # noqa: D417, the flags describe themselves
    *,
    preset: str | None = None,
    config: Path | None = None,
    run: Path | None = None,
    force: bool = False,
    resume: Path | None = None,
    dry_run: bool = False,
    report: Annotated[bool, Parameter(name="--report", negative="--no-report")] = True,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    flags: Flags | None = None,
) -> None:
    """Train a model, and leave a run folder.

    A run starts from a preset, a YAML file or the defaults; flags change single settings.

    Args:
        preset: Start from a preset; `corolla presets` lists them.
        config: Start from a YAML file, such as the config.yaml of a run.
        run: The run folder; by default a new one in runs/.
        force: Replace the run folder if it exists.
        resume: Go on with this run, which was stopped or killed.
        report: Write the page about the run at its end: report.html in the run folder.
        dry_run: Show the whole configuration and the model's size; train nothing.
        set_: Change any setting, e.g. --set training.ema_decay=0.99; can be given several times.
    """
    flags = flags or Flags()
    if resume is not None:
        others = {"preset": preset, "config": config, "run": run, "force": force, "dry_run": dry_run, "set": set_}
        _refuse_beside_resume(flags.given() | {name: value for name, value in others.items() if value})
        from corolla.progress import ProgressDisplay
        from corolla.training import resume as resume_run

        resume_run(resume, progress=ProgressDisplay("training"))
        _finish(resume, report)
        return
    if preset is not None and config is not None:
        raise UsageError("--preset and --config both say where to start; give one of them")
    resolved = build_config(preset, config, flags, set_)
    from corolla.training import fit, resolve

    if dry_run:
        from corolla.models.vae import parameter_count

        resolved = resolve(resolved)
        print(f"# {parameter_count(resolved):,} parameters; nothing was trained")
        print(resolved.to_yaml(), end="")
        return
    from corolla.progress import ProgressDisplay

    model = fit(resolved, run, force=force, progress=ProgressDisplay("training"))
    assert model.path is not None
    _finish(model.path, report)


def build_config(preset_name: str | None, file: Path | None, flags: Flags, changes: tuple[str, ...]) -> Config:
    """The configuration of a command line: a preset, a file or the defaults, then the flags, then --set."""
    from corolla.config import Config, preset

    if preset_name is not None:
        config = preset(preset_name)
    elif file is not None:
        config = Config.from_yaml(file)
    else:
        config = Config()
    given = {SETTINGS[name]: value for name, value in flags.given().items()}
    for name in ("likelihood.sigma", "training.devices"):
        if name in given:
            given[name] = _parse(given[name])
    return config.updated(given | dict(_split(change) for change in changes))


def _split(change: str) -> tuple[str, Any]:
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {change}: write a setting and its value, such as training.ema_decay=0.99")
    return name.strip(), _parse(text, where=f"--set {change}")


def _parse(text: str, where: str = "") -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"{where or text}: the value is not YAML") from None


def _refuse_beside_resume(given: dict[str, Any]) -> None:
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--resume goes on with the run's own settings; leave out {names}")


def _finish(run: Path, report: bool) -> None:
    """Write the report, where it is wanted and not there yet, and say what can be done next."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # one of several processes speaks
    from corolla.cli.info import describe, summary_lines
    from corolla.cli.report import write_or_warn
    from corolla.trained.run_folder import RunFolder

    if report and not RunFolder(run).report.is_file():
        write_or_warn(run)

    print(f"trained: {run}")
    for line in summary_lines(describe(run)):
        print(f"  {line}")
    print("next:")
    for name in ("info", "sample", "reconstruct", "traverse", "interpolate"):
        print(f"  {command(name, run)}")
