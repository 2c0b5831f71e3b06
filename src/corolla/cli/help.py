"""Help texts from docstrings, whose paragraphs fill the width of the terminal."""

from __future__ import annotations

import re
from typing import Any

from cyclopts import App
from cyclopts.help import DefaultFormatter, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text


def show_docstrings(app: App, command: str | None) -> None:
    """Let `--help` show the whole docstring of a command; the list of commands goes on with one line for each."""
    app.help_formatter = _Formatter()
    if command is not None and (function := app[command].default_command) is not None:
        app[command].help = function.__doc__ or ""


class _Formatter(DefaultFormatter):
    """Ends lines where the width ends, not where the docstring's lines do; paragraphs and lists stay."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        for entry in panel.entries:
            _unwrap(entry.description)
        super().__call__(console, options, panel)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        _unwrap(description)
        super().render_description(console, options, description)


def _unwrap(description: Any) -> None:
    text = description.primary_renderable if isinstance(description, InlineText) else None
    if isinstance(text, Text):
        text.plain = re.sub(r"(?<!\n)\n(?!\s|- )", " ", text.plain)
