"""Loss, distortion and rate over the steps of a training, as SVG charts, which `templates/chart.svg.j2` draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.metrics.names import TRAINING_SCORES
from corolla.report.subject import Section, Subject

Points = Sequence[tuple[float, float]]

CURVES = ("loss", "reconstruction", "kl")
"""Columns of `metrics.csv`; those of the training images begin with `train_`."""
ENOUGH_ROWS, EARLY_SHARE = 12, 0.05
FRAME = {"width": 380, "height": 240, "left": 50, "right": 358, "top": 48, "bottom": 200}


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


def line_chart(lines: Mapping[str, Points], *, title: str, x_label: str, y_label: str) -> dict[str, Any]:
    """A chart of up to two named lines of (x, y), in pixels, for `chart.svg.j2`.

    Small enough for a phone to show at its own size, so that its text stays readable.
    """
    every = np.array(list(chain(*lines.values())), np.float64)
    x_limits, y_limits = _limits(every[:, 0], 0), _limits(every[:, 1], 0.04)

    def x_px(x: float) -> float:
        return float(np.interp(x, x_limits, (FRAME["left"], FRAME["right"])))

    def y_px(y: float) -> float:
        return float(np.interp(y, y_limits, (FRAME["bottom"], FRAME["top"])))

    return {
        **FRAME,
        **{"title": title, "x_label": x_label, "y_label": y_label},
        "x_ticks": [(x_px(x), f"{x:,.6g}") for x in ticks(*x_limits, 4)],
        "y_ticks": [(y_px(y), f"{y:,.6g}") for y in ticks(*y_limits)],
        # Of each line its name, its class in the style sheet, where its name ends, and its points.
        "lines": [
            (name, kind, FRAME["right"] - 84 * (len(lines) - 1 - index), [(x_px(x), y_px(y)) for x, y in points])
            for index, (kind, (name, points)) in enumerate(zip(("first", "second"), lines.items(), strict=False))
        ],
    }


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """About `about` round numbers from `low` to `high`, with steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(size - raw))
    return [step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _limits(values: NDArray[np.float64], share: float) -> tuple[float, float]:
    margin = share * np.ptp(values) if np.ptp(values) else 1.0
    return float(values.min() - margin), float(values.max() + margin)
