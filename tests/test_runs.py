"""Run folders: named by one process alone, and readable whatever happened to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corolla.config import Config
from corolla.errors import TrainingError
from corolla.runs import create_new_run


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create_new_run(Config()), range(32)))
    assert sorted(run.path.name for run in runs) == sorted(f"florets-beta_vae-{number}" for number in range(1, 33))
    assert all(run.path.is_dir() for run in runs)


def test_where_no_run_can_be_made_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("a file")
    with pytest.raises(TrainingError, match=r"cannot be written.*--run"):
        create_new_run(Config())
