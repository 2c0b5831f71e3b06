"""Pictures, animations and arrays -> files, each whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.errors import UsageError, missing_extra
from corolla.files import write_file

STILL_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MOVING_SUFFIXES = {".gif": "GIF", ".webp": "WEBP", ".mp4": "MP4"}
MP4_QUALITY = 18  # H.264's constant rate factor: 0 is without loss, 23 the usual, 18 hard to tell from the original
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 92, "subsampling": 0},
    "WEBP": {"quality": 90, "method": 4},
    "GIF": {"optimize": False, "disposal": 1},
}


def encode_picture(picture: Image.Image, kind: str) -> bytes:
    """The bytes of a PNG, JPEG or WEBP file."""
    content = io.BytesIO()
    picture.save(content, kind, **_OPTIONS[kind])
    return content.getvalue()


def encode_animation(frames: Sequence[Image.Image], kind: str, *, fps: float = 12.0) -> bytes:
    """The bytes of a GIF or WEBP file that shows the frames in an endless loop, or of an MP4 file.

    A GIF has 256 colours: they are chosen from all frames together, so that nothing flickers, and dithered with a fixed
    pattern, which neither crawls nor grows the file as error diffusion does.
    """
    if not frames:
        raise UsageError("no frames to animate")
    if kind == "MP4":
        return _encode_mp4(frames, fps=fps)
    content = io.BytesIO()
    first, *others = _with_one_palette(frames) if kind == "GIF" else frames
    timing = {"duration": max(20, round(1000 / fps)), "loop": 0}
    first.save(content, kind, save_all=True, append_images=others, **timing, **_OPTIONS[kind])
    return content.getvalue()


def _with_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    stack = [np.asarray(frame.convert("RGB")) for frame in frames]
    height, width, _ = stack[0].shape
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in stack])
    chosen = pixels[np.linspace(0, len(pixels) - 1, 256 * 256).astype(int)]  # evenly, over all frames
    palette = Image.fromarray(chosen.reshape(256, 256, 3)).quantize(256, Image.Quantize.MEDIANCUT, kmeans=3)
    # Half a step or so between neighbours in a palette of 256 colours.
    pattern = 7.0 * np.tile(_bayer(8), (-(-height // 8), -(-width // 8)))[:height, :width, None]
    dithered = [np.clip(frame + pattern, 0, 255).astype(np.uint8) for frame in stack]
    return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in dithered]


def _bayer(side: int) -> NDArray[np.float64]:
    """The ordered-dither matrix of Bayer (1973) for a power of two, between -½ and ½."""
    matrix = np.zeros((1, 1))
    while len(matrix) < side:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / side**2 - 0.5


def video_library() -> ModuleType:
    """PyAV. Raises UsageError with the way to get it if it is not there."""
    try:
        import av
    except ImportError:
        raise missing_extra("video", "An MP4 file") from None
    return av


def _encode_mp4(frames: Sequence[Image.Image], *, fps: float) -> bytes:
    """The bytes of an MP4 file, H.264 with 4:2:0 colours, which every browser plays.

    Such colours need an even size: where a side is odd, its last line of pixels is there twice.
    """
    av = video_library()
    width, height = frames[0].size
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        # One thread: the same frames then give the same bytes on every machine of one kind.
        stream.options = {"crf": str(MP4_QUALITY), "preset": "slow", "threads": "1"}
        for frame in frames:
            pixels = np.pad(np.asarray(frame.convert("RGB")), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return content.getvalue()


def check_name(path: Path | str, suffixes: Sequence[str], what: str = "pictures") -> str:
    """The suffix of a file to be written, in lower case. Raises UsageError if it is not one of those given."""
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        end = "one of these" if len(suffixes) > 1 else "that"
        raise UsageError(f"{path}: {what} are written as {', '.join(suffixes)}; end the name in {end}")
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file")
    return suffix


def check_outputs(output: Path | str, npz: Path | str | None = None, *, may_move: bool = False) -> bool:
    """Whether a picture to be written is an animation, where it may be. Refuses names, also of arrays, as `check_name`.

    What an MP4 needs is missed now, and not after the work.
    """
    if npz is not None:
        check_name(npz, [".npz"], "arrays")
    suffix = check_name(output, [*STILL_SUFFIXES, ".gif", ".mp4"] if may_move else list(STILL_SUFFIXES))
    if suffix == ".mp4":
        video_library()
    return may_move and suffix in MOVING_SUFFIXES


def save_picture(path: Path | str, picture: Image.Image) -> None:
    """Write a picture, whole or not at all; the suffix decides the format. Raises as `check_name`, and WriteError."""
    write_file(path, encode_picture(picture, STILL_SUFFIXES[check_name(path, list(STILL_SUFFIXES))]))


def save_levels(path: Path, pixels: NDArray[Any]) -> Path:
    """Write an image H×W or H×W×C as it is, uint8 or uint16: a PNG if it is grey or RGB, else a TIFF of the same stem.

    Returns where. Raises WriteError.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] not in (1, 3):
        import tifffile  # slow to import, and most models are of photos

        path, content = path.with_suffix(".tif"), io.BytesIO()
        tifffile.imwrite(content, pixels, photometric="minisblack", planarconfig="contig")
        return write_file(path, content.getvalue())
    plane = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype == np.uint16 and pixels.shape[2] == 3:
        import imagecodecs

        return write_file(path, bytes(imagecodecs.png_encode(plane)))
    return write_file(path, encode_picture(Image.fromarray(np.ascontiguousarray(plane)), "PNG"))


def save_animation(path: Path | str, frames: Sequence[Image.Image], *, fps: float = 12.0) -> None:
    """Write frames as an animated GIF or WebP, or as MP4 (extra `video`); the suffix decides. As `save_picture`."""
    write_file(path, encode_animation(frames, MOVING_SUFFIXES[check_name(path, list(MOVING_SUFFIXES))], fps=fps))


def save_npz(path: Path | str, **arrays: NDArray[Any]) -> None:
    """Write arrays by name as a compressed `.npz`, whole or not at all. Raises as `check_name`, and WriteError."""
    check_name(path, [".npz"], "arrays")
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_file(path, content.getvalue())
