"""The command that trains. Every setting of a configuration can be reached: the common ones by a flag, all by --set."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from corolla.cli.inputs import parse_value, split_setting
from corolla.cli.output import out
from corolla.config.describing import describe_setting
from corolla.errors import UsageError, command

if TYPE_CHECKING:
    from corolla.config import Config

_IMAGES = Group("Images", sort_key=2)
_MODEL = Group("Model", sort_key=3)
_TRAINING = Group("Training", sort_key=4)
_MACHINE = Group("Machine", sort_key=5)

SETTINGS = {
    **{name: f"data.{name}" for name in ("source", "mirror", "recipe", "size", "train_split", "eval_split")},
    **{name: f"{name}.name" for name in ("network", "likelihood", "objective")},
    **{"latent_dim": "network.latent_dim", "sigma": "likelihood.sigma"},
    **{name: f"objective.{name}" for name in ("beta", "target_nats")},
    **{name: f"training.{name}" for name in ("epochs", "max_steps", "batch_size", "learning_rate")},
    "seed": "seed",
    **{name: f"training.{name}" for name in ("checkpoint_every", "precision", "accelerator")},
    **{name: f"training.{name}" for name in ("devices", "num_nodes", "threads")},
}
"""The flags that settings have, and where each lives in the configuration."""


def _flag(name: str, group: Group) -> Parameter:
    text = describe_setting(SETTINGS[name])
    return Parameter(group=group, help=f"{text[0].upper()}{text[1:]}.")


@Parameter(name="*")
@dataclass(frozen=True)
class Flags:
    """The settings that have a flag of their own, as text; None leaves the value of the preset or file."""

    source: Annotated[str | None, _flag("source", _IMAGES)] = None
    mirror: Annotated[str | None, _flag("mirror", _IMAGES)] = None
    recipe: Annotated[str | None, _flag("recipe", _IMAGES)] = None
    size: Annotated[str | None, _flag("size", _IMAGES)] = None
    train_split: Annotated[str | None, _flag("train_split", _IMAGES)] = None
    eval_split: Annotated[str | None, _flag("eval_split", _IMAGES)] = None
    network: Annotated[str | None, _flag("network", _MODEL)] = None
    latent_dim: Annotated[str | None, _flag("latent_dim", _MODEL)] = None
    likelihood: Annotated[str | None, _flag("likelihood", _MODEL)] = None
    sigma: Annotated[str | None, _flag("sigma", _MODEL)] = None
    objective: Annotated[str | None, _flag("objective", _MODEL)] = None
    beta: Annotated[str | None, _flag("beta", _MODEL)] = None
    target_nats: Annotated[str | None, _flag("target_nats", _MODEL)] = None
    epochs: Annotated[str | None, _flag("epochs", _TRAINING)] = None
    max_steps: Annotated[str | None, _flag("max_steps", _TRAINING)] = None
    batch_size: Annotated[str | None, _flag("batch_size", _TRAINING)] = None
    learning_rate: Annotated[str | None, _flag("learning_rate", _TRAINING)] = None
    seed: Annotated[str | None, _flag("seed", _TRAINING)] = None
    checkpoint_every: Annotated[str | None, _flag("checkpoint_every", _TRAINING)] = None
    precision: Annotated[str | None, _flag("precision", _MACHINE)] = None
    accelerator: Annotated[str | None, _flag("accelerator", _MACHINE)] = None
    devices: Annotated[str | None, _flag("devices", _MACHINE)] = None
    num_nodes: Annotated[str | None, _flag("num_nodes", _MACHINE)] = None
    threads: Annotated[str | None, _flag("threads", _MACHINE)] = None

    def given(self) -> dict[str, str]:
        """The flags that were used, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


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
        refuse_beside_resume(flags, **others)
        from corolla.training import resume as resume_run

        resume_run(resume, progress=out.training())
        _finish(resume, report)
        return
    resolved = build_config(preset, config, flags, set_)
    from corolla.training import fit, resolve

    if dry_run:
        from corolla.models.vae import parameter_count

        resolved = resolve(resolved)
        parameters = parameter_count(resolved)
        lines = [f"# {parameters:,} parameters; nothing was trained", resolved.to_yaml().rstrip("\n")]
        out.lines(lines, parameters=parameters, config=resolved.model_dump(mode="json"))
        return
    model = fit(resolved, run, force=force, progress=out.training())
    assert model.path is not None
    _finish(model.path, report)


def build_config(preset_name: str | None, file: Path | None, flags: Flags, changes: tuple[str, ...]) -> Config:
    """The configuration of a command line: a preset, a file or the defaults, then the flags, then --set."""
    from corolla.config import Config, preset

    if preset_name is not None and file is not None:
        raise UsageError("--preset and --config both say where to start; give one of them")
    if preset_name is not None:
        config = preset(preset_name)
    elif file is not None:
        config = Config.from_yaml(file)
    else:
        config = Config()
    given: dict[str, Any] = {SETTINGS[name]: value for name, value in flags.given().items()}
    for name in ("likelihood.sigma", "training.devices"):
        if name in given:
            given[name] = parse_value(given[name])
    return config.updated(given | dict(split_setting(change) for change in changes))


def refuse_beside_resume(flags: Flags, **others: Any) -> None:
    """Raise UsageError if anything is given beside --resume."""
    if given := [*flags.given(), *(name for name, value in others.items() if value)]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--resume goes on with the settings that are there; leave out {names}")


def _finish(run: Path, report: bool) -> None:
    """Write the report, where it is wanted and not there yet, and say what can be done next."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # one of several processes speaks
    from corolla.cli.info import summary_lines
    from corolla.cli.report import write_or_warn
    from corolla.report.facts import describe
    from corolla.trained.run_folder import RunFolder

    if report and not RunFolder(run).report.is_file():
        write_or_warn(run)

    facts = describe(run)
    uses = ("info", "sample", "reconstruct", "traverse", "interpolate")
    lines = [f"trained: {run}", *(f"  {line}" for line in summary_lines(facts))]
    out.done([*lines, "next:", *(f"  {command(name, run)}" for name in uses)], **asdict(facts))
