"""A run folder and the model folder inside it are one thing to every command; what a kill leaves is no obstacle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from corolla.config import Config
from corolla.errors import StaleError, UsageError, WriteError
from corolla.evaluation.record import SCORES, Score, Scores
from corolla.files import check_new_folder, is_leftover, replacing, temporary_folder, write_file
from corolla.models.vae import build_model
from corolla.trained import load
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.run_folder import RunFolder, check_run, create_run

Cli = Callable[..., tuple[int, str, str]]

SMALL = {"data": {"source": "florets:60", "size": 16}, "network": {"latent_dim": 2, "width": 8, "patch": 4}}


@pytest.fixture
def run(own_folders: None) -> RunFolder:  # noqa: ARG001
    """A run that was stopped at step 6 of 20, with a model of step 3."""
    config = Config.from_dict(SMALL | {"training": {"epochs": 2, "batch_size": 5}})
    folder = RunFolder(Path("x"))
    torch.manual_seed(0)
    card = ModelCard(config, 3, {"kl": 1.0, "loss": 9.0}, (1.0, 0.0), {"source": "florets:60", "training_images": 48})
    ModelFolder(folder.model).save(build_model(config), card)
    folder.write_config(config, {})
    folder.write_rows([{"step": step, "epoch": step / 10, "loss": 9.0, "train_seconds": 1.0} for step in (3, 6)])
    return folder


def write_checkpoint(run: RunFolder, step: int, *, finished: bool) -> None:
    run.last_checkpoint.parent.mkdir(exist_ok=True)
    torch.save({"step": step, "settings": {}, "record": {"finished": finished}}, run.last_checkpoint)


def test_both_paths_lead_to_the_same_folder(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ModelFolder.find("x"), ModelFolder.find(Path("x/model"))
    assert one == other == ModelFolder(Path("x/model"), run)
    assert load("x").path == load("x/model").path == Path("x")
    assert one.rows == run.rows()
    monkeypatch.chdir("x/model")
    assert ModelFolder.find(".").file(SCORES).resolve() == Path("../scores.json").resolve()


def test_a_model_folder_by_itself_is_its_own_home(run: RunFolder) -> None:
    shutil.copytree(run.model, "zoo/model")
    shutil.copytree(run.model, "x/copy")  # in a run folder, and not its model
    for path in ("zoo/model", "x/copy"):
        folder = ModelFolder.find(path)
        assert (folder.home, folder.run, folder.rows) == (Path(path), None, [])
        assert load(path).stopped == ""


@pytest.mark.parametrize(
    ("checkpoint", "where"), [(None, "6 of 20"), ((8, False), "8 of 20"), ((6, True), ""), ("damaged", "")]
)
def test_a_stopped_run_is_said_to_be_one(run: RunFolder, checkpoint: tuple[int, bool] | str | None, where: str) -> None:
    if isinstance(checkpoint, tuple):
        write_checkpoint(run, checkpoint[0], finished=checkpoint[1])
    elif checkpoint is not None:
        write_file(run.last_checkpoint, b"damaged")
    stopped = load("x/model").stopped
    assert stopped.startswith(f"x: stopped at step {where}" if where else "")
    assert bool(stopped) == bool(where)
    run.write_rows([{"step": 20, "epoch": 2.0}])
    if checkpoint is None:
        assert load("x").stopped == ""


COMMANDS: dict[str, list[object]] = {
    "info": ["info"],
    "sample": ["sample", "-o", "a.png", "--count", 4],
    "reconstruct": ["reconstruct", "-o", "a.png"],
    "traverse": ["traverse", "-o", "a.png"],
    "fit-prior": ["fit-prior", "gaussian"],
    "evaluate": ["evaluate", "--only", "images"],
    "estimate": ["estimate", "--count", 4, "--importance-samples", 2],
    "report": ["report"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_both_paths_alike(cli: Cli, run: RunFolder, name: str) -> None:
    command, *rest = COMMANDS[name]
    outcomes, files_left = [], []
    for path in ("x", "x/model"):
        code, out, err = cli(command, path, *rest)
        assert code == 0, err
        outcomes.append(out.replace("x/model:", "x:"))
        assert err.count("stopped at step 6 of 20") == (name != "info"), err
        files_left.append(sorted(file for file in Path().rglob("*") if "home" not in file.parts))
    assert outcomes[0] == outcomes[1]
    assert files_left[0] == files_left[1]
    assert ("stopped at step 6 of 20" in outcomes[0]) == (name == "info")
    assert not run.path.joinpath("model/scores.json").exists()


def test_scores_are_found_by_the_report_whichever_path_was_scored(cli: Cli, run: RunFolder) -> None:
    assert cli("evaluate", "x/model", "--only", "images")[0] == 0
    assert (run.path / "scores.json").is_file()
    assert cli("report", "x")[0] == 0
    assert "This is what training measures" not in run.report.read_text(encoding="utf-8")  # said where there are none
    code, _, err = cli("compare", "x", "x/model")
    assert (code, "a run is named twice" in err) == (2, True)


def test_scores_of_other_weights_are_stale(run: RunFolder) -> None:
    folder = ModelFolder.find(run.path)
    SCORES.write(folder.file(SCORES), Scores({"mig": Score(0.5)}, weights_sha256="ab" * 32))
    with pytest.raises(
        StaleError, match=r"scores\.json: made with other weights .*; make it again with `corolla eval"
    ) as caught:
        folder.read(SCORES, folder.card.weights_sha256)
    assert caught.value.path == folder.file(SCORES)
    assert caught.value.remedy == "make it again with `corolla evaluate x`"
    scores, arrays = folder.read(SCORES, "ab" * 32)
    assert (scores.scores["mig"].value, arrays) == (0.5, {})


# --- kills ------------------------------------------------------------------------------------------------------------

KILLER = """
import os, sys
from pathlib import Path
at = int(sys.argv[1])
replace, count = Path.replace, 0
def killed(self, target):
    global count
    count += 1
    if count == at:
        os._exit(9)
    return replace(self, target)
Path.replace = killed
{body}
print("whole")
"""


def killed_at(number: int, body: str) -> bool:
    """Whether a process was killed at its n-th rename; otherwise it came to its end."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER.format(body=body), str(number)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 9), done.stderr
    return done.returncode == 9


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.slow
def test_a_run_that_was_killed_at_any_write_can_be_made_again(own_folders: None) -> None:  # noqa: ARG001
    body = (
        "from corolla.config import Config\nfrom corolla.trained.run_folder import create_run\n"
        "with create_run(Path('r')) as run:\n    run.write_config(Config(), {})\n    run.write_rows([{'step': 1}])\n"
    )
    assert killed_at(1, body)  # at config.yaml
    assert len(leftovers(Path("r"))) == 1
    check_run(Path("r"))
    assert killed_at(2, body)  # at metrics.csv
    assert [path.name.split(".")[1] for path in leftovers(Path("r"))] == ["metrics"]  # the first one was removed
    with pytest.raises(UsageError, match="exists"):
        check_run(Path("r"))  # by now it is a run that can be resumed
    with create_run(Path("r"), force=True) as run:
        run.write_config(Config(), {})
    assert sorted(path.name for path in Path("r").iterdir()) == [".lock", "config.yaml"]


@pytest.mark.slow
def test_the_next_training_removes_what_a_kill_left(own_folders: None) -> None:  # noqa: ARG001
    body = (
        "from corolla.cli import run\n"
        "words = ['train', '--resume', 'r'] if Path('r/config.yaml').is_file() else ['train', '--run', 'r',\n"
        "    '--source', 'florets:60', '--size', '16', '--max-steps', '4', '--batch-size', '8', '--latent-dim', '2',\n"
        "    '--set', 'network.width=8', '--set', 'network.patch=4', '--set', 'training.evaluate_every=2',\n"
        "    '--checkpoint-every', '2', '--no-report']\n"
        "assert run(words) == 0\n"
    )
    number, kills = 1, 0
    while killed_at(number, body):
        kills += 1
        number += 1
        assert number < 60
    assert kills > 4
    assert not leftovers(Path("r"))
    assert load("r").stopped == ""


def test_only_files_of_processes_that_have_ended_are_leftovers(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine, dead = tmp_path / f".a.json.{os.getpid()}.tmp", tmp_path / f".a.json.{ended.pid}.tmp"
    for path in (mine, dead, tmp_path / ".note.tmp", tmp_path / "a.1.tmp"):
        path.touch()
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_leftover(path)] == [dead.name]
    with pytest.raises(UsageError, match="not empty"):
        check_new_folder(tmp_path)
    write_file(tmp_path / "b.json", b"{}")
    assert not dead.exists()
    assert mine.exists()
    (tmp_path / "new").mkdir()
    shutil.copy(mine, tmp_path / "new" / dead.name)
    check_new_folder(tmp_path / "new")


def test_what_killed_processes_left_in_the_temporary_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, others = tmp_path / f"corolla-{ended.pid}-abc", tmp_path / "corolla-notes"
    write_file(left / "model" / "config.json", b"{}")
    others.mkdir()
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
        assert sorted(tmp_path.iterdir()) == sorted([folder, others])
    assert list(tmp_path.iterdir()) == [others]


def test_a_write_that_fails_is_one_error_with_fields(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        WriteError, match=r"x\.json: cannot be written: .*; make room, or choose another place"
    ) as caught:
        write_file(tmp_path / "file" / "x.json", b"")
    assert caught.value.path == tmp_path / "file" / "x.json"
    with pytest.raises(UsageError, match=r"exists and is not a run folder; choose another folder \(run=\)") as refused:
        check_run(tmp_path)
    assert "(--run)" in refused.value.message("--{}".format)
    with replacing(tmp_path / "y") as temporary:
        assert not is_leftover(temporary)
        temporary.touch()
