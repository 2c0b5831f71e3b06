"""A grid of runs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corolla.config import Config
from corolla.errors import ModelError, TrainingError, UsageError, WriteError, command
from corolla.files import write_text
from corolla.pictures.files import save_picture
from corolla.progress import Progress
from corolla.sweeps.grid import Point, axes_of, expand, value_text
from corolla.sweeps.pictures import curve, reconstructions
from corolla.sweeps.record import elsewhere, held, read_record, refuse_other, write_record
from corolla.sweeps.results import Result, read_result, table
from corolla.trained.run_folder import RunFolder, new_folder
from corolla.training import StopRule, TrainingInterrupted, fit, is_finished, resume

RECORD = "sweep.yaml"


@dataclass(frozen=True)
class Sweep:
    """What came of a grid: its folder, the results of the finished runs, and why others failed, by the run's name."""

    path: Path
    results: tuple[Result, ...]
    failures: Mapping[str, str]


def sweep(
    config: Config,
    axes: Mapping[str, Sequence[Any]],
    output: Path | str | None = None,
    *,
    progress: Progress | None = None,
) -> Sweep:
    """Train a grid: every combination of some settings' values.

    Leaves in the folder a run folder for each point, `sweep.yaml` with what was asked for, `sweep.csv` with a row for
    each finished run, `rate-distortion.png` and `reconstructions.png`. A folder that is there already is gone on with;
    values may be added to its axes, and the runs that are missing are trained. A run that fails does not end the
    others.

    Args:
        config: The settings that all runs share.
        axes: The values of each other setting by its dotted name, such as {"objective.beta": [1, 4], "seed": [1, 2]}.
        output: The folder; by default a new one under `runs/`.
        progress: That of `training.fit`, for each run.

    Raises UsageError for an impossible value or combination, before anything is trained, or a folder of another grid;
    else as `training.fit`, but that a run that fails ends no other.
    """
    points, progress, folder = expand(config, axes), progress or Progress(), Path(output or new_folder("sweep"))
    with held(folder, RECORD):
        _record(folder, config, points)
        results: list[Result] = []
        failures: dict[str, str] = {}
        for number, point in enumerate(points, start=1):
            progress.line(f"run {number} of {len(points)}: {point.name}")
            run, again = folder / point.name, command("sweep", "--resume", folder)
            try:
                train_run(point.config, run, go_on=again, progress=progress)
                results.append(read_result(point, run))
            except TrainingInterrupted:
                raise
            except (TrainingError, ModelError, WriteError) as error:
                failures[point.name] = str(error)
                progress.line(f"{point.name} failed: {error}")
            else:
                write_text(folder / "sweep.csv", table(results))
        if results:
            save_picture(folder / "reconstructions.png", reconstructions(results))
            save_picture(folder / "rate-distortion.png", curve(results))
    return Sweep(folder, tuple(results), failures)


def planned(config: Config, axes: Mapping[str, Sequence[Any]], output: Path | str | None = None) -> dict[str, bool]:
    """The names of the runs that `sweep` would train, and whether each is finished. Raises UsageError as `sweep`."""
    runs = {point.name: None if output is None else Path(output) / point.name for point in expand(config, axes)}
    return {name: run is not None and RunFolder(run).exists and is_finished(run) for name, run in runs.items()}


def read_sweep(folder: Path | str) -> tuple[Config, dict[str, list[Any]]]:
    """The configuration and axes that a folder was begun with. Raises UsageError if it is not one of a sweep."""
    config, asked = read_record(Path(folder) / RECORD)
    axes = asked.get("axes")
    if not isinstance(axes, dict) or not all(isinstance(values, list) for values in axes.values()):
        raise UsageError(f"{Path(folder) / RECORD}: damaged: it holds no `axes`; begin again in another folder")
    return config, axes


def train_run(
    config: Config, run: Path, *, go_on: str, stop_at: StopRule | None = None, progress: Progress | None = None
) -> None:
    """Train a run, or go on with it; a finished one is left as it is.

    Raises as `training.fit` and `training.resume`; the message of an interrupt names the command `go_on`.
    """
    try:
        if RunFolder(run).exists:
            resume(run, stop_at=stop_at, progress=progress)
        else:
            fit(config, run, stop_at=stop_at, progress=progress)
    except TrainingInterrupted as stopped:
        problem, code, step = stopped.problem, stopped.exit_code, stopped.step
        raise TrainingInterrupted(f"{run.name}: {problem}", code, step=step, remedy=f"go on with `{go_on}`") from None
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"{run.name}: interrupted", 130, remedy=f"go on with `{go_on}`") from None


def _record(folder: Path, config: Config, points: Sequence[Point]) -> None:
    """Write what was asked for; if that is there already, check that this is the same, or more of it."""
    axes = axes_of(points)
    if (folder / RECORD).is_file():
        before, there = read_sweep(folder)
        refuse_other(folder, "begun", before, config, axes)
        if there.keys() != axes.keys():
            then, now = ", ".join(there), ", ".join(axes)
            raise elsewhere(f"{folder}: was begun with a grid over {then}, and this one is over {now}")
        for name, values in there.items():
            texts, given = list(map(value_text, values)), list(map(value_text, axes[name]))
            if missing := [text for text in texts if text not in given]:
                problem = f"{folder}: has runs of {name}={','.join(missing)}, too; values can be added"
                remedy = f"give {','.join(dict.fromkeys(texts + given))}, or choose another folder ({{output}})"
                raise UsageError(problem, path=folder, setting=name, remedy=remedy, arguments=("output",))
    write_record(folder / RECORD, config, {"axes": axes})
