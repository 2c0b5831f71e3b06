"""Commands that train many runs to choose between them: a grid over any settings, and a search."""

from __future__ import annotations

import sys
from dataclasses import make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Parameter

from corolla.cli.output import out
from corolla.cli.train import SETTINGS, Flags, build_config
from corolla.errors import TrainingError, UsageError, command

if TYPE_CHECKING:
    from corolla.config import Config
    from corolla.sweeps import Sweep
    from corolla.sweeps.results import Result
    from corolla.sweeps.tuning import Range, Tuning

    Lists = Flags
else:
    Lists = Parameter(name="*")(
        make_dataclass(
            "Lists",
            [
                (field, Annotated[str | None, get_args(hint)[1]], None)
                for field, hint in get_type_hints(Flags, include_extras=True).items()
            ],
            bases=(Flags,),
            namespace={"__module__": __name__, "__doc__": "The flags of `corolla train`, each with a list of values."},
            frozen=True,
        )
    )

_ONE_VALUE = ("source", "mirror", "devices")
"""Flags whose value may itself hold commas. --set makes lists for them, too."""

_PLAIN_WIDTH = 120
"""Of a table that goes to a file, in letters."""

Several = Annotated[tuple[str, ...], Parameter(name="--set")]
Output = Annotated[Path | None, Parameter(name=["--output", "-o"])]


def sweep(  # noqa: D417, the flags describe themselves
    *,
    preset: str | None = None,
    config: Path | None = None,
    output: Output = None,
    resume: Path | None = None,
    dry_run: bool = False,
    set_: Several = (),
    flags: Lists | None = None,
) -> None:
    """Train a grid: --beta 0.5,1,2,4,8 --seed 1,2 trains ten runs, and compares them.

    The flags are those of `corolla train`. One that is given several values, with commas between them, is an axis of
    the grid; only --source, --mirror and --devices take one value. The same command again goes on where it was
    stopped. Values can be added to the axes of a grid that is there; finished runs are kept.

    Args:
        preset: Start from a preset; `corolla presets` lists them.
        config: Start from a YAML file, such as the config.yaml of a run.
        output: The folder for the runs and results; by default a new one in runs/.
        resume: Go on with the grid in this folder, which was stopped or killed.
        dry_run: List the runs, and which of them are finished; train nothing.
        set_: Any setting, with one or several values: --set training.learning_rate=1e-3,3e-4; can be given several
            times.
    """
    flags = flags or Lists()
    if resume is not None:
        _refuse_beside_resume(flags, preset=preset, config=config, output=output, set=set_)
        from corolla.sweeps import read_sweep

        base, axes = read_sweep(resume)
        output = resume
    else:
        fixed, axes = _split(flags, set_)
        base = _base(preset, config, fixed)
    if dry_run:
        from corolla.sweeps.grid import expand

        finished = {
            point.name: output is not None and _is_finished(output / point.name) for point in expand(base, axes)
        }
        out.lines((f"{name}{' (finished)' * done}" for name, done in finished.items()), runs=finished)
        return
    from corolla.sweeps import sweep as train_grid

    _report(train_grid(base, axes, output, progress=out.training()))


def tune(  # noqa: D417
    *,
    trials: int | None = None,
    range_: Annotated[tuple[str, ...], Parameter(name="--range")] = (),
    choice: tuple[str, ...] = (),
    goal: Literal["elbo", "psnr_db", "loss"] | None = None,
    preset: str | None = None,
    config: Path | None = None,
    output: Output = None,
    resume: Path | None = None,
    set_: Several = (),
    flags: Flags | None = None,
) -> None:
    """Search for good settings, and end hopeless trainings early; needs the extra `tune`.

    The flags of `corolla train` say what all runs share. The same command again goes on where it was stopped.

    Args:
        trials: How many runs in all (default: 20).
        range_: A setting and its ends: --range training.learning_rate=1e-4:3e-3:log; `log` draws the logarithm evenly.
        choice: A setting and its values: --choice network.latent_dim=16,32,64. Both can be given several times.
        goal: elbo (the default) makes distortion + rate small, which can be compared between different beta; psnr_db
            makes the PSNR large; loss makes the loss small.
        preset: Start from a preset; `corolla presets` lists them.
        config: Start from a YAML file, such as the config.yaml of a run.
        output: The folder for the runs and results; by default a new one in runs/.
        resume: Go on with the search in this folder, which was stopped or killed; with --trials, to so many.
        set_: Change any setting, e.g. --set training.ema_decay=0.99; can be given several times.
    """
    from corolla.sweeps.tuning import read_tune
    from corolla.sweeps.tuning import tune as search

    flags, progress = flags or Flags(), out.training()
    if resume is not None:
        others = {"preset": preset, "config": config, "output": output, "set": set_}
        _refuse_beside_resume(flags, range=range_, choice=choice, goal=goal, **others)
        base, space, count, wanted = read_tune(resume)
        trials = count if trials is None else trials
        _report_search(search(base, space, resume, trials=trials, goal=wanted, progress=progress), wanted)
        return
    base = _start(preset, config, flags, set_)
    wanted = goal or "elbo"
    trials = 20 if trials is None else trials
    found = search(base, _space(range_, choice), output, trials=trials, goal=wanted, progress=progress)
    _report_search(found, wanted)


def _refuse_beside_resume(flags: Flags, **others: Any) -> None:
    given = flags.given() | {name: value for name, value in others.items() if value}
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--resume goes on with what was asked for then; leave out {names}")


def _is_finished(run: Path) -> bool:
    from corolla.trained.run_folder import RunFolder

    if not RunFolder(run).exists:
        return False
    from corolla.training import is_finished  # slow to import

    return is_finished(run)


def _start(preset: str | None, config: Path | None, flags: Flags, changes: tuple[str, ...]) -> Config:
    if preset is not None and config is not None:
        raise UsageError("--preset and --config both say where to start; give one of them")
    return build_config(preset, config, flags, changes)


def _base(preset: str | None, config: Path | None, fixed: dict[str, Any]) -> Config:
    return _start(preset, config, Flags(), ()).updated(fixed)


def _split(flags: Flags, changes: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What all runs share, and the axes: the settings with several values, by dotted name, flags before --set."""
    from corolla.sweeps.grid import read_values

    lists: dict[str, list[Any]] = {}
    for name, text in flags.given().items():
        lists[SETTINGS[name]] = [text] if name in _ONE_VALUE else read_values(text, f"--{name.replace('_', '-')}")
    for change in changes:
        name, text = _pair("--set", change, "training.learning_rate=1e-3,3e-4")
        lists[name] = read_values(text, f"--set {name}")
    fixed = {name: values[0] for name, values in lists.items() if len(values) == 1}
    return fixed, {name: values for name, values in lists.items() if len(values) > 1}


def _pair(flag: str, text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{flag} {text}: write a setting and its values, such as {example}")
    return name.strip(), value


def _space(ranges: tuple[str, ...], choices: tuple[str, ...]) -> dict[str, Range | list[Any]]:
    from corolla.sweeps.grid import read_values
    from corolla.sweeps.tuning import Range

    space: dict[str, Range | list[Any]] = {}
    for text in ranges:
        name, value = _pair("--range", text, "objective.beta=0.5:16:log")
        low, _, rest = value.partition(":")
        high, _, scale = rest.partition(":")
        try:
            if scale not in ("", "log"):
                raise ValueError
            space[name] = Range(float(low), float(high), scale == "log")
        except ValueError:
            raise UsageError(f"--range {text}: write LOW:HIGH or LOW:HIGH:log, such as {name}=0.5:16:log") from None
    for text in choices:
        name, value = _pair("--choice", text, "network.latent_dim=16,32,64")
        if name in space:
            raise UsageError(f"{name}: has a --range already; give one of them")
        space[name] = read_values(value, f"--choice {name}")
    return space


def _report(done: Sweep) -> None:
    from corolla.sweeps.results import grouped, in_words

    groups = grouped(done.results)
    if groups:
        if not out.json:
            _print_table(groups)
        words = in_words(done.results)
        runs = [{"run": result.path, **result.scores} for result in done.results]
        out.lines(words, runs=runs, findings=words)
        for name in ("sweep.csv", "rate-distortion.png", "reconstructions.png"):
            out.wrote(done.path / name)
    if done.failures:
        names = "; ".join(f"{name} ({why})" for name, why in done.failures.items())
        raise TrainingError(f"{len(done.failures)} of {len(done.failures) + len(done.results)} runs failed: {names}")


def _print_table(groups: list[list[Result]]) -> None:
    """One row for each point; with several seeds, their medians."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from corolla.metrics.names import TRAINING_SCORES
    from corolla.sweeps.grid import SEED, short_names
    from corolla.sweeps.results import kinds, middle

    names = [name for name in groups[0][0].point.values if name != SEED]
    shown = short_names(names)
    seeds = max(len(group) for group in groups)
    table = Table(
        box=SIMPLE_HEAD,
        title="medians over seeds" if seeds > 1 else None,
        title_justify="left",
        padding=(0, 1),
        pad_edge=False,
    )
    for name in names:
        table.add_column(shown[name], justify="right", no_wrap=True)
    headings = [TRAINING_SCORES[score].label for score in ("kl", "reconstruction", "psnr_db", "active_latents")]
    for heading in (*(["seeds"] if seeds > 1 else []), *headings, "norm. beta"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("findings")
    for group in groups:
        normalised = group[0].normalised_beta
        table.add_row(
            *(text for _, text in group[0].point.group),
            *([str(len(group))] if seeds > 1 else []),
            f"{middle(group, 'kl'):.1f}",
            f"{middle(group, 'reconstruction'):.1f}",
            f"{middle(group, 'psnr_db'):.2f} dB",
            f"{middle(group, 'active_latents'):g}",
            "" if normalised is None else f"{normalised:.3g}",
            ", ".join(kinds(group)),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)


def _report_search(found: Tuning, goal: str) -> None:
    from corolla.sweeps.grid import value_text
    from corolla.sweeps.tuning import TRIALS

    states = [trial.state for trial in found.trials]
    counts = [f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states]
    out.done([f"trials: {len(states)} ({', '.join(counts)}), in {found.path / TRIALS}"], trials=len(states))
    if found.best is None:
        raise TrainingError(f"{found.path}: no trial came to its end, so there is no best one")
    lines = [f"best: {found.best.path}, {goal} {found.best.value:.4g}"]
    lines += [f"  {name}: {value_text(value)}" for name, value in found.best.values.items()]
    out.lines(lines, best={"run": found.best.path, goal: found.best.value, "settings": found.best.values})
    out.done(["next:", f"  {command('info', found.best.path)}"])
