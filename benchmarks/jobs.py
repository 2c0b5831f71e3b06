"""Many trainings, some at a time, each in a process of its own: what the benchmarks of a grid share."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from corolla.config import Config
from corolla.errors import CorollaError
from corolla.sweeps.record import refuse_other_run
from corolla.trained.run_folder import RunFolder
from corolla.training import is_finished, resolve


def train_all(configs: Mapping[Path, Config], jobs: int) -> None:
    """Train each configuration into its run folder, so many at a time; what is finished stays, the rest goes on.

    What a training prints is in a file beside its folder. The first failure or SIGTERM ends the program, and the
    others with it; so does a run that is there with other settings, as its numbers would be told as those of these.
    """
    for path, config in configs.items():
        try:
            refuse_other_run(path, resolve(config))
        except CorollaError as error:
            raise SystemExit(str(error)) from None
    waiting = [path for path in configs if not (RunFolder(path).exists and is_finished(path))]
    working: dict[Path, subprocess.Popen[bytes]] = {}
    with _ended_by_sigterm():
        try:
            while waiting or working:
                while waiting and len(working) < jobs:
                    path = waiting.pop(0)
                    print(f"training {path.name}; {len(waiting)} more to come", file=sys.stderr, flush=True)
                    working[path] = _start(path, configs[path])
                for path, process in list(working.items()):
                    if process.poll() is not None:
                        del working[path]
                        if process.returncode:
                            raise SystemExit(f"{path.name} failed: {_log(path).read_text().strip().splitlines()[-1]}")
                time.sleep(0.2)
        finally:
            for process in working.values():
                process.terminate()  # it saves its state
            for process in working.values():
                process.wait()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this program as an exception does, so that what it began is ended, too."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(path: Path, config: Config) -> subprocess.Popen[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = path.with_name(f"{path.name}.yaml")  # the name may hold a dot, as 0.5 does
    wanted.write_text(config.to_yaml(), encoding="utf-8")
    begun = RunFolder(path).last_checkpoint.is_file()
    where = ["--resume", str(path)] if begun else ["--config", str(wanted), "--run", str(path), "--force"]
    with _log(path).open("wb") as output:
        return subprocess.Popen([sys.executable, "-m", "corolla", "train", *where], stdout=output, stderr=output)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}.log")
