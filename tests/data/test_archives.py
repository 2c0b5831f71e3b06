"""Archives, most of them hostile."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corolla.data.archives import extract
from corolla.errors import DataError
from corolla.files import building


def member(name: str, contents: bytes = b"petal", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(contents)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, contents


def archive(
    path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz", layout: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=layout) as tar:  # type: ignore[call-overload]
        for info, contents in members:
            tar.addfile(info, io.BytesIO(contents))
    return path


def unpack(path: Path, *names: str, **limits: Any) -> Path:
    """The folder with these files out of an archive."""
    folder = path.with_name("out")
    with building(folder) as unfinished:
        extract(path, unfinished, set(names), **limits)
    return folder


def assert_nothing_written(folder: Path) -> None:
    """Only the archive lies beside where the folder would be."""
    assert {entry.name for entry in folder.iterdir()} <= {"a.tgz"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_come_out(tmp_path: Path, mode: str, layout: int) -> None:
    long = "jpg/" + "/".join(["deep"] * 30) + "/rose.jpg"
    members = [member("jpg", b"", type=tarfile.DIRTYPE), member("jpg/a.jpg", b"a" * 1024), member("./jpg/b.jpg", b"")]
    if layout != tarfile.USTAR_FORMAT:
        members.append(member(long, b"long"))
    calls: list[tuple[int, int | None]] = []
    path = archive(tmp_path / "a.tgz", *members, mode=mode, layout=layout)
    names = {"jpg/a.jpg", "jpg/b.jpg", *([long] if layout != tarfile.USTAR_FORMAT else [])}
    folder = unpack(path, *names, progress=lambda *call: calls.append(call))
    assert (folder / "jpg/a.jpg").read_bytes() == b"a" * 1024
    assert (folder / "jpg/b.jpg").read_bytes() == b""
    if layout != tarfile.USTAR_FORMAT:
        assert (folder / long).read_bytes() == b"long"
    assert len(calls) == len(members) - 1
    assert all(0 < done <= (total or 0) for done, total in calls)
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.tgz", "out"}


HOSTILE = {
    "absolute": (member("/etc/passwd"), "does not belong there"),
    "parent": (member("jpg/../../x"), "does not belong there"),
    "windows parent": (member("..\\x"), "does not belong there"),
    "symbolic link": (member("x", b"", type=tarfile.SYMTYPE, linkname="/etc"), "does not belong there"),
    "hard link": (member("x", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "does not belong there"),
    "device": (member("x", b"", type=tarfile.CHRTYPE), "does not belong there"),
    "block device": (member("x", b"", type=tarfile.BLKTYPE), "does not belong there"),
    "pipe": (member("x", b"", type=tarfile.FIFOTYPE), "does not belong there"),
    "root": (member("."), "does not belong there"),
    "other case": (member("jpg/GOOD.jpg"), "does not belong there"),
    "twice": (member("jpg/good.jpg"), "comes twice"),
    "large": (member("x", b"0" * 3000), "more than 2,000"),
    "below a file": (member("jpg/good.jpg/x"), "does not belong there"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    hostile, reason = HOSTILE[kind]
    path = archive(tmp_path / "a.tgz", member("jpg/good.jpg"), hostile)
    with pytest.raises(DataError, match=reason) as caught:
        unpack(path, "jpg/good.jpg", "x", max_file_bytes=2000)
    assert "a.tgz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_nothing_written(tmp_path)


def test_permissions_are_not_taken_over(tmp_path: Path) -> None:
    folder = unpack(archive(tmp_path / "a.tgz", member("x", mode=0o4777)), "x")
    assert (folder / "x").stat().st_mode & 0o7111 == 0


def test_total_size(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", *(member(str(i), b"0" * 1000) for i in range(100)))
    with pytest.raises(DataError, match="expands to more than 50,000 bytes"):
        unpack(path, *map(str, range(100)), max_bytes=50_000)
    assert_nothing_written(tmp_path)


def test_header_bomb_is_not_read_into_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tgz", "wb") as file:
        info = tarfile.TarInfo("././@PaxHeader")
        info.type, info.size = tarfile.XHDTYPE, 50_000_000
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(50_000_000))
    with pytest.raises(DataError, match="header of a member is far too long"):
        unpack(tmp_path / "a.tgz", "x")
    assert_nothing_written(tmp_path)


def test_bomb_behind_the_end(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", member("x"))
    with gzip.open(path, "ab") as file:
        file.write(bytes(5_000_000))
    with pytest.raises(DataError, match="expands to more than 1,000,000 bytes"):
        unpack(path, "x", max_bytes=1_000_000)
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.95, 0.999])
def test_cut_archive(tmp_path: Path, keep: float) -> None:
    noise = bytes((i * i * 7919 + i // 3) % 251 for i in range(40_000))
    path = archive(tmp_path / "a.tgz", member("x", noise), member("y", noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DataError, match=r"damaged|missing"):
        unpack(path, "x", "y")
    assert_nothing_written(tmp_path)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_never_changes_what_comes_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    path = archive(folder / "a.tgz", member("x", b"rose" * 50))
    damaged = bytearray(path.read_bytes())
    position = data.draw(st.integers(10 + len("a.tgz"), len(damaged) - 1))  # behind gzip's header
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(damaged))
    try:
        unpack(path, "x")
    except DataError:
        assert_nothing_written(folder)
    else:  # a bit that pads deflate's last byte means nothing
        assert [(p.name, p.read_bytes()) for p in (folder / "out").iterdir()] == [("x", b"rose" * 50)]


def test_expected_members(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", member("jpg/1.jpg"), member("jpg/2.jpg"))
    with pytest.raises(DataError, match=r"member 'jpg/2\.jpg' does not belong there; it should hold 1 files"):
        unpack(path, "jpg/1.jpg")
    with pytest.raises(
        DataError, match=r"2 files are missing, jpg/3\.jpg first; it should hold 4 files, jpg/1\.jpg to jpg/4"
    ):
        unpack(path, *(f"jpg/{i}.jpg" for i in range(1, 5)))
    assert_nothing_written(tmp_path)
    unpack(path, "jpg/1.jpg", "jpg/2.jpg")
    assert sorted(p.name for p in (tmp_path / "out/jpg").iterdir()) == ["1.jpg", "2.jpg"]


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"not a \.tar\.gz archive"):
        unpack(tmp_path / "a.tgz", "x")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        unpack(tmp_path / "none.tgz", "x")
