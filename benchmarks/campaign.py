"""Faults on purpose: commands killed at every write and at random moments, and damaged files; who survives?

    python dev.py bench campaign --trials 150 --seed 0

A killed command is run again (or resumed), and must then end as one that was never killed: the same weights, numbers
and pixels, and no file too many. What lies there in between must be whole, or be refused in one line. To kill in the
middle of a write, the file that was begun last is cut before the process kills itself. A damaged file must work or be
refused in one line, without a traceback, a crash or a hang. Each command has a process of its own, forked from this
one, so this needs POSIX. A failure is printed with the arguments that repeat it, and the script then exits with 1.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import io
import mmap
import os
import pkgutil
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

import corolla
from corolla.cli import run as run_command
from corolla.data.florets import render, sample_factors
from environment import describe, markdown_table

_PARTS = ("home", "tmp", "work")
"""The folders of a trial: Corolla's home, the system's temporary files, and where commands run."""
HANG_SECONDS = 120
MEMORY_BYTES = 16 << 30
CRASHED, HUNG = 70, 71
WRITE, MOMENT, DAMAGE = "killed at a write", "killed at a moment", "damaged file"
SLOW_IMPORTS = ("lightning.fabric", "matplotlib.pyplot", "sklearn.mixture", "sklearn.ensemble", "sklearn.linear_model")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}

_TINY = "--source florets:300 --size 16 --batch-size 16 --max-steps 6 --set network.width=8 --set network.latent_dim=4"
_TINY += " --set network.patch=4 --set training.threads=1 --set training.evaluate_every=3 --checkpoint-every 2"
TRAIN = f"train {_TINY} --run run"
FIT = "fit-prior run gaussian"


@dataclass(frozen=True)
class Job:
    """A command, how it is repeated, and what it makes whole or not at all."""

    command: str
    resume: tuple[str, str] | None = None
    """A command that goes on, once the file that is named first is there."""
    outputs: tuple[str, ...] = ()
    """Files that are right whenever they are there."""
    probes: tuple[str, ...] = ("info run",)
    """Commands that must work or refuse in one line after the kill."""
    after: tuple[str, ...] = (TRAIN,)


LOAD = "sample {} --count 1 -o ../probe.png"
JOBS = {
    "train": Job(TRAIN, ("run/config.yaml", "train --resume run"), (), ("info run", LOAD.format("run")), ()),
    "sweep": Job(
        f"sweep {_TINY} --seed 0,1 --output sweep",
        ("sweep/sweep.yaml", "sweep --resume sweep"),
        (),
        ("info sweep/seed=0", LOAD.format("sweep/seed=0")),
        (),
    ),
    "evaluate": Job("evaluate run --only images,latents", outputs=("run/scores.json", "run/scores/images.csv")),
    "fit-prior": Job(
        FIT, outputs=("run/model/prior-gaussian.safetensors",), probes=(LOAD.format("run --prior gaussian"),)
    ),
    "compress": Job("compress run photos -o codes.corolla", outputs=("codes.corolla",)),
    "embed": Job("embed run photos -o codes.npz", outputs=("codes.npz",)),
    "sample": Job("sample run --count 4 -o s.png --npz s.npz", outputs=("s.png", "s.npz")),
    "report": Job("report run", outputs=("run/report.html",)),
}
FORMATS = ("png", "jpg", "gif", "bmp", "tif", "webp")
WHOLE = (TRAIN, FIT, JOBS["evaluate"].command, JOBS["compress"].command, JOBS["embed"].command)
"""What makes the files that are damaged."""
TARGETS = {f"photos/0.{suffix}": (f"embed run photos/0.{suffix} -o x.npz --strict",) for suffix in FORMATS} | {
    "photos/1.png": ("embed run photos -o x.npz",),
    "run/model/config.json": ("info run", LOAD.format("run")),
    "run/model/model.safetensors": (LOAD.format("run"),),
    "run/model/prior-gaussian.safetensors": (LOAD.format("run --prior gaussian"),),
    "run/scores.json": ("info run", "report run", "compare run -o ../compared"),
    "run/metrics.csv": ("info run", "report run"),
    "run/config.yaml": ("info run", "train --resume run"),
    "run/checkpoints/last.ckpt": ("info run", "train --resume run"),
    "codes.corolla": ("decompress run codes.corolla -o pictures",),
    "codes.npz": ("search run photos/0.png --in codes.npz",),
}


@dataclass(frozen=True)
class Ending:
    """How a command ended: its exit code (negative: the signal), what it printed, and how often it changed a file."""

    code: int
    text: str
    seconds: float
    changes: int

    def fault(self, *, may_refuse: bool) -> str | None:
        """What is wrong with it, or None: it worked, or (where it may) refused in one line."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        if self.code == HUNG:
            return f"hung for {HANG_SECONDS} s"
        if "Traceback" in self.text or self.code not in (0, 1, 2):
            return f"crashed ({self.code}): {lines[-1] if lines else 'no message'}"
        if self.code == 0:
            return None
        if not may_refuse:
            return f"refused: {lines[-1]}"
        return None if lines and lines[-1].startswith("corolla: ") else f"refused without a reason: {lines[-1:]}"


class _Killer:
    """An audit hook that counts the changes of files below a folder, and kills the process before the n-th."""

    def __init__(self, root: Path, kill_at: int | None, cut: float | None, count: mmap.mmap) -> None:
        self.root, self.kill_at, self.cut, self.count = root, kill_at, cut, count
        self.changes = 0
        self.written: tuple[Path, int] | None = None
        """The file that the last change began, and how long it was before."""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int):
            relevant = bool(arguments[2] & _WRITING)
        else:
            relevant = event in _CHANGES
        if not relevant or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path.cwd() / os.fsdecode(arguments[0])
        if not path.is_relative_to(self.root):
            return
        self.changes += 1
        self.count[:8] = self.changes.to_bytes(8, "little")
        if self.changes == self.kill_at:
            self._cut((path, 0) if event == "os.rename" else self.written)  # a file is written, then gets its name
            os.kill(os.getpid(), signal.SIGKILL)
        kept = path.stat().st_size if event == "open" and path.is_file() and not arguments[2] & os.O_TRUNC else 0
        self.written = (path, kept) if event == "open" else None

    def _cut(self, written: tuple[Path, int] | None) -> None:
        if self.cut is not None and written and written[0].is_file():
            path, before = written
            os.truncate(path, before + int(self.cut * max(0, path.stat().st_size - before)))


def run(
    command: str, root: Path, kill_at: int | None = None, kill_after: float | None = None, cut: float | None = None
) -> Ending:
    """Run one command in the folder `root/work`, in a process of its own, and perhaps kill it."""
    count = mmap.mmap(-1, 8)
    log = root.with_suffix(".log")
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_command(command, root, log, _Killer(root, kill_at, cut, count))
    end = started + (HANG_SECONDS if kill_after is None else kill_after)
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)
            if kill_after is None:
                return Ending(HUNG, log.read_text(errors="replace"), HANG_SECONDS, 0)
            break
        time.sleep(0.002)
    text = log.read_text(errors="replace")
    changes = int.from_bytes(count[:8], "little")
    return Ending(os.waitstatus_to_exitcode(status[1]), text, time.monotonic() - started, changes)


def _be_command(command: str, root: Path, log: Path, killer: _Killer) -> NoReturn:
    code = CRASHED
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ |= {"COROLLA_HOME": str(root / "home"), "TMPDIR": str(root / "tmp")}
        tempfile.tempdir = str(root / "tmp")  # or Python itself would write there to find it out
        os.chdir(root / "work")
        torch.set_num_threads(1)
        sys.addaudithook(killer)
        code = run_command(command.split())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def contents(root: Path) -> dict[str, str]:
    """What every file holds, but for times; locks, TensorBoard's own files and what the probes write are left out."""
    files = sorted(path for part in _PARTS for path in (root / part).rglob("*") if path.is_file())
    kept = (path for path in files if not path.name.endswith(".lock") and path.parent.name != "tensorboard")
    return {str(path.relative_to(root)): _digest(path) for path in kept}


def _digest(path: Path) -> str:
    if path.suffix == ".ckpt":
        return "a checkpoint"  # it holds times
    if path.suffix == ".png":
        with Image.open(path) as image:
            return f"{image.size} {hashlib.sha256(image.tobytes()).hexdigest()}"
    content = path.read_bytes()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        content = repr([{k: v for k, v in row.items() if "seconds" not in k} for row in rows]).encode()
    return hashlib.sha256(content).hexdigest()


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, the end cut off, a block repeated, or a block of zeros."""
    place, length = chance.randrange(len(content)), chance.randint(1, 1 + len(content) // 4)
    match chance.randrange(4):
        case 0:
            changed = bytearray(content)
            for _ in range(chance.randint(1, 8)):
                changed[chance.randrange(len(content))] ^= chance.randint(1, 255)
            return bytes(changed)
        case 1:
            return content[:place]
        case 2:
            return content[:place] + content[place : place + length] + content[place:]
        case _:
            return (content[:place] + bytes(length) + content[place + length :])[: len(content)]


@dataclass
class Campaign:
    """The trials, in a scratch folder; what they start from is made once."""

    scratch: Path
    seed: int
    _starts: dict[tuple[str, ...], Path] = field(default_factory=dict)
    _unbroken: dict[str, tuple[dict[str, str], Ending]] = field(default_factory=dict)

    def trial(self, kind: str, name: str, number: int) -> str | None:
        """What went wrong in one trial, or None."""
        chance = random.Random(f"{self.seed}/{kind}/{name}/{number}")
        if kind == DAMAGE:
            return self._damage(name, chance)
        seconds = self.unbroken(name)[1].seconds
        if kind == MOMENT:
            return self._kill(name, kill_after=seconds * chance.random())
        return self._kill(name, kill_at=number, cut=chance.random() if chance.random() < 0.5 else None)

    def unbroken(self, name: str) -> tuple[dict[str, str], Ending]:
        """What a command leaves that nobody kills, and how it ended."""
        if name not in self._unbroken:
            root = self._fresh(JOBS[name].after)
            ending = _must_work(JOBS[name].command, root)
            self._unbroken[name] = contents(root), ending
        return self._unbroken[name]

    def _start(self, commands: tuple[str, ...]) -> Path:
        """A folder in which some commands have been run."""
        if commands not in self._starts:
            self._starts[commands] = self.scratch / f"start-{len(self._starts)}"
            root = self._fresh(commands[:-1]) if commands else self.scratch / "trial"
            if commands:
                _must_work(commands[-1], root)
            else:
                for part in _PARTS:
                    (root / part).mkdir(parents=True)
                _paint(root / "work" / "photos")
            root.rename(self._starts[commands])
        return self._starts[commands]

    def _fresh(self, commands: tuple[str, ...]) -> Path:
        start, root = self._start(commands), self.scratch / "trial"
        if root.exists():
            shutil.rmtree(root)
        return Path(shutil.copytree(start, root))

    def _kill(self, name: str, **how: Any) -> str | None:
        job, (expected, _) = JOBS[name], self.unbroken(name)
        root = self._fresh(job.after)
        run(job.command, root, **how)
        between = contents(root)
        for output in (f"work/{path}" for path in job.outputs):
            if between.get(output, expected[output]) != expected[output]:
                return f"{output} is there after the kill, and is not whole"
        for probe in job.probes:
            if fault := run(probe, root).fault(may_refuse=True):
                return f"after the kill, `{probe}` {fault}"
        again = job.resume[1] if job.resume and (root / "work" / job.resume[0]).exists() else job.command
        if fault := run(again, root).fault(may_refuse=False):
            return f"the second time, it {fault}"
        ended = contents(root)
        differing = sorted(path for path in expected | ended if expected.get(path) != ended.get(path))
        return f"the second time, these are other files: {', '.join(differing)}" if differing else None

    def _damage(self, name: str, chance: random.Random) -> str | None:
        root = self._fresh(WHOLE)
        file = root / "work" / name
        file.write_bytes(damaged(file.read_bytes(), chance))
        for command in TARGETS[name]:
            if fault := run(command, root).fault(may_refuse=True):
                return f"`{command}` {fault}"
        return None


def _must_work(command: str, root: Path) -> Ending:
    ending = run(command, root)
    if ending.code:
        raise SystemExit(f"`{command}` fails without a fault of ours: {ending.text}")
    return ending


def _paint(folder: Path) -> None:
    folder.mkdir()
    pixels = render(sample_factors(8, np.random.default_rng(3)), 24, 24)
    for index, picture in enumerate(pixels):
        for suffix in FORMATS if index == 0 else ("png",):
            Image.fromarray(picture).save(folder / f"{index}.{suffix}")


def trials(campaign: Campaign, count: int | None) -> Iterator[tuple[str, str, int]]:
    """Every write and 10 moments of every job, 20 damages of every file; or `count` trials, a third of each kind."""
    writes = {name: range(1, 1 + campaign.unbroken(name)[1].changes) for name in JOBS}
    moments = {name: range(count or 10) for name in JOBS}
    damages = {name: range(count or 20) for name in TARGETS}
    for kind, numbers in ((WRITE, writes), (MOMENT, moments), (DAMAGE, damages)):
        chance = random.Random(f"{campaign.seed}/{kind}")
        lists = [[(kind, name, n) for n in chance.sample(of, len(of))] for name, of in numbers.items()]
        chance.shuffle(lists)
        turns = (trial for turn in zip_longest(*lists) for trial in turn if trial)  # no job has more than its share
        yield from islice(turns, count and count // 3)


def main() -> None:
    """Run the trials; print the table of survivors, and a line for each failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help="how many in all; by default every write, and hundreds of others")
    parser.add_argument("--seed", type=int, default=0, help="chooses the trials, and fixes them")
    parser.add_argument("--quick", action="store_true", help="24 trials")
    parser.add_argument("--only", nargs=3, metavar=("KIND", "NAME", "N"), help="one trial, as a failure names it")
    arguments = parser.parse_args()
    print(f"{describe()}\nseed {arguments.seed}\n", flush=True)
    for module in pkgutil.walk_packages(corolla.__path__, "corolla."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    failures: list[str] = []
    rows: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(scratch).resolve(), arguments.seed)
        only = arguments.only
        chosen = (
            [(only[0], only[1], int(only[2]))]
            if only
            else trials(campaign, 24 if arguments.quick else arguments.trials)
        )
        for kind, name, number in chosen:
            fault = campaign.trial(kind, name, number)
            row = rows.setdefault(kind, [0, 0])
            row[bool(fault)] += 1
            if fault:
                repeat = f'--seed {arguments.seed} --only "{kind}" {name} {number}'
                failures.append(f"{kind}: {name}: {fault}; repeat it with {repeat}")
                print(failures[-1], file=sys.stderr, flush=True)
    table = [[kind, str(good + bad), str(good), str(bad)] for kind, (good, bad) in rows.items()]
    print(markdown_table(["kind", "trials", "survived", "failed"], table))
    if failures:
        print("\n" + "\n".join(failures))
        sys.exit(1)


if __name__ == "__main__":
    main()
