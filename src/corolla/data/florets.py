"""Florets: drawn flowers with seven known, independent factors of variation; Corolla's embedded data set.

Florets is to flowers what dSprites is to shapes: whoever knows the factors can measure disentanglement, without a
download. Sampling factors (`sample_factors`) and drawing them (`render`) are apart, as the metrics need. Every factor
lies on an interval, never on a circle, so that one latent can hold it; everything else (ground, light, disc) is fixed.

Lengths are in units of the picture's shorter side, measured from its centre, x to the right and y downwards.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corolla.data.floret_painting import Bloom, paint
from corolla.data.levels import Levels, in_format
from corolla.data.sources import Source, splits_by_last_digit
from corolla.errors import UsageError

if TYPE_CHECKING:
    from corolla.data.preprocessing import Preprocessing

FORMAT_VERSION = 1  # raise it when any pixel or factor changes, so that caches are built again
_MOST = 1_000_000
_SEED = 2008
_RECIPE_PX = 512  # the side at which a recipe other than `fit` sees a floret
_SIDES_PX = (8, 4096)


@dataclass(frozen=True)
class Factor:
    """One factor of variation: the closed interval [low, high], and the values of its published grid."""

    name: str
    low: float
    high: float
    grid: tuple[float, ...]
    unit: str
    description: str


def _factor(name: str, low: float, high: float, steps: int, unit: str, description: str) -> Factor:
    grid = tuple(round(float(value), 6) for value in np.linspace(low, high, steps))
    return Factor(name, low, high, grid, unit, description)


FACTORS: tuple[Factor, ...] = (
    _factor("petal_count", 4, 9, 6, "petals", "how many petals; always an integer"),
    _factor("petal_hue", -70, 95, 12, "degrees of OKLCh hue", "violet through magenta, pink, red and orange to yellow"),
    _factor("petal_length", 0.22, 0.36, 6, "shorter sides", "from the centre of the flower to the tip of a petal"),
    _factor("petal_shape", 0, 1, 6, "share", "0 is a round petal, 1 a pointed one"),
    _factor("rotation", 0, 0.5, 6, "petal periods", "clockwise, over half of the angle between two petals"),
    _factor("position_x", -0.11, 0.11, 8, "shorter sides", "the centre of the flower, right of the picture's"),
    _factor("position_y", -0.11, 0.11, 8, "shorter sides", "the centre of the flower, below the picture's"),
)

_LOW = np.array([factor.low for factor in FACTORS])
_HIGH = np.array([factor.high for factor in FACTORS])


def sample_factors(count: int, rng: np.random.Generator, *, grid: bool = False) -> NDArray[np.float32]:
    """Draw independent, uniform factors: count×7, columns in the order of `FACTORS`.

    Rows take the same draws whether alone or as the first of many. With `grid`, each factor is on its grid instead of
    anywhere in its interval; `petal_count` is an integer either way.
    """
    if count < 0:
        raise UsageError(f"count = {count}: cannot draw a negative number of florets; ask for 0 or more")
    draws = rng.random((count, len(FACTORS)))
    factors = _LOW + draws * (_HIGH - _LOW)
    for column, factor in enumerate(FACTORS):
        if grid or factor.name == "petal_count":
            factors[:, column] = np.asarray(factor.grid)[(draws[:, column] * len(factor.grid)).astype(np.intp)]
    return np.asarray(factors.astype(np.float32))


def render(factors: ArrayLike, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    """Draw florets: N×7 factors (see `FACTORS`) to uint8 RGB, N×height×width×3.

    One flower is drawn at a time, so a picture is the same, bit for bit, whichever others are asked for with it, and
    memory beyond the result does not grow with N.
    """
    blooms = _blooms(factors)
    low, high = _SIDES_PX
    for name, side in (("height", height), ("width", width)):
        if not low <= side <= high:
            raise UsageError(f"{name} = {side}: florets are drawn with sides of {low} to {high} pixels")
    pictures = np.empty((len(blooms), height, width, 3), dtype=np.uint8)
    for row, bloom in enumerate(blooms):
        pictures[row] = paint(bloom, height, width)
    return pictures


def _blooms(factors: ArrayLike) -> list[Bloom]:
    values = np.asarray(factors, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != len(FACTORS):
        names = ", ".join(factor.name for factor in FACTORS)
        raise UsageError(f"factors have shape {values.shape}: give N×{len(FACTORS)}, one column each for {names}")
    for column, factor in enumerate(FACTORS):
        given = values[:, column]
        wrong = ~((given >= np.float32(factor.low)) & (given <= np.float32(factor.high)))  # also true of NaN
        if factor.name == "petal_count":
            wrong |= given != np.rint(given)
        if wrong.any():
            row = int(wrong.argmax())
            whole = "an integer" if factor.name == "petal_count" else "a value"
            raise UsageError(
                f"{factor.name} = {given[row]:g} in row {row}: give {whole} from {factor.low:g} to {factor.high:g}"
            )
    return [Bloom(int(row[0]), *row[1:]) for row in values.tolist()]


class Florets(Source):
    """The florets as a source of images: image i is the same whatever the count, so 100 are the first 100 of 6000.

    Splits go by the last digit of the index: 0 to 7 train, 8 val, 9 test. Labels are the petal counts.
    """

    factors: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __init__(self, count: int = 6000) -> None:
        if not 1 <= count <= _MOST:
            raise UsageError(f"florets:{count}: ask for 1 to {_MOST} florets, such as florets:6000")
        factors = sample_factors(count, np.random.default_rng(_SEED))
        factors.setflags(write=False)
        super().__init__(
            name=f"florets:{count}",
            keys=tuple(f"floret-{index:06d}" for index in range(count)),
            splits=splits_by_last_digit(count),
            fingerprint=hashlib.sha256(f"corolla florets {FORMAT_VERSION} {count}".encode()).hexdigest(),
            labels=factors[:, 0].astype(np.int64) - int(FACTORS[0].low),
            label_names=tuple(f"{value:g} petals" for value in FACTORS[0].grid),
            factors=factors,
            factor_names=tuple(factor.name for factor in FACTORS),
        )

    def picture(self, index: int, at_least_px: int | None = None) -> Levels:  # noqa: ARG002
        """A square picture of 512 pixels a side, for recipes other than `fit`."""
        return np.asarray(self.read_many([index], _RECIPE_PX, _RECIPE_PX)[0])

    def read(self, index: int, how: Preprocessing) -> Levels:
        """One image, height×width×C; `fit` draws it at this very size."""
        if how.recipe.name == "fit":
            return in_format(self.read_many([index], how.height, how.width)[0], how.pixels)
        return super().read(index, how)

    def read_many(self, indices: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
        """Many images as `fit` gives them, N×height×width×3."""
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        outside = (rows < 0) | (rows >= len(self.keys))
        if outside.any():
            raise UsageError(f"index {rows[outside][0]}: {self.name} holds images 0 to {len(self.keys) - 1}")
        return render(self.factors[rows], height, width)
