"""Every kind of file against colours that are known without opening it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from corolla.data.images import TruncatedError, open_image, open_picture, read_facts
from corolla.data.levels import Reading
from corolla.errors import DataError

SIZE = (8, 6)
PINK = (200, 40, 90)


def stored(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def png(width: int, height: int, depth: int, color_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> io.BytesIO:
    """A PNG written by hand from the specification, for the kinds that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    )


def assert_color(image: Image.Image, color: tuple[int, int, int], tolerance: int = 0) -> None:
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image, dtype=int) - np.array(color))
    assert difference.max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("GIF", 0), ("JPEG", 3), ("WEBP", 3)]
)
def test_every_format_gives_its_color(kind: str, tolerance: int) -> None:
    image = open_image(stored(Image.new("RGB", SIZE, PINK), kind))
    assert image.size == SIZE
    assert_color(image, PINK, tolerance)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "JPEG"])
def test_grey_has_three_equal_channels(kind: str) -> None:
    assert_color(open_image(stored(Image.new("L", SIZE, 93), kind)), (93, 93, 93), 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert np.asarray(open_image(stored(image, kind))).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("deep", "shallow"), [(0, 0), (257, 1), (32768, 128), (40000, 156), (65535, 255)])
def test_16_bit_grey_is_scaled_not_clipped(kind: str, deep: int, shallow: int) -> None:
    image = Image.fromarray(np.full((6, 8), deep, dtype=np.uint16))
    assert_color(open_image(stored(image, kind)), (shallow,) * 3)


def test_16_bit_colour_png() -> None:
    row = b"\0" + struct.pack(">HHH", 200 * 257, 40 * 257, 90 * 257) * 2
    assert_color(open_image(png(2, 1, 16, 2, row)), PINK)


def test_16_bit_grey_png_with_a_transparent_value_shows_white_there() -> None:
    file = png(2, 1, 16, 0, b"\0" + struct.pack(">HH", 1000, 40000), (b"tRNS", struct.pack(">H", 1000)))
    assert np.asarray(open_image(file))[0, :, 0].tolist() == [255, 156]


def test_16_bit_grey_png_with_alpha_lies_over_white() -> None:
    file = png(2, 1, 16, 4, b"\0" + struct.pack(">HHHH", 257 * 10, 65535, 257 * 10, 0))
    assert np.asarray(open_image(file))[0, :, 0].tolist() == [10, 255]


def test_inverted_16_bit_tiff() -> None:
    image = Image.fromarray(np.full((6, 8), 257 * 55, dtype=np.uint16))
    assert_color(open_image(stored(image, "TIFF", tiffinfo={262: 0})), (200,) * 3)


def test_floating_point_grey_spans_0_to_1() -> None:
    assert_color(open_image(stored(Image.fromarray(np.full((6, 8), 0.6, dtype=np.float32)), "TIFF")), (153,) * 3)


@pytest.mark.parametrize(
    "values",
    [
        np.full((6, 8), 94.0, dtype=np.float32),
        np.full((6, 8), np.nan, dtype=np.float32),
        np.full((6, 8), 94, dtype=np.int32),
    ],
)
def test_grey_without_a_known_white_is_refused(values: NDArray[Any]) -> None:
    with pytest.raises(DataError, match=r"white is unknown|not finite"):
        open_image(stored(Image.fromarray(values), "TIFF"))


def test_palette() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*PINK, 1, 2, 3])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.asarray(open_image(stored(image, kind))).tolist() == [[list(PINK), [1, 2, 3]]], kind


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_palette_entries_show_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*PINK, 1, 2, 3])
    image.putpixel((1, 0), 1)
    file = stored(image, "PNG", transparency=transparency)
    assert np.asarray(open_image(file)).tolist() == [[list(PINK), [255] * 3]]


def test_half_transparent_palette_entry_is_mixed_with_white() -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([*PINK])
    expected = tuple(round((c * 51 + 255 * 204) / 255) for c in PINK)
    assert_color(open_image(stored(image, "PNG", transparency=bytes([51]))), expected, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "value"), [("RGB", PINK), ("L", 7)])
def test_transparent_colour_shows_white(mode: str, value: object) -> None:
    file = stored(Image.new(mode, SIZE, value), "PNG", transparency=value)  # type: ignore[arg-type]
    assert_color(open_image(file), (255, 255, 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("alpha", [0, 51, 128, 255])
def test_alpha_lies_over_white(kind: str, alpha: int) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    expected = tuple(round((c * alpha + 255 * (255 - alpha)) / 255) for c in PINK)
    file = stored(Image.new("RGBA", SIZE, (*PINK, alpha)), kind, **options)
    assert_color(open_image(file), expected, 1)  # type: ignore[arg-type]


def test_grey_with_alpha_lies_over_white() -> None:
    assert_color(open_image(stored(Image.new("LA", SIZE, (55, 51)), "PNG")), (215, 215, 215), 1)


@pytest.mark.parametrize(("kind", "tolerance"), [("TIFF", 0), ("JPEG", 4)])
def test_cmyk(kind: str, tolerance: int) -> None:
    # 20% cyan, 80% magenta, 40% yellow, 20% black: (1-C)(1-K) and so on.
    cmyk = Image.new("CMYK", SIZE, (51, 204, 102, 51))
    expected = (163, 41, 122)
    assert_color(open_image(stored(cmyk, kind)), expected, tolerance)


def test_cmyk_jpeg_is_stored_inverted_as_adobe_does() -> None:
    file = stored(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG", quality=100)
    assert b"Adobe" in file.getvalue()
    assert_color(open_image(file), (255, 0, 0), 3)
    inverted = stored(ImageChops.invert(Image.new("CMYK", SIZE, (0, 255, 255, 0))), "JPEG", quality=100)
    assert_color(open_image(inverted), (0, 0, 0), 3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", SIZE, color) for color in (PINK, (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = stored(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert_color(open_image(file), PINK)


# Where EXIF says that row 0 and column 0 of the stored picture lie, from the specification's table of orientations.
SEEN_FROM_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    quarters = np.array([[[250, 10, 10], [10, 250, 10]], [[10, 10, 250], [250, 250, 250]]], dtype=np.uint8)
    pixels = quarters.repeat(32, axis=0).repeat(48, axis=1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = stored(Image.fromarray(pixels), kind, exif=exif, **({} if kind in ("PNG", "TIFF") else {"quality": 100}))
    seen = np.asarray(open_image(file)).astype(int)
    expected = SEEN_FROM_STORED[orientation](pixels).astype(int)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 5.0  # colours bleed a little at the edges; any other orientation: over 80


def test_damaged_exif_spoils_nothing() -> None:
    file = stored(Image.new("RGB", SIZE, PINK), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    assert_color(open_image(file), PINK, 3)


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 90), height=st.integers(1, 90), at_least=st.integers(0, 100))
def test_reduced_scale_keeps_the_short_side_long_enough(width: int, height: int, at_least: int) -> None:
    file = stored(Image.new("RGB", (width, height), PINK), "JPEG")
    image = open_image(file, at_least_px=at_least)
    assert min(image.size) >= min(at_least, width, height)
    assert image.width in {-(-width // scale) for scale in (1, 2, 4, 8)}
    assert_color(image, PINK, 3)


def test_reduced_scale_is_used_and_rotates_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = stored(Image.new("RGB", (400, 300), PINK), "JPEG", exif=exif)
    assert open_image(file, at_least_px=75).size == (75, 100)
    assert open_image(file).size == (300, 400)
    assert open_image(stored(Image.new("RGB", (400, 300)), "PNG"), at_least_px=10).size == (400, 300)


def test_paths_and_strings(tmp_path: Path) -> None:
    path = tmp_path / "rose.PNG"
    Image.new("RGB", SIZE, PINK).save(path)
    assert_color(open_image(path), PINK)
    assert_color(open_image(str(path)), PINK)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_truncated_files_are_named(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    whole = stored(Image.fromarray(noise), kind).getvalue()
    path = tmp_path / f"cut.{kind.lower()}"
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(DataError, match="cut") as caught:
            open_image(path)
        assert "\n" not in str(caught.value)


def test_empty_missing_foreign_and_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(DataError, match=r"empty\.jpg: empty"):
        open_image(empty)
    with pytest.raises(DataError, match=r"none\.jpg: cannot be read: No such file"):
        open_image(tmp_path / "none.jpg")
    text = tmp_path / "text.jpg"
    text.write_text("a rose is a rose")
    with pytest.raises(DataError, match=r"text\.jpg: not a JPEG"):
        open_image(text)
    with pytest.raises(DataError, match="cannot be read"):
        open_image(tmp_path)
    with pytest.raises(DataError, match="not a JPEG"):
        open_image(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"))


def test_decompression_bomb_is_refused_whatever_the_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(20000, 20000, 1, 0, b"")
    with pytest.raises(DataError, match="bomb"):
        open_image(bomb)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="bomb"):
        open_image(bomb)


def test_large_photos_are_no_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)  # so that 8×6 lies between Pillow's warning and its refusal
    file = stored(Image.new("RGB", SIZE, PINK), "PNG")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_color(open_image(file), PINK)
    assert caught == []


def test_many_threads_leave_the_filters_of_warnings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    whole = stored(Image.new("RGB", SIZE, PINK), "PNG").getvalue()
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for image in pool.map(lambda _: open_image(io.BytesIO(whole)), range(400)):
            assert image.size == SIZE
    assert list(warnings.filters) == before


@settings(deadline=None, max_examples=150)
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]), data=st.data())
def test_damaged_bytes_give_a_picture_or_a_data_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(stored(Image.new("RGB", (16, 16), PINK), kind).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = open_image(io.BytesIO(bytes(damaged)))
    except DataError as error:
        message = str(error)
    else:
        assert image.mode == "RGB"
        return
    assert message.startswith("image: ")
    assert "\n" not in message


# --- JPEG files, whose pixels are Pillow's to the bit, and whose damage is found --------------------------------------


def _by_pillow(content: bytes, at_least_px: int | None) -> NDArray[Any]:
    with Image.open(io.BytesIO(content)) as image:
        if at_least_px is not None:
            image.draft(None, (max(at_least_px, 1), max(at_least_px, 1)))
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@settings(deadline=None, max_examples=150)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grey=st.booleans(),
    orientation=st.integers(0, 8),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(1, 100),
            "subsampling": st.sampled_from([0, 1, 2]),
            "progressive": st.booleans(),
            "restart_marker_blocks": st.integers(0, 3),
        }
    ),
    at_least_px=st.none() | st.integers(0, 60),
    seed=st.integers(0, 99),
)
def test_jpeg_files_are_read_to_the_bit_as_pillow_reads_them(
    shape: tuple[int, int],
    grey: bool,
    orientation: int,
    options: dict[str, int],
    at_least_px: int | None,
    seed: int,
) -> None:
    smooth = np.random.default_rng(seed).normal(size=(*shape, 3)).cumsum(0).cumsum(1)
    image = Image.fromarray((smooth * 20 % 256).astype(np.uint8)).convert("L" if grey else "RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = stored(image, "JPEG", **options, **({"exif": exif} if orientation else {})).getvalue()
    ours = np.asarray(open_image(io.BytesIO(content), at_least_px=at_least_px))
    np.testing.assert_array_equal(ours, _by_pillow(content, at_least_px))
    assert open_picture(io.BytesIO(content), at_least_px=at_least_px).shape == (*ours.shape[:2], 1 if grey else 3)


def test_plain_jpeg_files_are_read_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(stored(Image.new("RGB", SIZE, PINK), "JPEG").getvalue())
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow was asked"))
    assert_color(open_image(path), PINK, 3)


def test_a_cut_jpeg_is_found_whatever_its_container_says() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    content = stored(Image.fromarray(noise), "JPEG").getvalue()
    whole = open_picture(io.BytesIO(content))
    cut = content[: len(content) // 2] + b"\xff\xd9"  # an end marker, which Pillow is content with
    assert _by_pillow(cut, None).shape == (96, 96, 3)
    with pytest.raises(DataError, match="image: damaged or cut short: "):
        open_picture(io.BytesIO(cut))
    kept = open_picture(io.BytesIO(cut), reading=Reading(truncated="keep"))
    np.testing.assert_array_equal(kept[:16], whole[:16])
    for length in (-2, len(content) // 3):
        shorter = content[:length]
        with pytest.raises(DataError, match="damaged or cut short"):
            open_picture(io.BytesIO(shorter))
        kept = open_picture(io.BytesIO(shorter), reading=Reading(truncated="keep"))
        np.testing.assert_array_equal(kept[:8], whole[:8])


def test_more_pixels_than_pillow_allows_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow refuses more than twice as many
    file = stored(Image.new("RGB", SIZE, PINK), "PNG")
    assert_color(open_image(file, reading=Reading(max_pixels=48)), PINK)
    assert (read_facts(file).height, read_facts(file).width) == SIZE[::-1]
    with pytest.raises(DataError, match="more than 47 pixels"):
        open_image(file, reading=Reading(max_pixels=47))
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_jpeg_with_a_damaged_header_is_kept_where_damaged_ones_are() -> None:
    content = stored(Image.new("RGB", (64, 64), PINK), "JPEG").getvalue()
    at = content.index(b"\xff\xc4")
    odd = content[:at] + b"\0\0" + content[at:]
    assert_color(open_image(io.BytesIO(odd), reading=Reading(truncated="keep")), PINK, tolerance=3)
    with pytest.raises(TruncatedError, match="extraneous bytes"):
        open_image(io.BytesIO(odd))
