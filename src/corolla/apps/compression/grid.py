"""The grid that codes are rounded to, and how probable each of its points is under the prior.

Encoder and decoder must agree on both to the last bit, on any machine. So nothing here comes from the network or from a
mathematical library: only +, -, ×, ÷ and powers of two of doubles, which IEEE 754 fixes, in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corolla.distributions.posterior import active_latents

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
