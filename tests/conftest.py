"""What every test shares: the quick ones run first, on drawn-up ground that no test leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Examples that come out the same on every machine, however slow it is.
settings.register_profile("corolla", deadline=None, derandomize=True)
settings.load_profile("corolla")

os.environ["MPLBACKEND"] = "Agg"  # pictures go to files; no test opens a window


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests last, in their order otherwise: a quick failure is seen at once."""
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
