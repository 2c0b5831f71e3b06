"""All scores of a run, by group, each with its interval and what it means, and what the advice says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from corolla.evaluation.record import Scores
from corolla.evaluation.tables import BEYOND_MARK, BEYOND_REAL, beyond_real, formatted, in_order, interval, meaning
from corolla.metrics.names import GROUPS, TRAINING_SCORES, ScoreKind, parse_key
from corolla.report.sections.reproduction import shown_path
from corolla.report.subject import Section, Subject
from corolla.trained.model_folder import ModelCard
from corolla.training.advice import DISENTANGLED, Finding, advise_of, disentangled

_MEASURED_IN_FULL = {"reconstruction", "kl", "psnr_db"}
_WITHOUT_MEANING = {"kl", "bits_per_dim", "active_latents"}
"""For codes that are points."""


Row = dict[str, Any]
"""A kind of score: its label, which way is better, what it means, and its entries, one for each variant, formatted."""


def findings(subject: Subject) -> Section:
    """What the advice says of the numbers, alarms first, and what was checked for it and what was not."""
    model, mean_image = subject.model, float(subject.mean_image_psnr_db.mean())
    card = replace(model.card, data=dict(model.card.data) | {"mean_image_psnr_db": mean_image})
    measured = {key: score.value for key, score in subject.scores.scores.items()} if subject.scores else {}
    stopped = [Finding("stopped", f"{model.stopped}.")] if model.stopped else []
    advice = advise_of(card, subject.rows)
    found = [*stopped, *disentangled(measured), *advice]
    if not any(finding.kind == "too early" for finding in advice):
        alarms = any(finding.alarm for finding in found)
        found.append(Finding("checked" if alarms else "no warnings", _checked(subject, card, measured), alarm=False))
    found.sort(key=lambda finding: not finding.alarm)
    return Section("findings", "What the numbers say", "findings.html.j2", {"findings": found})


def _checked(subject: Subject, card: ModelCard, measured: Mapping[str, float]) -> str:
    """Which faults were looked for, with the numbers, and which could not be."""
    scores = card.scores
    checked: list[str] = []
    unknown: list[str] = []
    if "psnr_db" in scores:
        mean_image = card.data["mean_image_psnr_db"]
        checked.append(f"reconstructions against the mean image ({scores['psnr_db']:.1f} and {mean_image:.1f} dB)")
    if "kl" in scores and not subject.has_points:
        checked.append(f"a code that is ignored or misses its target ({scores['kl']:.1f} nats)")
    (checked if subject.rows else unknown).append("overfitting")
    (checked if subject.facts else unknown).append("whether the run came to its end")
    if shares := [f"{label} {measured[key]:.2f}" for key, label in DISENTANGLED.items() if key in measured]:
        checked.append(f"disentanglement ({', '.join(shares)})")
    else:
        needed = "`corolla evaluate` measures it" if subject.cache.factors is not None else "no factors are known"
        unknown.append(f"disentanglement ({needed})")
    left_out = f" Not checked: {'; '.join(unknown)}." if unknown else ""
    return f"Checked: {'; '.join(checked)}.{left_out} How good the pictures are is for you to judge, below."


def scores(subject: Subject) -> Section:
    """The scores of `corolla evaluate` by group, and what training measured at its end."""
    measured = subject.scores
    tables: dict[str, list[Row]] = {group: _rows(measured, group) for group in GROUPS} if measured else {}
    tables["at the end of training"] = _rows_of_training(subject)
    values = {
        "tables": {title: rows for title, rows in tables.items() if rows},
        "measured": measured,
        "beyond_real": BEYOND_REAL if measured and any(beyond_real(key, measured) for key in measured.scores) else "",
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
            row = rows.setdefault(name.label, _row(name.kind, name.label, meaning(measured, key, name.kind)))
            entry = {"text": formatted(key, score.value), "unit": name.kind.unit}
            entry |= {"variant": name.variant, "interval": interval(key, score)}
            row["entries"].append(entry | {"beyond_real": BEYOND_MARK if beyond_real(key, measured) else ""})
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
        entry = {"text": f"{value:,.{kind.digits}f}", "unit": unit, "variant": "", "interval": "", "beyond_real": ""}
        rows.append(_row(kind, kind.label, meaning, entry))
    return rows
