"""What every test shares: the quick ones run first, on drawn-up ground that no test leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores; read when NumPy and torch load

from corolla.cli import run

# Examples that come out the same on every machine, however slow it is.
settings.register_profile("corolla", deadline=None, derandomize=True)
settings.load_profile("corolla")

os.environ["MPLBACKEND"] = "Agg"  # pictures go to files; no test opens a window


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests last, in their order otherwise: a quick failure is seen at once.

    Of each file, the quick tests go to one process together, and so do the slow ones: what they share is made once.
    """
    for item in items:
        slow = item.get_closest_marker("slow") is not None
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.name}-{'slow' if slow else 'quick'}"))
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep downloads and caches of tests away from the user's own."""
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="session")
def flowers_mirror() -> Path:
    """The folder with the real flowers; the test is skipped where there is none."""
    folder = os.environ.get("COROLLA_FLOWERS_MIRROR")
    if not folder:
        pytest.skip("COROLLA_FLOWERS_MIRROR is not set")
    return Path(folder)


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a home beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path / "home"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command `corolla` as a function of its words: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
