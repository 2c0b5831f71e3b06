from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corolla.data.images import open_image
from corolla.data.listing import check_paths, count_images, list_images, list_some
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import recipe_named
from corolla.data.sources import spread_rows
from corolla.data.stream import Batch, accepted, made_ahead, none_usable, read_all, read_images
from corolla.errors import DataError, UsageError

FIT = recipe_named("fit")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures of one colour each, 0 to 9; number 3 is empty and number 7 is none."""
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(10):
        Image.new("RGB", (9, 9), (number, 2 * number, 3 * number)).save(root / f"{number}.png")
    (root / "3.png").write_bytes(b"")
    (root / "7.png").write_bytes(b"not a picture")
    return root


def _colours(batches: Iterator[Batch]) -> list[int]:
    return [int(level) for batch in batches for level in batch.pixels[:, 0, 0, 0]]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("length", [1, 4, 100])
def test_what_can_be_read_comes_in_order_and_what_cannot_is_said(
    photos: Path, workers: int, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    batches = list(read_images(list_images([photos]), Preprocessing(FIT, 4, 6), workers=workers, length=length))
    assert _colours(iter(batches)) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert [entry.place.stem for batch in batches for entry in batch.entries] == list("01245689")
    assert all(batch.pixels.shape == (len(batch.entries), 4, 6, 3) for batch in batches)
    assert [len(batch.entries) + len(batch.faults) for batch in batches[:-1]] == [length] * (len(batches) - 1)
    assert [line.split(": ")[0] for line in caplog.messages] == [str(photos / "3.png"), str(photos / "7.png")]
    assert all(line.endswith("; left out") for line in caplog.messages)


def test_a_fault_is_refused_by_choice(photos: Path) -> None:
    with pytest.raises(DataError, match=r"3\.png: empty; repair or remove it"):
        list(read_images(list_images([photos]), Preprocessing(FIT, 4, 4), on_error="refuse"))
    assert len(read_all(list_some([photos], 2), Preprocessing(FIT, 4, 4), on_error="refuse")) == 2  # 0 and 9 alone


def test_one_image_that_cannot_be_read_is_never_skipped(photos: Path) -> None:
    with pytest.raises(DataError, match=r"3\.png: empty$"):
        read_all(list_some([photos / "3.png"]), Preprocessing(FIT, 4, 4))
    with pytest.raises(DataError, match="none of the 2 images can be used"):
        read_all(list_some([photos / "3.png", photos / "7.png"]), Preprocessing(FIT, 4, 4))
    assert isinstance(none_usable(0), UsageError)


def test_memory_is_bounded_and_a_stop_is_heard() -> None:
    taken, stopped = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    def make(batch: list[int], stop: threading.Event) -> int:
        if batch[0] > 0 and stop.wait(10):
            stopped.set()
        return batch[0]

    made = made_ahead(items(), make, 2, workers=2)
    assert next(made) == 0
    assert len(taken) == 2 * (2 * 2 + 1)  # two batches for each thread, and the one that was given out
    began = time.monotonic()
    made.close()
    assert stopped.is_set()
    assert time.monotonic() - began < 5


def test_threads_end_where_a_fault_is_refused() -> None:
    closed = threading.Event()

    def blocks() -> Generator[Batch]:
        try:
            for fault in ((), ("rose.png: empty",), ()):
                yield Batch((), np.zeros((0, 1, 1, 3), np.uint8), fault)
        finally:
            closed.set()

    with pytest.raises(DataError, match=r"rose\.png: empty") as error:
        list(accepted(blocks(), "refuse"))
    assert closed.is_set(), error  # although the error still refers to the frames
    with pytest.raises(UsageError, match="0 workers cannot read images"):
        next(made_ahead([1], lambda batch, _: batch[0], 1, workers=0))


def test_a_sample_is_spread_over_all(photos: Path) -> None:
    assert spread_rows(np.arange(100), 4).tolist() == [0, 33, 66, 99]
    assert spread_rows(np.arange(3), 9).tolist() == [0, 1, 2]
    for kind in ("aster", "rose"):
        (photos / kind).mkdir()
        for number in range(4):
            Image.new("RGB", (4, 4)).save(photos / kind / f"{number}.png")
    names = [entry.place.relative_to(photos).as_posix() for entry in list_some([photos], 4)]
    assert names == ["0.png", "5.png", "aster/1.png", "rose/3.png"]
    each = list_some([photos / "aster", photos / "1.png", photos / "rose"], of_each=2)
    assert [entry.place.relative_to(photos).as_posix() for entry in each] == [
        "aster/0.png", "aster/3.png", "1.png", "rose/0.png", "rose/3.png"
    ]  # fmt: skip


def test_a_list_names_paths_of_any_kind(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    Path("list.txt").write_bytes("\ufeffphotos/0.png\r\n\nphotos/[12].png\nnone.png\n@list.txt\n".encode())
    entries = list(list_images(["@list.txt"]))
    assert [entry.key for entry in entries if not entry.fault] == ["photos/0.png", "photos/1.png", "photos/2.png"]
    assert [entry.fault for entry in entries if entry.fault] == ["none.png: no such file", "@list.txt: no such file"]
    assert count_images(["@list.txt", photos]) == 15
    Image.new("RGB", (4, 4)).save("@list.txt", "PNG")  # what is there under its name is no list
    assert [entry.key for entry in list_images(["@list.txt"])] == ["@list.txt"]


def test_what_names_nothing_is_refused_first(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    check_paths([photos, "0.png", "*.png"])
    for path, reason in {
        "none.png": "no such file",
        "*.jpg": "matches nothing",
        "@none.txt": "none.txt: no such file",
    }.items():
        with pytest.raises(DataError, match=reason):
            check_paths(["0.png", path])
    with pytest.raises(UsageError, match="no images given"):
        check_paths([])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_never_waited_for(photos: Path) -> None:
    pipe = photos / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=r"pipe\.png: not a regular file"):
        check_paths([pipe])
    for path in (pipe, photos / "p*.png"):
        (fault,) = list_images([path])
        assert "pipe.png: " in fault.fault or "matches no images" in fault.fault
    with pytest.raises(DataError, match="not a regular file"):
        read_all(list_some([pipe]), Preprocessing(FIT, 4, 4))
    with pytest.raises(DataError, match="not a regular file"):
        open_image(pipe)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_name_that_is_not_utf8_comes_through(photos: Path) -> None:
    name = os.fsdecode(b"ros\xe9.png")
    try:
        (photos / "1.png").rename(photos / name)
    except OSError:
        pytest.skip("no such names on this file system")
    (photos / "list.txt").write_bytes(os.fsencode(photos) + b"/ros\xe9.png\n")
    for path in (photos / name, f"@{photos}/list.txt", f"{photos}/ros*"):
        (batch,) = read_images(list_images([path]), Preprocessing(FIT, 4, 4))
        assert [os.fsencode(entry.key).rpartition(b"/")[2] for entry in batch.entries] == [b"ros\xe9.png"]
