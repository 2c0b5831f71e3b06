"""Images -> pictures that a page holds in itself, as WebP data URIs."""

from __future__ import annotations

import base64
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.pictures.files import encode_animation, encode_picture
from corolla.pictures.grids import enlarged, grid

FPS = 14.0
STILL_PX = 96
"""Images whose longer side is shorter are enlarged before they are compressed, which keeps their colours sharp."""


class Picture(NamedTuple):
    """A WebP file as a data URI; of an animation also its first frame, for readers who prefer less motion."""

    alt: str
    width: int
    height: int
    uri: str
    still_uri: str = ""


def still(content: Image.Image, alt: str) -> Picture:
    """A picture as it is."""
    return Picture(alt, content.width, content.height, _data_uri(encode_picture(content, "WEBP")))


def image(pixels: NDArray[np.uint8], alt: str) -> Picture:
    """An image H×W×3, enlarged if it is small."""
    return still(grid(enlarged(pixels[None], STILL_PX), padding=0, shown_px=1), alt)


def strip(images: NDArray[np.uint8], alt: str) -> Picture:
    """Images k×H×W×3 side by side, as one picture."""
    return still(grid(enlarged(images, STILL_PX // 2), columns=len(images), padding=0, shown_px=1), alt)


def animation(frames: NDArray[np.uint8], alt: str, *, shown_px: int = STILL_PX) -> Picture:
    """An animation of images k×H×W×3."""
    pictures = [Image.fromarray(frame) for frame in enlarged(frames, shown_px)]
    first = still(pictures[0], alt)
    return first._replace(uri=_data_uri(encode_animation(pictures, "WEBP", fps=FPS)), still_uri=first.uri)


def _data_uri(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
