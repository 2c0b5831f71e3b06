"""Files that are there whole or not at all, locks among processes, and what is said when neither can be had."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from corolla.errors import DataError, UsageError

PATIENCE_SECONDS = 2.0
"""How long a lock is waited for in silence."""

_LOG = logging.getLogger("corolla")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file; what was written there takes the file's place at the end, if all went well.

    Raises:
        OSError: the file cannot be replaced. The temporary one is removed in any case.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that it is there whole or not at all. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def check_new_folder(folder: Path) -> None:
    """Raise UsageError if files cannot be written into a folder without replacing others or mixing with them."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give the name of a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: is not empty; give the name of a new folder, so that nothing is replaced or mixed")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, among processes and threads; the lock is a file beside it.

    Raises:
        DataError: The folder cannot be written to.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            lock.acquire(timeout=PATIENCE_SECONDS)
        except Timeout:
            _LOG.warning("%s: another process is making it; waiting until it is done", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a failure to write into a folder (full, not permitted) into a DataError that names it."""
    try:
        yield
    except gzip.BadGzipFile:
        raise  # an OSError too, but of what is read
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{folder}: cannot be written to: {reason}; make room, or choose another folder") from None
