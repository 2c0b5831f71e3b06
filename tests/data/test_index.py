"""Files by their content: what is read again, what is remembered, and what must not be."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corolla.data import images, index
from corolla.data.index import FileFacts, digest_of, index_files

OLD_NS = 1_600_000_000 * 10**9


def save(path: Path, mode: str, seed: int, size: tuple[int, int] = (6, 4)) -> Path:
    channels = (3,) if mode == "RGB" else ()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], *channels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(index, "_SETTLED_NS", -(10**18))  # files of this moment are remembered, too
    root = tmp_path / "photos"
    save(root / "a.png", "RGB", 0)
    save(root / "b.png", "L", 1, (3, 5))
    (root / "c.jpg").write_bytes(b"not an image")
    return root


KEYS = ("a.png", "b.png", "c.jpg")


def test_facts_are_those_of_the_files(photos: Path, tmp_path: Path) -> None:
    color, grey, broken = index_files(photos, KEYS, tmp_path / "store.json")
    assert color == FileFacts(hashlib.sha256((photos / "a.png").read_bytes()).hexdigest(), 4, 6, 3, 8)
    assert (grey.height, grey.width, grey.channels, grey.bits) == (5, 3, 1, 8)
    assert broken.digest
    assert broken.fault.startswith("not a JPEG, PNG")


def test_a_second_look_reads_no_file(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = index_files(photos, KEYS, tmp_path / "store.json")
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} was read again"))
    assert index_files(photos, KEYS, tmp_path / "store.json") == first


def test_content_is_identity(photos: Path, tmp_path: Path) -> None:
    facts = index_files(photos, KEYS, tmp_path / "store.json")
    copied = tmp_path / "copied"
    shutil.copytree(photos, copied)
    for file in copied.iterdir():
        os.utime(file)
    assert digest_of(KEYS, index_files(copied, KEYS, tmp_path / "other.json")) == digest_of(KEYS, facts)
    # Another picture of the same name, size in bytes and time.
    old = (photos / "a.png").stat()
    other = save(tmp_path / "other.png", "RGB", 7).read_bytes()
    (photos / "a.png").write_bytes(other[: old.st_size] + bytes(max(0, old.st_size - len(other))))
    os.utime(photos / "a.png", ns=(OLD_NS, OLD_NS))
    assert digest_of(KEYS, index_files(photos, KEYS, tmp_path / "store.json")) != digest_of(KEYS, facts)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_fault_of_the_moment_is_not_remembered(photos: Path, tmp_path: Path) -> None:
    (photos / "a.png").chmod(0)
    assert index_files(photos, KEYS, tmp_path / "store.json")[0].fault == "cannot be read: Permission denied"
    (photos / "a.png").chmod(0o644)
    assert index_files(photos, KEYS, tmp_path / "store.json")[0].digest


def test_a_fault_of_the_moment_is_not_remembered_for_anyone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def stumble(self: Path) -> bytes:
        if self.name == "a.png":
            raise OSError(5, "Input/output error")
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", stumble)
        assert index_files(photos, KEYS, tmp_path / "store.json")[0] == FileFacts(
            "", fault="cannot be read: Input/output error"
        )
    assert index_files(photos, KEYS, tmp_path / "store.json")[0].channels == 3


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1, "files": {"x": {"nothing": 1}}}', "[1]"])
def test_a_damaged_store_is_built_again(photos: Path, tmp_path: Path, content: str) -> None:
    store = tmp_path / "store.json"
    store.write_text(content)
    assert index_files(photos, KEYS, store)[0].channels == 3


def test_a_store_that_cannot_be_written_costs_only_time(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert index_files(photos, KEYS, tmp_path / "file" / "store.json")[0].channels == 3
    assert "read again next time" in caplog.text


def test_a_file_that_has_just_changed_is_not_remembered(photos: Path, tmp_path: Path) -> None:
    index._SETTLED_NS = 10**18
    index_files(photos, KEYS, tmp_path / "store.json")
    assert not (tmp_path / "store.json").exists()


def test_facts_without_a_decoder_are_forgotten_when_it_is_there(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(images, "DECODERS", ["JPEG"])
        patch.setattr(index, "DECODERS", ["JPEG"])
        assert index_files(photos, KEYS, tmp_path / "store.json")[0].fault
    assert not index_files(photos, KEYS, tmp_path / "store.json")[0].fault


def test_a_file_larger_than_memory_is_a_fault(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: Path) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", exhausted)
        assert index_files(photos, KEYS, tmp_path / "store.json")[0].fault == "too large for this machine's memory"
    assert not index_files(photos, KEYS, tmp_path / "store.json")[0].fault
