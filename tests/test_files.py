"""Files that are whole or not there, and locks that are waited for aloud."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from corolla import files
from corolla.errors import WriteError
from corolla.files import locked, replacing, write_file


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
