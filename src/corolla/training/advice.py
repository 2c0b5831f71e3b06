"""The numbers of a run -> findings in plain words, each with what to change: the answer to "which β?".

Pure: a configuration, scores and rows of `metrics.csv` in, text out. All amounts are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corolla.config import Config, Objective
from corolla.distributions.posterior import ACTIVE_NATS, active_latents

BIT_NATS = math.log(2)
"""One bit: a code with less cannot even tell of which of two kinds an image is, and a latent with more surely can."""
OVERFIT_SHARE = 1.0
"""How far evaluation may lie above training, as a share of β·rate.

The rate-distortion curve is convex with slope -β where training ends, so the code saves at least β·rate nats of
distortion. Where new images lose as much as that, what was learnt is the training images' own.
"""
RISE_SHARE = 0.1
"""As OVERFIT_SHARE, of auto-encoders: the evaluation's rise since its best, as a share of the training's fall."""
TARGET_SHARE = 0.1
"""How far the rate may be from the one that was asked for. The controller itself swings by some per cent."""
EARLY_STEPS = 200
"""Before, the model is still learning the average image, and a rate near zero is the usual course."""


@dataclass(frozen=True)
class Finding:
    """One thing that the numbers say: in a few words, and in a sentence or two; without `alarm`, nothing is wrong."""

    kind: str
    text: str
    alarm: bool = True


def advise(
    config: Config,
    scores: Mapping[str, float],
    latent_kl_nats: Sequence[float] = (),
    rows: Sequence[Mapping[str, str]] = (),
    *,
    step: int | None = None,
) -> tuple[Finding, ...]:
    """What the numbers of a finished or running run say, and what to change; alarms first.

    The scores are of the evaluation, by the names of `metrics.csv`, whose rows, oldest first, say what only training
    can show; without `kl`, the code is not judged. The step counts where there are no rows.
    """
    history = [{name: float(text) for name, text in row.items() if text not in ("", None)} for row in rows]
    done = history[-1].get("step") if history else step
    if done is not None and done < EARLY_STEPS:
        of = "" if config.objective.auto_encoder else " of beta"
        text = f"Only {done:.0f} steps: too early to say anything{of}. Train for some thousands."
        return (Finding("too early", text, alarm=False),)
    code = _code(config, scores, latent_kl_nats, history)
    findings = (*_warming_up(config.objective, done), *code, *_overfitting(config, history))
    return tuple(sorted(findings, key=lambda finding: not finding.alarm))


def _warming_up(objective: Objective, done: float | None) -> Iterator[Finding]:
    for name in objective.warmup_settings:
        steps = getattr(objective, name)
        if done is not None and done < steps:
            early = f"objective.{name} is {steps:,}, and these are {done:,.0f} steps"
            remedy = f"Train longer, or set objective.{name} to at most a third of the steps."
            yield Finding("still warming up", f"{early}: the code is not yet under its full pressure. {remedy}")


def _code(
    config: Config, scores: Mapping[str, float], latent_kl_nats: Sequence[float], history: Sequence[Mapping[str, float]]
) -> Iterator[Finding]:
    """Whether the code says too little, too much, or what was asked for."""
    objective, rate = config.objective, scores.get("kl")
    if objective.auto_encoder or rate is None or not math.isfinite(rate):
        return
    if objective.target is not None:
        name, target = objective.target
        if abs(rate - target) > max(TARGET_SHARE * target, ACTIVE_NATS):
            kind, remedy = objective.off_target(rate, history[-1].get("beta") if history else None)
            yield Finding(kind, f"The rate is {rate:.1f} nats, but objective.{name} asks for {target:g}. {remedy}")
    elif rate < BIT_NATS:
        what = f"the code says only {rate:.2g} nats about an image, less than one bit, and the decoder ignores it"
        yield Finding("collapsed", f"The posterior has collapsed: {what}. {_loosen(objective)}")
        return
    smallest, number = min(latent_kl_nats, default=0.0), config.network.latent_dim
    dead = int((~active_latents(latent_kl_nats)).sum())
    free = 2 * objective.free_nats_per_latent
    if 0 < dead < number:
        harmless = f"That is normal and harmless: network.latent_dim={number - dead} would do as well"
        remedy = f"{objective.loosen()} would put more of them to use."
        yield Finding(f"{dead} dead", f"{dead} of {number} latents are dead. {harmless}; {remedy}", alarm=False)
    elif latent_kl_nats and smallest > max(BIT_NATS, free):
        needed = f"Every latent is needed: even the least of the {number} says {smallest:.1f} nats."
        yield Finding(
            "all latents needed", f"{needed} More may help: try network.latent_dim={2 * number}.", alarm=False
        )


def _loosen(objective: Objective) -> str:
    """What to do against a collapse, the likeliest remedy first."""
    target = "name a rate (objective.name=control_vae with objective.target_nats)"
    slowly = "a warm-up (objective.warmup_steps, about a third of the steps)"
    if objective.warmup_steps:
        slowly = f"a longer warm-up (objective.warmup_steps={3 * objective.warmup_steps})"
    free = "" if objective.free_nats_per_latent else "free bits (objective.name=free_bits), or "
    return f"Try {objective.loosen()}, {slowly}, {free}{target}."


def _overfitting(config: Config, history: Sequence[Mapping[str, float]]) -> Iterator[Finding]:
    names = ("reconstruction", "kl", "train_reconstruction", "train_kl", "loss", "step")
    rows = [row for row in history if all(math.isfinite(row.get(name, math.nan)) for name in names)]
    if not rows:
        return
    best, last = min(rows, key=lambda row: row["loss"]), rows[-1]
    if config.objective.auto_encoder:
        fall = best["train_reconstruction"] - last["train_reconstruction"]
        apart = last["reconstruction"] - last["train_reconstruction"]
        far = fall > 0 and last["reconstruction"] - best["reconstruction"] > RISE_SHARE * fall
    else:
        apart = last["reconstruction"] + last["kl"] - last["train_reconstruction"] - last["train_kl"]
        beta = max(1.0, config.objective.effective_beta() or 1.0)
        far = last["train_kl"] > BIT_NATS and apart > OVERFIT_SHARE * beta * last["train_kl"]
    if far:
        kept = f" The model that was kept is of step {best['step']:.0f}." if best["step"] < last["step"] else ""
        cost = f"New images cost {apart:.0f} nats more than the training images, which are learnt by heart.{kept}"
        yield Finding("overfitting", f"{cost} More images help most; then {_more_pressure(config)}.")


def _more_pressure(config: Config) -> str:
    setting = config.objective.beta_setting
    changes = [f"a larger objective.{setting} than {getattr(config.objective, setting):g}"] if setting else []
    changes += ["a larger data.shift_px" if config.data.shift_px else "data.shift_px=4"]
    changes += [] if config.data.flip else ["data.flip=true where left and right do not matter"]
    return f"{', '.join(changes)}, or a smaller network"
