"""The command that lists the settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter


def settings(
    about: str | None = None,
    /,
    *,
    markdown: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """List the settings of a run, with their defaults: all that `corolla train --set` and a YAML file take.

    Args:
        about: Only those of a section (data, training), a kind (network, likelihood, objective) or a choice (beta_vae).
        markdown: Write tables in Markdown.
        json_: Print one JSON object, for programs.
    """
    from corolla.config.describing import groups

    found = groups(about)
    if json_:
        print(json.dumps({group.title: asdict(group) for group in found}, indent=2))
        return
    for number, group in enumerate(found):
        print(
            "\n" * (number > 0)
            + (f"## {group.title}\n\n{group.summary}\n" if markdown else f"{group.title}: {group.summary}")
        )
        if markdown and group.settings:
            print("| setting | default | what it is |\n|---|---|---|")
        for setting in group.settings:
            default = json.dumps(setting.default)
            description = setting.description.replace("|", "\\|")
            print(
                f"| `{setting.name}` | `{default}` | {description} |"
                if markdown
                else f"  {setting.name} ({default}): {setting.description}"
            )
