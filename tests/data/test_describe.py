"""What a source holds, and previews of recipes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from corolla.cli import run
from corolla.data import (
    Florets,
    describe_source,
    list_sources,
    open_cache,
    open_source,
    preview_recipe,
    recipe_named,
)
from corolla.errors import DataError, UsageError

FIT = recipe_named("fit")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Roses and asters: ten photos of several sizes, two of them equal, three damaged, and what is no photo."""
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path / "home"))
    root = tmp_path / "photos"
    for index, label in enumerate(("rose", "aster")):
        (root / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (20 + number, 30), (number, 5, index)).save(root / label / f"{number}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (70, 40)).save(root / "rose" / "turned.jpg", exif=turned)
    shutil.copy(root / "rose" / "1.png", root / "aster" / "copy.png")
    (root / "rose" / "bad.png").write_text("no image")
    for name in ("phone.heic", "also.HEIC"):
        (root / "rose" / name).write_bytes(b"\0\0\0\x18ftypheic" + name.encode())  # cut short
    (root / "rose" / "notes").write_text("x")
    (root / "run" / "model").mkdir(parents=True)
    (root / "run" / "config.yaml").write_text("seed: 0\nobjective: vae\nrun: x\n")
    (root / "run" / "metrics.csv").touch()
    return root


def test_a_folder(photos: Path) -> None:
    source = open_source(f"folder:{photos}")
    open_cache(source, FIT, 8, 8)
    facts = describe_source(source)
    assert facts.images == 13
    assert sum(facts.splits.values()) == 13
    assert facts.labels == {"aster": 5, "rose": 8}
    assert {
        label: sum(labels[label] for labels in facts.labels_by_split.values()) for label in facts.labels
    } == facts.labels
    assert (facts.heights_px, facts.widths_px) == ((30, 70), (20, 40))
    assert facts.duplicates == [["aster/copy.png", "rose/1.png"]]
    assert facts.formats == {"RGB, 8 bits": 10}
    assert [line.partition(": ")[0] for line in facts.unreadable] == [
        str(photos / "rose" / name) for name in ("also.HEIC", "bad.png", "phone.heic")
    ]
    assert facts.unreadable[1].endswith(": not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image, or damaged")
    assert facts.left_out == {"folders that Corolla wrote": 1, "other files": 1}
    assert facts.notes == ("left out, as no images: 1 other files, 1 folders that Corolla wrote",)
    assert facts.fingerprint == source.fingerprint
    assert facts.decoded[0].startswith("10 images, `fit`, 8x8, 3 skipped in ")
    assert (facts.factors, facts.grid) == ({}, False)


def test_the_command_prints_the_same_facts(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "info", f"folder:{photos}", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["labels"] == {"aster": 5, "rose": 8}
    assert facts["duplicates"] == [["aster/copy.png", "rose/1.png"]]
    assert run(["data", "info", f"folder:{photos}"]) == 0
    text = capsys.readouterr().out
    for line in (
        "labels      2: aster 5, rose 8",
        "sizes       heights 30 to 70, widths 20 to 40 pixels",
        "aster/copy.png = rose/1.png",
        "format      RGB, 8 bits 10",
        "understood  left out, as no images: 1 other files, 1 folders that Corolla wrote",
        "decoded     not yet; the first run does it",
    ):
        assert line in text


def test_florets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path))
    facts = describe_source("florets:30")
    assert facts.splits == {"train": 24, "val": 3, "test": 3}
    assert sum(facts.labels.values()) == 30
    assert facts.factors["petal_count"] == 6
    assert (facts.heights_px, facts.duplicates, facts.unreadable, facts.left_out) == (None, [], [], {})


def test_sources_that_are_here_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COROLLA_HOME", str(tmp_path))
    store = tmp_path / "flowers102" / "0123"
    store.mkdir(parents=True)
    assert list_sources()["flowers102"].endswith("; downloaded at first use")
    (store / "complete.json").touch()
    assert list_sources()["flowers102"].endswith(f"; in {tmp_path / 'flowers102'}")
    assert list_sources()["folder:PATH"] == "your own images, in any tree of folders"


def test_stages_of_images_spread_over_the_source(photos: Path) -> None:
    images, faults = preview_recipe(f"folder:{photos}", FIT, 8, 9, count=13)
    assert len(images) == 10
    assert len(faults) == 3
    assert [(label.split(" ")[0], picture.size) for label, picture in images[0]] == [
        ("original", (20, 30)),
        ("fit", (9, 8)),
    ]
    with pytest.raises(DataError, match=r"also\.HEIC: "):
        preview_recipe(f"folder:{photos}", FIT, 8, 9, count=13, on_error="refuse")
    with pytest.raises(UsageError, match="count = 0"):
        preview_recipe(f"folder:{photos}", FIT, 8, 9, count=0)
    assert preview_recipe(Florets(3), recipe_named("crop"), 64, 64, count=1)[0][0][0][1].size == (512, 512)
