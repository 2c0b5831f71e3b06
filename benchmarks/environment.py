"""What a measurement depends on, for the head of every benchmark's output, and the table for its results."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from corolla.data.stream import usable_workers

_PACKAGES = ("torch", "lightning", "numpy", "pillow")


def describe() -> str:
    """A few lines on the software and the machine that a benchmark runs on."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    lines = [
        f"Python {platform.python_version()}, {packages}",
        f"{platform.system()} {platform.machine()}, {_processor()}, {usable_workers(None)} cores",
    ]
    if hasattr(os, "getloadavg"):
        lines.append(f"load when started: {os.getloadavg()[0]:.1f} (0 is an idle machine)")
    return "\n".join(lines)


def _processor() -> str:
    """The processor's name as the operating system gives it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table that reads well as plain text and in Markdown; columns are as wide as their widest cell."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])
