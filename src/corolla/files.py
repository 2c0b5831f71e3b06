"""Files that are there whole or not at all, what killed writers leave, and locks among processes."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from corolla.errors import UsageError, WriteError

PATIENCE_SECONDS = 2.0
"""How long a lock is waited for in silence."""

_FILE = re.compile(r"\..+\.(\d{1,9})\.tmp")
_FOLDER = re.compile(r"corolla-(\d{1,9})-\w+")
"""Names of temporary files, and of folders in the system's own; they hold the number of the process that made them."""

UNFINISHED = ".building"
"""Ends the name of a folder that is being built, or was when its process was killed."""
_ROOM = "make room, or choose another place"
_UNSAFE = str.maketrans(dict.fromkeys([*map(chr, range(32)), *'/\\:*?"<>|\x7f'], "_"))
"""What would lead out of a folder, or cannot be in a file's name, on some system."""
LONGEST_NAME_BYTES = 200
"""In UTF-8. Longer names are cut, as a file system takes 255 with all that is put about a name."""

_LOG = logging.getLogger("corolla")

Made = TypeVar("Made")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file; what was written there takes the file's place at the end, if all went well.

    Raises OSError if the file cannot be replaced. The temporary one is removed in any case but a kill; then the next
    process that writes into the folder removes it.
    """
    _remove_leftovers(path.parent.absolute(), _FILE)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path | str, remedy: str = _ROOM, arguments: Sequence[str] = ()) -> Iterator[None]:
    """Turn a failure to write a file, or into a folder (full, not permitted), into a WriteError that names it."""
    try:
        yield
    except (gzip.BadGzipFile, BrokenPipeError):
        raise  # OSErrors too, but of what is read, and of whoever read the progress
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror or error}", path=path, remedy=remedy, arguments=arguments
        ) from None


def write_file(path: Path | str, content: bytes) -> Path:
    """Write a file whole or not at all, and return it; missing folders are made. Raises WriteError."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return path


def write_text(path: Path | str, text: str) -> Path:
    """As `write_file`; what is no letter, as in names that are not UTF-8, is written as the byte that it is."""
    return write_file(path, text.encode(errors="surrogateescape"))


def safe_name(name: str) -> str:
    """A name without folders and suffix, as every system can write it: at most 200 bytes, with _ for other signs."""
    content = name.encode("utf-8", "replace").decode().translate(_UNSAFE).encode()
    return content[:LONGEST_NAME_BYTES].decode("utf-8", "ignore")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for as long as it is needed. What a killed process left of its own is removed by the next one."""
    _remove_leftovers(Path(tempfile.gettempdir()), _FOLDER)
    with tempfile.TemporaryDirectory(prefix=f"corolla-{os.getpid()}-") as folder:
        yield Path(folder)


@lru_cache(maxsize=1024)  # a folder of many files is not listed for each
def _remove_leftovers(folder: Path, pattern: re.Pattern[str]) -> None:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if not is_leftover(entry, pattern):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def is_leftover(entry: Path, pattern: re.Pattern[str] = _FILE) -> bool:
    """Whether this is the temporary file of a process that has ended."""
    match = pattern.fullmatch(entry.name)
    return match is not None and not _is_running(int(match[1]))


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, process)  # 0x1000: to ask it for little
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)  # a signal that is not sent
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def is_empty(folder: Path, *, but_for: Sequence[str] = ()) -> bool:
    """Whether a folder holds nothing but what killed writers left, and entries of some names. Raises OSError."""
    return all(entry.name in but_for or is_leftover(entry) for entry in folder.iterdir())


def check_new_folder(folder: Path) -> None:
    """Raise UsageError if files cannot be written into a folder without replacing others or mixing with them."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give the name of a folder")
    if folder.is_dir() and not is_empty(folder):
        raise UsageError(f"{folder}: is not empty; give the name of a new folder, so that nothing is replaced or mixed")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside a new one, whose place it takes at the end, if all went well.

    Raises UsageError as `check_new_folder`, and WriteError. The temporary one is removed as by `replacing`.
    """
    check_new_folder(folder)
    parent, name = folder.absolute().parent, folder.absolute().name
    temporary = parent / f".{name}.{os.getpid()}.tmp"
    with writing(folder):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(parent, _FILE)
        temporary.mkdir()
    try:
        with writing(folder):
            yield temporary
            check_new_folder(folder)
            if folder.is_dir():
                shutil.rmtree(folder)  # it is empty, but for what killed writers left
            temporary.replace(parent / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder, among processes and threads: a file beside it. Raises WriteError."""
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


def made_once(path: Path, look: Callable[[], Made | None], make: Callable[[], Made]) -> Made:
    """What `look` gives, or `make` where that is None: one process makes it, others wait for the lock of `path`."""
    made = look()
    if made is None:
        with locked(path):
            made = look()  # another process may have been first
            if made is None:
                made = make()
    return made


@contextmanager
def building(folder: Path, *, size: int = 0, remedy: str = _ROOM) -> Iterator[Path]:
    """An empty folder beside the one whose lock is held, and whose place it takes at the end, if all went well.

    What a killed process has left is removed, here or by the next one that builds a folder beside it. Raises WriteError
    if the folder cannot be written, also where there is no room for `size` bytes.
    """
    root, unfinished = folder.parent, folder.with_name(folder.name + UNFINISHED)
    with writing(root, remedy):
        for old in (unfinished, folder):
            if old.exists():
                shutil.rmtree(old)
        for left in root.glob(f"*{UNFINISHED}"):
            try:
                with FileLock(root / f"{left.name.removesuffix(UNFINISHED)}.lock").acquire(timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
            except Timeout:  # another process is building it
                continue
        if size > shutil.disk_usage(root).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        unfinished.mkdir()
    try:
        yield unfinished
        with writing(root, remedy):
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
