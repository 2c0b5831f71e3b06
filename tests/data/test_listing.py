from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corolla.data.archives import members
from corolla.data.folder import open_folder
from corolla.data.listing import is_pattern, list_images, read_entry
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import recipe_named
from corolla.errors import DataError


def _picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for seed, name in enumerate(["b.png", "a.png", "deep/er/c.png", "deep.png", ".hidden/d.png", "notes.txt"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(_picture(seed))
    return root


def _keys(*paths: Path | str) -> list[str]:
    return [entry.key for entry in list_images(paths)]


def _tar(path: Path, contents: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_folder_gives_the_images_that_training_takes(folder: Path) -> None:
    names = ["a.png", "b.png", "deep.png", "deep/er/c.png"]
    assert _keys(folder) == [(folder / name).as_posix() for name in names]
    assert sorted(open_folder(folder).keys) == names


def test_files_keep_their_order_and_may_come_again(folder: Path) -> None:
    b, a = folder / "b.png", folder / "a.png"
    assert _keys(b, a, b) == [b.as_posix(), a.as_posix(), b.as_posix()]


def test_globs_are_sorted_and_take_images_alone(folder: Path) -> None:
    assert _keys(f"{folder}/*") == [f"{folder.as_posix()}/{name}" for name in ("a.png", "b.png", "deep.png")]
    assert _keys(f"{folder}/**/*.png") == [
        f"{folder.as_posix()}/{name}" for name in ("a.png", "b.png", "deep.png", "deep/er/c.png")
    ]
    (fault,) = list_images([f"{folder}/*.txt"])
    assert fault.fault == f"{folder}/*.txt: matches no images"


def test_a_file_with_the_signs_of_a_glob_is_a_file(folder: Path) -> None:
    odd = folder / "rose[1].png"
    odd.write_bytes(_picture(9))
    assert not is_pattern(odd)
    assert _keys(odd) == [odd.as_posix()]
    assert _keys(f"{folder}/rose*") == [odd.as_posix()]


def test_members_of_a_tar_are_read_from_where_they_lie(tmp_path: Path) -> None:
    contents = {"x/000.png": _picture(0), "x/000.cls": b"3", "x/._000.png": b"", "y/001.png": _picture(1)}
    contents["deep/" * 40 + "long.png"] = _picture(2)
    path = _tar(tmp_path / "shard.tar", contents)
    entries = list(list_images([path]))
    assert [entry.key for entry in entries] == ["x/000.png", "y/001.png", "deep/" * 40 + "long.png"]
    for seed, entry in enumerate(entries):
        with Image.open(io.BytesIO(_picture(seed))) as image:
            np.testing.assert_array_equal(
                read_entry(entry, Preprocessing(recipe_named("fit"), 8, 8)), np.asarray(image)
            )


def test_links_and_folders_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("d.png", tarfile.DIRTYPE), ("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert list(members(path)) == []
    (fault,) = list_images([path])
    assert fault.fault == f"{path}: holds no images"


def test_a_damaged_tar_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    path = _tar(tmp_path / "x.tar", {f"{number}.png": _picture(number) for number in range(3)})
    whole = path.read_bytes()
    third = list(members(path))[2].offset
    path.write_bytes(whole[: third + 10])
    first, second, third_entry, *rest = list_images([path])
    assert [first.fault, second.fault] == ["", ""]
    with pytest.raises(DataError, match=r"x\.tar"):
        read_entry(third_entry, Preprocessing(recipe_named("fit"), 8, 8))
    assert all("damaged" in entry.fault for entry in rest)
    path.write_bytes(whole[:100])
    (fault,) = list_images([path])
    assert "not a .tar archive without compression, or damaged" in fault.fault


def test_a_compressed_tar_is_a_fault(tmp_path: Path) -> None:
    (fault,) = list_images([_tar(tmp_path / "x.tar", {"a.png": _picture(0)}, "w:gz")])
    assert "without compression" in fault.fault


def test_an_overlong_header_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(DataError, match="far too long"):
        list(members(tmp_path / "x.tar"))


def test_what_is_not_there_is_a_fault_of_its_own(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    missing, empty, image = list_images([tmp_path / "none.png", tmp_path / "empty", folder / "a.png"])
    assert missing.fault == f"{tmp_path / 'none.png'}: no such file"
    assert "holds no images" in empty.fault
    assert not image.fault
    with pytest.raises(DataError, match="no such file"):
        read_entry(missing, Preprocessing(recipe_named("fit"), 8, 8))


def test_a_changed_file_is_another_entry(folder: Path) -> None:
    (before,) = list_images([folder / "a.png"])
    (folder / "a.png").write_bytes(_picture(7) + b"more")
    (after,) = list_images([folder / "a.png"])
    assert before != after
