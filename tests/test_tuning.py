"""The search: what it may be asked for, that hopeless trainings are ended, and that a kill changes nothing."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import corolla
from corolla.cli import run as run_command
from corolla.config import Config
from corolla.errors import ModelError, TrainingError, UsageError
from corolla.sweeps.tuning import Range, read_tune, tune
from corolla.trained.run_folder import RunFolder
from corolla.training import fit
from corolla.training.recorder import Recorder

TINY = Config.from_dict(
    {
        "data": {"source": "florets:60", "size": 16, "shift_px": 0},
        "network": {"latent_dim": 3, "width": 8, "patch": 4, "dropout": 0.0},
        "training": {
            "max_steps": 9,
            "batch_size": 16,
            "warmup_steps": 0,
            "evaluate_every": 3,
            "checkpoint_every": 2,
            "threads": 1,
            "precision": "32-true",
        },
    }
)
BETA = {"objective.beta": Range(0.5, 16, log=True)}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_a_range_is_read_as_it_is_written(low: float, high: float, log: bool) -> None:
    assert Range.read(f"{low!r}:{high!r}{':log' if log else ''}", "--range") == Range(low, high, log)


def begun(folder: Path) -> Path:
    """A search that was killed before its first trial; returns its journal."""
    pytest.importorskip("optuna")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corolla.sweeps.tuning._run_trial", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            tune(TINY, BETA, folder, trials=1)
    return folder / "optuna.log"


@pytest.mark.parametrize("content", [b"hello\n", b"[]\n[]\n", b"\xff\xfe\n\n", b"{}\n"])
def test_a_damaged_journal_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    journal = begun(tmp_path / "out")
    journal.write_bytes(content + journal.read_bytes())
    with pytest.raises(ModelError, match=r"optuna.log: damaged: .*; begin again"):
        tune(TINY, BETA, tmp_path / "out", trials=1)


def test_a_journal_that_was_cut_while_it_was_written_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(tmp_path / "out")
    whole = journal.read_bytes()
    proposed: list[dict[str, Any]] = []
    monkeypatch.setattr("corolla.sweeps.tuning._run_trial", lambda *told: proposed.append(told[1].user_attrs["values"]))
    for content in (whole, whole[:-5], whole + b'{"op_code'):
        journal.write_bytes(content)
        tune(TINY, BETA, tmp_path / "out", trials=1)
    assert proposed == [proposed[0]] * 3
    assert rows_of(tmp_path / "out" / "trials.csv") == []  # none has come to its end
    assert 0.5 <= proposed[0]["objective.beta"] <= 16


def test_a_search_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "out").unlink()
    (tmp_path / "out" / "trial-000").mkdir()
    with pytest.raises(UsageError, match=r"begun by an earlier version, which kept no optuna.log; begin again"):
        tune(TINY, BETA, tmp_path / "out", trials=1)


@pytest.mark.parametrize("text", ["", "1", "1:2:lin", "x:2", "1:2:log:3"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--range beta"):
        Range.read(text, "--range beta")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tune --range beta", "--range beta: write a setting and its value"),
        ("tune --range objective.beta=1:2 --choice objective.beta=1,2", "objective.beta: is there twice"),
    ],
)
def test_wrong_commands_cost_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({}, {}, "nothing to search"),
        (BETA, {"trials": 0}, "0 trials"),
        (BETA, {"goal": "fid"}, "goal fid"),
        (BETA, {"goal": "loss"}, "loss of runs with different objective.beta cannot be compared; take elbo"),
        ({"likelihood.sigma": [0.1, 0.2]}, {}, "take psnr_db"),
        ({"data.size": [16, 32]}, {"goal": "psnr_db"}, "other means"),
        ({"objective.name": ["vae", "ae"]}, {}, "elbo means nothing for ae"),
        ({"objective.beta": Range(4, 1)}, {}, "the smaller one first"),
        ({"objective.beta": Range(0, 1, log=True)}, {}, "above 0"),
        ({"objective.beta": Range(-1, 1)}, {}, "objective.beta = -1"),
        ({"objective.beta": Range(1, math.inf)}, {}, "objective.beta = inf"),
        ({"network.latent_dim": Range(1.5, 4)}, {}, "whole numbers"),
        ({"network.name": Range(1, 4)}, {}, "not a number"),
        ({"network.depth": Range(1, 4)}, {}, "no such setting"),
        ({"network.latent_dim": [4, 4]}, {}, "two different values"),
    ],
)
def test_an_impossible_search_is_refused_before_anything_is_trained(
    space: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(UsageError, match=message):
        tune(TINY, space, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_without_the_extra_one_line_says_how_to_add_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run_command(["tune", "--range", "objective.beta=0.5:16:log"]) == 2
    assert "pip install -e '.[tune]'" in capsys.readouterr().err


def die_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail as a killed process would, with nothing saved, after so many steps."""
    before, done = Recorder.after_step, iter(range(1, 10**6))

    def or_die(self: Recorder, *arguments: Any) -> bool:
        last = before(self, *arguments)
        if next(done) == steps:
            raise RuntimeError("died")
        return last

    monkeypatch.setattr(Recorder, "after_step", or_die)


@pytest.mark.slow
def test_a_search_goes_on_as_if_it_had_never_been_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    space: dict[str, Range | list[Any]] = {
        **BETA,
        "network.latent_dim": Range(2, 6),
        "training.optimizer": ["adam", "adamw"],
    }
    whole = tune(TINY, space, tmp_path / "whole", trials=4)
    with monkeypatch.context() as patch:
        die_after(9 + 5, patch)
        with pytest.raises(RuntimeError, match="died"):
            tune(TINY, space, tmp_path / "stopped", trials=3)
    assert [trial["run"] for trial in rows_of(tmp_path / "stopped" / "trials.csv")] == ["trial-000"]
    assert run_command(["tune", "--resume", str(tmp_path / "stopped"), "--trials", "4"]) == 0
    assert rows_of(tmp_path / "stopped" / "trials.csv") == rows_of(tmp_path / "whole" / "trials.csv")
    assert read_tune(tmp_path / "stopped") == (TINY, space, 4, "elbo")

    assert len({str(trial.values) for trial in whole.trials}) == 4
    for trial in whole.trials:
        flat = RunFolder(trial.path).config().flat()
        assert {name: flat[name] for name in space} == trial.values
        assert 2 <= flat["network.latent_dim"] <= 6
        sums = [float(r["reconstruction"]) + float(r["kl"]) for r in RunFolder(trial.path).rows()]
        assert trial.value in sums
    assert whole.best is not None
    assert whole.best.value == min(trial.value for trial in whole.trials if trial.value is not None)
    with pytest.raises(UsageError, match="another search"):
        tune(TINY, BETA, tmp_path / "whole", trials=4)


@pytest.mark.slow
def test_a_trial_that_lags_behind_the_others_is_ended_early_and_a_fault_ends_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")

    def or_fail(config: Config, run: Path, **keywords: Any) -> Any:
        number = int(run.name.removeprefix("trial-"))
        if number == 0:
            raise TrainingError("the loss is not finite at step 2")
        # After four that learn, one that cannot, whatever was proposed: its evaluations are the worst.
        return fit(config.updated({"training.warmup_steps": 10**6}) if number == 5 else config, run, **keywords)

    monkeypatch.setattr("corolla.sweeps.runner.fit", or_fail)
    found = tune(TINY, {"training.learning_rate": Range(1e-3, 3e-3)}, tmp_path / "out", trials=6, goal="psnr_db")
    assert [trial.state for trial in found.trials] == ["failed", *["complete"] * 4, "pruned"]
    assert found.trials[0].value is None
    assert len(RunFolder(found.trials[5].path).rows()) < 3
    assert corolla.load(found.trials[5].path).card.step > 0
    assert found.best is not None
    assert found.best.value == max(trial.value or 0 for trial in found.trials if trial.state == "complete")
    again = tune(TINY, {"training.learning_rate": Range(1e-3, 3e-3)}, tmp_path / "out", trials=6, goal="psnr_db")
    assert [(trial.state, trial.value) for trial in again.trials] == [(t.state, t.value) for t in found.trials]
