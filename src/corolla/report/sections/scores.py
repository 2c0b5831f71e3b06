"""All scores of a run, by group, each with its interval and what it means, and what the advice says of them."""

from __future__ import annotations

from typing import Any

from corolla.evaluation.record import Scores
from corolla.evaluation.tables import formatted, in_order, interval
from corolla.metrics.names import GROUPS, TRAINING_SCORES, ScoreKind, parse_key
from corolla.report.sections.reproduction import shown_path
from corolla.report.subject import Section, Subject
from corolla.training.advice import Finding, advise

_MEASURED_IN_FULL = {"reconstruction", "kl", "psnr_db"}
_WITHOUT_MEANING = {"kl", "bits_per_dim", "active_latents"}
"""For codes that are points."""


Row = dict[str, Any]
"""A kind of score: its label, which way is better, what it means, and its entries, one for each variant, formatted."""


def findings(subject: Subject) -> Section:
    """What the advice says of the numbers, alarms first, or what was looked for in vain."""
    card = subject.model.card
    found = advise(card.config, card.scores, card.latent_kl_nats, subject.rows, step=card.step)
    if not any(finding.alarm or finding.kind == "too early" for finding in found):
        faults = "overfitting" if subject.has_points else "a code that is ignored, a missed target, and overfitting"
        text = f"Checked for {faults}, without a finding. How good the pictures are is for you to judge, below."
        found = (Finding("no warnings", text, alarm=False), *found)
    return Section("findings", "What the numbers say", "findings.html.j2", {"findings": found})


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
    """A row for each kind of score in its features; the entries are its variants."""
    rows: dict[str, Row] = {}
    for key in in_order(list(measured.scores)):
        name, score = parse_key(key), measured.scores[key]
        if name is not None and name.kind.group == group:
            row = rows.setdefault(name.label, _row(name.kind, name.label, name.kind.text))
            entry = {"text": formatted(key, score.value), "unit": name.kind.unit}
            row["entries"].append(entry | {"variant": name.variant, "interval": interval(key, score)})
    return list(rows.values())


def _row(kind: ScoreKind, label: str, meaning: str, *entries: dict[str, str]) -> Row:
    return {"label": label, "better": kind.better, "meaning": meaning, "entries": list(entries)}


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
        entry = {"text": f"{value:,.{kind.digits}f}", "unit": unit, "variant": "", "interval": ""}
        rows.append(_row(kind, kind.label, meaning, entry))
    return rows
