"""The commands that train. Every setting of a configuration can be reached: the common ones by a flag, all by --set."""

from __future__ import annotations

import os
from dataclasses import asdict, make_dataclass
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from corolla.cli.inputs import ConfigFile, Output, Preset, parse_value, split_setting
from corolla.cli.output import out
from corolla.config.describing import describe_setting
from corolla.errors import UsageError, command

if TYPE_CHECKING:
    from corolla.config import Config

_IN_GROUPS = {
    "Images": [f"data.{name}" for name in ("source", "mirror", "labels", "channels", "recipe", "size")]
    + ["data.train_split", "data.eval_split"],
    "Model": ["network.name", "network.latent_dim", "likelihood.name", "likelihood.sigma"]
    + [f"objective.{name}" for name in ("name", "beta", "target_nats")],
    "Training": [f"training.{name}" for name in ("epochs", "max_steps", "batch_size", "learning_rate")]
    + ["seed", "training.checkpoint_every"],
    "Machine": [f"training.{name}" for name in ("precision", "accelerator", "devices", "num_nodes", "threads")],
}
SETTINGS = {name.removesuffix(".name").rpartition(".")[2]: name for names in _IN_GROUPS.values() for name in names}
"""The flags that settings have, and where each lives in the configuration."""


class _Flags:
    """The settings that have a flag of their own, as text; None leaves the value of the preset or file."""

    def __init__(self, **values: str | None) -> None:
        """The dataclass below has one of its own."""

    def given(self) -> dict[str, str]:
        """The flags that were used, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def _field(flag: str, setting: str) -> tuple[str, Any, None]:
    number, group = next((n, group) for n, (group, names) in enumerate(_IN_GROUPS.items(), 2) if setting in names)
    text = describe_setting(setting)
    help_ = f"{text[0].upper()}{text[1:]}."
    return flag, Annotated[str | None, Parameter(group=Group(group, sort_key=number), help=help_)], None


if TYPE_CHECKING:
    Flags = _Flags
else:
    _home = {"__module__": __name__}
    _fields = starmap(_field, SETTINGS.items())
    Flags = Parameter(name="*")(make_dataclass("Flags", _fields, bases=(_Flags,), namespace=_home))


def train(  # noqa: D417, the flags describe themselves
    *,
    preset: Preset = None,
    config: ConfigFile = None,
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


def demo(*, quick: bool = False, seed: int | None = None, output: Output = Path("demo")) -> None:
    """Train a small model on drawn flowers, score it, and write a page that shows what it learnt.

    Needs no download; takes a few minutes on two cores. Run again, it replaces what it wrote.

    Args:
        quick: Train for a few seconds only, to see that everything works.
        seed: Another seed trains another model; by default the preset's.
        output: The folder to write.
    """
    from corolla.demo import write_demo

    run, page = write_demo(output, quick=quick, seed=seed, progress=out.training())
    page = page.resolve()
    lines = [f"the model is in {run}; `{command('info', run)}` describes it", f"open this page: {page}"]
    out.done(lines, run=run, page=page)


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
    from corolla.cli.info import summary_lines, write_or_warn
    from corolla.report.facts import describe
    from corolla.trained.run_folder import RunFolder

    if report and not RunFolder(run).report.is_file():
        write_or_warn(run)

    facts = describe(run)
    uses = ("info", "sample", "reconstruct", "traverse", "interpolate")
    lines = [f"trained: {run}", *(f"  {line}" for line in summary_lines(facts))]
    out.done([*lines, "next:", *(f"  {command(name, run)}" for name in uses)], **asdict(facts))
