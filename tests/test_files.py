"""Files that are whole or not there, and locks that are waited for aloud."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from corolla import files
from corolla.errors import UsageError, WriteError
from corolla.files import locked, replacing, replacing_folder, write_file


def test_a_write_that_fails_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_file(path, b"one")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of tw")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"one"
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "x"):
        raise RuntimeError
    with locked(tmp_path / "x"):
        pass


def test_a_lock_that_is_waited_for_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path / "cache"):
            held.set()
            done.wait(30)

    class Release(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:  # the message comes while it still waits
            done.set()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    release = Release()
    logging.getLogger("corolla").addHandler(release)
    try:
        with locked(tmp_path / "cache"):
            pass
    finally:
        logging.getLogger("corolla").removeHandler(release)
        done.set()
        holder.join()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "cache") in caplog.messages[0]
    caplog.clear()
    with locked(tmp_path / "cache"):
        pass
    assert not caplog.records


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match="cannot be written"), locked(tmp_path / "file" / "x"):
        pass


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing_folder(tmp_path / "out") as temporary:
            (temporary / "a").write_text("half of tw")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()  # an empty one is as good as none
    with replacing_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("two")
        assert not list((tmp_path / "out").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "two"
    with pytest.raises(UsageError, match="is not empty"), replacing_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "a").read_text() == "two"


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    code = "import os, sys\nfrom pathlib import Path\nfrom corolla.files import replacing_folder\n"
    code += "with replacing_folder(Path(sys.argv[1])) as folder:\n    (folder / 'a').write_text('x')\n    os._exit(9)"
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], env=environment, check=False)
    assert done.returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name != "out"
    with replacing_folder(tmp_path / "out"):
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
