"""How long a user waits for a command, cold: whole processes, several runs, the median.

python dev.py bench commands
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import corolla
from corolla.config import preset
from environment import describe, markdown_table

RUNS = 7


def median_seconds(command: list[str]) -> float:
    """Median wall-clock time of a command over several runs, after one that is not counted."""
    times = []
    for run in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        if run:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Train a model for a moment, then time the commands."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        config = preset("flowers").updated({"data.source": "florets:200", "training.max_steps": 2})
        corolla.fit(config, run)
        program = [sys.executable, "-m", "corolla"]
        commands = {
            "corolla --help": [*program, "--help"],
            "corolla --version": [*program, "--version"],
            "corolla info": [*program, "info", str(run)],
            "corolla sample": [*program, "sample", str(run / "model"), "-o", str(Path(folder) / "samples.png")],
        }
        rows = [[name, f"{median_seconds(command):.2f}"] for name, command in commands.items()]
    print(describe())
    print()
    print(markdown_table(["command", f"seconds, median of {RUNS}"], rows))


if __name__ == "__main__":
    main()
