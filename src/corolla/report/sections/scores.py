"""All scores of a run, by group, each with its interval and what it means."""

from __future__ import annotations

from typing import NamedTuple

from corolla.evaluation.record import Scores
from corolla.evaluation.tables import formatted, in_order, interval
from corolla.metrics.names import GROUPS, TRAINING_SCORES, parse_key
from corolla.report.sections.reproduction import shown_path
from corolla.report.subject import Section, Subject

_MEASURED_IN_FULL = {"reconstruction", "kl", "psnr_db"}
_WITHOUT_MEANING = {"kl", "bits_per_dim", "active_latents"}
"""For codes that are points."""


class Value(NamedTuple):
    """A value of a score, formatted; its variant, unit and interval, where it has them."""

    variant: str
    text: str
    unit: str
    interval: str


class Row(NamedTuple):
    """A kind of score: its label, which way is better, what it means, and its values."""

    label: str
    better: str
    meaning: str
    values: list[Value]


def scores(subject: Subject) -> Section:
    """The scores of `corolla evaluate` by group, and what training measured at its end."""
    measured = subject.scores
    tables: dict[str, list[Row]] = {group: _rows(measured, group) for group in GROUPS} if measured else {}
    tables["at the end of training"] = _rows_of_training(subject)
    values = {
        "tables": {title: rows for title, rows in tables.items() if rows},
        "measured": measured,
        "stale": subject.stale,
        "command": f"corolla evaluate {shown_path(subject.path)}",
    }
    return Section("scores", "How good it is", "scores.html.j2", values)


def _rows(measured: Scores, group: str) -> list[Row]:
    """A row for each kind of score in its features; the values are those of its variants."""
    rows: dict[str, Row] = {}
    for key in in_order(list(measured.scores)):
        name, score = parse_key(key), measured.scores[key]
        if name is not None and name.kind.group == group:
            row = rows.setdefault(name.label, Row(name.label, name.kind.better, name.kind.text, []))
            row.values.append(Value(name.variant, formatted(key, score.value), name.kind.unit, interval(key, score)))
    return list(rows.values())


def _rows_of_training(subject: Subject) -> list[Row]:
    left_out = (_MEASURED_IN_FULL if subject.scores else set()) | (_WITHOUT_MEANING if subject.has_points else set())
    rows = []
    for key, kind in TRAINING_SCORES.items():
        value = subject.model.card.scores.get(key)
        if value is None or key in left_out:
            continue
        meaning = kind.text
        if key == "loss" and subject.has_points:
            meaning = "What training minimises: the distortion alone."
        if key == "reconstruction" and subject.model.config.likelihood.name == "bernoulli":
            meaning += " Grey pixels keep it well above zero."
        unit = f"of {subject.model.latent_dim}" if key == "active_latents" else kind.unit
        rows.append(Row(kind.label, kind.better, meaning, [Value("", f"{value:,.{kind.digits}f}", unit, "")]))
    return rows
