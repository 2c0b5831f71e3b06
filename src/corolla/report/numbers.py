"""What was measured: findings, curves, and all scores with what each means."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from corolla.evaluation.kinds import GROUPS, ScoreName, parse_key
from corolla.evaluation.record import Scores
from corolla.evaluation.tables import formatted, in_order, interval
from corolla.pictures.charts import line_chart
from corolla.report.elements import figure, paragraph, section
from corolla.report.repeat import shown_path
from corolla.report.subject import Subject
from corolla.training.advice import advise

CURVES = (
    ("loss", "loss", "train_loss", "nats per image"),
    ("distortion", "reconstruction", "train_reconstruction", "nats per image"),
    ("rate", "kl", "train_kl", "nats per image"),
)
"""Title, column of the images kept aside, column of the training images, unit."""
ENOUGH_ROWS, EARLY_SHARE = 12, 0.05
_SETTING = re.compile(r"\b(?:data|network|likelihood|objective|training)\.[a-z_]+(?:=[\w.]*\w)?")


def findings(subject: Subject) -> str:
    """What guidance says of the numbers, and what to change."""
    card = subject.model.card
    found = advise(card.config, card.scores, card.latent_kl_nats, subject.rows, step=card.step)
    entries = [_finding(finding.kind, finding.text, alarm=finding.alarm) for finding in found]
    if not any(finding.alarm or finding.kind == "too early" for finding in found):
        looked = "overfitting" if subject.has_points else "a code that is ignored, a target that is missed, overfitting"
        text = f"Looked for {looked}: nothing of the kind in these numbers."
        entries.insert(0, _finding("nothing is wrong", text, alarm=False))
    return section("findings", "What the numbers say", f'<ul class="findings">\n{"".join(entries)}</ul>\n')


def _finding(kind: str, text: str, *, alarm: bool) -> str:
    mark = ' class="alarm"' if alarm else ""
    marked_up = _SETTING.sub(lambda match: f"<code>{match[0]}</code>", escape(text))
    return f"<li{mark}><strong>{escape(kind)}</strong>{marked_up}</li>"


def curves(subject: Subject) -> str:
    """Loss, distortion and rate over the steps; nothing if there are fewer than two evaluations."""
    rows, text = subject.rows, "Averages over the training steps. "
    if len(rows) >= ENOUGH_ROWS:
        first = EARLY_SHARE * float(rows[-1]["step"])
        rows = [row for row in rows if float(row["step"]) >= first]
        text += "The first twentieth, where everything falls steeply, is left out. "
    charts = []
    for title, held_out, training, unit in CURVES:
        if subject.has_points and title != "loss":
            continue
        lines = {"training": _points(rows, training), "kept aside": _points(rows, held_out)}
        if min(map(len, lines.values())) >= 2:
            charts.append(figure(line_chart(lines, title=title, x_label="step", y_label=unit)))
    if not charts:
        return ""
    text += (
        "Lower is better."
        if subject.has_points
        else "Distortion is how far off the decoder is, and rate how much a code tells; the loss weighs one against "
        "the other. Lower is better for the loss; a higher rate buys a lower distortion."
    )
    return section("curves", "How it learnt", paragraph(text), f'<div class="charts">\n{"".join(charts)}</div>\n')


def _points(rows: Sequence[Mapping[str, str]], column: str) -> list[tuple[float, float]]:
    points = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
    return [point for point in points if math.isfinite(point[1])]


# --- scores -----------------------------------------------------------------------------------------------------------

_OF_TRAINING = {
    "loss": (
        "loss",
        ".1f",
        "nats",
        "lower",
        "What training makes small: the distortion, plus the rate times its weight.",
    ),
    "reconstruction": (
        "distortion",
        ".1f",
        "nats",
        "lower",
        "How surprised the decoder is by the true image, given its code.",
    ),
    "kl": ("rate", ".2f", "nats", "", "How much a code tells about its image; 0.69 nats are a bit."),
    "psnr_db": (
        "PSNR",
        ".2f",
        "dB",
        "higher",
        "How close reconstructions are to the images; 6 dB more is half the error.",
    ),
    "bits_per_dim": (
        "bits per dimension",
        ".2f",
        "bits",
        "lower",
        "Rate and distortion together, per pixel and channel; guessing costs 8.",
    ),
    "active_latents": ("active latents", ".0f", "", "", "Those that the decoder listens to."),
}
_FULLY_MEASURED = {"reconstruction", "kl", "psnr_db"}
_WITHOUT_MEANING = {"kl", "bits_per_dim", "active_latents"}
_WAYS = {"higher": "↑ higher is better", "lower": "↓ lower is better", "": ""}


def scores(subject: Subject) -> str:
    """All scores, by group, each with its interval and one sentence."""
    parts = []
    if subject.scores is None:
        command = f"corolla evaluate {shown_path(subject.path)}"
        why = (
            "The scores in scores.json are those of other weights"
            if subject.stale
            else "This is what training measures"
        )
        parts.append(
            f"<p>{escape(why)}. <code>{escape(command)}</code> adds scores of samples, latent space and, where the "
            "factors are known, disentanglement.</p>\n"
        )
    else:
        found = subject.scores
        drawn = f"; {found.samples:,} samples were drawn from each prior" if found.samples else ""
        parts.append(
            paragraph(
                f"Measured on {found.images:,} images of the split {found.split}, which were not trained on{drawn}. "
                "Behind a value, its 95% interval where it has one."
            )
        )
        parts += [_table(group, list(_rows(found, group))) for group in GROUPS]
    parts.append(_table("at the end of training", list(_rows_of_training(subject))))
    return section("scores", "How good it is", *parts)


def _rows(found: Scores, group: str) -> Iterator[str]:
    """A row for each kind of score in its features; the values are those of its variants."""
    kinds: dict[str, list[str]] = {}
    parsed: dict[str, ScoreName] = {}
    for key in in_order(list(found.scores)):
        name = parse_key(key)
        if name is not None and name.kind.group == group:
            kinds.setdefault(name.label, []).append(key)
            parsed[key] = name
    for label, keys in kinds.items():
        kind = parsed[keys[0]].kind
        values = [
            (parsed[key].variant, formatted(key, found.scores[key].value), kind.unit, interval(key, found.scores[key]))
            for key in keys
        ]
        yield _row(label, kind.better, kind.text, values)


def _rows_of_training(subject: Subject) -> Iterator[str]:
    left_out = (_FULLY_MEASURED if subject.scores else set()) | (_WITHOUT_MEANING if subject.has_points else set())
    for name, (label, form, unit, better, text) in _OF_TRAINING.items():
        value = subject.model.card.scores.get(name)
        if value is not None and name not in left_out:
            if name == "loss" and subject.has_points:
                text = "What training makes small: the distortion alone."
            if name == "reconstruction" and subject.model.config.likelihood.name == "bernoulli":
                text += " Grey pixels keep it well above zero."
            unit = f"of {subject.model.latent_dim}" if name == "active_latents" else unit
            yield _row(label, better, text, [("", f"{value:,{form}}", unit, "")])


def _row(label: str, better: str, text: str, values: Sequence[tuple[str, str, str, str]]) -> str:
    way = f' <span class="way">{_WAYS[better]}</span>' if better else ""
    lines = "".join(
        f"<div>{f'<dt>{escape(variant)}</dt>' if variant else '<dt hidden>value</dt>'}"
        f"<dd><b>{escape(value)}</b> {escape(unit)}{f' <small>({escape(reach)})</small>' if reach else ''}</dd></div>"
        for variant, value, unit, reach in values
    )
    return f'<tr><th scope="row">{escape(label)}{way}<p>{escape(text)}</p></th><td><dl>{lines}</dl></td></tr>\n'


def _table(title: str, rows: Sequence[str]) -> str:
    heading = title[:1].upper() + title[1:]
    return f'<h3>{escape(heading)}</h3>\n<table class="scores"><tbody>{"".join(rows)}</tbody></table>\n' if rows else ""
