"""Opening image files: whatever the format, the depth and the orientation, an upright 8-bit RGB picture comes out."""

from __future__ import annotations

import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

try:
    import simplejpeg
except ImportError:  # it is in the extra `features`; without it, images are the same, and read more slowly
    simplejpeg = None

from corolla.errors import DataError

# The decoders for what people's photos come in. Pillow's others are left out on purpose: EPS, for one, runs a program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

# Pillow refuses pictures above twice its limit and warns above it; a 100-megapixel camera is no attack, so only the
# refusal is kept. The number is stated here for callers who have switched Pillow's own check off.
_LARGEST_PIXELS = 2 * 1024**3 // 4 // 3

# What Pillow's decoders raise on damaged files: nearly anything.
_DECODER_ERRORS: tuple[type[Exception], ...] = (OSError, SyntaxError, ValueError, TypeError, AttributeError, EOFError)
_DECODER_ERRORS += (AssertionError, RuntimeError, ArithmeticError, LookupError, struct.error, zlib.error)

# Where Pillow spends more on the file than on its pixels: JPEG files of fewer bytes.
_SMALL_BYTES = 1 << 16
_JPEG_START = b"\xff\xd8\xff"
_EXIF_MARKER = b"\xff\xe1"
_PLAIN_SUBSAMPLINGS = ("444", "422", "420")

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262
_BITS_TAG = 258

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
_FIRST_TURNED = 5  # this and higher ones exchange height and width


class _PillowQuiet:
    """Leaves out Pillow's warnings (odd metadata, a large but bearable size): the files decode well all the same.

    Images are opened in many threads at once, and `warnings.catch_warnings` would let one thread restore the filters
    that another has set. So the first to enter sets them, and the last to leave restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._saved.__exit__(None, None, None)


_PILLOW_QUIET = _PillowQuiet()


def open_image(path_or_file: str | Path | BinaryIO, *, at_least_px: int | None = None) -> Image.Image:
    """Open a JPEG, PNG, WebP, BMP, GIF or TIFF file as an upright RGB picture, fully decoded.

    Grey, palette, 16-bit and CMYK pictures become 8-bit RGB; what is transparent shows white; of several frames the
    first is taken; the EXIF orientation is applied. Colour profiles are not.

    Args:
        path_or_file: A path, or a binary file that can seek.
        at_least_px: Decode a JPEG at the smallest of the scales 1, 1/2, 1/4 and 1/8 that leaves its short side at
            least this long, which is several times as fast. None decodes at full scale.

    Raises DataError that names the file: it is missing, empty, damaged, cut short, of another kind, or expands to far
    more pixels than a photo has.
    """
    if isinstance(path_or_file, str | Path) and _waits(path_or_file):
        raise DataError(f"{path_or_file}: not a regular file", path=path_or_file)
    small = None if simplejpeg is None else _small_jpeg(path_or_file, at_least_px)
    if small is not None:
        return small
    with _opened(path_or_file) as image:
        if image.format in ("JPEG", "MPO") and at_least_px is not None:
            image.draft(None, (max(at_least_px, 1), max(at_least_px, 1)))
        return _upright_rgb(image)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the picture that `open_image` gives, by the header of its file. Raises DataError."""
    if _waits(path):
        raise DataError(f"{path}: not a regular file", path=path)
    with _opened(path) as image:
        turned = _orientation(image) >= _FIRST_TURNED
        return image.size if turned else (image.height, image.width)


@contextmanager
def _opened(path_or_file: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """The picture in a file, not decoded yet; whatever goes wrong with it becomes a DataError that names the file."""
    name = str(path_or_file if isinstance(path_or_file, str | Path) else getattr(path_or_file, "name", "image"))
    try:
        with _PILLOW_QUIET, Image.open(path_or_file, formats=_FORMATS) as image:
            if image.width * image.height > _LARGEST_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError:
        raise DataError(
            f"{name}: more than {_LARGEST_PIXELS:,} pixels, as decompression bombs have", path=name
        ) from None
    except UnidentifiedImageError:
        if isinstance(path_or_file, str | Path):
            size = Path(path_or_file).stat().st_size
        else:
            size = path_or_file.seek(0, os.SEEK_END)
        kind = "not a JPEG, PNG, WebP, BMP, GIF or TIFF image, or damaged" if size else "empty"
        raise DataError(f"{name}: {kind}", path=name) from None
    except _DECODER_ERRORS as error:
        raise DataError(f"{name}: cannot be read: {_reason(error)}", path=name) from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture that is open already, as `open_image` gives it: 8-bit RGB over white, turned as its EXIF data say."""
    try:
        with _PILLOW_QUIET:
            return _upright_rgb(image)
    except _DECODER_ERRORS as error:
        raise DataError(f"{getattr(image, 'filename', '') or 'picture'}: cannot be read: {_reason(error)}") from None


def _small_jpeg(path_or_file: str | Path | BinaryIO, at_least_px: int | None) -> Image.Image | None:
    """A small and plain JPEG file by libjpeg-turbo alone, to the bit as Pillow, which wraps the same, gives it.

    None for whatever is not plain: what may have to be turned, reduced or refused is left to Pillow, and so is every
    fault, which it names.
    """
    try:
        if isinstance(path_or_file, str | Path):
            with open(path_or_file, "rb", buffering=0) as file:  # noqa: PTH123 - Path.open takes as long as decoding
                content = file.read(_SMALL_BYTES)
        else:
            content = path_or_file.read(_SMALL_BYTES)
            path_or_file.seek(0)
        if len(content) == _SMALL_BYTES or not content.startswith(_JPEG_START) or _EXIF_MARKER in content:
            return None
        height, width, colours, subsampling = simplejpeg.decode_jpeg_header(content)
        reduced = at_least_px is not None and min(height, width) >= 2 * max(at_least_px, 1)
        plain = colours == "YCbCr" and subsampling in _PLAIN_SUBSAMPLINGS
        if reduced or not plain or height * width > _LARGEST_PIXELS:
            return None
        return Image.fromarray(simplejpeg.decode_jpeg(content))
    except (OSError, ValueError):
        return None


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    orientation = _orientation(image)
    rgb = _to_rgb(image)
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _waits(path: str | Path) -> bool:
    """Whether a path is a pipe or a device, which may give nothing for ever."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - Path.stat takes several times as long
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation. A damaged EXIF block spoils no pixels, so it counts as upright.

    Pillow's `exif_transpose` is not used, as it fails on pictures whose other tags cannot be written again.
    """
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey_to_rgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits; Pillow's own conversion would clip it.

    Integers span the depth that the file states, up to 16 bits; floating point spans 0 to 1.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_TAG, (16,))[0]
    white = 1.0 if image.mode == "F" else 2.0**bits - 1.0
    values = np.asarray(image, dtype=np.float64)
    if white > 65535.0 or not (np.isfinite(values).all() and values.min() >= 0.0 and values.max() <= white):
        raise ValueError(
            f"which of its grey values is white is unknown (mode {image.mode}, {bits} bits, "
            f"{values.min():g} to {values.max():g}); save it with 8 or 16 bits"
        )
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = white
    if tags.get(_PHOTOMETRIC_TAG) == 0:  # white is zero; Pillow takes care of it for 8 bits only
        values = white - values
    return Image.fromarray(np.rint(values * (255.0 / white)).astype(np.uint8)).convert("RGB")
