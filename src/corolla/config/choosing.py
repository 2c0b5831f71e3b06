"""A mapping with a `name` -> one of the registered classes with its settings, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from corolla.config.kinds import Choice
from corolla.config.registry import find, registered
from corolla.errors import UsageError, suggestion

DEFAULTS: Mapping[str, str] = {"network": "resnet", "likelihood": "bernoulli", "objective": "beta_vae"}
"""What is chosen where a configuration names nothing."""
CHOICES = tuple(DEFAULTS)
"""The kinds that a configuration names."""


def choose(kind: str, value: Any) -> Any:
    """The choice that a mapping describes; one that is made already stays as it is.

    Raises PydanticCustomError if there is no such name or a setting is wrong; `describe_faults` says which.
    """
    if isinstance(value, Choice) or not isinstance(value, Mapping):
        return value
    name = value.get("name", DEFAULTS.get(kind))
    try:
        cls = find(kind, name) if isinstance(name, str) else None
        reason = f"name = {name!r}: give a name"
    except UsageError as error:
        cls, reason = None, str(error)
    if cls is None:
        raise PydanticCustomError("unknown_choice", "{reason}", {"reason": reason, "setting": "name"})
    try:
        return cls.model_validate(dict(value) | {"name": name})
    except ValidationError as error:
        reasons = [_unknown(kind, cls, fault) or _describe(fault, kind) for fault in error.errors()]
        context = {"reason": "; ".join(reasons), "setting": wrong_setting(error)}
        raise PydanticCustomError("wrong_choice", "{reason}", context) from None


def make(kind: str, name: str, **settings: Any) -> Any:
    """The choice of a name with these settings. Raises UsageError that says what is wrong."""
    try:
        return choose(kind, {"name": name, **settings})
    except PydanticCustomError as error:
        inner = (error.context or {}).get("setting")
        raise UsageError(error.message(), setting=f"{kind}.{inner}" if inner else kind) from None


def changed(choice: Choice, name: str) -> dict[str, Any]:
    """The settings of another choice of the same kind: what both have stays where it is not the first one's default.

    Raises UsageError if there is no such name.
    """
    fields, cls = type(choice).model_fields, find(choice.kind, name)
    shared = cls.model_fields.keys() - cls.idle - {"name"}
    values = choice.dump().items()
    return {"name": name} | {k: v for k, v in values if k in shared and getattr(choice, k) != fields[k].default}


def describe_faults(error: ValidationError) -> str:
    """Each wrong key and value in a few words, on one line."""
    return "; ".join(_describe(fault) for fault in error.errors())


def wrong_setting(error: ValidationError) -> str | None:
    """The dotted name of the first wrong setting; None where several do not go together."""
    fault = error.errors()[0]
    parts = [*fault["loc"], fault.get("ctx", {}).get("setting")]
    return ".".join(part for part in parts if isinstance(part, str)) or None


def _describe(fault: Any, above: str = "") -> str:
    where = ".".join([above] * bool(above) + [str(part) for part in fault["loc"]])
    if fault["type"] == "wrong_choice":
        return str(fault["msg"])
    if fault["type"] == "unknown_choice":
        return f"{where}.name: {fault['msg']}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error" and not isinstance(fault["input"], str | int | float | list | tuple):
        return f"{where}: {message}" if where else message  # settings that do not go together
    return f"{where or 'value'} = {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _unknown(kind: str, cls: type[Choice], fault: Any) -> str | None:
    """What to say of a setting that a choice does not have: what it has, and which others have it."""
    if fault["type"] != "extra_forbidden":
        return None
    setting, name = str(fault["loc"][0]), cls.model_fields["name"].default
    others = [other for other, candidate in registered(kind).items() if setting in candidate.model_fields]
    own = [field for field in cls.model_fields if field not in cls.idle | {"name"}]
    elsewhere = f"; {' and '.join(others)} {'have' if len(others) > 1 else 'has'} it" if others else ""
    problem = f"{kind}.{setting}: {name} has no such setting{suggestion(setting, own)}{elsewhere}"
    return f"{problem}; {name} has {', '.join(own) or 'none'}"
