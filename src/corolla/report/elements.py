"""The pieces of a page as HTML text. What comes from outside is escaped here, or by whoever puts it into a piece."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from html import escape
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.pictures.grids import encode_animation, encode_picture, enlarged, grid

FPS = 14.0
_CODE = re.compile(r"`([^`]+)`")
STILL_PX = 96
"""Images whose longer side is shorter are enlarged before they are compressed, which keeps their colours sharp."""


def document(title: str, body: str) -> str:
    """A whole page that needs nothing else."""
    style = (resources.files("corolla.report") / "style.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<link rel="icon" href="data:,">\n<style>\n{style}</style>\n</head>\n<body>\n<div class="page">\n{body}'
        "</div>\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """A section with a heading that the table of contents points to."""
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{"".join(parts)}</section>\n'


def paragraph(text: str) -> str:
    """A paragraph of plain text, in which what stands between `backticks` is code."""
    marked_up = _CODE.sub(r"<code>\1</code>", escape(text))
    return f"<p>{marked_up}</p>\n"


def figure(content: str, caption: str = "") -> str:
    """Pictures with a caption of plain text."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{below}</figure>\n"


def record(entries: Mapping[str, str]) -> str:
    """Names and values of plain text."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items())
    return f'<dl class="record">{pairs}</dl>\n'


def image(pixels: NDArray[np.uint8], label: str) -> str:
    """An image H×W×3; the label is for those who do not see it."""
    return picture(grid(enlarged(pixels[None], STILL_PX), padding=0, shown_px=1), label)


def strip(images: NDArray[np.uint8], label: str) -> str:
    """Images k×H×W×3 beside each other, as one."""
    return picture(grid(enlarged(images, STILL_PX // 2), columns=len(images), padding=0, shown_px=1), label)


def picture(content: Image.Image, label: str) -> str:
    """A picture as an element that holds its own data."""
    size = f'width="{content.width}" height="{content.height}"'
    return f'<img alt="{escape(label)}" {size} src="{data_uri(encode_picture(content, "WEBP"))}">'


def moving(frames: NDArray[np.uint8], label: str, *, shown_px: int = STILL_PX) -> str:
    """An animation of images k×H×W×3, or the first of them where the reader prefers less motion."""
    pictures = [Image.fromarray(frame) for frame in enlarged(frames, shown_px)]
    still = data_uri(encode_picture(pictures[0], "WEBP"))
    animated = data_uri(encode_animation(pictures, "WEBP", fps=FPS))
    source = f'<source media="(prefers-reduced-motion: reduce)" srcset="{still}">'
    size = f'width="{pictures[0].width}" height="{pictures[0].height}"'
    return f'<picture>{source}<img alt="{escape(label)}" {size} src="{animated}"></picture>'


def data_uri(content: bytes) -> str:
    """The bytes of a WebP file as an address."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
