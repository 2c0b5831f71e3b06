"""Loss, distortion and rate over the steps of a training, as SVG charts, which `templates/chart.svg.j2` draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from corolla.metrics.names import TRAINING_SCORES
from corolla.report.subject import Section, Subject

Points = Sequence[tuple[float, float]]

CURVES = ("loss", "reconstruction", "kl")
"""Columns of `metrics.csv`; those of the training images begin with `train_`."""
ENOUGH_ROWS, EARLY_SHARE = 12, 0.05


def curves(subject: Subject) -> Section | None:
    """The charts, of many rows without the first steps; None if there are fewer than two evaluations."""
    rows = subject.rows
    without_early = len(rows) >= ENOUGH_ROWS
    if without_early:
        first = EARLY_SHARE * float(rows[-1]["step"])
        rows = [row for row in rows if float(row["step"]) >= first]
    charts = []
    for column in CURVES[:1] if subject.has_points else CURVES:
        lines = {"training": _points(rows, f"train_{column}"), "held out": _points(rows, column)}
        if min(map(len, lines.values())) >= 2:
            kind = TRAINING_SCORES[column]
            charts.append(line_chart(lines, title=kind.label, x_label="step", y_label=f"{kind.unit} per image"))
    if not charts:
        return None
    values = {"charts": charts, "without_early": without_early, "loss_alone": subject.has_points}
    return Section("curves", "How it learnt", "curves.html.j2", values)


def _points(rows: Sequence[Mapping[str, str]], column: str) -> Points:
    points = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
    return [point for point in points if math.isfinite(point[1])]


@dataclass(frozen=True)
class Chart:
    """A chart of up to two lines, small enough for a phone to show at its own size, so that its text stays readable."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Sequence[tuple[float, str]]  # in pixels, and the text
    y_ticks: Sequence[tuple[float, str]]
    # Of each line its name, its class in the style sheet, where its name ends, and its points, all in pixels.
    lines: Sequence[tuple[str, str, int, Points]]
    width: ClassVar[int] = 380
    height: ClassVar[int] = 240
    left: ClassVar[int] = 50
    right: ClassVar[int] = 358
    top: ClassVar[int] = 48
    bottom: ClassVar[int] = 200


def line_chart(lines: Mapping[str, Points], *, title: str, x_label: str, y_label: str) -> Chart:
    """A chart of up to two named lines of (x, y)."""
    x_low, x_high = _limits([x for points in lines.values() for x, _ in points], 0)
    y_low, y_high = _limits([y for points in lines.values() for _, y in points], 0.04)

    def x_px(x: float) -> float:
        return Chart.left + (x - x_low) / (x_high - x_low) * (Chart.right - Chart.left)

    def y_px(y: float) -> float:
        return Chart.bottom - (y - y_low) / (y_high - y_low) * (Chart.bottom - Chart.top)

    return Chart(
        title,
        x_label,
        y_label,
        [(x_px(x), f"{x:,.6g}") for x in ticks(x_low, x_high, 4)],
        [(y_px(y), f"{y:,.6g}") for y in ticks(y_low, y_high)],
        [
            (name, kind, Chart.right - 84 * (len(lines) - 1 - index), [(x_px(x), y_px(y)) for x, y in points])
            for index, (kind, (name, points)) in enumerate(zip(("first", "second"), lines.items(), strict=False))
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
