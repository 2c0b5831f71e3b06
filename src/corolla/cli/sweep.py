"""Commands that train many runs to choose between them: a grid over any settings, and a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from corolla.cli.inputs import ConfigFile, MaybeOutput, Preset, split_pair
from corolla.cli.output import out
from corolla.cli.train import SETTINGS, Flags, build_config, refuse_beside_resume
from corolla.errors import TrainingError, UsageError, command

if TYPE_CHECKING:
    from corolla.sweeps import Sweep
    from corolla.sweeps.tuning import Range, Tuning

_ONE_VALUE = ("source", "mirror", "devices")
"""Flags whose value may itself hold commas. --set makes lists for them, too."""

_PLAIN_WIDTH = 120
"""Of a table that goes to a file, in letters."""

Several = Annotated[tuple[str, ...], Parameter(name="--set")]


def sweep(  # noqa: D417, the flags describe themselves
    *,
    preset: Preset = None,
    config: ConfigFile = None,
    output: MaybeOutput = None,
    resume: Path | None = None,
    dry_run: bool = False,
    set_: Several = (),
    flags: Flags | None = None,
) -> None:
    """Train a grid: --beta 0.5,1,2,4,8 --seed 1,2 trains ten runs, and compares them.

    The flags are those of `corolla train`. One that is given several values, with commas between them, is an axis of
    the grid; only --source, --mirror and --devices take one value. The same command again goes on where it was
    stopped. Values can be added to the axes of a grid that is there; finished runs are kept.

    Args:
        output: The folder for the runs and results; by default a new one in runs/.
        resume: Go on with the grid in this folder, which was stopped or killed.
        dry_run: List the runs, and which of them are finished; train nothing.
        set_: Any setting, with one or several values: --set training.learning_rate=1e-3,3e-4; can be given several
            times.
    """
    from corolla.sweeps import planned, read_sweep
    from corolla.sweeps import sweep as train_grid

    flags = flags or Flags()
    if resume is not None:
        refuse_beside_resume(flags, preset=preset, config=config, output=output, set=set_)
        output = resume
        base, axes = read_sweep(resume)
    else:
        lists = _lists(flags, set_)
        axes = {name: values for name, values in lists.items() if len(values) > 1}
        fixed = {name: values[0] for name, values in lists.items() if len(values) == 1}
        base = build_config(preset, config, Flags(), ()).updated(fixed)
    if dry_run:
        finished = planned(base, axes, output)
        out.lines((f"{name}{' (finished)' * done}" for name, done in finished.items()), runs=finished)
    else:
        _report(train_grid(base, axes, output, progress=out.training()))


def tune(  # noqa: D417
    *,
    trials: int | None = None,
    range_: Annotated[tuple[str, ...], Parameter(name="--range")] = (),
    choice: tuple[str, ...] = (),
    goal: Literal["elbo", "psnr_db", "loss"] | None = None,
    preset: Preset = None,
    config: ConfigFile = None,
    output: MaybeOutput = None,
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
        output: The folder for the runs and results; by default a new one in runs/.
        resume: Go on with the search in this folder, which was stopped or killed; with --trials, to so many.
        set_: Change any setting, e.g. --set training.ema_decay=0.99; can be given several times.
    """
    from corolla.sweeps.tuning import read_tune
    from corolla.sweeps.tuning import tune as search

    flags = flags or Flags()
    if resume is not None:
        others = {"preset": preset, "config": config, "output": output, "set": set_}
        refuse_beside_resume(flags, range=range_, choice=choice, goal=goal, **others)
        base, space, count, goal = read_tune(resume)
        output = resume
    else:
        base, space, count, goal = build_config(preset, config, flags, set_), _space(range_, choice), 20, goal or "elbo"
    count = count if trials is None else trials
    _report_search(search(base, space, output, trials=count, goal=goal, progress=out.training()), goal)


def _lists(flags: Flags, changes: tuple[str, ...]) -> dict[str, list[Any]]:
    """The values of each setting that was given, by its dotted name, flags before --set."""
    from corolla.sweeps.grid import read_values

    lists: dict[str, list[Any]] = {}
    for name, text in flags.given().items():
        lists[SETTINGS[name]] = [text] if name in _ONE_VALUE else read_values(text, f"--{name.replace('_', '-')}")
    for change in changes:
        name, text = split_pair("--set", change, "training.learning_rate=1e-3,3e-4")
        lists[name] = read_values(text, f"--set {name}")
    return lists


def _space(ranges: tuple[str, ...], choices: tuple[str, ...]) -> dict[str, Range | list[Any]]:
    from corolla.sweeps.grid import read_values
    from corolla.sweeps.tuning import Range

    space: dict[str, Range | list[Any]] = {}
    for text in ranges:
        name, value = split_pair("--range", text, "objective.beta=0.5:16:log")
        space[name] = Range.read(value, f"--range {name}")
    for text in choices:
        name, value = split_pair("--choice", text, "network.latent_dim=16,32,64")
        if name in space:
            raise UsageError(f"{name}: is there twice; give one range or choice")
        space[name] = read_values(value, f"--choice {name}")
    return space


def _report(done: Sweep) -> None:
    from corolla.sweeps.results import in_words, point_rows

    if done.results:
        if not out.json:
            _print_table(point_rows(done.results))
        words = in_words(done.results)
        runs = [{"run": result.path, **result.scores} for result in done.results]
        out.lines(words, runs=runs, findings=words)
        out.wrote(*(done.path / name for name in ("sweep.csv", "rate-distortion.png", "reconstructions.png")))
    if done.failures:
        names = "; ".join(f"{name} ({why})" for name, why in done.failures.items())
        raise TrainingError(f"{len(done.failures)} of {len(done.failures) + len(done.results)} runs failed: {names}")


def _print_table(rows: list[dict[str, str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    *numbers, last = rows[0]
    columns = [Column(name, justify="right", no_wrap=True) for name in numbers]
    table = Table(*columns, last, box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
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
