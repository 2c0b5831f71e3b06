"""Throughput of `corolla embed` on JPEG files of 64×64 against the bare encoder, and its memory at more files.

The bare encoder gets the same images from memory, in batches of 256, and as many threads. `embed` reads the files,
which the operating system may keep in memory, decodes, encodes and writes an `.npz`. The two take turns, and medians
are compared. With one thread, nothing overlaps, and the ratio is the encoder's share of the work. With more, the bare
encoder's threads wait for each other at every layer, which costs it time where other work shares the machine, and
`embed`'s do not; hence the processor's time for an image stands beside it. Memory is the peak of a process of its own
for each number of files, as the system counts it. The model is untrained, which changes neither; the images are drawn
flowers.

    python dev.py bench embed --preset flowers --counts 1000 100000
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.features import write_features
from corolla.config import preset
from corolla.data import render, sample_factors
from corolla.models.vae import build_model
from corolla.trained import TrainedModel, load
from corolla.trained.model_folder import ModelCard, ModelFolder
from environment import describe, markdown_table

SIDE_PX = 64
DRAWN = 256
"""Different images; more files are links to theirs."""

HEADER = ["preset", "threads", "bare, images/s", "embed, images/s", "ratio", "bare, CPU ms", "embed, CPU ms", "ratio"]

_MEASURED = """
import resource, sys
from corolla.apps.features import write_features
from corolla.trained import load
write_features(load(sys.argv[1]), [sys.argv[2]], sys.argv[3])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
"""


def write_files(folder: Path, count: int) -> NDArray[np.uint8]:
    """JPEG files of drawn flowers, in folders of 1,000; returns the images, which more files are links to."""
    images = render(sample_factors(DRAWN, np.random.default_rng(0)), SIDE_PX, SIDE_PX)
    originals = []
    for number in range(count):
        place = folder / f"{number // 1000:04d}" / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number < DRAWN:
            Image.fromarray(images[number]).save(place, quality=90)
            originals.append(place)
        else:
            os.link(originals[number % DRAWN], place)
    return images


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """How long an action takes, by the clock and in the processor's time of all threads."""
    start = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def throughput(
    model: TrainedModel, folder: Path, images: NDArray[np.uint8], count: int, repeats: int, threads: int
) -> list[str]:
    """A row of the table: images a second of the bare encoder and of `embed`, their ratio, and the processor's time."""
    torch.set_num_threads(threads)
    held = images[np.arange(count) % len(images)]
    output = folder.with_name("throughput.npz")
    model.posterior(held[:DRAWN])
    bare, embedded = [], []
    for _ in range(repeats):
        bare.append(seconds(lambda: model.posterior(held)))
        embedded.append(seconds(lambda: write_features(model, [folder], output, workers=threads)))
    clock, processor = ([statistics.median(row[kind] for row in rows) for rows in (bare, embedded)] for kind in (0, 1))
    return [
        str(threads),
        *(f"{count / value:,.0f}" for value in clock),
        f"{clock[0] / clock[1]:.2f}",
        *(f"{1000 * value / count:.2f}" for value in processor),
        f"{processor[0] / processor[1]:.2f}",
    ]


def peak_bytes(model: Path, folder: Path) -> int:
    """The most memory that a process held which embedded a folder and did nothing else."""
    output = folder.with_name("memory.npz")
    command = [sys.executable, "-c", _MEASURED, str(model), str(folder), str(output)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Make the files, time the two, then measure memory for each number of files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", default=["flowers"], help="whose networks (at 64x64)")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 100000], help="files, for memory")
    parser.add_argument("--timed", type=int, default=2048, help="files, for throughput")
    cores = torch.get_num_threads()
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}), help="for throughput, of both")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(describe())
    print(flush=True)
    rows, memory = [], []
    with tempfile.TemporaryDirectory() as scratch:
        timed = Path(scratch) / "timed"
        images = write_files(timed, arguments.timed)
        for name in arguments.preset:
            config = preset(name).updated({"data.size": SIDE_PX})
            place = Path(scratch) / f"model-{name}"
            ModelFolder(place).save(build_model(config), ModelCard(config))
            for threads in arguments.threads:
                row = throughput(load(place), timed, images, arguments.timed, arguments.repeats, threads)
                rows.append([name, *row])
        print(markdown_table(HEADER, rows), flush=True)
        for count in arguments.counts:
            folder = Path(scratch) / f"files-{count}"
            write_files(folder, count)
            memory.append([f"{count:,}", f"{peak_bytes(place, folder) / 1e6:.0f}"])
            shutil.rmtree(folder)
    print()
    print(markdown_table(["files", "peak memory, MB"], memory))


if __name__ == "__main__":
    main()
