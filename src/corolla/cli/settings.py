"""The command that lists the settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from corolla.cli.output import out

if TYPE_CHECKING:
    from corolla.config.describing import Group


def settings(
    about: str | None = None,
    /,
    *,
    markdown: bool = False,
) -> None:
    """List the settings of a run, with their defaults: all that `corolla train --set` and a YAML file take.

    Args:
        about: Only those of a section (data, training), a kind (network, likelihood, objective; prior, which is for
            `corolla fit-prior`) or a choice (beta_vae).
        markdown: Write tables in Markdown.
    """
    from corolla.config.describing import groups

    found = groups(about)
    lines = [line for group in found for line in (_markdown(group) if markdown else _plain(group))]
    out.lines(lines[:-1], **{group.title: asdict(group) for group in found})


def _plain(group: Group) -> list[str]:
    lines = [f"  {each.name} ({json.dumps(each.default)}): {each.description}" for each in group.settings]
    return [f"{group.title}: {group.summary}", *lines, ""]


def _markdown(group: Group) -> list[str]:
    lines = [f"## {group.title}\n\n{group.summary}\n"]
    lines += ["| setting | default | what it is |\n|---|---|---|"] if group.settings else []
    for each in group.settings:
        description = each.description.replace("|", "\\|")
        lines.append(f"| `{each.name}` | `{json.dumps(each.default)}` | {description} |")
    return [*lines, ""]
