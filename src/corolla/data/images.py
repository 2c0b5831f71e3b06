"""Opening image files: whatever the kind, an upright picture comes out, as deep and with as many channels as stored.

A picture is an array, height × width × channels, of uint8 or uint16: grey has one channel and colour (sRGB) three; what
is transparent shows white; white is the largest level. `open_picture` gives a file's own format, and `in_format` any
other.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError, features

from corolla.data.levels import (
    Facts,
    Levels,
    Reading,
    check_size,
    deep_levels,
    in_format,
    over_white,
    reduced,
    scale_for,
    upright,
)
from corolla.errors import DataError, missing_extra
from corolla.pixels import RGB8, PixelFormat

try:
    from pillow_heif import register_heif_opener
except ImportError:  # it is in the extra `formats`
    _HEIF = False
else:
    register_heif_opener()
    _HEIF = True

ImageFile: TypeAlias = str | Path | BinaryIO

# The decoders for what people's photos come in. Pillow's others are left out on purpose: EPS, for one, runs a program.
DECODERS = ["JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF"]
DECODERS += ["AVIF"] if features.check("avif") else []
DECODERS += ["HEIF"] if _HEIF else []
"""Those that are here. What cannot be read without one of them can be read with it."""
_KINDS = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC"

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif"),
)
"""The endings, in lower case, of files that are taken for images."""

# What Pillow's and tifffile's decoders raise on damaged files: nearly anything.
DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, EOFError, AssertionError, RuntimeError),
    *(ArithmeticError, LookupError, MemoryError, struct.error, zlib.error),
)

# Pillow takes more than 1 MB of text or of an ICC profile in a PNG for an attack, whatever the file's size. Profiles of
# printers are larger.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, 64 << 20)

_JPEG_START = b"\xff\xd8\xff"
_METADATA = (b"Exif\0\0", b"ICC_PROFILE\0")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_PLAIN_SUBSAMPLINGS = ("444", "422", "420")

_ORIENTATION_TAG = 0x0112

# EXIF orientation -> what makes the picture upright. 1 is upright; other values mean nothing and change nothing.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TruncatedError(DataError):
    """A picture of which only a part can be decoded."""


class MomentaryError(DataError):
    """A file that the system would not let be read now: no fact about it."""


class _PillowQuiet:
    """Leaves out Pillow's warnings of odd metadata, and its limit of pixels, which is that of `check_size` here.

    Images are opened in many threads at once, and `warnings.catch_warnings` would let one thread restore the filters
    that another has set. So the first to enter sets them and the limit, and the last to leave restores both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()
        self._limit = Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._saved.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit


_PILLOW_QUIET = _PillowQuiet()


def open_image(file: ImageFile, *, at_least_px: int | None = None, reading: Reading | None = None) -> Image.Image:
    """As `open_picture`, but 8-bit RGB whatever the file holds, as a PIL image."""
    return Image.fromarray(in_format(open_picture(file, at_least_px=at_least_px, reading=reading), RGB8))


def open_picture(file: ImageFile, *, at_least_px: int | None = None, reading: Reading | None = None) -> Levels:
    """Open an image file as an upright picture, H×W×C of uint8 or uint16, fully decoded.

    JPEG, PNG, WebP, BMP, GIF, TIFF and AVIF, and HEIC with the extra `formats`. Of an animation the first frame is
    taken. The EXIF orientation is applied.

    Args:
        file: A path, or a binary file that can seek.
        at_least_px: Decode a JPEG at the smallest of the scales 1, 1/2, 1/4 and 1/8 that leaves its short side at
            least this long, which is several times as fast; deep pictures of more than 16 million pixels are averaged
            likewise. None decodes at full scale.
        reading: What to do where the file leaves a choice.

    Raises:
        DataError: The file is missing, empty, damaged, cut short, of another kind, or has more pixels than allowed. The
            message names the file.
    """
    reading = reading or Reading()
    name = str(file if isinstance(file, str | Path) else getattr(file, "name", "image"))
    if isinstance(file, str | Path) and _waits(file):
        raise DataError(f"{name}: not a regular file", path=name)
    try:
        if isinstance(file, str | Path):
            with open(file, "rb") as opened:  # noqa: PTH123 - Path.open takes as long as decoding a small file
                return _decoded(opened, at_least_px, reading)
        return _decoded(file, at_least_px, reading)
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: {error}", path=name) from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_unidentified(file)}", path=name) from None
    except MemoryError:
        raise DataError(f"{name}: too large for this machine's memory", path=name) from None
    except TruncatedError as error:
        raise TruncatedError(f"{name}: {error}", path=name) from None
    except DECODER_ERRORS as error:
        momentary = isinstance(error, OSError) and error.errno is not None
        kind = MomentaryError if momentary else DataError
        raise kind(f"{name}: cannot be read: {_reason(error)}", path=name) from None


def read_facts(file: ImageFile) -> Facts:
    """The size and the format of an image file, from its header. Raises DataError as `open_picture`."""
    name = str(file if isinstance(file, str | Path) else getattr(file, "name", "image"))
    try:
        if isinstance(file, str | Path):
            with open(file, "rb") as opened:  # noqa: PTH123
                return _facts(opened)
        return _facts(file)
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_unidentified(file)}", path=name) from None
    except (Image.DecompressionBombError, *DECODER_ERRORS) as error:
        raise DataError(f"{name}: cannot be read: {_reason(error)}", path=name) from None


def picture_of(image: Image.Image, *, reading: Reading | None = None) -> Levels:
    """A PIL image as `open_picture` gives a file of it. Raises DataError if its decoder fails."""
    try:
        with _PILLOW_QUIET:
            image.load()
            return _natural(image, reading or Reading())
    except DECODER_ERRORS as error:
        raise DataError(f"{getattr(image, 'filename', '') or 'picture'}: cannot be read: {_reason(error)}") from None


def _decoded(file: BinaryIO, at_least_px: int | None, reading: Reading) -> Levels:
    file.seek(0)
    start = file.read(32)
    file.seek(0)
    if start.startswith(_TIFF_STARTS):
        from corolla.data import tiff  # slow to import, and most files are none

        picture = tiff.read(file, reading)
        if picture is not None:
            return reduced(picture, at_least_px)
        file.seek(0)
    elif _is_deep_color_png(start):
        return reduced(_deep_png(file, reading), at_least_px)
    elif start.startswith(_JPEG_START):
        return _jpeg(file.read(), at_least_px, reading)
    with _PILLOW_QUIET, Image.open(file, formats=DECODERS) as image:
        check_size(*image.size, reading)
        image.load()
        return reduced(_natural(image, reading), at_least_px)


def _jpeg(content: bytes, at_least_px: int | None, reading: Reading) -> Levels:
    """A JPEG by libjpeg-turbo, whose strict mode reports damage that Pillow, which wraps the same, passes over.

    The pixels are Pillow's to the bit, also at reduced scale. Pillow is asked where it knows more: of metadata, which
    takes it as long as to decode a small file, and of colour spaces that only it converts.
    """
    try:
        height, width, colours, subsampling = simplejpeg.decode_jpeg_header(content, strict=False)
    except ValueError as error:
        raise OSError(f"not a whole JPEG: {error}") from None
    check_size(width, height, reading)
    scale = scale_for(height, width, at_least_px)
    at_least = {"min_height": -(-height // scale), "min_width": -(-width // scale)} if scale > 1 else {}
    plain = colours == "Gray" or (colours == "YCbCr" and subsampling in _PLAIN_SUBSAMPLINGS)
    space = "GRAY" if colours == "Gray" else "RGB" if colours in ("YCbCr", "RGB") else "CMYK"
    pixels = None
    try:
        pixels = simplejpeg.decode_jpeg(content, space, **at_least)
    except ValueError as error:
        if reading.truncated != "keep":
            raise TruncatedError(f"damaged or cut short: {_reason(error)}") from None
        with suppress(ValueError):  # a fault in the header, which Pillow passes over
            pixels = simplejpeg.decode_jpeg(content, space, strict=False, **at_least)
    if pixels is not None and plain and not any(mark in content for mark in _METADATA):
        return np.asarray(pixels)
    with _PILLOW_QUIET, Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if pixels is None or not plain:
            if scale > 1:
                image.draft(None, (-(-width // scale), -(-height // scale)))
            image.load()
            return _natural(image, reading)
        whole = Image.fromarray(pixels[..., 0] if space == "GRAY" else pixels)
        whole.info = image.info
        return _natural(whole, reading, _orientation(image))


def _natural(image: Image.Image, reading: Reading, orientation: int | None = None) -> Levels:
    """A decoded PIL image as a picture of its own format."""
    turn = _UPRIGHT.get(_orientation(image) if orientation is None else orientation)
    if image.mode.startswith(("I", "F")):
        pixels = _deep_grey(image, reading)
        upright = pixels if turn is None else np.stack([_turned(pixels[..., 0], turn)], axis=2)
        return np.ascontiguousarray(upright)
    flat = _flat(image, reading.icc)
    if turn is not None:
        flat = flat.transpose(turn)
    pixels = np.asarray(flat)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _turned(plane: NDArray[Any], turn: Image.Transpose) -> NDArray[Any]:
    return np.asarray(Image.fromarray(plane).transpose(turn))


def _flat(image: Image.Image, icc: bool) -> Image.Image:
    """8-bit grey or RGB; over white where it is transparent."""
    grey = image.mode in ("1", "L", "LA", "La")
    profile = image.info.get("icc_profile") if icc else None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        rgb = _in_srgb(image.convert("RGB"), profile)
        rgb.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgb).convert("RGB")
    else:
        image = _in_srgb(image, profile)
    if grey:
        return image.convert("L") if image.mode != "RGB" else image.getchannel(0)
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours by an ICC profile in sRGB; as they are where there is none, or one that does not fit the picture."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        target = ImageCms.createProfile("sRGB")
        mode = image.mode if image.mode in ("L", "CMYK", "RGB") else "RGB"
        converted = ImageCms.profileToProfile(image.convert(mode), source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted


def _deep_grey(image: Image.Image, reading: Reading) -> NDArray[np.uint16]:
    """Grey of more than 8 bits, of PNG files and PIL images: integers span 16 bits, floats 0 to 1."""
    values = np.asarray(image)[..., None]
    scaled = deep_levels(values, reading, 1.0 if image.mode == "F" else 65535.0)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        return np.where(values == transparent, np.uint16(65535), scaled)
    return scaled


def _is_deep_color_png(start: bytes) -> bool:
    return start.startswith(_PNG_START) and start[12:16] == b"IHDR" and start[24] == 16 and start[25] != 0


def _deep_png(file: BinaryIO, reading: Reading) -> Levels:
    """A PNG of 16 bits a channel with colour or alpha, of which Pillow keeps 8."""
    import imagecodecs

    with _PILLOW_QUIET, Image.open(file, formats=("PNG",)) as image:  # the metadata
        check_size(*image.size, reading)
        orientation = _orientation(image)
        kinds = image.getbands()
    file.seek(0)
    values = imagecodecs.png_decode(file.read())
    values = values[..., None] if values.ndim == 2 else values
    levels = deep_levels(values, reading, 65535.0)
    if len(kinds) in (2, 4) or values.shape[2] in (2, 4):
        levels = over_white(levels, associated=False)
    return np.ascontiguousarray(upright(levels, orientation))


def _facts(file: BinaryIO) -> Facts:
    start = file.read(32)
    file.seek(0)
    if start.startswith(_TIFF_STARTS):
        from corolla.data import tiff

        facts = tiff.facts(file)
        if facts is not None:
            return facts
        file.seek(0)
    with _PILLOW_QUIET, Image.open(file, formats=DECODERS) as image:
        width, height = image.size
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))
        deep = image.mode.startswith(("I", "F")) or _is_deep_color_png(start)
        if _is_deep_color_png(start):
            grey = start[25] in (0, 4)
        if _orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        return Facts(height, width, PixelFormat(1 if grey else 3, 16 if deep else 8))


def _waits(path: str | Path) -> bool:
    """Whether a path is a pipe or a device, which may give nothing for ever."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - Path.stat takes several times as long
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def _unidentified(file: ImageFile) -> str:
    """Why a file is no image that can be read."""
    if isinstance(file, str | Path):
        with Path(file).open("rb") as opened:
            start = opened.read(32)
    else:
        file.seek(0)
        start = file.read(32)
    if not start:
        return "empty"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS and not _HEIF:
        return f"a HEIC image: {missing_extra('formats', 'reading it')}"
    if start[4:12] == b"ftypavif" and not features.check("avif"):
        return "an AVIF image, which this build of Pillow cannot read"
    return f"not a {_KINDS} image, or damaged"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation. A damaged EXIF block spoils no pixels, so it counts as upright; XMP is not asked.

    Pillow's `exif_transpose` is not used, as it fails on pictures whose other tags cannot be written again.
    """
    try:
        if image.format == "HEIF":  # turned by its decoder
            return 1
        if image.format == "TIFF":
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION_TAG, 1))
    except DECODER_ERRORS:
        return 1
