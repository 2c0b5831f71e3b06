"""Run folders: named by one process alone, and readable whatever happened to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corolla.errors import ModelError, TrainingError, WriteError
from corolla.trained.run_folder import RunFolder, new_folder


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: new_folder("florets-beta_vae"), range(32)))
    assert sorted(run.name for run in runs) == sorted(f"florets-beta_vae-{number}" for number in range(1, 33))
    assert all(run.is_dir() for run in runs)


def test_where_no_run_can_be_made_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("a file")
    with pytest.raises(WriteError, match=r"cannot be written.*\(run=\)"):
        new_folder("florets-beta_vae")


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00", b"step,loss\n7\n", b"step\n7,8\n", b"step,loss\n7,much\n", b'step\n"' + b"9" * 200_000]
)
def test_a_damaged_record_is_named(tmp_path: Path, damage: bytes) -> None:
    run = RunFolder(tmp_path)
    assert run.rows() == []
    run.write_rows([{"step": 7, "loss": 1.5}])
    assert run.rows() == [{"step": "7", "loss": "1.5"}]
    run.metrics_file.write_bytes(damage)
    with pytest.raises(ModelError, match=r"metrics\.csv: damaged: .*--resume") as caught:
        run.rows()
    assert "\n" not in str(caught.value)


def test_a_run_that_is_held_is_refused(tmp_path: Path) -> None:
    run, told = RunFolder(tmp_path), r"another process is training there; wait .*\(run=\)"
    with run.held(), pytest.raises(TrainingError, match=told), RunFolder(tmp_path).held():
        pass
    with run.held():
        pass
