"""How what the library says becomes the text of a command."""

from __future__ import annotations

from typing import Any

from corolla.errors import UsageError


def sentence(text: str) -> str:
    """A description as a sentence of a help text."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def split_setting(change: str) -> tuple[str, Any]:
    """The name and value of --set NAME=VALUE. Raises UsageError if it is not of that form."""
    name, text = split_pair("--set", change, "training.ema_decay=0.99")
    return name, parse_value(text, where=f"--set {change}")


def split_pair(flag: str, text: str, example: str) -> tuple[str, str]:
    """The two sides of NAME=VALUE. Raises UsageError, which shows the example, if it is not of that form."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{flag} {text}: write a setting and its value, such as {example}")
    return name.strip(), value


def parse_value(text: str, where: str = "") -> Any:
    """A value as YAML has it. Raises UsageError if it is not YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"{where or text}: the value is not YAML") from None
