"""A search over settings with Optuna (extra `tune`), which ends hopeless trainings early.

Optuna's own journal in the folder is the memory, and each trial's draws depend on nothing but the seed, its number and
the trials before it. So a search that was killed proposes what it would have proposed otherwise, and its half-trained
run is trained to the end.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from corolla.config import Config
from corolla.config.registry import find
from corolla.errors import ModelError, TrainingError, UsageError, WriteError, command, missing_extra
from corolla.files import write_file, write_text, writing
from corolla.progress import Progress
from corolla.sweeps import train_run
from corolla.sweeps.grid import configured, value_text
from corolla.sweeps.record import elsewhere, held, read_record, refuse_other, write_record
from corolla.trained.model_folder import ModelFolder
from corolla.trained.run_folder import RunFolder, csv_text, new_folder
from corolla.training import TrainingInterrupted

RECORD = "tune.yaml"
TRIALS = "trials.csv"
JOURNAL = "optuna.log"

State: TypeAlias = Literal["complete", "pruned", "failed"]
Goal: TypeAlias = Literal["elbo", "psnr_db", "loss"]
_MAXIMISED = ("psnr_db",)
_STUDY = "tune"
_NAME = "trial-{:03d}"
_VALUES, _KEPT = "values", "kept"
"""Attributes of a trial: what was tried, and the goal, of the model that its run kept."""
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

    @classmethod
    def read(cls, text: str, where: str) -> Range:
        """The range of a text LOW:HIGH or LOW:HIGH:log. Raises UsageError, which begins with `where`."""
        low, _, rest = text.partition(":")
        high, _, scale = rest.partition(":")
        try:
            if scale in ("", "log"):
                return cls(float(low), float(high), scale == "log")
        except ValueError:
            pass
        raise UsageError(f"{where} {text}: write LOW:HIGH or LOW:HIGH:log, such as 0.5:16:log")


Space: TypeAlias = Mapping[str, Range | Sequence[Any]]
"""What may be tried for each setting, by its dotted name: a range, or a list of values."""


@dataclass(frozen=True)
class Trial:
    """One run of a search: its folder, what was tried by dotted name, and the goal of the model that it kept.

    A pruned one was ended early; a failed one has no value.
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
    progress: Progress | None = None,
) -> Tuning:
    """Search for good settings: a tree-structured Parzen estimator proposes, a median rule ends what lags behind.

    Leaves in the folder a run folder for each trial, `tune.yaml` with what was asked for, `trials.csv` with a row for
    each trial, and Optuna's journal `optuna.log`. A folder that is there already is gone on with, until it has so many
    trials. `config.seed` fixes the proposals, and is the seed of every run.

    Args:
        config: The settings that all runs share.
        space: What may be tried, such as {"objective.beta": Range(0.5, 16, log=True), "network.latent_dim": [16, 32]}.
        output: The folder; by default a new one under `runs/`.
        trials: How many runs there are in the end.
        goal: elbo makes distortion + rate small, which compares runs of different β; psnr_db makes PSNR large; loss
            makes the loss small, and is for searches that leave the objective as it is. All on the evaluation split.
        progress: That of `training.fit`, for each run.

    Raises UsageError if the extra is missing, a setting, range or goal is impossible, or the folder is of another
    search; ModelError if the journal is damaged; else as `training.fit`, but that a trial that fails ends no other.
    """
    try:
        import optuna
    except ImportError:
        raise missing_extra("tune", "The search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if trials < 1:
        raise UsageError(f"{trials} trials: give at least 1")
    _check_goal(config, space, goal)
    suggestions = {name: _suggestion(config, name, tried) for name, tried in space.items()}
    folder = Path(output or new_folder("tune"))
    with held(folder, RECORD):
        _record(folder, config, space, trials, goal)
        storage, study = _study(optuna, folder, goal)
        finished = sum(trial.state.is_finished() for trial in study.trials)
        for number in range(finished, trials):
            # A seed for each trial: one for all would repeat its draws after a kill.
            seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
            study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
            if number < len(study.trials):  # half-trained
                study_id = storage.get_study_id_from_name(_STUDY)
                trial = optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))
            else:
                trial = study.ask()
            if _VALUES not in trial.user_attrs:
                trial.set_user_attr(_VALUES, {name: suggest(trial) for name, suggest in suggestions.items()})
            _run_trial(study, trial, folder, config, goal, progress or Progress())
            _write_trials(folder, study, goal)
        done = _write_trials(folder, study, goal)  # a kill may have come before that of the last trial
    complete = [(trial.value, trial) for trial in done if trial.state == "complete" and trial.value is not None]
    choose = max if goal in _MAXIMISED else min
    return Tuning(folder, done, choose(complete, key=itemgetter(0))[1] if complete else None)


def read_tune(folder: Path | str) -> tuple[Config, dict[str, Range | list[Any]], int, Goal]:
    """The arguments that a folder was begun with. Raises UsageError if it is not one of a search."""
    file = Path(folder) / RECORD
    config, asked = read_record(file)
    try:
        space = {name: Range(**tried) if isinstance(tried, dict) else tried for name, tried in asked["space"].items()}
        return config, space, int(asked["trials"]), asked["goal"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"{file}: damaged; begin again in another folder") from None


def _check_goal(config: Config, space: Space, goal: Goal) -> None:
    if not space:
        raise UsageError("nothing to search; name a setting and its range, such as objective.beta from 0.5 to 16")
    if goal not in _NOT_COMPARABLE:
        raise UsageError(f"goal {goal}: give {', '.join(_NOT_COMPARABLE)}")
    for name in space:
        if name.startswith(_NOT_COMPARABLE[goal]):
            others = [other for other, names in _NOT_COMPARABLE.items() if not name.startswith(names)]
            remedy = f"take {' or '.join(others)} ({{goal}})" if others else "compare such runs by other means"
            problem = f"{goal} of runs with different {name} cannot be compared"
            raise UsageError(problem, setting=name, remedy=remedy, arguments=("goal",))
    tried = space.get("objective.name", [config.objective.name])
    points = [name for name in tried if find("objective", name).auto_encoder] if not isinstance(tried, Range) else []
    if goal == "elbo" and points:
        problem = f"elbo means nothing for {', '.join(points)}, whose codes are points"
        raise UsageError(problem, remedy="take psnr_db ({goal})", arguments=("goal",))


def _suggestion(config: Config, name: str, tried: Range | Sequence[Any]) -> Callable[[Any], Any]:
    """What draws a setting for a trial, with every value or both ends checked. Raises UsageError."""
    if not isinstance(tried, Range):
        values = [configured(config, {name: value}).flat()[name] for value in tried]
        choices = {value_text(value): value for value in values}  # by text, as the journal holds no lists
        if len(choices) < max(2, len(values)):
            raise UsageError(f"{name}: {', '.join(map(value_text, values))}: give at least two different values")
        return lambda trial: choices[trial.suggest_categorical(name, list(choices))]
    low, high, log = tried.low, tried.high, tried.log
    if not low < high or (log and low <= 0):
        above = " above 0" if log else ""
        raise UsageError(f"{name} from {low:g} to {high:g}: give two ends{above}, the smaller one first")
    whole = _is_whole(config, name)
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise UsageError(f"{name} from {low:g} to {high:g}: its values are whole numbers")
    number, suggest = (int, "suggest_int") if whole else (float, "suggest_float")
    for end in (low, high):
        configured(config, {name: number(end)})
    return lambda trial: getattr(trial, suggest)(name, number(low), number(high), log=log)


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
    raise UsageError(f"{name}: is not a number, so it has no range", setting=name, remedy="give a list of its values")


def _record(folder: Path, config: Config, space: Space, trials: int, goal: Goal) -> None:
    plain = {name: asdict(tried) if isinstance(tried, Range) else list(tried) for name, tried in space.items()}
    if (folder / RECORD).is_file():
        before, there, _, their_goal = read_tune(folder)
        refuse_other(folder, "begun", before, config, plain)
        if list(there.items()) != list(space.items()) or their_goal != goal:
            raise elsewhere(f"{folder}: was begun with another search")
    write_record(folder / RECORD, config, {"goal": goal, "trials": trials, "space": plain})


def _study(optuna: Any, folder: Path, goal: Goal) -> tuple[Any, Any]:
    """Optuna's storage and study in the folder, made or opened. Raises UsageError and ModelError."""
    from optuna.storages import journal

    file = folder / JOURNAL
    if not file.exists() and any(folder.glob("trial*")):
        raise UsageError(f"{folder}: was begun by an earlier version, which kept no {JOURNAL}; begin again elsewhere")
    try:
        with writing(file):
            if file.exists() and not (content := file.read_bytes()).endswith(b"\n"):  # killed while it wrote
                write_file(file, content[: content.rfind(b"\n") + 1])
            Path(f"{file}.lock").unlink(missing_ok=True)  # of a process that was killed: this one holds the folder
            backend = journal.JournalFileBackend(str(file), journal.JournalFileOpenLock(str(file)))
            storage = journal.JournalStorage(backend)
            return storage, optuna.create_study(
                storage=storage,
                study_name=_STUDY,
                load_if_exists=True,
                direction="maximize" if goal in _MAXIMISED else "minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
            )
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ModelError(f"{file}: damaged: {error}; begin again in another folder") from None


def _run_trial(study: Any, trial: Any, folder: Path, config: Config, goal: Goal, progress: Progress) -> None:
    """Train one trial to its end, or until the pruner ends it, and tell the study."""
    from optuna.trial import TrialState

    number, values, run = trial.number, trial.user_attrs[_VALUES], RunFolder(folder / _NAME.format(trial.number))
    progress.line(f"trial {number}: {', '.join(f'{name}={value_text(value)}' for name, value in values.items())}")
    reported = set(study.trials[number].intermediate_values)
    pruned = False

    def lags_behind(row: Mapping[str, Any]) -> bool:
        nonlocal pruned
        step, training = int(row["step"]), settings.training
        at_end = float(row["epoch"]) >= training.epochs if training.max_steps is None else step >= training.max_steps
        if at_end:  # nothing is left to be ended
            return False
        if step not in reported:
            reported.add(step)
            trial.report(_goal_of(row, goal), step)
        pruned = bool(trial.should_prune())
        return pruned

    def end(state: Any, reason: str) -> None:
        progress.line(f"trial {number} {reason}")
        study.tell(trial, state=state)

    try:
        settings = configured(config, values)
    except UsageError as error:  # each value is possible, but not with the others
        end(TrialState.FAIL, f"cannot be: {error}")
        return
    try:
        for row in run.rows():
            lags_behind(row)
        again = command("tune", "--resume", folder)
        train_run(settings, run.path, go_on=again, stop_at=lags_behind, progress=progress)
        value = _goal_of(ModelFolder.find(run.path).card.scores, goal)
    except TrainingInterrupted:
        raise
    except (TrainingError, ModelError, WriteError) as error:
        end(TrialState.FAIL, f"failed: {error}")
        return
    trial.set_user_attr(_KEPT, value)
    if pruned:
        end(TrialState.PRUNED, "ended early: it lagged behind the others")
    else:
        study.tell(trial, value)


def _goal_of(scores: Mapping[str, Any], goal: Goal) -> float:
    if goal == "elbo":
        return float(scores["reconstruction"]) + float(scores["kl"])
    return float(scores[goal])


def _write_trials(folder: Path, study: Any, goal: Goal) -> tuple[Trial, ...]:
    """Write the table of the finished trials, and return these, in their order."""
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    trials = tuple(
        Trial(
            folder / _NAME.format(trial.number),
            trial.user_attrs[_VALUES],
            states[trial.state.name],
            trial.user_attrs.get(_KEPT),
        )
        for trial in study.trials
        if trial.state.is_finished()
    )
    rows = [{"run": trial.path.name, "state": trial.state, goal: trial.value, **trial.values} for trial in trials]
    write_text(folder / TRIALS, csv_text(rows))
    return trials
