"""What lossless files of earlier versions hold beside the codes, which are no longer written: the 8-bit pixels.

Each value is predicted by a linear mix of the model's picture about it, the values above and to the left of it, and the
channels of the same pixel that are known already. The error is coded by a two-sided geometric distribution, whose scale
depends on how uneven the neighbourhood is. Pixels are taken along slanted lines, x + 2y = t. A block's bytes: the
weights (int16), the scales (one byte each), the coder's stream.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.apps.compression.coder import bytes_to_words, categorical, stream_coders
from corolla.apps.compression.grid import step_size
from corolla.errors import DataError

_CHANNELS = (1, 0, 2)
_OWN = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1))  # known neighbours, (dy, dx)
_MODEL = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
_EARLIER = ((0, 0), (0, -1), (-1, 0), (-1, 1))  # in the channels before
_COUNTS = tuple(len(_OWN) + len(_MODEL) + len(_EARLIER) * earlier for earlier in range(3))
_WEIGHTS_BYTES, _BORDER = 2 * sum(_COUNTS), 2
_UNEVEN = np.array((2, 4, 8, 14, 22, 34, 52, 80, 130))
_HEAD_BYTES = _WEIGHTS_BYTES + 3 * (len(_UNEVEN) + 1)


def decode_residual(content: bytes, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images N×H×W×3, from the model's pictures. Raises DataError if these bytes cannot be decoded."""
    flat = np.frombuffer(content[:_WEIGHTS_BYTES].ljust(_WEIGHTS_BYTES, b"\0"), "<i2").astype(np.int64)
    weights = np.split(flat, np.cumsum(_COUNTS)[:-1])
    scales = content[_WEIGHTS_BYTES:_HEAD_BYTES]
    decoder = stream_coders().queue.RangeDecoder(bytes_to_words(content[_HEAD_BYTES:]))
    border = ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0))
    model = np.pad(pictures, border, mode="edge").astype(np.int64) - 128
    known = model.copy()
    height, width = pictures.shape[1:3]
    for line in range(width + 2 * (height - 1)):
        y = np.arange(max(0, (line - width + 2) // 2), min(height - 1, line // 2) + 1)
        ys, xs = _BORDER + y, _BORDER + line - 2 * y
        error = np.zeros((len(pictures), len(y)), np.int64)
        for place, channel in enumerate(_CHANNELS):
            parts = [known[:, ys + dy, xs + dx, channel] for dy, dx in _OWN]
            parts += [model[:, ys + dy, xs + dx, channel] for dy, dx in _MODEL]
            parts += [known[:, ys + dy, xs + dx, before] for before in _CHANNELS[:place] for dy, dx in _EARLIER]
            predicted = np.clip((np.stack(parts, axis=-1) @ weights[place] + (1 << 10)) >> 11, -128, 127)
            left, above, above_left, above_right = parts[:4]
            uneven = np.abs(left - above_left) + np.abs(above - above_left) + np.abs(above - above_right)
            contexts = np.searchsorted(_UNEVEN, uneven + 3 * np.abs(error), side="right")
            for context in np.unique(contexts):
                chosen = contexts == context
                try:
                    scale = scales[place * (len(_UNEVEN) + 1) + context]
                    error[chosen] = decoder.decode(_errors(scale), int(chosen.sum())) - 128
                except (AssertionError, IndexError):  # constriction, on bytes that no encoder makes; too few scales
                    raise DataError("its residual cannot be decoded") from None
            known[:, ys, xs, channel] = (predicted + error + 128) % 256 - 128
    return np.asarray(known[:, _BORDER:-_BORDER, _BORDER:-_BORDER] + 128, np.uint8)


@lru_cache(maxsize=256)
def _errors(scale: int) -> Any:
    """P(d) ∝ θ^|d| + a little, for d from -128 to 127, where 1 - θ = 2^(-scale/4 - 1/8)."""
    theta = 1 - step_size(-2 * scale - 1)
    powers = np.multiply.accumulate(np.concatenate([[1.0], np.full(128, theta)]))
    mass = np.concatenate([powers[:0:-1], powers[:-1]]) * ((1 - theta) / (1 + theta)) + 2.0**-18
    return categorical(mass / np.add.accumulate(mass)[-1])
