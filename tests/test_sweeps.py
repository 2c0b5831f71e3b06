"""Grids: their grammar, their points, what is said of their results, and that a kill changes nothing."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import corolla
from corolla.cli import run as run_command
from corolla.config import Config
from corolla.errors import TrainingError, UsageError
from corolla.sweeps import grid, read_sweep, sweep
from corolla.sweeps.grid import Point, expand, read_values, short_names, value_text
from corolla.sweeps.record import write_record
from corolla.sweeps.results import Result, in_words, kinds, middle, table
from corolla.trained.run_folder import RunFolder
from corolla.training import fit, resolve, resume
from corolla.training.advice import Finding
from corolla.training.recorder import Recorder

TINY = Config.from_dict(
    {
        "data": {"source": "florets:60", "size": 16, "shift_px": 0},
        "network": {"latent_dim": 3, "width": 8, "patch": 4, "dropout": 0.0},
        "training": {
            "max_steps": 12,
            "batch_size": 16,
            "warmup_steps": 0,
            "evaluate_every": 4,
            "checkpoint_every": 2,
            "threads": 1,
            "precision": "32-true",
        },
    }
)
AXES: dict[str, list[Any]] = {"objective.beta": [0.5, 4], "seed": [1, 2]}

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
)


# --- the grammar ------------------------------------------------------------------------------------------------------


@given(st.lists(scalars | st.lists(st.integers(8, 99), min_size=2, max_size=2), min_size=1, max_size=5))
def test_what_yaml_writes_as_a_list_is_read_as_its_values(values: list[Any]) -> None:
    text = yaml.safe_dump(values, default_flow_style=True, width=10**6).strip()
    assert read_values(text.removeprefix("[").removesuffix("]"), "--x") == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5,1,2", [0.5, 1, 2]),
        ("vae,beta_vae", ["vae", "beta_vae"]),
        ("null,5", [None, 5]),
        ("32,[48,64]", [32, [48, 64]]),
        ("'0,1'", ["0,1"]),
        ("florets:200", ["florets:200"]),
    ],
)
def test_lists_as_people_type_them(text: str, values: list[Any]) -> None:
    assert read_values(text, "--x") == values


@pytest.mark.parametrize("text", ["", ",", "1,,2", "[", "1], [2"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--beta"):
        read_values(text, "--beta")


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=4, unique=True))
def test_numbers_can_be_read_back_from_names_which_are_legal_anywhere(values: list[float]) -> None:
    names = [Point({"objective.beta": value, "seed": 3}, TINY).name for value in values]
    assert len(set(names)) == len(values)
    for name, value in zip(names, values, strict=True):
        assert not set('<>:"/\\|?* ') & set(name)
        assert float(name.split(",")[0].removeprefix("beta=")) == value


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_any_text_makes_a_legal_name_that_is_its_own(text: str) -> None:
    name = Point({"data.source": text}, TINY).name
    assert name.isascii()
    assert not set('<>:"/\\|?* ,') & set(name)
    assert unquote(name) == f"source={text}"


def test_values_are_written_as_people_write_them() -> None:
    assert [value_text(value) for value in (4.0, 0.5, None, True, (48, 64), "vae", 1e-05)] == [
        *("4", "0.5", "none", "true", "48x64", "vae", "1e-05")
    ]


def test_short_names_are_whole_where_two_would_meet() -> None:
    names = ["objective.warmup_steps", "training.warmup_steps", "objective.name", "network.name", "seed"]
    assert list(short_names(names).values()) == [*names[:2], "objective", "network", "seed"]


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_in_order() -> None:
    axes: dict[str, list[Any]] = {"network.latent_dim": [2, 5], "objective.beta": [0.5, 1, 8], "seed": [0, 7]}
    points = expand(TINY, axes)
    for point, values in zip(points, product(*axes.values()), strict=True):
        changes = dict(zip(axes, values, strict=True))
        assert point.values == changes
        assert point.config == resolve(TINY.updated(changes | {"training.devices": 1}))
    assert points[0].name == "latent_dim=2,beta=0.5,seed=0"
    assert points[0].label == "latent_dim 2, beta 0.5"
    assert points[0].group == points[1].group != points[2].group


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "several values"),
        ({"objective.beta": [4]}, "several values"),
        ({"objective.beta": [], "seed": [1, 2]}, "give a list"),
        ({"seed": "12"}, "give a list"),
        ({"objective.beta": [1, "1.0"]}, "there twice"),
        ({"objective.beta": [1, -1]}, "objective.beta = -1"),
        ({"objective.gamut": [1, 2]}, "no such setting"),
        ({"data.size": [16, 18]}, "size|18"),
        ({"training.patience": [None, 3], "objective.name": ["factor_vae"]}, "leave training.patience"),
        ({"objective.name": ["vae", "beta_vae"], "objective.beta": [1, 2]}, "vae has no such setting"),
        ({"training.devices": [1, 2]}, "one device"),
    ],
)
def test_an_impossible_grid_is_refused_before_anything_is_trained(
    axes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        sweep(TINY, axes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_flag_takes_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    line = "sweep --preset quick --latent-dim 4,8 --objective vae,beta_vae --set training.clip_norm=null,100 --dry-run"
    assert run_command(line.split()) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == 8
    assert names[0] == "latent_dim=4,objective=vae,clip_norm=none"


def test_a_sweep_that_is_there_lists_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path / "sweep.yaml", TINY, {"axes": {"objective.beta": [0.5, 4], "seed": [1, 2]}})
    assert run_command(["sweep", "--resume", str(tmp_path), "--dry-run"]) == 0
    listed = capsys.readouterr().out.split()
    assert listed == ["beta=0.5,seed=1", "beta=0.5,seed=2", "beta=4,seed=1", "beta=4,seed=2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sweep --beta 4", "several values"),
        ("sweep --beta 1,x", "objective.beta = 'x'"),
        ("sweep --set beta --beta 1,2", "write a setting"),
        ("sweep --resume nowhere", "nothing to go on with"),
        ("sweep --resume nowhere --beta 1,2", "leave out --beta"),
        ("sweep --beta 1,2 --preset quick --config x.yaml", "give one of them"),
    ],
)
def test_wrong_commands_cost_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(line.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# --- what is said of the results --------------------------------------------------------------------------------------


def result(beta: float, kl: float, reconstruction: float, *found: str, seed: int = 1, **values: Any) -> Result:
    given = values | {"objective.beta": beta, "seed": seed}
    scores = {"kl": kl, "reconstruction": reconstruction, "psnr_db": 20.0}
    findings = tuple(Finding(kind, kind) for kind in found)
    return Result(Point(given, TINY.updated(given)), Path(f"{beta}-{seed}"), scores, beta, 0.1, findings, 1.0)


def test_words_name_the_beta_of_the_lowest_sum_among_those_that_neither_collapse_nor_overfit() -> None:
    results = [
        result(0.25, 90, 100, "overfitting"),
        result(0.5, 60, 120, "all latents needed"),
        result(1, 40, 130),
        result(4, 20, 160),
        result(16, 0.1, 250, "collapsed"),
    ]
    (said,) = in_words(results)
    assert "suggest beta 1: " in said
    assert "170.0 nats" in said
    assert "collapsed at beta 16:" in said
    assert "by heart at beta 0.25." in said
    assert "needed at beta 0.5:" in said
    assert "up to beta 4," in said
    assert "may be better still" not in said


def test_words_say_when_the_best_is_the_last_one_and_when_there_is_none() -> None:
    assert "A smaller one may" in in_words([result(1, 40, 130), result(4, 20, 160)])[0]
    assert "A larger one may" in in_words([result(1, 40, 130), result(4, 20, 140)])[0]
    assert "No beta of these" in in_words([result(1, 0.1, 130, "collapsed"), result(4, 0.1, 130, "collapsed")])[0]
    assert "too early" in in_words([result(1, 40, 130, "too early"), result(4, 20, 160, "too early")])[0]
    assert in_words([result(1, 40, 130)]) == []


def test_a_code_that_says_next_to_nothing_is_not_recommended() -> None:
    """A sweep over β = 0.5, 4 and 50 on florets, of whose last run every reconstruction was one red square.

    Its rate of 0.7 nats is a hair above one bit, so that nothing was found.
    """
    runs = [(0.5, 14.0, 7147.0, 21.4), (4, 8.7, 7168.0, 21.1), (50, 0.7, 7528.0, 17.0)]
    results = [result(beta, kl, distortion) for beta, kl, distortion, _ in runs]
    (said,) = in_words(results)
    assert "next to nothing at beta 50 (0.7 nats)." in said
    assert "suggest beta 0.5:" in said
    assert "up to beta 4," in said
    # However high its rate is, one that hardly draws anything is not the largest to go up to.
    judged = [
        replace(
            each,
            scores=dict(each.scores) | {"psnr_db": psnr_db, "kl": max(each.scores["kl"], 3)},
            mean_image_psnr_db=16.98,
        )
        for each, (*_, psnr_db) in zip(results, runs, strict=True)
    ]
    (said,) = in_words(judged)
    assert "next to nothing" not in said
    assert "up to beta 4," in said
    blurred = replace(judged[1], scores=dict(judged[1].scores) | {"psnr_db": 19.0})  # less than half of the 4.4 dB
    assert "go up" not in in_words([judged[0], blurred, judged[2]])[0]
    useless = [replace(each, findings=(Finding("no better than the mean image", ""),)) for each in judged[:2]]
    assert "No beta of these" in in_words(useless)[0]


def test_each_setting_of_the_other_axes_has_its_words() -> None:
    results = [
        result(beta, 10, 90 + sign * beta, **{"network.latent_dim": dim})
        for dim, sign in ((2, 1), (4, -1))
        for beta in (1, 2, 3)
    ]
    first, second = in_words(results)
    assert first.startswith("network.latent_dim=2: ")
    assert "suggest beta 1:" in first
    assert "suggest beta 3:" in second


def test_a_point_is_the_median_of_its_seeds_and_what_half_of_them_show() -> None:
    group = [result(1, 3, 9, "a", seed=1), result(1, 1, 9, seed=2), result(1, 2, 9, "a", "b", seed=3)]
    assert middle(group, "kl") == 2
    assert kinds(group) == ["a"]


# --- from end to end --------------------------------------------------------------------------------------------------


def test_a_rule_can_end_a_training_which_is_then_finished(tmp_path: Path) -> None:
    seen: list[int] = []

    def at_the_second(row: Any) -> bool:
        seen.append(row["step"])
        return len(seen) == 2

    fit(TINY, tmp_path / "run", stop_at=at_the_second)
    resume(tmp_path / "run", stop_at=at_the_second)
    assert seen == [4, 8]
    assert [row["step"] for row in RunFolder(tmp_path / "run").rows()] == ["4", "8"]


def without_times(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return [{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(lines)]


SCRIPT = """
import os, signal, sys
from corolla.cli import run
from corolla.training.recorder import Recorder
before, steps, kill_at = Recorder.after_step, 0, int(sys.argv[1])
def and_kill(self, terms):
    global steps
    last = before(self, terms)
    steps += 1
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return last
Recorder.after_step = and_kill
sys.exit(run(sys.argv[2:]))
"""


def killed(kill_at: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and kill it after so many steps of all its trainings."""
    command = [sys.executable, "-c", SCRIPT, str(kill_at), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C in this process, once, after so many steps."""
    before, done = Recorder.after_step, iter(range(1, 10**6))

    def and_interrupt(self: Recorder, *arguments: Any) -> bool:
        if next(done) == steps:
            signal.raise_signal(signal.SIGINT)
        return before(self, *arguments)

    monkeypatch.setattr(Recorder, "after_step", and_interrupt)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    with pytest.MonkeyPatch.context() as patch:  # as for every test; this comes before
        patch.setenv("COROLLA_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        assert not sweep(TINY, AXES, folder).failures
    return folder


@pytest.mark.slow
def test_a_sweep_leaves_what_is_promised(undisturbed: Path) -> None:
    rows = without_times(undisturbed / "sweep.csv")
    assert [row["run"] for row in rows] == [f"beta={beta},seed={seed}" for beta, seed in product(("0.5", "4"), (1, 2))]
    for row in rows:
        scores = RunFolder(undisturbed / row["run"]).rows()
        assert row["loss"] in {evaluation["loss"] for evaluation in scores}
        assert float(row["normalised_beta"]) == pytest.approx(float(row["objective.beta"]) * 3 / (3 * 16 * 16))
        assert row["findings"] == "too early"
    assert read_sweep(undisturbed) == (TINY, AXES)
    for name in ("rate-distortion.png", "reconstructions.png"):
        with Image.open(undisturbed / name) as picture:
            assert picture.width > 400


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_a_sweep_that_was_killed_ends_like_one_that_was_not(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.to_yaml())
    folder = tmp_path / "killed"
    line = ["sweep", "--config", str(tmp_path / "tiny.yaml"), "--beta", "0.5,4", "--seed", "1,2", "-o", str(folder)]
    first = killed(12 + 7, *line)  # in the middle of the second run
    assert first.returncode == -signal.SIGKILL, first.stderr
    with monkeypatch.context() as patch:
        interrupt_after(9, patch)
        assert run_command(line) == 130
    said = capsys.readouterr().err
    assert f"go on with `corolla sweep --resume {folder}`" in said
    assert "train --resume" not in said
    capsys.readouterr()
    assert run_command(["sweep", "--resume", str(folder), "--dry-run"]) == 0
    planned = capsys.readouterr().out.splitlines()
    assert planned[0].endswith(" (finished)")
    assert not planned[-1].endswith(" (finished)")
    assert run_command(["sweep", "--resume", str(folder)]) == 0
    assert without_times(folder / "sweep.csv") == without_times(undisturbed / "sweep.csv")


@pytest.mark.slow
def test_values_can_be_added_and_nothing_else_may_change(tmp_path: Path) -> None:
    base = TINY.updated({"training.max_steps": 2})
    sweep(base, {"seed": [1, 2]}, tmp_path / "out")
    before = (tmp_path / "out" / "seed=1" / "model" / "model.safetensors").stat().st_mtime_ns
    done = sweep(base, {"seed": [1, 2, 3]}, tmp_path / "out")
    assert [result.path.name for result in done.results] == ["seed=1", "seed=2", "seed=3"]
    assert (tmp_path / "out" / "seed=1" / "model" / "model.safetensors").stat().st_mtime_ns == before
    other: dict[str, list[Any]] = {"seed": [1, 2, 3], "objective.beta": [1, 2]}
    for config, axes, message in [
        (base.updated({"network.width": 12}), {"seed": [1, 2, 3]}, "network.width 8 and not 12"),
        (base, {"seed": [2, 3]}, "seed=1"),
        (base, other, "was begun with a grid over seed"),
    ]:
        with pytest.raises(UsageError, match=message):
            sweep(config, axes, tmp_path / "out")


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.updated({"training.max_steps": 2}).to_yaml())
    monkeypatch.chdir(tmp_path)

    def or_fail(config: Config, *arguments: Any, **keywords: Any) -> Any:
        if config.seed == 1:
            raise TrainingError("the loss is not finite at step 2")
        return fit(config, *arguments, **keywords)

    monkeypatch.setattr("corolla.sweeps.runner.fit", or_fail)
    assert run_command(["sweep", "--config", "tiny.yaml", "--seed", "1,2"]) == 1
    printed = capsys.readouterr()
    assert "1 of 2 runs failed: seed=1 (the loss is not finite at step 2)" in printed.err
    assert [row["run"] for row in without_times(Path("runs/sweep-1/sweep.csv"))] == ["seed=2"]


def test_the_table_has_an_empty_cell_where_a_run_has_no_such_number() -> None:
    rows = list(csv.DictReader(table([result(1, 3, 9), result(2, 2, 9, "collapsed", "1 dead")]).splitlines()))
    assert rows[0]["findings"] == ""
    assert rows[1]["findings"] == "collapsed; 1 dead"
    assert rows[0]["objective.beta"] == "1"


def test_the_public_name_is_this_function() -> None:
    assert corolla.sweep is sweep
    assert grid.SEED in Config().flat()
