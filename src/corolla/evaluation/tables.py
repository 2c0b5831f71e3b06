"""Scores -> lines of text for a terminal, and Markdown for a document."""

from __future__ import annotations

from collections.abc import Sequence

from corolla.evaluation.record import Score, Scores
from corolla.metrics.information import BINS
from corolla.metrics.names import GROUPS, KINDS, kinds, parse_key

_LABEL = 34
FEW = 500
"""Images from which on distances between sets, and what latents share, are told without a word of caution."""


def in_order(keys: Sequence[str]) -> list[str]:
    """Keys in the order of the table of scores, the variants of each in the order given; unknown ones last."""
    order = list(kinds())

    def rank(key: str) -> int:
        name = parse_key(key)
        return order.index(name.name) if name else len(order)

    return sorted(keys, key=rank)


def formatted(key: str, value: float) -> str:
    """A value as tables show it: scaled, without its unit."""
    parsed = parse_key(key)
    if parsed is None:
        return f"{value:.4g}"
    return f"{value * parsed.kind.scale:.{parsed.kind.digits}f}"


def interval(key: str, score: Score) -> str:
    """The interval of a score, or nothing."""
    if score.low is None or score.high is None:
        return ""
    return f"{formatted(key, score.low)} to {formatted(key, score.high)}"


def row_label(key: str) -> str:
    """What stands before a row: the label, in which features, of what."""
    parsed = parse_key(key)
    if parsed is None:
        return key
    return f"{parsed.label}{f', {parsed.variant}' if parsed.variant else ''}"


def row_label_with_unit(key: str) -> str:
    """What stands before a row whose values come without their unit."""
    parsed = parse_key(key)
    return f"{row_label(key)}{f', {parsed.kind.unit}' if parsed and parsed.kind.unit else ''}"


def score_lines(scores: Scores) -> list[str]:
    """All scores by group, each with its 95% interval; the first of each kind with what it means."""
    lines = []
    for group in GROUPS:
        keys = [
            key for key in in_order(list(scores.scores)) if (parsed := parse_key(key)) and parsed.kind.group == group
        ]
        if not keys:
            continue
        lines.append(f"{group}")
        explained = ""
        for key in keys:
            parsed, score = parse_key(key), scores.scores[key]
            assert parsed is not None
            value = f"{formatted(key, score.value)}{f' {parsed.kind.unit}' if parsed.kind.unit else ''}"
            text = "" if parsed.kind.text == explained else parsed.kind.text
            explained = parsed.kind.text
            lines.append(f"  {row_label(key):<{_LABEL}} {value:>12}  {interval(key, score):<18}  {text}".rstrip())
        found = scores.details.get("disentanglement", {}) if group == "factors" else {}
        if found.get("trained_on"):
            lines.append(f"  of {found['images']:,} images of all splits, {found['trained_on']:,} of them trained on")
    lines += _of_few(scores)
    for what, reason in scores.details.get("left out", {}).items():
        lines.append(f"left out: {what}: {reason}")
    return lines


def _of_few(scores: Scores) -> list[str]:
    """What few images do to the scores, where there are few."""
    lines = []
    kinds = {parsed.kind for key in scores.scores if (parsed := parse_key(key))}
    count = min(scores.images, scores.samples)
    if KINDS["kid"] in kinds and 0 < count < FEW:
        lines.append(
            f"few images: of {count:,} on a side, kernel distances scatter widely, as their intervals say, and Fréchet "
            "distances are too large; score more images and samples"
        )
    if KINDS["mutual_information_score"] in kinds and 0 < scores.images < FEW:
        excess = (BINS - 1) ** 2 / (2 * scores.images)
        lines.append(
            f"few images: the mutual information of latents from {scores.images:,} is too large by up to about "
            f"{excess:.2f} nats; score more images"
        )
    return lines
