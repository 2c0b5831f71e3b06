"""Commands that look: at a run or model folder, in text or on a page, at the presets, and at the settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from corolla.cli.inputs import MaybeOutput, OwnMirror, OwnSource
from corolla.cli.output import out
from corolla.errors import CorollaError, UsageError, command

if TYPE_CHECKING:
    from corolla.config.describing import Group
    from corolla.report.facts import LatentFact, RunFacts

_LOG = logging.getLogger("corolla")
_BAR = 24
_SHOWN_LATENTS = 16


def info(path: Path, /) -> None:
    """Show a run or model: configuration, size, data, scores, latents.

    Args:
        path: Run folder or model folder.
    """
    from corolla.report.facts import describe

    facts = describe(path)
    out.lines(_lines(facts), **asdict(facts))


def report(  # noqa: D417, the shared flags describe themselves
    run: Path,
    /,
    *,
    output: MaybeOutput = None,
    seed: int = 0,
    source: OwnSource = None,
    mirror: OwnMirror = None,
) -> None:
    """Write one HTML page about a run: what it learnt, in pictures, numbers and plain words.

    Training writes it at its end. The page needs no network, and holds the scores if `corolla evaluate` has made them.

    Args:
        run: Run folder or model folder.
        output: The file; by default report.html in the folder.
        seed: Fixes the samples that are shown.
    """
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: the report is a page; end the name in .html")
    if output is not None and output.is_dir():
        raise UsageError(f"{output}: is a folder; give the name of a file")
    from corolla.report import write_report

    with out.progress() as progress:
        file = write_report(run, output=output, source=source, mirror=mirror, seed=seed, progress=progress)
    out.wrote(file)


def write_or_warn(run: Path, *, source: str | None = None, mirror: str | None = None) -> list[Path]:
    """Write the page about a run whose files are safe, so that a fault is a warning; the file, if it was written."""
    from corolla.report import write_report

    try:
        with out.progress() as progress:
            return [write_report(run, source=source, mirror=mirror, progress=progress)]
    except (CorollaError, MemoryError, RuntimeError) as error:  # the last is also PyTorch's for a full memory
        reason = error.message("--{}".format) if isinstance(error, CorollaError) else " ".join(str(error).split())
        _LOG.warning(
            "%s; no report was written, `%s` makes up for it", reason or type(error).__name__, command("report", run)
        )
        return []


def presets() -> None:
    """List the presets that `corolla train --preset` knows."""
    from importlib import resources

    from corolla.config import preset_names

    folder = resources.files("corolla") / "presets"
    texts = {name: (folder / f"{name}.yaml").read_text(encoding="utf-8") for name in preset_names()}
    lines = {name: text.splitlines()[0].lstrip("# ") for name, text in texts.items()}
    width = max(map(len, lines))
    out.lines((f"{name:<{width}}  {lines[name]}" for name in lines), **lines)


def settings(about: str | None = None, /, *, markdown: bool = False) -> None:
    """List the settings of a run, with their defaults: all that `corolla train --set` and a YAML file take.

    Args:
        about: Only those of a section (data, training), a kind (network, likelihood, objective; prior, which is for
            `corolla fit-prior`) or a choice (beta_vae).
        markdown: Write tables in Markdown.
    """
    from corolla.config.describing import groups

    shown, lines = groups(about), []
    for group in shown:
        if markdown:
            lines += _markdown(group)
        else:
            lines.append(f"{group.title}: {group.summary}")
            lines += [f"  {each.name} ({json.dumps(each.default)}): {each.description}" for each in group.settings]
        lines.append("")
    out.lines(lines[:-1], **{group.title: asdict(group) for group in shown})


def _markdown(group: Group) -> list[str]:
    lines = [f"## {group.title}\n\n{group.summary}\n"]
    lines += ["| setting | default | what it is |\n|---|---|---|"] if group.settings else []
    for each in group.settings:
        description = each.description.replace("|", "\\|")
        lines.append(f"| `{each.name}` | `{json.dumps(each.default)}` | {description} |")
    return lines


def summary_lines(facts: RunFacts) -> list[str]:
    """What to know at the end of a training: the scores in a line, what presses on the code, and the advice."""
    from corolla.metrics.names import training_words

    words = training_words(facts.scores)
    dim = f" of {facts.latent_dim}" if "active_latents" in facts.scores else ""
    lines = [f"{words}{dim} (nats per image)"] if words else []
    return [*lines, f"{facts.objective}: {_pressure(facts)}", *(finding.text for finding in facts.advice)]


def _pressure(facts: RunFacts) -> str:
    return facts.weights + (f" (normalised beta {facts.normalised_beta:.3g})" if facts.normalised_beta else "")


def _lines(facts: RunFacts) -> list[str]:
    from corolla.metrics.names import TRAINING_SCORES

    size = f"{facts.height}x{facts.width} pixels"
    weights = f", {facts.bytes / 1e6:.1f} MB" if facts.bytes else ""
    lines = [
        f"{facts.path}",
        f"  network     {facts.network}, {facts.latent_dim} latents, {size}",
        f"  size        {facts.parameters:,} parameters{weights}",
        f"  objective   {facts.objective}, {_pressure(facts)}",
        f"  likelihood  {facts.likelihood}",
    ]
    if facts.model is None:
        lines.append(f"  model       none yet; go on with `{command('train', '--resume', facts.path)}`")
    else:
        lines += _data_lines(facts)
    lines += ["settings that differ from the defaults"]
    lines += [f"  {name}: {json.dumps(value)}" for name, value in facts.settings.items()] or ["  none"]
    if facts.scores:
        lines.append("scores, nats per image")
        for name, value in facts.scores.items():
            kind = TRAINING_SCORES.get(name)
            label, unit, digits = (kind.label, kind.unit, kind.digits) if kind else (name, "", 2)
            lines.append(f"  {label:<18} {value:>10.{digits}f} {unit}".rstrip())
    if facts.latents:
        lines += _latent_lines(facts.latents)
    if facts.advice:
        lines += ["advice", *(f"  {finding.text}" for finding in facts.advice)]
    return lines


def _data_lines(facts: RunFacts) -> list[str]:
    data, uses = facts.data, ("training", "evaluation")
    lines = [f"  trained     {facts.step:,} steps"]
    lines += [f"  {facts.stopped}"] if facts.stopped else []
    if "source" in data:
        counts = [f"{data[f'{use}_images']:,} for {use}" for use in uses if f"{use}_images" in data]
        lines.append(f"  images      {', '.join([str(data['source']), *counts])}")
    if "fingerprint" in data:
        lines.append(f"  fingerprint {data['fingerprint'][:16]}")
    return lines


def _latent_lines(latents: Sequence[LatentFact]) -> list[str]:
    alive = [entry for entry in latents if not entry.dead]
    lines = [f"latents by KL, in nats: {len(alive)} active, {len(latents) - len(alive)} dead"]
    largest = max((entry.kl_nats for entry in alive), default=1.0)
    for entry in alive[:_SHOWN_LATENTS]:
        bar = "#" * max(1, round(_BAR * entry.kl_nats / largest))
        lines.append(f"  {entry.latent:>4}  {entry.kl_nats:6.2f}  {bar}")
    if len(alive) > _SHOWN_LATENTS:
        rest = sum(entry.kl_nats for entry in alive[_SHOWN_LATENTS:])
        lines.append(f"  and {len(alive) - _SHOWN_LATENTS} more with {rest:.2f} nats together")
    return lines
