"""Archives as sources: the same images, splits and labels as the folder that they were made of."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corolla.data import open_cache, open_source, recipe_named
from corolla.errors import DataError, UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(12):
        path = (
            tmp_path / "photos" / ("train" if number < 8 else "test") / ("rose", "tulip")[number % 2] / f"{number}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 11, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "readme.txt").write_text("no image")
    (tmp_path / "photos" / "__MACOSX").mkdir()
    (tmp_path / "photos" / "__MACOSX" / "._1.png").write_bytes(b"no image")
    return tmp_path / "photos"


def packed(photos: Path, kind: str) -> Path:
    archive = photos.with_suffix(kind)
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    if kind == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            for file in files:
                opened.write(file, file.relative_to(photos).as_posix())
    else:
        with tarfile.open(archive, "w") as tar:
            for file in files:
                tar.add(file, file.relative_to(photos).as_posix())
    return archive


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_an_archive_is_as_its_folder(photos: Path, tmp_path: Path, kind: str) -> None:
    archive = packed(photos, kind)
    folder, source = (open_source(f"folder:{path}", home=tmp_path / "home") for path in (photos, archive))
    assert source.keys == folder.keys
    assert source.label_names == folder.label_names == ("rose", "tulip")
    assert {name: rows.tolist() for name, rows in source.splits.items()} == {
        name: rows.tolist() for name, rows in folder.splits.items()
    }
    assert source.fingerprint == folder.fingerprint
    assert any("1 .txt files" in note for note in source.notes)
    first, second = (open_cache(one, recipe_named("fit"), 8, 8, home=tmp_path / "home") for one in (folder, source))
    np.testing.assert_array_equal(first.images, second.images)


def test_a_damaged_or_other_archive_is_refused(photos: Path, tmp_path: Path) -> None:
    archive = packed(photos, ".zip")
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"photos\.zip: not a \.zip archive, or damaged"):
        open_source(f"folder:{archive}", home=tmp_path / "home")
    with pytest.raises(UsageError, match=r"photos\.rar: no such folder"):
        open_source(f"folder:{photos.with_suffix('.rar')}", home=tmp_path / "home")


def test_a_damaged_member_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "rose" / "0.png").write_bytes(b"no image")
    archive = packed(photos, ".tar")
    cache = open_cache(open_source(f"folder:{archive}", home=tmp_path), recipe_named("fit"), 8, 8, home=tmp_path)
    assert len(cache.images) == 11
    assert cache.manifest["skipped"][0][0] == "train/rose/0.png"
    assert "photos.tar/train/rose/0.png: not a JPEG" in cache.manifest["skipped"][0][1]


def test_members_that_begin_with_a_dot_and_a_slash_mean_the_same(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "dotted.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(photos, ".")  # as `tar -C photos -cf dotted.tar .` does
    plain, dotted = open_source(f"folder:{photos}"), open_source(f"folder:{archive}")
    assert dotted.keys == plain.keys
    assert dotted.fingerprint == plain.fingerprint
    assert {name: list(rows) for name, rows in dotted.splits.items()} == {
        name: list(rows) for name, rows in plain.splits.items()
    }
    assert dotted.label_names == plain.label_names == ("rose", "tulip")
    assert np.asarray(dotted.picture(0)).shape == (9, 11, 3)


def test_a_damaged_member_of_a_zip_is_a_fault_and_no_crash(photos: Path) -> None:
    archive = packed(photos, ".zip")
    with zipfile.ZipFile(archive) as opened:
        first = next(member for member in opened.infolist() if member.filename.endswith("rose/0.png"))
    content = bytearray(archive.read_bytes())
    start = first.header_offset + 30 + len(first.filename)
    content[start : start + 40] = b"\xff" * 40  # no deflated data begin like this
    archive.write_bytes(content)
    source = open_source(f"folder:{archive}")
    cache = open_cache(source, recipe_named("fit"), 8, 8)
    assert [key for key, _ in cache.manifest["skipped"]] == [first.filename]


def test_a_zip_is_listed_once_and_not_for_each_member(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, opened = packed(photos, ".zip"), []

    class Counted(zipfile.ZipFile):
        def __init__(self, *args: Any, **options: Any) -> None:
            opened.append(args)
            super().__init__(*args, **options)

    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    source = open_source(f"folder:{archive}")
    open_cache(source, recipe_named("fit"), 8, 8)
    assert len(opened) == 1


def test_an_archive_that_was_replaced_within_its_time_stamp_is_listed_again(photos: Path) -> None:
    archive = packed(photos, ".tar")
    when = archive.stat().st_mtime_ns
    open_source(f"folder:{archive}")
    (photos / "train" / "rose" / "0.png").unlink()
    packed(photos, ".tar")
    os.utime(archive, ns=(when, when))
    source = open_source(f"folder:{archive}")
    assert len(source.keys) == 11
    assert all(np.asarray(source.picture(index)).shape == (9, 11, 3) for index in range(11))


def test_the_folder_that_wraps_an_archive_means_nothing(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "wrapped.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(photos.rglob("*.png")):
            if "__MACOSX" not in file.parts:
                opened.write(file, f"photos/{file.relative_to(photos).as_posix()}")
    source = open_source(f"folder:{archive}", home=tmp_path / "home")
    assert source.label_names == ("rose", "tulip")
    assert {name: len(rows) for name, rows in source.splits.items()} == {"train": 8, "test": 4}
    assert source.keys[0] == "photos/test/rose/10.png"
    np.testing.assert_array_equal(source.picture(0), np.asarray(Image.open(photos / "test" / "rose" / "10.png")))
