"""A search over settings with Optuna (extra `tune`), which ends hopeless trainings early.

The runs themselves are the memory: a call that goes on tells Optuna anew of the trials in `trials.csv`, and each
trial's draws depend on nothing but the seed, its number and the trials before it. So a search that was killed proposes
what it would have proposed otherwise, and its half-trained run is trained to the end.
"""

from __future__ import annotations

import csv
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from corolla.config import Config
from corolla.config.registry import find
from corolla.errors import ModelError, TrainingError, UsageError, command, missing_extra
from corolla.progress import say
from corolla.sweeps import train_run
from corolla.sweeps.grid import configured, value_text
from corolla.sweeps.record import free_folder, held, read_record, refuse_other_base, write_record, write_result
from corolla.sweeps.results import csv_text
from corolla.trained.model_folder import load_card
from corolla.trained.run_folder import RunFolder
from corolla.training import TrainingInterrupted

RECORD = "tune.yaml"
TRIALS = "trials.csv"

State: TypeAlias = Literal["complete", "pruned", "failed"]
Goal: TypeAlias = Literal["elbo", "psnr_db", "loss"]
_MAXIMISED = ("psnr_db",)
_OTHER_IMAGES = ("data.source", "data.mirror", "data.recipe", "data.size", "data.eval_split")
_NOT_COMPARABLE: Mapping[str, tuple[str, ...]] = {
    "elbo": (*_OTHER_IMAGES, "likelihood."),
    "psnr_db": _OTHER_IMAGES,
    "loss": (*_OTHER_IMAGES, "likelihood.", "objective."),
}
"""Settings that change what a goal means, so that its values say nothing of which run is better."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `log` draws their logarithm evenly."""

    low: float
    high: float
    log: bool = False


Space: TypeAlias = Mapping[str, Range | Sequence[Any]]
"""What may be tried for each setting, by its dotted name: a range, or a list of values."""


@dataclass(frozen=True)
class Trial:
    """One run of a search. A pruned one was ended early; a failed one has no value.

    Attributes:
        path: the run folder.
        values: what was tried, by dotted name.
        state: complete, pruned or failed.
        value: the goal, of the model that the run kept.
    """

    path: Path
    values: Mapping[str, Any]
    state: State
    value: float | None


@dataclass(frozen=True)
class Tuning:
    """What came of a search: its folder, all trials in their order, and the best complete one, if there is any."""

    path: Path
    trials: tuple[Trial, ...]
    best: Trial | None


def tune(
    config: Config,
    space: Space,
    output: Path | str | None = None,
    *,
    trials: int = 20,
    goal: Goal = "elbo",
) -> Tuning:
    """Search for good settings: a tree-structured Parzen estimator proposes, a median rule ends what lags behind.

    Leaves in the folder a run folder for each trial, `tune.yaml` with what was asked for and `trials.csv` with a row
    for each trial. A folder that is there already is gone on with, until it has so many trials. `config.seed` fixes the
    proposals, and is the seed of every run.

    Args:
        config: the settings that all runs share.
        space: what may be tried, such as {"objective.beta": Range(0.5, 16, log=True), "network.latent_dim": [16, 32]}.
        output: the folder; by default a new one under `runs/`.
        trials: how many runs there are in the end.
        goal: elbo makes distortion + rate small, which compares runs of different β; psnr_db makes PSNR large; loss
            makes the loss small, and is for searches that leave the objective as it is. All on the evaluation split.

    Raises:
        UsageError: the extra is missing, a setting, range or goal is impossible, or the folder is of another search.
        DataError: the images cannot be used.
        TrainingError: the folder cannot be written, or another process trains in it.
        TrainingInterrupted: Ctrl-C or SIGTERM; what was reached is saved.
    """
    optuna = _optuna()
    if trials < 1:
        raise UsageError(f"{trials} trials: give at least 1")
    _check_goal(config, space, goal)
    distributions = {name: _distribution(optuna, config, name, choices) for name, choices in space.items()}
    folder = Path(output) if output is not None else free_folder("tune")
    with held(folder, RECORD):
        _record(folder, config, space, trials, goal)
        study = optuna.create_study(
            direction="maximize" if goal in _MAXIMISED else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
        done = _finished_trials(folder, space, goal)
        for trial in done:
            if trial.state != "failed":
                study.add_trial(_told(optuna, trial, distributions, goal))
        for number in range(len(done), trials):
            done.append(_run_trial(optuna, study, folder, config, distributions, number, goal))
            write_result(folder / TRIALS, csv_text([_row(trial, goal) for trial in done]))
    complete = [trial for trial in done if trial.state == "complete" and trial.value is not None]
    sign = -1 if goal in _MAXIMISED else 1
    best = min(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)
    return Tuning(folder, tuple(done), best)


def read_tune(folder: Path | str) -> tuple[Config, dict[str, Range | list[Any]], int, Goal]:
    """The arguments that a folder was begun with. Raises UsageError if it is not one of a search."""
    file = Path(folder) / RECORD
    config, asked = read_record(file)
    try:
        space = {name: Range(**tried) if isinstance(tried, dict) else tried for name, tried in asked["space"].items()}
        return config, space, int(asked["trials"]), asked["goal"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"{file}: damaged; begin again in another folder") from None


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise missing_extra("tune", "The search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _check_goal(config: Config, space: Space, goal: Goal) -> None:
    if not space:
        raise UsageError("nothing to search; name a setting, such as --range objective.beta=0.5:16:log")
    if goal not in _NOT_COMPARABLE:
        raise UsageError(f"goal {goal}: give {', '.join(_NOT_COMPARABLE)}")
    for name in space:
        if name.startswith(_NOT_COMPARABLE[goal]):
            others = [other for other, names in _NOT_COMPARABLE.items() if not name.startswith(names)]
            remedy = f"; take --goal {' or '.join(others)}" if others else "; compare such runs with other means"
            raise UsageError(f"{goal} of runs with different {name} cannot be compared{remedy}")
    tried = space.get("objective.name", [config.objective.name])
    points = [name for name in tried if find("objective", name).auto_encoder] if not isinstance(tried, Range) else []
    if goal == "elbo" and points:
        raise UsageError(f"elbo means nothing for {', '.join(points)}, whose codes are points; take --goal psnr_db")


def _distribution(optuna: Any, config: Config, name: str, tried: Range | Sequence[Any]) -> Any:
    """What Optuna draws a setting from, with every value or both ends checked. Raises UsageError."""
    if not isinstance(tried, Range):
        values = [configured(config, {name: value}).flat()[name] for value in tried]
        if len(set(map(value_text, values))) < max(2, len(values)):
            raise UsageError(f"{name}: {', '.join(map(value_text, values))}: give at least two different values")
        return optuna.distributions.CategoricalDistribution(values)
    if not tried.low < tried.high or (tried.log and tried.low <= 0):
        above = " above 0" if tried.log else ""
        raise UsageError(f"{name} from {tried.low:g} to {tried.high:g}: give two ends{above}, the smaller one first")
    if _is_whole(config, name):
        if not (float(tried.low).is_integer() and float(tried.high).is_integer()):
            raise UsageError(f"{name} from {tried.low:g} to {tried.high:g}: its values are whole numbers")
        distribution = optuna.distributions.IntDistribution(int(tried.low), int(tried.high), log=tried.log)
    else:
        distribution = optuna.distributions.FloatDistribution(float(tried.low), float(tried.high), log=tried.log)
    for end in (distribution.low, distribution.high):
        configured(config, {name: end})
    return distribution


def _is_whole(config: Config, name: str) -> bool:
    """Whether a setting takes whole numbers only. Raises UsageError if there is none of the name, or not of numbers."""
    if name not in config.flat():
        config.updated({name: 0})  # says so
    *above, leaf = name.split(".")
    owner = getattr(config, above[0]) if above else config
    kind = type(owner).model_fields[leaf].annotation
    kinds = {kind, *typing.get_args(kind)}
    if float in kinds:
        return False
    if int in kinds and bool not in kinds:
        return True
    raise UsageError(f"{name}: is not a number, so it has no range; give its values with --choice")


def _record(folder: Path, config: Config, space: Space, trials: int, goal: Goal) -> None:
    plain = {
        name: {"low": tried.low, "high": tried.high, "log": tried.log} if isinstance(tried, Range) else list(tried)
        for name, tried in space.items()
    }
    if (folder / RECORD).is_file():
        before, there, _, their_goal = read_tune(folder)
        refuse_other_base(folder, before, config, plain)
        if list(there.items()) != list(space.items()) or their_goal != goal:
            raise UsageError(f"{folder}: was begun with another search; choose another folder with --output")
    write_record(folder / RECORD, config, {"goal": goal, "trials": trials, "space": plain})


def _run_trial(
    optuna: Any, study: Any, folder: Path, config: Config, distributions: Mapping[str, Any], number: int, goal: Goal
) -> Trial:
    """Train one trial to its end, or until the pruner ends it."""
    run = RunFolder(folder / f"trial-{number:03d}")
    study.sampler = optuna.samplers.TPESampler(seed=_sampler_seed(config.seed, number), n_startup_trials=6)
    if run.config_file.is_file():  # half-trained: its settings are decided
        flat = run.config().flat()
        study.enqueue_trial({name: flat[name] for name in distributions})
    trial = study.ask(dict(distributions))
    values = dict(trial.params)
    say(f"trial {number}: {', '.join(f'{name}={value_text(value)}' for name, value in values.items())}")
    reported: set[int] = set()
    pruned = False

    def lags_behind(row: Mapping[str, Any]) -> bool:
        nonlocal pruned
        if _at_end(settings, row):
            return False
        if int(row["step"]) not in reported:
            reported.add(int(row["step"]))
            trial.report(_goal_of(row, goal), int(row["step"]))
        pruned = bool(trial.should_prune())
        return pruned

    try:
        settings = configured(config, values)
    except UsageError as error:  # each value is possible, but not with the others
        say(f"trial {number} cannot be: {error}")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return Trial(run.path, values, "failed", None)
    try:
        for row in run.rows():
            lags_behind(row)
        train_run(settings, run.path, go_on=command("tune", "--resume", folder), stop_at=lags_behind)
        value = _goal_of(load_card(run.path).scores, goal)
    except TrainingInterrupted:
        raise
    except (TrainingError, ModelError) as error:
        say(f"trial {number} failed: {error}")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return Trial(run.path, values, "failed", None)
    if pruned:
        say(f"trial {number} ended early: it lagged behind the others")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, value)
    return Trial(run.path, values, "pruned" if pruned else "complete", value)


def _holds(distribution: Any, value: Any) -> bool:
    """Whether a value is one that a distribution gives."""
    choices = getattr(distribution, "choices", None)
    return value in choices if choices is not None else bool(distribution.low <= value <= distribution.high)


def _at_end(config: Config, row: Mapping[str, Any]) -> bool:
    """Whether a row of `metrics.csv` is that of the last step, at which nothing is left to be ended."""
    training = config.training
    if training.max_steps is not None:
        return int(row["step"]) >= training.max_steps
    return float(row["epoch"]) >= training.epochs


def _sampler_seed(seed: int, number: int) -> int:
    """A seed for each trial: one for all would repeat its draws after a kill."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _goal_of(scores: Mapping[str, Any], goal: Goal) -> float:
    if goal == "elbo":
        return float(scores["reconstruction"]) + float(scores["kl"])
    return float(scores[goal])


def _row(trial: Trial, goal: Goal) -> dict[str, Any]:
    values = {name: "" if value is None else value for name, value in trial.values.items()}
    return {"run": trial.path.name, "state": trial.state, goal: trial.value, **values}


def _finished_trials(folder: Path, space: Space, goal: Goal) -> list[Trial]:
    """The trials of `trials.csv`, with what they tried as their runs have it. Raises ModelError if it is damaged."""
    file = folder / TRIALS
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            table = csv.DictReader(lines)
            missing = [name for name in ("run", "state", goal) if name not in (table.fieldnames or ())]
            if missing:
                raise ValueError(f"it has no column {missing[0]}")
            rows = list(table)
        trials = []
        for row in rows:
            path, state, value = folder / row["run"], row["state"], row[goal]
            if state not in typing.get_args(State):
                raise ValueError(f"state {state!r}")
            run = RunFolder(path)
            flat = run.config().flat() if run.config_file.is_file() else row  # a failed one may never have begun
            values = {name: flat[name] for name in space}
            trials.append(Trial(path, values, typing.cast(State, state), float(value) if value else None))
    except (OSError, KeyError, ValueError, csv.Error, UsageError) as error:
        raise ModelError(f"{file}: damaged: {error}; begin again in another folder") from None
    return trials


def _told(optuna: Any, trial: Trial, distributions: Mapping[str, Any], goal: Goal) -> Any:
    """A finished trial as Optuna would remember it."""
    complete, run = trial.state == "complete", RunFolder(trial.path)
    config = run.config()
    values = dict(trial.values)
    outside = [name for name, value in values.items() if not _holds(distributions[name], value)]
    if outside:
        raise ModelError(f"{trial.path}: its {outside[0]} is not one that is searched; begin again in another folder")
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
        value=trial.value if complete else None,
        params=values,
        distributions=dict(distributions),
        intermediate_values={int(row["step"]): _goal_of(row, goal) for row in run.rows() if not _at_end(config, row)},
    )
