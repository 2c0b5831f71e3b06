from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from corolla.errors import CorollaError, UsageError
from corolla.pictures import grids as pictures
from corolla.pictures.files import save_animation, save_npz, save_picture
from corolla.pictures.grids import Row, enlarged, grid, sheet


def flat(*colours: tuple[int, int, int], side: int = 8) -> NDArray[np.uint8]:
    return np.stack([np.full((side, side, 3), colour, np.uint8) for colour in colours])


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), shown=st.integers(1, 100))
def test_images_are_enlarged_by_the_smallest_whole_factor(height: int, width: int, shown: int) -> None:
    result = enlarged(np.zeros((2, height, width, 3), np.uint8), shown)
    factor = result.shape[1] // height
    assert result.shape == (2, height * factor, width * factor, 3)
    assert max(result.shape[1:3]) >= shown
    assert factor == 1 or max(height, width) * (factor - 1) < shown


def test_grid_puts_images_row_after_row() -> None:
    picture = grid(flat(RED, GREEN, BLUE), columns=2, padding=1, shown_px=8)
    assert picture.size == (1 + 2 * 9, 1 + 2 * 9)
    assert picture.getpixel((4, 4)) == RED
    assert picture.getpixel((13, 4)) == GREEN
    assert picture.getpixel((4, 13)) == BLUE
    assert picture.getpixel((13, 13)) == (255, 255, 255)
    assert picture.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (5, 3), (64, 8)])
def test_grid_is_about_square(count: int, columns: int) -> None:
    picture = grid(np.zeros((count, 8, 8, 3), np.uint8), padding=0, shown_px=8)
    assert picture.width == columns * 8


def test_grid_refuses_what_is_not_images() -> None:
    with pytest.raises(UsageError, match="at least one image"):
        grid(np.zeros((0, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="0 columns"):
        grid(flat(RED), columns=0)


def test_sheet_has_labels_captions_and_a_header_around_the_images() -> None:
    plain = sheet([Row(flat(RED, GREEN, side=96))])
    assert plain.size == (4 + 2 * 100, 4 + 100)
    labelled = sheet([Row(flat(RED, GREEN, side=96), "latent 3", ["18.1 dB", "2.0 dB"])], header=["-1", "+1"])
    assert labelled.width > plain.width + 40
    assert labelled.height > plain.height + 30
    assert {RED, GREEN} <= {colour for _, colour in labelled.getcolors(100_000) or []}


def test_every_character_that_is_drawn_has_a_glyph() -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(pictures.FONT_PX)
    missing = bytes(font.getmask("\ue000"))
    for character in "latent 0123456789 · .+- nats sd dB dead original through the model":
        assert character == " " or bytes(font.getmask(character)) != missing, character


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_pictures_come_back(tmp_path: Path, suffix: str) -> None:
    picture = grid(flat(RED, BLUE, side=96))
    path = tmp_path / "new" / f"picture{suffix}"
    save_picture(path, picture)
    with Image.open(path) as found:
        error = np.abs(np.asarray(found.convert("RGB"), float) - np.asarray(picture, float)).mean()
    assert found.size == picture.size
    assert error < (1e-9 if suffix.lower() == ".png" else 4)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_loop_and_keep_their_frames(tmp_path: Path, suffix: str) -> None:
    frames = [grid(flat(colour, side=96), padding=0) for colour in (RED, GREEN, BLUE)]
    save_animation(tmp_path / f"moving{suffix}", frames, fps=10)
    with Image.open(tmp_path / f"moving{suffix}") as found:
        assert found.n_frames == 3  # type: ignore[attr-defined]
        assert found.info["loop"] == 0
        for index, frame in enumerate(frames):
            found.seek(index)
            error = np.abs(np.asarray(found.convert("RGB"), float) - np.asarray(frame, float))
            assert error.mean() < 6
            assert found.info["duration"] == 100


def test_npz_comes_back(tmp_path: Path) -> None:
    save_npz(tmp_path / "a.npz", images=flat(RED), latents=np.ones((1, 3)))
    with np.load(tmp_path / "a.npz") as found:
        assert sorted(found) == ["images", "latents"]
        np.testing.assert_array_equal(found["images"], flat(RED))


def test_unknown_suffixes_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.jpg, \.jpeg, \.webp"):
        save_picture(tmp_path / "a.tga", grid(flat(RED)))
    with pytest.raises(UsageError, match=r"\.gif, \.webp, \.mp4"):
        save_animation(tmp_path / "a.avi", [grid(flat(RED))])
    with pytest.raises(UsageError, match=r"\.npz"):
        save_npz(tmp_path / "a.npy", images=flat(RED))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        save_picture(tmp_path / "b.png", grid(flat(RED)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.png"]


def test_a_file_in_the_way_of_the_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CorollaError, match="cannot be written"):
        save_picture(tmp_path / "file" / "a.png", grid(flat(RED)))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_the_former_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_picture(path, grid(flat(RED)))
    former = path.read_bytes()

    def full(self: Path, _content: Any) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CorollaError, match="No space left"):
        save_picture(path, grid(flat(BLUE)))
    assert path.read_bytes() == former
    assert list(tmp_path.iterdir()) == [path]
