"""Points of the grid <-> bytes: a range coder under the prior (constriction, the extra `codec`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.apps.compression.grid import Grid, largest_point, point_probabilities
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
