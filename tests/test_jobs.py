"""The benchmarks' trainings: what is there with other settings is refused, and none outlives the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import corolla
import jobs
from corolla.config import Config
from corolla.trained.run_folder import RunFolder
from corolla.training import resolve
from jobs import train_all

WAITING = """
import subprocess, sys
from pathlib import Path
import jobs
from corolla.config import Config

def start(path, config):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(process.pid, flush=True)
    return process

def sleep(seconds, sleep=jobs.time.sleep):
    print("both are begun", flush=True)
    sleep(seconds)

jobs._start = start
jobs.time.sleep = sleep
jobs.train_all({Path(name): Config() for name in "ab"}, 2)
"""


def test_a_run_with_other_settings_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_config(resolve(Config()), {})
    with pytest.raises(SystemExit, match=r"was trained with seed 42 and not 7; choose another folder with --runs"):
        train_all({run.path: Config().updated({"seed": 7})}, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_trainings_end_with_the_benchmark(tmp_path: Path) -> None:
    places = (Path(jobs.__file__).parent, Path(corolla.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as benchmark:
        assert benchmark.stdout is not None
        children = [int(benchmark.stdout.readline()) for _ in range(2)]
        assert benchmark.stdout.readline() == "both are begun\n"
        benchmark.terminate()
        assert benchmark.wait() == 128 + signal.SIGTERM
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
