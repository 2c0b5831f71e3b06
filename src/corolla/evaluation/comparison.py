"""Scored models side by side: seeds grouped, with median and spread, and what differs in their configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from statistics import median
from typing import Any

from corolla.config import Config
from corolla.errors import UsageError
from corolla.evaluation.record import Scores
from corolla.evaluation.tables import formatted, in_order, row_label_with_unit
from corolla.metrics.names import parse_key

_IDENTITY = ("fingerprint", "size", "recipe")
_APART = (
    "seed",
    "data.mirror",
    "training.accelerator",
    "training.checkpoint_every",
    "training.devices",
    "training.num_nodes",
    "training.samples_every",
    "training.threads",
)
"""Settings that make no other model of a run: its seed, and what belongs to the machine or to what is written."""


@dataclass(frozen=True)
class Entry:
    """A model that takes part: its name, its configuration, and its scores."""

    name: str
    config: Config
    scores: Scores


@dataclass(frozen=True)
class Spread:
    """The median of a score over the models of a group, and its extremes."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of one value or more."""
        return cls(median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Column:
    """Models that differ in nothing but their seed; `settings` are those that differ between the columns."""

    name: str
    members: tuple[str, ...]
    scores: Mapping[str, Spread]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Columns of scores; `keys` are their rows, in the order of the kinds."""

    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    differing: tuple[str, ...]
    """Names of the settings that differ, but for the seed."""
    remarks: tuple[str, ...] = ()
    """In what the models were scored differently although they can be compared, a line each."""


def compare(entries: Sequence[Entry], *, force: bool = False) -> Comparison:
    """Put scored models side by side; those that differ in their seed alone share a column.

    With `force`, they may differ in images, splits, and numbers of images or samples.
    Raises UsageError for fewer than two models, and for models that were scored on different images, or on more.
    """
    if len(entries) < 2:
        raise UsageError(f"{len(entries)} model: give at least two to compare")
    if not force:
        _check_comparable(entries)
    groups: dict[object, list[Entry]] = {}
    for entry in entries:
        identity = {name: str(value) for name, value in entry.config.flat().items() if name not in _APART}
        groups.setdefault(tuple(sorted(identity.items())), []).append(entry)
    flats = [members[0].config.flat() for members in groups.values()]
    names = dict.fromkeys(name for flat in flats for name in flat if name not in _APART)
    differing = tuple(name for name in names if len({str(flat.get(name, "-")) for flat in flats}) > 1)
    columns = [_column(members, differing) for members in groups.values()]
    named = [column.name for column in columns]
    columns = [  # the names of all members where what they have in common is also the name of another column
        column if named.count(column.name) == 1 else replace(column, name=", ".join(column.members))
        for column in columns
    ]
    present = {name for column in columns for name in column.scores}
    return Comparison(tuple(columns), tuple(in_order(sorted(present))), differing, _remarks(entries))


def _check_comparable(entries: Sequence[Entry]) -> None:
    """Raise UsageError if the images differ, or the number of them or of samples, on which distances depend."""
    first, *others = entries
    for entry in others:
        for name, expected in _scored_on(first.scores).items():
            if (value := _scored_on(entry.scores)[name]) != expected:
                raise UsageError(
                    f"{entry.name}: scored on other images than {first.name}: its {name} is {value}, not {expected}",
                    remedy="compare them all the same ({force})",
                    arguments=("force",),
                )
    for name in ("images", "samples"):
        counts = {entry.name: count for entry in entries if (count := getattr(entry.scores, name))}
        if len(set(counts.values())) > 1:
            each = ", ".join(f"{count} for {entry}" for entry, count in counts.items())
            raise UsageError(
                f"scored with different numbers of {name}: {each}",
                remedy=f"score them alike ({{{name}}}), or compare them all the same ({{force}})",
                arguments=(name, "force"),
            )


def _scored_on(scores: Scores) -> dict[str, Any]:
    return {name: scores.data.get(name) for name in _IDENTITY} | {"split": scores.split}


def _remarks(entries: Sequence[Entry]) -> tuple[str, ...]:
    remarks = []
    for name, value_of, meaning in (
        ("seed", lambda scores: str(scores.seed), "what was drawn differs by chance, too"),
        ("features", _features, "distances in other features have other rows"),
        ("split", lambda scores: scores.split, "they are not the same images"),
    ):
        values = {entry.name: value for entry in entries if (value := value_of(entry.scores))}
        if len(set(values.values())) > 1:
            each = ", ".join(f"{value} for {entry}" for entry, value in values.items())
            remarks.append(f"not scored alike: {name} {each}: {meaning}; score them with one {name}")
    return tuple(remarks)


def _features(scores: Scores) -> str:
    """In which features samples were compared with images; empty if they were not."""
    parsed = [parse_key(key) for key in scores.scores]
    return "+".join(sorted({p.features for p in parsed if p and p.features and p.kind.group == "samples"}))


def _column(members: Sequence[Entry], differing: Sequence[str]) -> Column:
    first = members[0]
    keys = [key for key in first.scores.scores if all(key in member.scores.scores for member in members)]
    settings = {name: first.config.flat().get(name, "-") for name in differing}  # another objective has others
    names = tuple(member.name for member in members)
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("-_=, /") or first.name
    spreads = {key: Spread.of([member.scores.scores[key].value for member in members]) for key in keys}
    return Column(first.name if len(members) == 1 else f"{common} ×{len(members)}", names, spreads, settings)


def comparison_lines(found: Comparison) -> list[str]:
    """The table as lines of text: what differs, then a row for each score, and the remarks."""
    header, rows = comparison_table(found)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ] + list(found.remarks)


def comparison_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: settings that differ first, then the scores, each best value marked with a star."""
    header = ["", *(column.name for column in found.columns)]
    rows = []
    for name in found.differing:
        values = [column.settings.get(name) for column in found.columns]
        rows.append([name, *("-" if v is None else f"{v:g}" if isinstance(v, float) else str(v) for v in values)])
    for key in found.keys:
        best = _best(key, [column.scores.get(key) for column in found.columns])
        cells = []
        for column in found.columns:
            spread = column.scores.get(key)
            if spread is None:
                cells.append("-")
                continue
            extremes = f" ({formatted(key, spread.low)} to {formatted(key, spread.high)})" if spread.count > 1 else ""
            cells.append(f"{formatted(key, spread.median)}{extremes}{' *' if spread.median == best else ''}")
        rows.append([row_label_with_unit(key), *cells])
    return header, rows


def _best(key: str, spreads: Sequence[Spread | None]) -> float | None:
    """The best median of a row, where one way is better and not all are the same."""
    parsed = parse_key(key)
    medians = {spread.median for spread in spreads if spread is not None}
    if parsed is None or not parsed.kind.better or len(medians) < 2:
        return None
    return max(medians) if parsed.kind.better == "higher" else min(medians)
