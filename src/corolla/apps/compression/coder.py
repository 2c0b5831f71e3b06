"""Points of the grid <-> bytes, by a range coder under the prior (constriction, the extra `codec`).

And bytes -> the 8-bit pixels that lossless files of earlier versions hold.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.apps.compression.grid import Grid, largest_point, point_probabilities, step_size
from corolla.errors import DataError, missing_extra

_WORD_BYTES = 4


def stream_coders() -> Any:
    """The module `constriction.stream`. Raises UsageError that names the extra if it is not installed."""
    try:
        from constriction import stream
    except ImportError:
        raise missing_extra("codec", "compression") from None
    return stream


def categorical(probabilities: NDArray[np.float64]) -> Any:
    """An entropy model of the symbols 0, 1, …: no probability is below 2^-24, whatever is given."""
    return stream_coders().model.Categorical(probabilities, perfect=False)


def encode_points(points: NDArray[np.int32], grid: Grid) -> bytes:
    """Points N×L under the prior, latent by latent; within two bytes of -log2 p.

    The last bytes of a range coder's stream only say which number of an interval it is. The shortest is taken.
    """
    encoder = stream_coders().queue.RangeEncoder()
    for column, exponent in enumerate(grid.exponents):
        symbols = np.ascontiguousarray(points[:, column] + largest_point(exponent), dtype=np.int32)
        encoder.encode(symbols, _prior(exponent))
    return _shortest(encoder.get_compressed().astype(">u4").tobytes(), points, grid)


def decode_points(content: bytes, count: int, grid: Grid) -> NDArray[np.int32]:
    """The points, count×L. Raises DataError if these bytes cannot be decoded."""
    decoder = stream_coders().queue.RangeDecoder(bytes_to_words(content))
    points = np.empty((count, len(grid.exponents)), np.int32)
    try:
        for column, exponent in enumerate(grid.exponents):
            points[:, column] = decoder.decode(_prior(exponent), count) - largest_point(exponent)
    except AssertionError:  # what constriction raises on bytes that no encoder makes
        raise DataError("its codes cannot be decoded") from None
    return points


def bytes_to_words(content: bytes) -> NDArray[np.uint32]:
    """The coder's words, high bytes first; what is missing of the last word is 0."""
    padded = content + bytes(-len(content) % _WORD_BYTES)
    return np.frombuffer(padded, ">u4").astype(np.uint32)


@lru_cache(maxsize=256)
def _prior(exponent: int) -> Any:
    return categorical(point_probabilities(exponent))


def _shortest(content: bytes, points: NDArray[np.int32], grid: Grid) -> bytes:
    """The shortest stream that decodes to these points: one rounded up to fewer bytes, or that without its end."""
    for kept in range(max(0, len(content) - 2 * _WORD_BYTES), len(content)):
        following = min(int.from_bytes(content[:kept], "big") + 1, (1 << 8 * kept) - 1).to_bytes(kept, "big")
        for candidate in {content[:kept], following}:
            if _decodes_to(candidate, points, grid):
                return candidate
    return content


def _decodes_to(content: bytes, points: NDArray[np.int32], grid: Grid) -> bool:
    try:
        return np.array_equal(decode_points(content, len(points), grid), points)
    except DataError:
        return False


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
