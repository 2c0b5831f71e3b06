"""Frames -> an MP4 file, by the extra `video` (PyAV, the libraries of FFmpeg)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from types import ModuleType

import numpy as np
from PIL import Image

from corolla.errors import missing_extra

QUALITY = 18
"""H.264's constant rate factor: 0 is without loss, 23 the usual, 18 hard to tell from the original."""


def video_library() -> ModuleType:
    """PyAV. Raises UsageError with the way to get it if it is not there."""
    try:
        import av
    except ImportError:
        raise missing_extra("video", "An MP4 file") from None
    library: ModuleType = av
    return library


def encode_mp4(frames: Sequence[Image.Image], *, fps: float) -> bytes:
    """The bytes of an MP4 file, H.264 with 4:2:0 colours, which every browser plays.

    Such colours need an even size: where a side is odd, its last line of pixels is there twice.

    Raises:
        UsageError: the extra `video` is not installed.
    """
    av = video_library()
    width, height = frames[0].size
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        # One thread: the same frames then give the same bytes on every machine of one kind.
        stream.options = {"crf": str(QUALITY), "preset": "slow", "threads": "1"}
        for frame in frames:
            pixels = np.pad(np.asarray(frame.convert("RGB")), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return content.getvalue()
