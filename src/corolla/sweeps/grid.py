"""Lists of values for settings -> the points of a grid, each a configuration with a name that tells it apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import quote

import yaml

from corolla.config import Config
from corolla.errors import UsageError
from corolla.training import resolve

SEED = "seed"
"""The axis that repeats a point, and makes no other point of it."""


@dataclass(frozen=True)
class Point:
    """One run of a grid: what it was given on each axis, as its configuration has it, and all settings."""

    values: Mapping[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """The name of its folder, such as `beta=0.5,seed=1`: legal on every system, and no other point's."""
        shown = short_names(self.values)
        return ",".join(f"{shown[name]}={quote(value_text(value), safe='+')}" for name, value in self.values.items())

    @property
    def group(self) -> tuple[tuple[str, str], ...]:
        """What the runs share that differ in their seed only."""
        return tuple((name, value_text(value)) for name, value in self.values.items() if name != SEED)

    @property
    def shown(self) -> dict[str, str]:
        """The values as people write them, by short names, without the seed."""
        short = short_names(self.values)
        return {short[name]: text for name, text in self.group}

    @property
    def label(self) -> str:
        """The point in words, without its seed, such as `beta 0.5, latent_dim 10`."""
        return ", ".join(f"{name} {text}" for name, text in self.shown.items())


def read_values(text: str, where: str) -> list[Any]:
    """The values of a list with commas, each as YAML has it. Raises UsageError if there is none, or it is not YAML."""
    try:
        values = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not values:
        raise UsageError(f"{where} {text!r}: give values with commas between them, such as 0.5,1,2")
    return values


def value_text(value: Any) -> str:
    """A setting's value as people write it: 4 for 4.0, 48x64 for a size, none where it is left open."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "x".join(map(value_text, value)) if isinstance(value, list | tuple) else str(value)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """A short name for each dotted one: its last part, or the first of `objective.name`; whole where two would meet."""
    short = {name: name.removesuffix(".name").rpartition(".")[2] for name in names}
    taken = list(short.values())
    return {name: last if taken.count(last) == 1 else name for name, last in short.items()}


def expand(base: Config, axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """All combinations of the axes' values, the last axis changing fastest, each checked as far as it can be.

    Raises UsageError if an axis is empty or has a value twice, or there is no such setting; else as `configured`.
    """
    if not axes or all(len(values) < 2 for values in axes.values()):
        raise UsageError("a grid needs a setting with several values, such as objective.beta with 0.5, 1, 2, 4 and 8")
    for name, values in axes.items():
        if isinstance(values, str) or not values:
            raise UsageError(f"{name} = {values!r}: give a list of values")
    points = []
    for combination in product(*axes.values()):
        config = configured(base, dict(zip(axes, combination, strict=True)))
        points.append(Point({name: config.flat()[name] for name in axes}, config))
    for name in axes:
        texts = [value_text(value) for value in axes_of(points)[name]]
        if len(texts) < len(axes[name]):
            raise UsageError(f"{name}: {', '.join(map(value_text, axes[name]))}: a value is there twice")
    return points


def configured(base: Config, changes: Mapping[str, Any]) -> Config:
    """The base with some settings changed, and what it leaves open decided; on one device, as this process trains all.

    Raises UsageError, which names the change that is impossible, or says that there are several devices.
    """
    try:
        config = base.updated(changes)
        if (training := config.training).devices not in ("auto", 1) or training.num_nodes > 1:
            problem = f"devices {training.devices}, num_nodes {training.num_nodes}: many runs are trained on one device"
            raise UsageError(problem, setting="training.devices", remedy="leave both out")
        return resolve(config.updated({"training.devices": 1}))
    except UsageError as error:
        if error.setting in changes:
            raise
        given = ", ".join(f"{name}={value_text(value)}" for name, value in changes.items())
        raise UsageError(f"{given}: {error}") from None


def axes_of(points: Sequence[Point]) -> dict[str, list[Any]]:
    """The values of each axis, as configurations have them, in the order of the points; each once."""
    return {
        name: list({value_text(point.values[name]): point.values[name] for point in points}.values())
        for name in points[0].values
    }
