"""Values -> HTML, by the jinja2 templates of this package; every text is escaped on its way into a page."""

from __future__ import annotations

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_SETTING = re.compile(r"\b(?:data|network|likelihood|objective|training)\.[a-z_]+(?:=[\w.]*\w)?")


@cache
def environment() -> Environment:
    """Finds the templates; a value that a template needs and does not get is an error."""
    made = Environment(
        loader=PackageLoader("corolla.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["mark_settings"] = mark_settings
    return made


def mark_settings(text: str) -> Markup:
    """A plain text in which the names of settings are code."""
    return Markup(_SETTING.sub(r"<code>\g<0></code>", str(escape(text))))
