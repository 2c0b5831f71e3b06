"""The numbers of a run -> findings in plain words, each with what to change: the answer to "which β?".

Pure: a configuration, scores and rows of `metrics.csv` in, text out. All amounts are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corolla.config import Config, Objective, TrainingConfig
from corolla.distributions.posterior import ACTIVE_NATS, active_latents
from corolla.trained.model_folder import ModelCard

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
LEAST_GAIN_DB = 1.0
"""How far the PSNR of reconstructions must be above that of the mean image: a fifth of what images differ by. What
collapsed with a rate above one bit, and what never learnt to draw, is below."""
DISENTANGLED: Mapping[str, str] = {"mig": "MIG", "dci_disentanglement": "DCI disentanglement"}
"""Scores that say whether latents follow single factors, with their labels."""
LEAST_DISENTANGLED = 0.3
"""Below it, either says that latents do not; both are 1 at best."""
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
    mean_image_psnr_db: float | None = None,
) -> tuple[Finding, ...]:
    """What the numbers of a finished or running run say, and what to change; alarms first.

    The scores are of the evaluation, by the names of `metrics.csv`, whose rows, oldest first, say what only training
    can show; without `kl`, the code is not judged. The step counts where there are no rows.
    Without `mean_image_psnr_db`, that of the mean training image in the place of each, PSNR is not judged.
    """
    history = [{name: float(text) for name, text in row.items() if text not in ("", None)} for row in rows]
    done = history[-1].get("step") if history else step
    if done is not None and done < EARLY_STEPS:
        of = "" if config.objective.auto_encoder else " of beta"
        text = f"Only {done:.0f} steps: too early to say anything{of}. Train for some thousands."
        return (Finding("too early", text, alarm=False),)
    code = tuple(_code(config, scores, latent_kl_nats, history))
    images = () if any(each.kind == "collapsed" for each in code) else _images(config, scores, mean_image_psnr_db)
    findings = (*_warming_up(config, history, done), *code, *images, *_overfitting(config, history))
    return tuple(sorted(findings, key=lambda finding: not finding.alarm))


def advise_of(card: ModelCard, rows: Sequence[Mapping[str, str]] = ()) -> tuple[Finding, ...]:
    """As `advise`, of a model by its card and the rows of its run."""
    mean_image = card.data.get("mean_image_psnr_db")
    return advise(
        card.config,
        card.scores,
        card.latent_kl_nats,
        rows,
        step=card.step or None,
        mean_image_psnr_db=mean_image,
    )


def too_short(config: Config, total_steps: int) -> Iterator[str]:
    """A sentence about each setting whose effect lies beyond the end of a run of so many steps, for before it begins.

    A share of the run never does. Of the learning rate nothing is said where its warm-up is the default, which nobody
    has asked for.
    """
    consequences = {
        "objective.perceptual_after": "the perceptual distance is never added",
        "objective.cycle_steps": "the warm-up never repeats",
        "training.warmup_steps": "the learning rate never comes to its peak",
    } | {
        f"objective.{name}": "the code never comes under its full pressure" for name in config.objective.warmup_settings
    }
    settings = config.flat()
    for name, consequence in consequences.items():
        steps = settings.get(name) or 0
        if steps >= total_steps and (name, steps) != ("training.warmup_steps", TrainingConfig().warmup_steps):
            yield (
                f"{name} is {steps:,} and this run has {total_steps:,} steps: {consequence}; train longer, or give a "
                f"share of the run, such as {name}=0.3"
            )


def disentangled(scores: Mapping[str, float]) -> Iterator[Finding]:
    """Whether latents follow single factors, by `mig` and `dci_disentanglement` where these were measured."""
    low = [
        f"{label} {scores[name]:.2f}"
        for name, label in DISENTANGLED.items()
        if scores.get(name, 1) < LEAST_DISENTANGLED
    ]
    if low:
        yield Finding(
            "entangled",
            f"Latents do not follow single factors: {' and '.join(low)}, below {LEAST_DISENTANGLED:g} (1 is best). "
            "Where that matters, try objective.name=beta_tcvae with objective.warmup_steps=0.3, or a larger beta.",
        )


def _images(config: Config, scores: Mapping[str, float], mean_image_psnr_db: float | None) -> Iterator[Finding]:
    """Whether reconstructions are better than the mean image, whatever the code costs."""
    reached = scores.get("psnr_db", math.nan)
    if mean_image_psnr_db is not None and reached - mean_image_psnr_db < LEAST_GAIN_DB:
        objective = config.objective
        looser = "a larger network" if objective.auto_encoder else objective.loosen()
        yield Finding(
            "no better than the mean image",
            f"Reconstructions are hardly better than the mean of all images: {reached:.1f} dB against "
            f"{mean_image_psnr_db:.1f} dB of PSNR. Train longer, or try {looser}.",
        )


def _warming_up(config: Config, history: Sequence[Mapping[str, float]], done: float | None) -> Iterator[Finding]:
    training, last = config.training, history[-1] if history else {}
    epoch = last.get("epoch", 0)
    total = training.max_steps or (training.epochs * last["step"] / epoch if epoch and "step" in last else None)
    for name in config.objective.warmup_settings:
        steps = getattr(config.objective, name)
        if 0 < steps < 1:
            steps = 0 if total is None else max(1, round(steps * total))
        if done is not None and done < steps:
            yield Finding(
                "still warming up",
                f"objective.{name} is {steps:,}, and these are {done:,.0f} steps: the code is not yet under its full "
                f"pressure. Train longer, or set objective.{name} to a share of the steps, such as 0.3.",
            )


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
    steps = objective.warmup_steps
    slowly = "a warm-up (objective.warmup_steps=0.3, a share of the steps)"
    if steps:
        slowly = f"a longer warm-up (objective.warmup_steps={3 * steps if steps >= 1 else min(0.9, 3 * steps):g})"
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
