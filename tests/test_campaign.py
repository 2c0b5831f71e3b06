"""The campaign of kills and damaged files: some trials of each kind pass, and one that must fail does."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import corolla

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked for each command"),
]
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
IN_PLACE = """
import contextlib, corolla.files
corolla.files.replacing = contextlib.contextmanager(lambda path: iter([path]))
import campaign
campaign.main()
"""
UNCHECKED = """
import corolla.trained.run_folder as run_folder, campaign
def rows(self):
    with self.metrics_file.open(newline="") as file:
        return [dict(row) for row in run_folder.csv.DictReader(file)]
run_folder.RunFolder.rows = rows
campaign.damaged = lambda content, chance: content.replace(b",0.", b",x.")
campaign.main()
"""


def run_campaign(*arguments: object, code: str = "import campaign; campaign.main()") -> tuple[int, str]:
    places = (BENCHMARKS, Path(corolla.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    line = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def survivors(text: str) -> dict[str, list[int]]:
    """Trials, survivors and failures of each kind."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {kind: [int(number) for number in numbers] for kind, *numbers in cells[1:]}


def test_kills_and_damaged_files_are_survived() -> None:
    code, text = run_campaign("--trials", 9)
    assert survivors(text) == {
        "killed at a write": [3, 3, 0],
        "killed at a moment": [3, 3, 0],
        "damaged file": [3, 3, 0],
    }, text
    assert code == 0


def test_a_file_that_is_written_in_place_is_a_failure_that_says_how_to_repeat_it() -> None:
    for number in range(5, 10):  # a kill after the first file was begun, which half of the kills cut
        code, text = run_campaign("--only", "killed at a write", "evaluate", number, code=IN_PLACE)
        if code == 1:
            break
    assert 'is not whole; repeat it with --seed 0 --only "killed at a write" evaluate' in text


def test_a_traceback_is_a_failure() -> None:
    code, text = run_campaign("--only", "damaged file", "run/metrics.csv", 0, code=UNCHECKED)
    assert code == 1
    assert survivors(text) == {"damaged file": [1, 0, 1]}
    assert "crashed (70): ValueError: could not convert string to float" in text


def test_damage_is_of_many_kinds_and_fixed_by_the_seed() -> None:
    from campaign import damaged

    content = bytes(range(256)) * 4
    changed = [damaged(content, random.Random(seed)) for seed in range(40)]
    assert changed == [damaged(content, random.Random(seed)) for seed in range(40)]
    assert content not in changed
    lengths = [len(one) - len(content) for one in changed]
    assert min(lengths) < 0 < max(lengths)
    assert lengths.count(0) > 10
