"""Commands that look: at a run or model folder, and at the presets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from corolla.errors import command

if TYPE_CHECKING:
    from corolla.config import Config
    from corolla.trained.model_folder import ModelCard

    Rows: TypeAlias = list[dict[str, str]]

_BAR = 24
_SHOWN_LATENTS = 16
_SCORES = {
    "loss": ("loss", "nats per image"),
    "reconstruction": ("distortion", "nats per image"),
    "kl": ("rate", "nats per image"),
    "psnr_db": ("PSNR", "dB"),
    "bits_per_dim": ("bits per dim", "bits per pixel and channel"),
    "active_latents": ("active latents", ""),
}


def info(path: Path, /, *, json_: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Show a run or model: configuration, size, data, scores, latents.

    Args:
        path: Run folder or model folder.
        json_: Print one JSON object, for programs.
    """
    facts = describe(path)
    if json_:
        print(json.dumps(facts, indent=2))
        return
    for line in _lines(facts):
        print(line)


def presets() -> None:
    """List the presets that `corolla train --preset` knows."""
    from importlib import resources

    from corolla.config import preset_names

    names = preset_names()
    for name in names:
        text = (resources.files("corolla") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
        first = text.splitlines()[0].lstrip("# ")
        print(f"{name:<{max(map(len, names))}}  {first}")


def describe(path: Path) -> dict[str, Any]:
    """What is known of a run or model folder, ready for JSON. Raises ModelError or UsageError if it is neither."""
    from corolla.models.vae import parameter_count
    from corolla.trained.model_folder import CARD_NAME, WEIGHTS_NAME, ModelFolder
    from corolla.trained.run_folder import RunFolder

    run = RunFolder(path)
    if run.exists and not (run.model / CARD_NAME).is_file():
        config = run.config()
        return {"path": str(path), "model": None, **_essentials(config, []), "parameters": parameter_count(config)}
    folder = ModelFolder.find(path)
    card, rows, weights = folder.card, folder.rows, folder.path / WEIGHTS_NAME
    return {
        "path": str(folder.home),
        "model": str(folder.path),
        **_essentials(card.config, rows),
        "parameters": parameter_count(card.config),
        "bytes": weights.stat().st_size if weights.is_file() else None,
        "step": card.step,
        "stopped": folder.stopped(card),
        "data": card.data,
        "scores": card.scores,
        "latents": _latents(card),
        "advice": _advice(card, rows),
        "versions": card.versions,
    }


def _essentials(config: Config, rows: Rows) -> dict[str, Any]:
    height, width = config.data.size
    beta = config.objective.effective_beta(rows)
    return {
        "network": config.network.name,
        "latent_dim": config.network.latent_dim,
        "height": height,
        "width": width,
        "likelihood": config.likelihood.name,
        "objective": config.objective.name,
        "weights": config.objective.describe(beta),
        "beta": beta,
        "normalised_beta": config.normalised_beta(beta),
        "settings": config.differences(),
    }


def _latents(card: ModelCard) -> list[dict[str, Any]]:
    from corolla.distributions.posterior import active_latents

    kl_nats = card.latent_kl_nats
    facts = [
        {"latent": latent, "kl_nats": kl, "dead": not active}
        for latent, (kl, active) in enumerate(zip(kl_nats, active_latents(kl_nats).tolist(), strict=True))
    ]
    return sorted(facts, key=lambda fact: -fact["kl_nats"])


def _advice(card: ModelCard, rows: Rows) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from corolla.training.advice import advise

    return [
        asdict(finding)
        for finding in advise(card.config, card.scores, card.latent_kl_nats, rows, step=card.step or None)
    ]


def summary_lines(facts: dict[str, Any]) -> list[str]:
    """What to know at the end of a training: the scores in a line, what presses on the code, and the advice."""
    scores = facts.get("scores") or {}
    shown = [
        f"{label} {scores[name]:.{0 if name == 'active_latents' else 1}f}{f' {unit}' if unit == 'dB' else ''}"
        for name, (label, unit) in _SCORES.items()
        if name in scores
    ]
    dim = f" of {facts['latent_dim']}" if "active_latents" in scores else ""
    lines = [f"{', '.join(shown)}{dim} (nats per image)"] if shown else []
    return [
        *lines,
        f"{facts['objective']}: {_pressure(facts)}",
        *(finding["text"] for finding in facts.get("advice", [])),
    ]


def _pressure(facts: dict[str, Any]) -> str:
    normalised = facts["normalised_beta"]
    return f"{facts['weights']}{f' (normalised beta {normalised:.3g})' if normalised else ''}"


def _lines(facts: dict[str, Any]) -> list[str]:
    size = f"{facts['height']}x{facts['width']} pixels"
    weights = f", {facts['bytes'] / 1e6:.1f} MB" if facts.get("bytes") else ""
    lines = [
        f"{facts['path']}",
        f"  network     {facts['network']}, {facts['latent_dim']} latents, {size}",
        f"  size        {facts['parameters']:,} parameters{weights}",
        f"  objective   {facts['objective']}, {_pressure(facts)}",
        f"  likelihood  {facts['likelihood']}",
    ]
    if facts["model"] is None:
        lines.append(f"  model       none yet; go on with `{command('train', '--resume', facts['path'])}`")
    else:
        lines += _data_lines(facts)
    lines += ["settings that differ from the defaults"]
    lines += [f"  {name}: {json.dumps(value)}" for name, value in facts["settings"].items()] or ["  none"]
    if facts.get("scores"):
        lines.append("scores")
        for name, value in facts["scores"].items():
            label, unit = _SCORES.get(name, (name, ""))
            lines.append(f"  {label:<15} {value:>10.{0 if name == 'active_latents' else 2}f} {unit}".rstrip())
    if facts.get("latents"):
        lines += _latent_lines(facts["latents"])
    if facts.get("advice"):
        lines += ["advice", *(f"  {finding['text']}" for finding in facts["advice"])]
    return lines


def _data_lines(facts: dict[str, Any]) -> list[str]:
    data = facts["data"]
    lines = [f"  trained     {facts['step']:,} steps"]
    lines += [f"  {facts['stopped']}"] if facts["stopped"] else []
    if "source" in data:
        counts = [
            f"{data[f'{use}_images']:,} for {use}" for use in ("training", "evaluation") if f"{use}_images" in data
        ]
        lines.append(f"  images      {', '.join([str(data['source']), *counts])}")
    if "fingerprint" in data:
        lines.append(f"  fingerprint {data['fingerprint'][:16]}")
    return lines


def _latent_lines(latents: list[dict[str, Any]]) -> list[str]:
    alive = [entry for entry in latents if not entry["dead"]]
    lines = [f"latents by KL, in nats: {len(alive)} active, {len(latents) - len(alive)} dead"]
    largest = max((entry["kl_nats"] for entry in alive), default=1.0)
    for entry in alive[:_SHOWN_LATENTS]:
        bar = "#" * max(1, round(_BAR * entry["kl_nats"] / largest))
        lines.append(f"  {entry['latent']:>4}  {entry['kl_nats']:6.2f}  {bar}")
    if len(alive) > _SHOWN_LATENTS:
        rest = sum(entry["kl_nats"] for entry in alive[_SHOWN_LATENTS:])
        lines.append(f"  and {len(alive) - _SHOWN_LATENTS} more with {rest:.2f} nats together")
    return lines
