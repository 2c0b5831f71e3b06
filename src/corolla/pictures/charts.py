"""Lines of points -> an SVG chart, to stand inside an HTML page that colours it by its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 380, 240
"""Small enough for a phone to show it at its own size, so that its text stays readable."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 22, 48, 40
_CLASSES = ("first", "second")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about so many, with steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(size - raw))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [step * number for number in range(first, last + 1)]


def line_chart(lines: Mapping[str, Points], *, title: str, x_label: str, y_label: str) -> str:
    """Up to two named lines of (x, y) as an `svg` element with classes title, first, second and grid."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    (x_low, x_high), (y_low, y_high) = _limits(xs, 0), _limits(ys, 0.04)

    def x_px(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def y_px(y: float) -> float:
        return HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by {escape(x_label)}">']
    for y in ticks(y_low, y_high):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y_px(y):.1f}" y2="{y_px(y):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y_px(y) + 4:.1f}" text-anchor="end">{y:,.6g}</text>')
    for x in ticks(x_low, x_high, 4):
        parts.append(f'<text x="{x_px(x):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:,.6g}</text>')
    parts.append(f'<text class="title" x="2" y="14">{escape(title)}</text><text x="2" y="32">{escape(y_label)}</text>')
    parts.append(f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_label)}</text>')
    for index, (kind, (name, points)) in enumerate(zip(_CLASSES, lines.items(), strict=False)):
        path = " ".join(f"{x_px(x):.1f},{y_px(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline class="{kind}" fill="none" stroke-width="2.5" stroke-linejoin="round" points="{path}"/>'
        )
        place = WIDTH - _RIGHT - 84 * (len(lines) - 1 - index)
        parts.append(f'<text class="{kind}" x="{place}" y="32" text-anchor="end">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _limits(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = share * (high - low) if high > low else 1.0
    return low - margin, high + margin
