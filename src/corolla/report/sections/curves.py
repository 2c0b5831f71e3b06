"""Loss, distortion and rate over the steps of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from corolla.metrics.names import TRAINING_SCORES
from corolla.report.charts import line_chart
from corolla.report.subject import Section, Subject

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


def _points(rows: Sequence[Mapping[str, str]], column: str) -> list[tuple[float, float]]:
    points = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
    return [point for point in points if math.isfinite(point[1])]
