from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corolla.data.sources import FileSource, Source, corolla_home, open_source, select_rows
from corolla.errors import DataError, UsageError

SPLITS = {"train": np.array([4, 0, 2]), "val": np.array([1]), "test": np.array([3, 5]), "none": np.empty(0, np.int64)}


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("train", [0, 2, 4]),
        ("train+test", [0, 2, 3, 4, 5]),
        ("test + train", [0, 2, 3, 4, 5]),
        ("all", [0, 1, 2, 3, 4, 5]),
        ("val+none", [1]),
    ],
)
def test_select_rows(expression: str, rows: list[int]) -> None:
    selected = select_rows(SPLITS, expression)
    assert selected.tolist() == rows
    assert selected.dtype == np.int64


@pytest.mark.parametrize("expression", ["training", "train+", "", "Train", "train,test", "all+train"])
def test_unknown_splits_list_the_known(expression: str) -> None:
    with pytest.raises(UsageError, match=r"no such split as .*; there are train, val, test, none, and all"):
        select_rows(SPLITS, expression)


def test_a_split_cannot_be_given_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        select_rows(SPLITS, "train+val+train")


def test_an_empty_selection_tells_the_counts() -> None:
    with pytest.raises(DataError, match=r"'none': holds no images .*train 3, val 1, test 2, none 0"):
        select_rows(SPLITS, "none")


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "rose.png")
    source = open_source(f"folder:{tmp_path}")
    empty = next(name for name, rows in source.splits.items() if not len(rows))
    with pytest.raises(DataError, match="holds no images"):
        select_rows(source.splits, empty)


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COROLLA_HOME", raising=False)
    assert corolla_home(tmp_path) == tmp_path
    assert "corolla" in str(corolla_home())
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path / "named"))
    assert corolla_home() == tmp_path / "named"
    assert corolla_home(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert corolla_home(Path("here")) == tmp_path / "here"


def test_sources_open_by_name(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "rose.png")
    folder: Source = open_source(f"folder:{tmp_path}")
    assert isinstance(folder, FileSource)
    assert open_source("florets").name == "florets:6000"
    assert len(open_source("florets:30").keys) == 30


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "flowers",
        "flowers103",
        "flowers102:x",
        "folder",
        "folder:",
        "florets:",
        "florets:many",
        "florets:-1",
        "factors:",
        "array:",
    ],
)
def test_unknown_sources_list_the_known(spec: str) -> None:
    kind, colon, _ = spec.partition(":")
    known = r"there are florets\[:COUNT\], flowers102, folder:PATH, array:FILE\.npy\|npz, factors:FILE\.npz, dsprites"
    expected = rf"no such source; write {kind}" if colon or kind == "folder" else rf"no such source.*{known}"
    with pytest.raises(UsageError, match=expected):
        open_source(spec)


def test_a_bare_path_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean folder:"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("spec", ["florets", "folder:x"])
def test_only_what_is_downloaded_has_mirrors(spec: str) -> None:
    with pytest.raises(UsageError, match="only what is downloaded has mirrors"):
        open_source(spec, mirror="https://example.org")
