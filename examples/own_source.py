"""A source of your own: discs of random colour, size and place.

corolla --plugin examples/own_source.py train --preset quick --source discs:500
"""

from __future__ import annotations

import numpy as np

import corolla
from corolla.data import ArraySource

SIDE_PX = 64


def open_discs(argument: str, *_: object) -> ArraySource | None:
    """`discs:COUNT` images, always the same ones; None where COUNT is no number."""
    if not argument.isdigit():
        return None
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    images = np.full((int(argument), SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    for image in images:
        row, column, radius = rng.uniform((0.3, 0.3, 0.1), (0.7, 0.7, 0.3))
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.integers(0, 256, 3)
    return ArraySource(f"discs:{argument}", images)


corolla.register(corolla.SourceKind("discs", "discs:COUNT", open_discs, about="discs of any colour, size and place"))
