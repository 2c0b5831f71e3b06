"""The grid that codes are rounded to, and its points as bytes by a range coder (constriction, the extra `codec`).

Encoder and decoder must agree to the last bit, on any machine, on the grid and how probable each of its points is under
the prior. So nothing of these comes from the network or from a mathematical library: only +, -, ×, ÷ and powers of two
of doubles, which IEEE 754 fixes, in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.distributions.posterior import active_latents
from corolla.errors import DataError, missing_extra

PER_OCTAVE = 8
"""Steps are powers of 2^(1/8)."""
FINEST, COARSEST = -80, 16
"""Exponents of the steps that can be: from 2^-10 to 2^2. Latents that would need coarser ones are left out."""
LIMIT = 8.0
"""Codes farther from the prior's mean than this, in its standard deviations, are brought to it."""

# 2^(i/8), written out: a library's power function may differ in the last bit.
_ROOTS = (
    1.0,
    1.0905077326652577,
    1.189207115002721,
    1.2968395546510096,
    1.4142135623730951,
    1.5422108254079407,
    1.681792830507429,
    1.8340080864093424,
)
_OCTAVES_PER_NAT = 1.4426950408889634
_ONE_BY_ROOT_2PI = 0.3989422804014327


def step_size(exponent: int) -> float:
    """2^(exponent/8)."""
    return math.ldexp(_ROOTS[exponent % PER_OCTAVE], exponent // PER_OCTAVE)


@dataclass(frozen=True)
class Grid:
    """Where codes may lie: each of the L latents that are coded on the multiples of its step, the others on 0."""

    latent_dim: int
    latents: tuple[int, ...]
    exponents: tuple[int, ...]

    def quantise(self, codes: NDArray[np.floating]) -> NDArray[np.int32]:
        """The nearest points of the grid to codes N×latent_dim, in steps, N×L."""
        largest = np.array([largest_point(exponent) for exponent in self.exponents], dtype=np.int64)
        scaled = np.rint(codes[:, list(self.latents)].astype(np.float64) / self._steps())
        return np.clip(scaled, -largest, largest).astype(np.int32)

    def codes(self, points: NDArray[np.int32]) -> NDArray[np.float32]:
        """The codes N×latent_dim at points of the grid N×L."""
        codes = np.zeros((len(points), self.latent_dim), np.float32)
        codes[:, list(self.latents)] = points * self._steps()
        return codes

    def _steps(self) -> NDArray[np.float64]:
        return np.array([step_size(exponent) for exponent in self.exponents])


def reference_exponents(kl_nats: Sequence[float]) -> tuple[int | None, ...]:
    """The step of each latent that is as long as its posterior is wide, as an exponent; None for dead ones.

    Where a latent's codes fill the prior, its KL is that of narrowing it from 1 to the posterior's standard deviation:
    E[μ²] + σ² = 1, so that KL = ½ E[μ² + σ² - 1 - log σ²] = -log σ. So a model's record of its KL gives the widths.
    """
    # The smallest and largest first: a product with an absurd KL could not be made an integer.
    limits = (FINEST - 4 * PER_OCTAVE * PER_OCTAVE, 0)
    return tuple(
        round(min(max(-PER_OCTAVE * _OCTAVES_PER_NAT * kl, limits[0]), limits[1])) if active else None
        for kl, active in zip(kl_nats, active_latents(kl_nats), strict=True)
    )


def grid_of(reference: Sequence[int | None], scale: int) -> Grid:
    """The grid with steps 2^(scale/8) times those of reference."""
    scaled = {
        latent: max(exponent + scale, FINEST)
        for latent, exponent in enumerate(reference)
        if exponent is not None and exponent + scale <= COARSEST
    }
    return Grid(len(reference), tuple(scaled), tuple(scaled.values()))


def largest_point(exponent: int) -> int:
    """The grid's last point within the limit, in steps; there is one on either side."""
    return int(LIMIT / step_size(exponent))


def point_probabilities(exponent: int) -> NDArray[np.float64]:
    """The prior's mass about each point of a grid, from the lowest to the highest, 2·largest_point + 1 numbers.

    A point stands for what lies nearer to it than to any other; the outermost two for the tails as well.
    """
    step, largest = step_size(exponent), largest_point(exponent)
    edges = (np.arange(largest, dtype=np.float64) + 0.5) * step  # upper ones, of the points 0 to largest - 1
    upper = _mass_between_0_and(edges)
    right = np.concatenate([upper[1:], [0.5]]) - upper
    return np.asarray(np.maximum(np.concatenate([right[::-1], [2 * upper[0]], right]), 0.0))


def _mass_between_0_and(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """∫ φ from 0 to x = φ(x)·(x + x³/3 + x⁵/(3·5) + …), x from 0 to LIMIT (Marsaglia 2004, J. Stat. Softw. 11(4))."""
    square = x * x
    term, total = x.copy(), x.copy()
    for odd in range(3, 401, 2):  # at x = 8 the terms fall from the 32nd on; the last of these is below 1e-80
        term = term * square / odd
        total = total + term
    return np.asarray(total * _ONE_BY_ROOT_2PI * _exp_minus(0.5 * square))


def _exp_minus(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-y), to about twelve digits: the Taylor series at y/1024, squared ten times."""
    small = -y / 1024
    result = np.ones_like(y)
    for divisor in range(12, 0, -1):
        result = 1 + result * small / divisor
    for _ in range(10):
        result = result * result
    return result


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
            with suppress(DataError):
                if np.array_equal(decode_points(candidate, len(points), grid), points):
                    return candidate
    return content


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
