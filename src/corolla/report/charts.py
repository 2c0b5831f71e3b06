"""Lines of points -> the places at which an SVG chart draws them; `templates/chart.svg.j2` draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

Points = Sequence[tuple[float, float]]

_CLASSES = ("first", "second")


class Tick(NamedTuple):
    """A mark on an axis: its place in pixels and its text."""

    px: float
    text: str


class Line(NamedTuple):
    """A line of a chart: its name, its class in the style sheet, where its name ends, and its points in pixels."""

    name: str
    kind: str
    name_px: int
    points: Points


@dataclass(frozen=True)
class Chart:
    """A chart of up to two lines, small enough for a phone to show at its own size, so that its text stays readable."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line]
    width: ClassVar[int] = 380
    height: ClassVar[int] = 240
    left: ClassVar[int] = 50
    right: ClassVar[int] = 358
    top: ClassVar[int] = 48
    bottom: ClassVar[int] = 200


def line_chart(lines: Mapping[str, Points], *, title: str, x_label: str, y_label: str) -> Chart:
    """A chart of up to two named lines of (x, y)."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    (x_low, x_high), (y_low, y_high) = _limits(xs, 0), _limits(ys, 0.04)

    def x_px(x: float) -> float:
        return Chart.left + (x - x_low) / (x_high - x_low) * (Chart.right - Chart.left)

    def y_px(y: float) -> float:
        return Chart.bottom - (y - y_low) / (y_high - y_low) * (Chart.bottom - Chart.top)

    return Chart(
        title,
        x_label,
        y_label,
        [Tick(x_px(x), f"{x:,.6g}") for x in ticks(x_low, x_high, 4)],
        [Tick(y_px(y), f"{y:,.6g}") for y in ticks(y_low, y_high)],
        [
            Line(name, kind, Chart.right - 84 * (len(lines) - 1 - index), [(x_px(x), y_px(y)) for x, y in points])
            for index, (kind, (name, points)) in enumerate(zip(_CLASSES, lines.items(), strict=False))
        ],
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """About `about` round numbers from `low` to `high`, with steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(size - raw))
    return [step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _limits(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = share * (high - low) if high > low else 1.0
    return low - margin, high + margin
