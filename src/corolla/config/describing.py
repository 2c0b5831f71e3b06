"""What the settings are, as their classes say it: for flags, help and the page of settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from corolla.config.choosing import CHOICES
from corolla.config.config import Config
from corolla.config.kinds import Choice
from corolla.config.registry import registered
from corolla.config.settings import DataConfig, Settings, TrainingConfig
from corolla.errors import UsageError, suggestion

SECTIONS: Mapping[str, type[Settings]] = {"data": DataConfig, "training": TrainingConfig}


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted name, its default as YAML has it, and what it is."""

    name: str
    default: Any
    description: str


@dataclass(frozen=True)
class Group:
    """Settings that belong together: a section, or one class of an open table."""

    title: str
    summary: str
    settings: tuple[Setting, ...]


def groups(about: str | None = None) -> list[Group]:
    """All settings; or those of a section (data), a kind (objective) or a choice (beta_vae). Raises UsageError."""
    tables = {kind: registered(kind) for kind in (*CHOICES, "prior")}
    classes = [(section, section, section, cls) for section, cls in SECTIONS.items()]
    classes += [(kind, name, f"{kind} {name}", cls) for kind, table in tables.items() for name, cls in table.items()]
    chosen = [(kind, title, cls) for kind, name, title, cls in classes if about in (None, kind, name)]
    if not chosen:
        names = [*SECTIONS, *tables, *(name for table in tables.values() for name in table)]
        raise UsageError(f"{about}: no such settings{suggestion(str(about), names)}; there are {', '.join(names)}")
    seed = Group("run", "What belongs to no section.", (_setting("seed", Config.model_fields["seed"]),))
    return [seed] * (about is None) + [Group(title, _summary(cls), _settings(kind, cls)) for kind, title, cls in chosen]


def describe_setting(dotted: str) -> str:
    """What a setting is; of a choice's setting, for each class that has it. Raises UsageError if there is none."""
    section, _, name = dotted.rpartition(".")
    if not section or section in SECTIONS:
        return SECTIONS.get(section, Config).model_fields[name].description or ""
    table = registered(section)
    if name == "name":
        return f"which {section}: {', '.join(table)}"
    said: dict[str, list[str]] = {}
    for choice, cls in table.items():
        if name in cls.model_fields and name not in cls.idle:
            said.setdefault(cls.model_fields[name].description or "", []).append(choice)
    if not said:
        raise UsageError(f"{dotted}: no such setting; `corolla settings` lists them")
    if len(said) == 1 and len(next(iter(said.values()))) == len(table):
        return next(iter(said))
    return "; ".join(f"of {', '.join(choices)}: {text}" for text, choices in said.items())


def _settings(section: str, cls: type[Settings]) -> tuple[Setting, ...]:
    idle = cls.idle if issubclass(cls, Choice) else frozenset()
    fields = cls.model_fields.items()
    return tuple(_setting(f"{section}.{name}", field) for name, field in fields if name not in idle | {"name"})


def _setting(dotted: str, field: FieldInfo) -> Setting:
    default = field.get_default(call_default_factory=True, validated_data={})
    plain = None if default is PydanticUndefined else list(default) if isinstance(default, tuple) else default
    return Setting(dotted, plain, field.description or "")


def _summary(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
