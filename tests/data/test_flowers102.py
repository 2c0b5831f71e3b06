"""Flowers 102 from a stand-in of 20 small pictures, under the official names and in the official layout."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import logging
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from corolla.data import flowers102
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import recipe_named
from corolla.data.sources import FileSource, open_source
from corolla.errors import DataError, UsageError, WriteError

COUNT = 20
TRAIN, VAL, TEST = [3, 1], [20, 4], [n for n in range(1, 21) if n not in (1, 3, 4, 20)]


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write_archive(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            contents = picture(int(name[-9:-4]) if name.endswith(".jpg") else 0)
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the three files for 20 flowers, and a Corolla that takes these tables for the official ones."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    savemat(folder / "imagelabels.mat", {"labels": np.arange(COUNT, dtype=np.uint8)[None] % 4 + 1})
    ids = {"trnid": TRAIN, "valid": VAL, "tstid": TEST}
    savemat(folder / "setid.mat", {key: np.array([rows], dtype=np.uint16) for key, rows in ids.items()})
    names = [f"jpg/image_{n:05d}.jpg" for n in range(1, COUNT + 1)]
    write_archive(folder / "102flowers.tgz", names)
    monkeypatch.setattr(flowers102, "_KEYS", tuple(names))
    monkeypatch.setattr(flowers102, "_TABLES", {name: md5(folder / name) for name in ("imagelabels.mat", "setid.mat")})
    return folder


@pytest.fixture
def site(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The mirror's address, and what has been asked for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.rpartition("/")[2])
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(mirror)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def open_flowers(mirror: Path | str | None, home: Path) -> FileSource:
    source = open_source("flowers102", mirror=None if mirror is None else str(mirror), home=home)
    assert isinstance(source, FileSource)
    return source


def stores(home: Path) -> list[Path]:
    return sorted(path.parent for path in (home / "flowers102").glob("*/complete.json"))


def test_official_splits_labels_and_pixels(mirror: Path, tmp_path: Path) -> None:
    source = open_flowers(mirror, tmp_path / "home")
    assert source.name == "flowers102"
    assert source.keys[0] == "jpg/image_00001.jpg"
    assert len(source.keys) == COUNT
    assert {name: (rows + 1).tolist() for name, rows in source.splits.items()} == {
        "train": sorted(TRAIN),
        "val": sorted(VAL),
        "test": TEST,
    }
    assert source.labels is not None
    assert source.labels.tolist() == [n % 4 for n in range(COUNT)]
    assert source.labels.dtype == source.splits["train"].dtype == np.int64
    assert source.read(6, Preprocessing(recipe_named("fit"), 8, 8))[0, 0].tolist() == [70, 0, 0]


def test_the_names_of_the_flowers(mirror: Path, tmp_path: Path) -> None:
    names = open_flowers(mirror, tmp_path / "home").label_names
    assert len(names) == len(set(names)) == 102
    assert (names[0], names[53], names[76], names[101]) == (
        "pink primrose",
        "sunflower",
        "passion flower",
        "blackberry lily",
    )


def test_a_folder_is_read_in_place_once(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in mirror.iterdir()}
    first = open_flowers(mirror, tmp_path / "home")
    assert {path.name: path.stat().st_mtime_ns for path in mirror.iterdir()} == before
    assert not list((tmp_path / "home").rglob("102flowers.tgz"))

    def no_second_time(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(flowers102, "_prepare", no_second_time)
    second = open_flowers(mirror, tmp_path / "home")
    assert (second.fingerprint, second.root, second.keys) == (first.fingerprint, first.root, first.keys)


def test_an_address_is_downloaded_once(site: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = site
    calls: list[tuple[str, int, int | None]] = []
    source = open_source(
        "flowers102", mirror=url + "/", home=tmp_path / "home", progress=lambda *call: calls.append(call)
    )
    assert sorted(asked) == ["102flowers.tgz", "imagelabels.mat", "setid.mat"]
    titles = list(dict.fromkeys(title for title, _, _ in calls))
    assert titles[:3] == [f"downloading {name}, MB" for name in ("imagelabels.mat", "setid.mat", "102flowers.tgz")]
    assert calls[-1][0] == "unpacking 102flowers.tgz, MB"
    assert open_flowers(url, tmp_path / "home").fingerprint == source.fingerprint
    assert len(asked) == 3
    assert not list((tmp_path / "home").rglob("*.tgz"))


def test_the_same_archive_from_elsewhere_is_not_unpacked_again(
    site: tuple[str, list[str]], mirror: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    first = open_flowers(mirror, home)
    marker = stores(home)[0] / "marker"
    marker.touch()
    second = open_flowers(site[0], home)
    assert marker.exists()
    assert first.fingerprint == second.fingerprint
    assert len(stores(home)) == 1


def test_the_official_host_is_held_to_its_size_and_checksum(
    site: tuple[str, list[str]], mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flowers102, "OFFICIAL", site[0])
    with pytest.raises(DataError, match="instead of 344,862,509"):
        open_flowers(None, tmp_path / "home")
    monkeypatch.setattr(flowers102, "ARCHIVE_BYTES", (mirror / "102flowers.tgz").stat().st_size)
    with pytest.raises(DataError, match=r"MD5 is .* instead of 52808999861908f626f3c1f4e79d11fa"):
        open_flowers(None, tmp_path / "home")
    assert stores(tmp_path / "home") == []
    monkeypatch.setattr(flowers102, "ARCHIVE_MD5", md5(mirror / "102flowers.tgz"))
    assert len(open_flowers(None, tmp_path / "home").keys) == COUNT


def test_other_pixels_have_another_fingerprint(mirror: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = open_flowers(mirror, home)
    write_archive(mirror / "102flowers.tgz", list(reversed(first.keys)))
    second = open_flowers(mirror, home)
    assert second.fingerprint != first.fingerprint
    assert len(stores(home)) == 2


@pytest.mark.parametrize("spoil", ["delete", "shorten", "table", "complete", "add"])
def test_a_damaged_store_is_unpacked_again(
    mirror: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    home = tmp_path / "home"
    source = open_flowers(mirror, home)
    store = stores(home)[0]
    target = store / "images" / source.keys[5]
    if spoil == "delete":
        target.unlink()
    elif spoil == "shorten":
        target.write_bytes(b"")
    elif spoil == "add":
        (target.parent / "other.jpg").touch()
    else:
        (store / {"table": "setid.mat", "complete": "complete.json"}[spoil]).write_text("{")
    with caplog.at_level(logging.WARNING, logger="corolla"):
        again = open_flowers(mirror, home)
    assert "damaged" in caplog.text
    assert again.read(5, Preprocessing(recipe_named("fit"), 8, 8))[0, 0].tolist() == [60, 0, 0]
    assert again.fingerprint == source.fingerprint


def test_what_a_killed_attempt_left_is_not_taken_for_whole(mirror: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_flowers(mirror, home)
    store = stores(home)[0]
    (store / "complete.json").unlink()
    (store / "images" / "jpg" / "image_00002.jpg").unlink()
    source = open_flowers(mirror, home)
    assert source.read(1, Preprocessing(recipe_named("fit"), 8, 8))[0, 0].tolist() == [20, 0, 0]


def test_many_at_once_unpack_once(site: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = site
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(open_flowers(url, tmp_path).fingerprint)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results)) == 1
    assert len(asked) == 3


@pytest.mark.parametrize("name", ["102flowers.tgz", "imagelabels.mat", "setid.mat"])
def test_a_mirror_that_lacks_a_file(mirror: Path, tmp_path: Path, name: str) -> None:
    (mirror / name).unlink()
    with pytest.raises(DataError, match=f"holds no {name}; a mirror of this set holds imagelabels.mat"):
        open_flowers(mirror, tmp_path / "home")


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_mirror_with_another_table(
    site: tuple[str, list[str]], mirror: Path, tmp_path: Path, name: str, remote: bool
) -> None:
    (mirror / name).write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=f"{name}: .*MD5 is .* instead of ") as caught:
        open_flowers(site[0] if remote else mirror, tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert stores(tmp_path / "home") == []


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda keys: keys[:-1], r"1 files are missing, jpg/image_00020\.jpg first; it should hold 20 files"),
        (lambda keys: [*keys, "jpg/image_00021.jpg"], r"'jpg/image_00021\.jpg' does not belong there"),
        (lambda keys: [*keys, "readme.txt"], r"'readme\.txt' does not belong there"),
        (lambda keys: [key.replace("jpg/", "") for key in keys], r"'image_00001\.jpg' does not belong there"),
        (lambda keys: [*keys, "../../image_00099.jpg"], r"'\.\./\.\./image_00099\.jpg' does not belong there"),
    ],
)
def test_a_mirror_with_another_archive(
    site: tuple[str, list[str]], mirror: Path, tmp_path: Path, remote: bool, change: object, reason: str
) -> None:
    home = tmp_path / "home"
    keys = [f"jpg/image_{n:05d}.jpg" for n in range(1, COUNT + 1)]
    write_archive(mirror / "102flowers.tgz", change([*keys]) if callable(change) else keys)
    with pytest.raises(DataError, match=rf"102flowers\.tgz: .*{reason}") as caught:
        open_flowers(site[0] if remote else mirror, home)
    assert "\n" not in str(caught.value)
    assert stores(home) == []
    assert not list(home.rglob("image_*"))
    write_archive(mirror / "102flowers.tgz", keys)  # put right, it works: nothing bad was kept
    assert len(open_flowers(site[0] if remote else mirror, home).keys) == COUNT


def test_a_mirror_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mirror nowhere: no such folder, and no address"):
        open_flowers("nowhere", tmp_path)


def test_a_mirror_that_refuses(site: tuple[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"imagelabels\.mat: the server answered 404"):
        open_flowers(site[0] + "/else", tmp_path / "home")


def test_home_that_cannot_be_written(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written"):
        open_flowers(mirror, tmp_path / "file")


def test_a_whole_store_needs_no_writing(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    open_flowers(mirror, home)
    shutil.rmtree(home / "flowers102" / "flowers102.lock", ignore_errors=True)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("wrote to a store that is whole"))
    assert len(open_flowers(mirror, home).keys) == COUNT


def test_complete_is_one_small_file(mirror: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    source = open_flowers(mirror, home)
    complete = json.loads((stores(home)[0] / "complete.json").read_text())
    assert complete["archive_md5"] == md5(mirror / "102flowers.tgz")
    assert complete["fingerprint"] == source.fingerprint
    assert stores(home)[0].name == complete["archive_md5"][:16]


def test_the_real_flowers(tmp_path: Path) -> None:
    folder = os.environ.get("COROLLA_FLOWERS_MIRROR")
    if not folder:
        pytest.skip("COROLLA_FLOWERS_MIRROR names no folder with the real flowers")
    source = open_flowers(folder, tmp_path)
    assert {name: len(rows) for name, rows in source.splits.items()} == {"train": 1020, "val": 1020, "test": 6149}
    assert source.labels is not None
    assert np.bincount(source.labels[source.splits["train"]]).tolist() == [10] * 102
    assert source.read(8188, Preprocessing(recipe_named("fit"), 64, 64)).std() > 5
