"""What is known of a run or model folder: plain values, ready for JSON by `dataclasses.asdict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corolla.distributions.posterior import active_latents
from corolla.models.vae import parameter_count
from corolla.trained.model_folder import CARD_NAME, WEIGHTS_NAME, ModelFolder
from corolla.trained.run_folder import RunFolder
from corolla.training.advice import Finding, advise


@dataclass(frozen=True)
class LatentFact:
    """A latent, its KL, and whether it is dead."""

    latent: int
    kl_nats: float
    dead: bool


@dataclass(frozen=True)
class RunFacts:
    """Facts about a run or model folder; of a run that has no model yet, all from `bytes` on is empty."""

    path: str
    model: str | None
    network: str
    latent_dim: int
    height: int
    width: int
    likelihood: str
    objective: str
    weights: str  # what presses on the code, in words
    beta: float | None  # the weight of the KL that the objective amounts to, where there is such a number
    normalised_beta: float | None  # the same times latents over pixel values
    settings: dict[str, Any]  # the settings that are not the defaults, by dotted name
    parameters: int
    bytes: int | None = None  # size of the weights on disk
    step: int = 0
    stopped: str = ""  # where the run stands if it has not come to its end, in one sentence; else empty
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    latents: tuple[LatentFact, ...] = ()  # by falling KL
    advice: tuple[Finding, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


def describe(path: Path | str) -> RunFacts:
    """The facts about a run or model folder. Raises ModelError or UsageError if it is neither."""
    run = RunFolder(Path(path))
    if run.exists and not (run.model / CARD_NAME).is_file():
        config, rows, model = run.config(), list[dict[str, str]](), dict[str, Any](path=str(path), model=None)
    else:
        folder = ModelFolder.find(Path(path))
        card, rows, weights = folder.card, folder.rows, folder.path / WEIGHTS_NAME
        active = active_latents(card.latent_kl_nats).tolist()
        latents = [LatentFact(latent, kl, not active[latent]) for latent, kl in enumerate(card.latent_kl_nats)]
        config = card.config
        model = {
            "path": str(folder.home),
            "model": str(folder.path),
            "bytes": weights.stat().st_size if weights.is_file() else None,
            "step": card.step,
            "stopped": folder.stopped(card),
            "data": dict(card.data),
            "scores": dict(card.scores),
            "latents": tuple(sorted(latents, key=lambda fact: -fact.kl_nats)),
            "advice": advise(config, card.scores, card.latent_kl_nats, rows, step=card.step or None),
            "versions": dict(card.versions),
        }
    beta = config.objective.effective_beta(rows)
    return RunFacts(
        network=config.network.name,
        latent_dim=config.network.latent_dim,
        height=config.data.size[0],
        width=config.data.size[1],
        likelihood=config.likelihood.name,
        objective=config.objective.name,
        weights=config.objective.describe(beta),
        beta=beta,
        normalised_beta=config.normalised_beta(beta),
        settings=config.differences(),
        parameters=parameter_count(config),
        **model,
    )
