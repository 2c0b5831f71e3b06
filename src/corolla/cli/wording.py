"""How what the library says becomes the text of a command."""

from __future__ import annotations


def sentence(text: str) -> str:
    """A description as a sentence of a help text."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
