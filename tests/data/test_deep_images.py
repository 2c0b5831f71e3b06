"""Pictures of 16 bits, floats and many channels, against arithmetic and what tifffile and imagecodecs wrote."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, features
from PIL.PngImagePlugin import PngInfo

from corolla.data import images
from corolla.data.images import open_picture, read_facts
from corolla.data.levels import Facts, Reading, in_format
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import recipe_named
from corolla.errors import DataError
from corolla.pixels import RGB8, PixelFormat

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 65536, (20, 30), np.uint16)
COLOR = RNG.integers(0, 65536, (20, 30, 3), np.uint16)
FLOATS = RNG.random((20, 30), np.float32)


def tiff(values: NDArray[Any], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    file.seek(0)
    return file


def levels(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint16]:
    return np.rint((values.astype(np.float64) - low) * 65535 / (high - low)).astype(np.uint16)


def planes(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


PALETTE = RNG.integers(0, 256, (3, 256), np.uint16)
INDICES = RNG.integers(0, 256, (20, 30), np.uint8)
ALPHA = RNG.integers(0, 65536, (20, 30, 4), np.uint16)
BANDS = RNG.integers(0, 256, (20, 30, 5), np.uint8)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(tiff(GREY, **options), GREY[..., None], id=f"grey {options}")
        for options in (
            {},
            {"compression": "lzw"},
            {"compression": "zlib", "predictor": True},
            {"byteorder": ">"},
            {"tile": (16, 16)},
        )
    ]
    + [
        pytest.param(tiff(COLOR, photometric="rgb"), COLOR, id="RGB"),
        pytest.param(tiff(planes(COLOR), photometric="rgb", planarconfig="separate"), COLOR, id="planar RGB"),
        pytest.param(
            tiff(planes(COLOR >> 8).astype(np.uint8), photometric="rgb", planarconfig="separate"),
            (COLOR >> 8).astype(np.uint8),
            id="planar RGB of 8 bits",
        ),
        pytest.param(tiff(FLOATS), levels(FLOATS, 0, 1)[..., None], id="float"),
        pytest.param(
            tiff(FLOATS, byteorder=">", compression="zlib"), levels(FLOATS, 0, 1)[..., None], id="big-endian float"
        ),
        pytest.param(tiff(COLOR / np.float32(65535), photometric="rgb"), COLOR, id="float RGB"),
        pytest.param(tiff(GREY, photometric="miniswhite"), 65535 - GREY[..., None], id="white is zero"),
        pytest.param(
            tiff(INDICES, photometric="palette", colormap=PALETTE),
            np.moveaxis(PALETTE[:, INDICES], 0, 2).astype(np.uint8),
            id="palette of 8-bit colours",
        ),
        pytest.param(
            tiff(INDICES, photometric="palette", colormap=PALETTE * 257),
            np.moveaxis(PALETTE[:, INDICES], 0, 2).astype(np.uint8),
            id="palette",
        ),
        pytest.param(
            tiff(ALPHA, photometric="rgb", extrasamples=["unassalpha"]),
            np.rint(ALPHA[..., :3] * (ALPHA[..., 3:] / 65535) + 65535 - ALPHA[..., 3:]).astype(np.uint16),
            id="alpha",
        ),
        pytest.param(tiff(BANDS, photometric="minisblack", planarconfig="contig"), BANDS, id="five bands"),
        pytest.param(io.BytesIO(imagecodecs.png_encode(COLOR)), COLOR, id="PNG RGB"),
        pytest.param(io.BytesIO(imagecodecs.png_encode(GREY)), GREY[..., None], id="PNG grey"),
    ],
)
def test_deep_files_give_the_values_that_were_written(file: io.BytesIO, expected: NDArray[Any]) -> None:
    picture = open_picture(file)
    assert picture.dtype == expected.dtype
    np.testing.assert_array_equal(picture, expected)
    file.seek(0)
    assert read_facts(file) == Facts(20, 30, PixelFormat(expected.shape[2], 8 * expected.dtype.itemsize))


STACK = RNG.integers(0, 65536, (5, 20, 30), np.uint16)
HYPERSTACK = RNG.integers(0, 65536, (4, 2, 20, 30), np.uint16)


@pytest.mark.parametrize(
    ("file", "page", "expected"),
    [
        pytest.param(tiff(STACK), 3, STACK[3][..., None], id="pages"),
        pytest.param(tiff(STACK, imagej=True, metadata={"axes": "ZYX"}), 4, STACK[4][..., None], id="ImageJ"),
        pytest.param(
            tiff(HYPERSTACK, imagej=True, metadata={"axes": "ZCYX"}),
            3,
            np.moveaxis(HYPERSTACK[3], 0, 2),
            id="ImageJ, C",
        ),
        pytest.param(
            tiff(HYPERSTACK, ome=True, metadata={"axes": "ZCYX"}), 1, np.moveaxis(HYPERSTACK[1], 0, 2), id="OME, C"
        ),
    ],
)
def test_a_page_of_a_stack_is_taken_by_its_number(file: io.BytesIO, page: int, expected: NDArray[Any]) -> None:
    np.testing.assert_array_equal(open_picture(file, reading=Reading(page=page)), expected)
    file.seek(0)
    with pytest.raises(DataError, match=r"has no page 9; there are [45], counted from 0"):
        open_picture(file, reading=Reading(page=9))


SIGNED = RNG.integers(-1000, 1000, (20, 30), np.int16)
TWELVE = RNG.integers(0, 4096, (20, 30), np.uint16)
COUNTS = RNG.integers(0, 100_000, (20, 30), np.uint32)


@pytest.mark.parametrize(
    ("values", "white"),
    [(SIGNED, (-1000, 1000)), (TWELVE, (0, 4095)), (COUNTS, (0, 100_000)), (FLOATS * 7, (0, 7))],
    ids=["signed", "12 of 16 bits", "32 bits", "floats above 1"],
)
def test_black_and_white_are_settings(values: NDArray[Any], white: tuple[float, float]) -> None:
    picture = open_picture(tiff(values), reading=Reading(white=white))
    assert np.abs(picture[..., 0].astype(int) - levels(values, *white)).max() <= 1  # float64 rounds at ties
    if values is not TWELVE:  # whose type has a white of its own
        with pytest.raises(DataError, match=r"black and which is white is unknown; set data\.white"):
            open_picture(tiff(values))


def test_values_beyond_black_and_white_are_clipped() -> None:
    picture = open_picture(tiff(TWELVE), reading=Reading(white=(1000, 2000)))
    assert (picture[TWELVE <= 1000] == 0).all()
    assert (picture[TWELVE >= 2000] == 65535).all()


def test_levels_go_to_other_formats_and_back() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    eight = in_format(every, PixelFormat(1, 8))
    np.testing.assert_array_equal(eight, np.rint(every / 65535 * 255).astype(np.uint8))
    np.testing.assert_array_equal(in_format(in_format(eight, PixelFormat(1, 16)), PixelFormat(1, 8)), eight)
    assert (in_format(every, RGB8) == eight).all()
    color = (COLOR >> 8).astype(np.uint8)
    luma = np.asarray(Image.fromarray(color).convert("L"))[..., None]
    np.testing.assert_array_equal(in_format(color, PixelFormat(1, 8)), luma)
    deep = in_format(COLOR, PixelFormat(1, 16))[..., 0]
    assert np.abs(deep - COLOR @ np.array([0.299, 0.587, 0.114])).max() <= 0.51
    with pytest.raises(DataError, match=r"has 5 channels, not 3; convert it, or set data\.channels"):
        in_format(BANDS, RGB8)


def test_colors_of_an_icc_profile_are_converted_to_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"?"), (b"gXYZ", b"rXYZ"), (b"?", b"gXYZ")):  # red and green change places
        profile = profile.replace(old, new, 1)
    swapped = profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        file = io.BytesIO()
        image.save(file, kind, icc_profile=swapped, **options)
        converted = open_picture(file).astype(int)
        assert np.abs(converted - np.asarray(image)[..., [1, 0, 2]]).max() <= 1
        kept = open_picture(file, reading=Reading(icc=False))
        np.testing.assert_array_equal(kept, np.asarray(image))


@pytest.mark.parametrize("profile", [b"damaged", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_a_profile_that_does_not_fit_changes_nothing(profile: bytes) -> None:
    image = Image.new("RGB", (4, 4), (200, 40, 90))
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=profile)
    assert open_picture(file)[0, 0].tolist() == [200, 40, 90]


def test_a_page_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match=r"30x20 are more than 500 pixels.*data\.max_pixels"):
        open_picture(tiff(GREY), reading=Reading(max_pixels=500))


def test_grey_with_associated_alpha_lies_over_white() -> None:
    grey, alpha = RNG.integers(0, 100, (20, 30), np.uint8), RNG.integers(100, 256, (20, 30), np.uint8)
    file = tiff(
        np.stack([grey, alpha], 2), photometric="minisblack", extrasamples=["assocalpha"], planarconfig="contig"
    )
    assert np.abs(open_picture(file)[..., 0].astype(int) - (grey.astype(int) + 255 - alpha)).max() <= 1


def test_a_png_may_hold_more_than_a_megabyte_of_text() -> None:
    text = PngInfo()
    text.add_itxt("notes", "flower " * 300_000, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(file, "PNG", pnginfo=text)
    assert open_picture(file)[0, 0].tolist() == [1, 2, 3]


def test_150_megapixels_of_16_bits_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    file = tmp_path / "large.tif"
    tifffile.imwrite(file, np.full((10_000, 15_000), 40_000, np.uint16), compression="zlib")
    script = (
        "import resource, sys; from corolla.data.images import open_picture; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "picture = open_picture(sys.argv[1], at_least_px=128); "
        "print(picture.shape, int(picture.min()), int(picture.max()), "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True)
    shape, low, high, grown_kb = done.stdout.replace("(1250, 1875, 1)", "reduced").split()
    assert (shape, low, high) == ("reduced", "40000", "40000")
    assert int(grown_kb) * 1024 < 1e9


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_pictures_of_phones_are_read_upright(kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra `formats` is not installed")
    elif not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    rows, columns = np.mgrid[:48, :64]
    image = Image.fromarray(np.stack([rows * 4, columns * 3, np.full_like(rows, 90)], axis=2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the right
    file = io.BytesIO()
    image.save(file, kind, quality=95, exif=exif.tobytes())
    picture = open_picture(file)
    upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert picture.shape == (64, 48, 3)
    assert np.abs(picture - upright).mean() < 3
    file.seek(0)
    assert read_facts(file) == Facts(64, 48, PixelFormat(3, 8))


def test_a_heic_picture_without_the_extra_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_HEIF", False)
    monkeypatch.setattr(images, "DECODERS", ["JPEG", "PNG"])
    with pytest.raises(DataError, match=r"a HEIC image: reading it needs the extra `formats`"):
        open_picture(io.BytesIO(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64))


def test_white_is_that_of_values_deeper_than_8_bits_alone() -> None:
    file = tiff(BANDS, photometric="minisblack", planarconfig="contig")
    assert np.array_equal(open_picture(file, reading=Reading(white=(0, 4095))), BANDS)


def test_white_counts_for_an_open_picture_as_for_its_file(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((8, 8), 4095, np.uint16))
    picture.save(tmp_path / "grey.png")
    how = Preprocessing(recipe_named("fit"), 8, 8, PixelFormat(1, 16), Reading(white=(0, 4095)))
    assert np.array_equal(how.apply(picture), open_picture(tmp_path / "grey.png", reading=how.reading))
    assert how.apply(picture).min() == 65535


def test_a_tiff_of_far_too_many_channels_is_refused_before_it_is_decoded() -> None:
    file = tiff(np.zeros((4, 4, 300), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match="has 300 channels; at most 64 can be used"):
        open_picture(file)
