"""The cache: right pixels, built once, never half-built, and honest about what could not be used."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from corolla.data import (
    Florets,
    ImageCache,
    Recipe,
    Source,
    cache,
    images,
    index,
    open_cache,
    open_source,
    recipe_named,
)
from corolla.data.preprocessing import Preprocessing
from corolla.errors import DataError, UsageError, WriteError


class Plates(Source):
    """Plain images whose number is their colour; those in `broken` cannot be read."""

    def __init__(
        self,
        count: int = 10,
        broken: frozenset[int] = frozenset(),
        fingerprint: str = "0" * 64,
        name: str = "folder:/tmp/plates & more",
        delay_seconds: float = 0.0,
        factors: NDArray[np.float32] | None = None,
    ) -> None:
        rows = np.arange(count)
        splits = {"train": rows[::2], "val": rows[1::2][::-1]}
        super().__init__(
            name, [f"plate-{row}" for row in rows], splits, fingerprint, rows % 2, ("even", "odd"), factors
        )
        self.broken, self.delay_seconds, self.reads = broken, delay_seconds, list[int]()

    def picture(self, index: int, at_least_px: int | None = None) -> Image.Image:  # noqa: ARG002
        self.reads.append(index)
        time.sleep(self.delay_seconds)
        if index in self.broken:
            raise DataError("cut short")
        return Image.new("RGB", (9, 7), (index % 256, 255 - index % 256, 7))


FIT = recipe_named("fit")


def folders(home: Path) -> list[str]:
    return sorted(entry.name for entry in (home / "cache").iterdir() if entry.is_dir())


def test_every_image_is_cached_in_order_whatever_the_number_of_workers(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    cache = open_cache(Plates(300), FIT, 8, 12, home=tmp_path, workers=5, progress=lambda *done: seen.append(done))
    assert cache.images.shape == (300, 8, 12, 3)
    assert cache.images.dtype == np.uint8
    assert np.array_equal(cache.images[:, 3, 4, 0], np.arange(300) % 256)
    assert np.array_equal(cache.images[:, 0, 0, 1], 255 - np.arange(300) % 256)
    assert list(cache.keys) == list(Plates(300).keys)
    assert np.array_equal(cache.splits["val"], Plates(300).splits["val"])
    assert cache.labels is not None
    assert np.array_equal(cache.labels, np.arange(300) % 2)
    assert seen[-1] == (f"reading {cache.manifest['source']}", 300, 300)
    assert seen == sorted(seen)
    one = open_cache(Plates(300), FIT, 8, 12, home=tmp_path / "one", workers=1)
    assert np.array_equal(one.images, cache.images)


def test_the_images_are_a_read_only_memory_map(tmp_path: Path) -> None:
    images = open_cache(Plates(), FIT, 8, 8, home=tmp_path).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_a_second_run_decodes_nothing(tmp_path: Path) -> None:
    first = open_cache(Plates(), FIT, 8, 8, home=tmp_path)
    again = Plates()
    second = open_cache(again, FIT, 8, 8, home=tmp_path)
    assert again.reads == []
    assert second.folder == first.folder
    assert np.array_equal(second.images, first.images)
    assert second.manifest["skipped"] == []
    assert second.manifest["fingerprint"] == again.fingerprint
    assert second.manifest["recipe"] == "fit"


@pytest.mark.parametrize(
    ("source", "recipe", "height", "width"),
    [
        (Plates(fingerprint="1" * 64), FIT, 8, 8),
        (Plates(), recipe_named("crop"), 8, 8),
        (Plates(), dataclasses.replace(FIT, steps=recipe_named("enhance").steps), 8, 8),
        (Plates(), FIT, 9, 8),
        (Plates(), FIT, 8, 9),
    ],
)
def test_whatever_decides_the_pixels_makes_a_new_cache(
    tmp_path: Path, source: Plates, recipe: Recipe, height: int, width: int
) -> None:
    first = open_cache(Plates(), FIT, 8, 8, home=tmp_path)
    source.reads.clear()
    other = open_cache(source, recipe, height, width, home=tmp_path)
    assert other.folder != first.folder
    assert sorted(source.reads) == list(range(10))
    assert open_cache(Plates(), FIT, 8, 8, home=tmp_path).folder == first.folder


def test_images_that_cannot_be_used_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Plates(150, broken=frozenset({0, 3, 64, 149}), factors=np.arange(150, dtype=np.float32)[:, None])
    with caplog.at_level(logging.WARNING, logger="corolla"):
        cache = open_cache(source, FIT, 8, 8, home=tmp_path, workers=3)
    assert "plate-3: cut short; left out" in caplog.messages
    assert cache.manifest["skipped"] == [[f"plate-{index}", f"plate-{index}: cut short"] for index in (0, 3, 64, 149)]
    assert cache.manifest["count"] == len(cache.images) == len(cache.keys) == 146
    for open_again in (cache, open_cache(source, FIT, 8, 8, home=tmp_path)):
        number = np.array([int(key.removeprefix("plate-")) for key in open_again.keys])
        assert np.array_equal(open_again.images[:, 0, 0, 0], number)
        assert open_again.labels is not None
        assert np.array_equal(open_again.labels, number % 2)
        assert open_again.factors is not None
        assert np.array_equal(open_again.factors[:, 0], number)
        assert sorted(number[open_again.splits["train"]]) == [i for i in range(0, 150, 2) if i not in source.broken]
        assert number[open_again.splits["val"]][0] == 147
    stored = np.load(cache.folder / "images.npy")  # an ordinary file, for other programs too
    assert np.array_equal(stored, cache.images)


def test_many_skipped_images_are_not_all_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_cache(Plates(40, broken=frozenset(range(30))), FIT, 8, 8, home=tmp_path)
    assert len(caplog.messages) == 11
    assert "20 more images left out; all are named in" in caplog.messages[-1]


def test_images_that_cannot_be_used_are_refused_on_request(tmp_path: Path) -> None:
    source = Plates(broken=frozenset({4}))
    for _ in range(2):
        with pytest.raises(DataError, match="plate-4: cut short; repair or remove it"):
            open_cache(source, FIT, 8, 8, home=tmp_path, on_error="refuse")
    assert folders(tmp_path) == []
    assert len(open_cache(source, FIT, 8, 8, home=tmp_path).images) == 9
    with pytest.raises(DataError, match="plate-4: cut short"):
        open_cache(source, FIT, 8, 8, home=tmp_path, on_error="refuse")


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 3 images can be used; the first: plate-0: cut short"):
        open_cache(Plates(3, broken=frozenset(range(3))), FIT, 8, 8, home=tmp_path)
    with pytest.raises(DataError, match="holds no images"):
        open_cache(Plates(0), FIT, 8, 8, home=tmp_path)
    assert folders(tmp_path) == []


def test_an_impossible_size_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    source = Plates()
    with pytest.raises(UsageError, match="at most 256x256"):
        open_cache(source, recipe_named("crop"), 300, 300, home=tmp_path)
    with pytest.raises(UsageError, match="0 workers"):
        open_cache(source, FIT, 8, 8, home=tmp_path, workers=0)
    assert source.reads == []
    assert not (tmp_path / "cache").exists()


def cut_images(folder: Path) -> None:
    with (folder / "images.npy").open("r+b") as file:
        file.truncate(500)


def lengthen_images(folder: Path) -> None:
    with (folder / "images.npy").open("ab") as file:
        file.write(b"more")


def empty_images(folder: Path) -> None:
    (folder / "images.npy").write_bytes(b"")


def replace_images(folder: Path) -> None:
    np.save(folder / "images.npy", np.zeros((10, 8, 8, 4), dtype=np.uint8))


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def miscount(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"count": 3}))


def forget_fields(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def lose_images(folder: Path) -> None:
    (folder / "images.npy").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        cut_images,
        lengthen_images,
        empty_images,
        replace_images,
        spoil_manifest,
        miscount,
        forget_fields,
        lose_manifest,
        lose_images,
    ],
)
def test_a_damaged_cache_is_built_again_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any) -> None:
    first = open_cache(Plates(), FIT, 8, 8, home=tmp_path)
    folder, expected = first.folder, np.array(first.images)
    del first  # a mapped file that is cut would kill the process
    damage(folder)
    again = open_cache(Plates(), FIT, 8, 8, home=tmp_path)
    assert np.array_equal(again.images, expected)
    assert "it is built again" in caplog.text
    caplog.clear()
    assert np.array_equal(open_cache(Plates(), FIT, 8, 8, home=tmp_path).images, expected)
    assert caplog.text == ""


BUILD = """
import sys, time
from pathlib import Path
from corolla.data import recipe_named, Florets, open_cache

class Slow(Florets):
    read_many = None
    def read(self, index, how):
        if index == 70:
            print("half way", flush=True)
            time.sleep(600)
        return Florets.read_many(self, [index], 8, 8)[0]

open_cache(Slow(100), recipe_named("fit"), 8, 8, home=Path(sys.argv[1]), workers=2)
"""


def test_a_killed_build_leaves_nothing_that_looks_complete_and_is_cleared_away(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as build:
        assert build.stdout is not None
        assert build.stdout.readline() == "half way\n"
        (unfinished,) = folders(tmp_path)
        assert unfinished.endswith(".building")
        # One that is being built by another process is left alone, even by a build of another cache.
        open_cache(Plates(), FIT, 8, 8, home=tmp_path)
        assert unfinished in folders(tmp_path)
        build.kill()
    assert unfinished in folders(tmp_path)
    other = open_cache(Plates(), FIT, 8, 9, home=tmp_path)
    assert unfinished not in folders(tmp_path)
    assert other.folder.name in folders(tmp_path)


def test_what_a_killed_build_of_the_same_cache_left_is_in_no_way(tmp_path: Path) -> None:
    folder = open_cache(Plates(), FIT, 8, 8, home=tmp_path).folder
    folder.rename(folder.with_name(folder.name + ".building"))
    source = Plates()
    assert len(open_cache(source, FIT, 8, 8, home=tmp_path).images) == 10
    assert len(source.reads) == 10
    assert folders(tmp_path) == [folder.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_build_ends_promptly_and_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    source = Plates(5000, delay_seconds=0.01)

    def interrupt(_: str, done: int, total: int | None) -> None:
        assert total is not None
        assert done < total
        raise error

    with pytest.raises(error):
        open_cache(source, FIT, 8, 8, home=tmp_path, workers=2, progress=interrupt)
    assert len(source.reads) < 1000
    assert folders(tmp_path) == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith("corolla-decode")] == []


def test_two_runs_at_once_build_once(tmp_path: Path) -> None:
    sources = [Plates(200, delay_seconds=0.001) for _ in range(3)]
    results: list[NDArray[np.uint8]] = []
    threads = [
        threading.Thread(
            target=lambda source=source: results.append(open_cache(source, FIT, 8, 8, home=tmp_path).images)
        )
        for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(source.reads) for source in sources) == [0, 0, 200]
    assert all(np.array_equal(images, results[0]) for images in results)
    assert len(results) == 3


def test_too_little_room_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    source = Plates()
    with pytest.raises(WriteError, match="No space left on device; the cache takes 1,920 bytes: make room") as caught:
        open_cache(source, FIT, 8, 8, home=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert source.reads == []
    assert folders(tmp_path) == []


def test_a_disk_that_fills_up_while_building_is_said_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="cannot be written: No space left on device; the cache takes 1,920 bytes"):
        open_cache(Plates(), FIT, 8, 8, home=tmp_path)
    assert folders(tmp_path) == []


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        open_cache(Plates(), FIT, 8, 8, home=tmp_path / "file")


def test_a_complete_cache_needs_no_lock(tmp_path: Path) -> None:
    folder = open_cache(Plates(), FIT, 8, 8, home=tmp_path).folder
    with FileLock(folder.with_name(folder.name + ".lock")):
        assert len(open_cache(Plates(), FIT, 8, 8, home=tmp_path).images) == 10


def test_florets_are_drawn_by_the_chunk_and_keep_their_factors(tmp_path: Path) -> None:
    source = Florets(70)
    cache = open_cache(source, FIT, 16, 24, home=tmp_path)
    assert np.array_equal(cache.images, source.read_many(range(70), 16, 24))
    assert cache.factors is not None
    assert np.array_equal(cache.factors, source.factors)
    cropped = open_cache(source, recipe_named("crop"), 16, 24, home=tmp_path)
    assert np.array_equal(cropped.images[69], source.read(69, Preprocessing(recipe_named("crop"), 16, 24)))


def test_a_folder_of_all_kinds_of_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        pixels = rng.integers(0, 256, (rng.integers(20, 90), rng.integers(20, 90), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number:02d}.{('png', 'jpg', 'webp', 'bmp')[number % 4]}")
    whole = (photos / "04.png").read_bytes()
    (photos / "04.png").write_bytes(whole[: len(whole) // 2])
    (photos / "05.jpg").write_text("not an image")
    (photos / "06.webp").write_bytes(b"")
    filters = list(warnings.filters)
    cache = open_cache(open_source(f"folder:{photos}"), FIT, 16, 16, home=tmp_path, workers=4)
    assert warnings.filters == filters
    assert [key for key, _ in cache.manifest["skipped"]] == ["04.png", "05.jpg", "06.webp"]
    assert len(cache.images) == 27
    for key, pixels in zip(cache.keys, cache.images, strict=True):
        if not key.endswith("jpg"):
            assert np.array_equal(pixels, FIT.apply(Image.open(photos / key), 16, 16))
    assert sum(len(rows) for rows in cache.splits.values()) == 27
    assert str(photos / "05.jpg") in caplog.text
    (photos / "05.jpg").unlink()
    Image.new("RGB", (20, 20)).save(photos / "06.webp")
    assert len(open_cache(open_source(f"folder:{photos}"), FIT, 16, 16, home=tmp_path).images) == 28


def test_data_is_imported_without_torch() -> None:
    program = "import sys, corolla.data; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_what_no_decoder_could_read_is_read_when_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("png", "jpg"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (12, 12)).save(tmp_path / "photos" / f"one.{kind}")

    def cached() -> ImageCache:
        source = open_source(f"folder:{tmp_path / 'photos'}", home=tmp_path / "home")
        return open_cache(source, recipe_named("fit"), 8, 8, home=tmp_path / "home")

    with monkeypatch.context() as patch:
        for module in (images, index, cache):
            patch.setattr(module, "DECODERS", ["JPEG"])
        assert len(cached().images) == 1
    assert len(cached().images) == 2
    assert cached().manifest["skipped"] == []
