"""Progress: plain lines where nobody watches, a bar on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from corolla.progress import ProgressDisplay


def test_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("corolla.progress.time.monotonic", lambda: now[0])
    text = io.StringIO()
    with ProgressDisplay("training", console=Console(file=text, width=40)) as display:
        display.begin(20, 100)
        assert not display.due()
        now[0] += 60
        assert display.due()
        display.update(40, "loss 7")
        assert not display.due()
        display.line("a line that is longer than the console is wide, and is left whole [7]")
    # 20 steps a minute, 60 to go.
    assert text.getvalue().splitlines() == [
        "training 40/100, 3.0 min left; loss 7",
        "a line that is longer than the console is wide, and is left whole [7]",
    ]


def test_a_long_job_leaves_about_ten_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("corolla.progress.time.monotonic", lambda: now[0])
    text = io.StringIO()
    with ProgressDisplay("training", console=Console(file=text, width=80)) as display:
        display.begin(0, 7200)
        for step in range(1, 7201):
            if display.due():
                display.update(step)
            now[0] += 1
    lines = text.getvalue().splitlines()
    assert lines[0] == "training 11/7200, 108.9 min left"  # whether it goes on is known soon
    assert 8 <= len(lines) <= 12


def test_one_display_serves_one_job_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("corolla.progress.time.monotonic", lambda: now[0])
    text = io.StringIO()
    display = ProgressDisplay("training", console=Console(file=text, width=80))
    for start in (0, 50):
        with display:
            display.begin(start, 100)
            assert not display.due()
            now[0] += 60
            display.update(75)
    assert text.getvalue().splitlines() == ["training 75/100, 0.3 min left", "training 75/100, 1.0 min left"]


def test_a_bar_on_a_terminal() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with ProgressDisplay("training", 10, console=console) as display:
        display.update(5, "loss 7")
    assert "5/10" in text.getvalue()
    assert "loss 7" in text.getvalue()
