"""Scores -> lines of text for a terminal, and Markdown for a document."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corolla.distributions.posterior import active_latents
from corolla.evaluation.estimates import Average, Estimates
from corolla.evaluation.record import Score, Scores
from corolla.evaluation.samples import TRAINING
from corolla.metrics.information import BINS
from corolla.metrics.names import GROUPS, KINDS, ScoreKind, kinds, parse_key

_LABEL = 34
_SHOWN_LATENTS = 16
_NEAR_ONE = 0.99
FEW = 500
"""Images from which on distances between sets, and what latents share, are given without a warning."""


def in_order(keys: Sequence[str]) -> list[str]:
    """Keys in the order of the table of scores, the variants of each in the order given; unknown ones last."""
    order = list(kinds())

    def rank(key: str) -> int:
        name = parse_key(key)
        return order.index(name.name) if name else len(order)

    return sorted(keys, key=rank)


def formatted(key: str, value: float) -> str:
    """A value as tables show it: scaled, without its unit."""
    parsed = parse_key(key)
    if parsed is None:
        return f"{value:.4g}"
    return f"{value * parsed.kind.scale:.{parsed.kind.digits}f}"


BEYOND_MARK = "beyond real images"
BEYOND_REAL = (
    "beyond the training images, which are real: that is no praise; samples that keep to the middle of the data, as "
    "blurred or copied ones do, pass for real more easily than real images, so look at them and at recall"
)
"""Why a score that beats its value on real images is marked."""


def beyond_real(key: str, scores: Scores) -> bool:
    """Whether a score of samples is better than that of the training images, with its interval."""
    name = parse_key(key)
    if name is None or name.kind.group != "samples" or not name.kind.better or name.variant in ("", TRAINING):
        return False
    real = scores.scores.get(key.replace(f"/{name.variant}", f"/{TRAINING}"))
    if real is None:
        return False
    value, bounds = scores.scores[key].value, [real.value, real.low, real.high]
    known = [bound for bound in bounds if bound is not None]
    return value > max(known) if name.kind.better == "higher" else value < min(known)


def interval(key: str, score: Score) -> str:
    """The interval of a score, or nothing."""
    if score.low is None or score.high is None:
        return ""
    return f"{formatted(key, score.low)} to {formatted(key, score.high)}"


def row_label(key: str) -> str:
    """What stands before a row: the label, in which features, of what."""
    parsed = parse_key(key)
    if parsed is None:
        return key
    return f"{parsed.label}{f', {parsed.variant}' if parsed.variant else ''}"


def row_label_with_unit(key: str) -> str:
    """What stands before a row whose values come without their unit."""
    parsed = parse_key(key)
    return f"{row_label(key)}{f', {parsed.kind.unit}' if parsed and parsed.kind.unit else ''}"


def meaning(scores: Scores, key: str, kind: ScoreKind) -> str:
    """What a kind of score says, and what a perfect code has on these factors where that is below 0.99."""
    ceiling = scores.details.get("disentanglement", {}).get("ceilings", {}).get(key, 1.0)
    return f"{kind.text} A perfect code has {formatted(key, ceiling)} here." if ceiling < _NEAR_ONE else kind.text


def score_lines(scores: Scores) -> list[str]:
    """All scores by group with their 95% intervals, what each kind means, and what few images do to them."""
    lines: list[str] = []
    remarks: set[str] = set()
    parsed = {key: name for key in in_order(list(scores.scores)) if (name := parse_key(key))}
    for group in GROUPS:
        explained = None
        for key, name in parsed.items():
            if name.kind.group != group:
                continue
            lines += [group] if explained is None else []
            value = f"{formatted(key, scores.scores[key].value)}{f' {name.kind.unit}' if name.kind.unit else ''}"
            text = "" if name.kind.text == explained else meaning(scores, key, name.kind)
            explained = name.kind.text
            shown = interval(key, scores.scores[key])
            beyond = beyond_real(key, scores)
            text = f"{BEYOND_MARK.upper()}. {text}" if beyond else text
            remarks |= {f"{BEYOND_MARK}: {BEYOND_REAL}"} if beyond else set()
            lines.append(f"  {row_label(key):<{_LABEL}} {value:>12}  {shown:<18}  {text}".rstrip())
        found = scores.details.get("disentanglement", {}) if explained is not None and group == "factors" else {}
        if found.get("trained_on"):
            lines.append(f"  of {found['images']:,} images of all splits, {found['trained_on']:,} of them trained on")
    lines += remarks
    measured = {name.kind for name in parsed.values()}
    count = min(scores.images, scores.samples)
    if KINDS["kid"] in measured and 0 < count < FEW:
        lines.append(
            f"few images: of {count:,} on a side, kernel distances scatter widely, as their intervals say, and Fréchet "
            "distances are too large; score more images and samples"
        )
    if KINDS["mutual_information_score"] in measured and 0 < scores.images < FEW:
        excess = (BINS - 1) ** 2 / (2 * scores.images)
        lines.append(
            f"few images: the mutual information of latents from {scores.images:,} is too large by up to about "
            f"{excess:.2f} nats; score more images"
        )
    for what, reason in scores.details.get("left out", {}).items():
        lines.append(f"left out: {what}: {reason}")
    return lines


def estimate_lines(found: Estimates) -> list[str]:
    """What was estimated, of what, and what limits it."""
    lines = [
        f"{found.images} images of {found.split} ({found.source}), {found.importance_samples} draws each, "
        f"seed {found.seed}",
        "averages over images and their standard errors, in nats per image",
        _line("log-likelihood", found.log_likelihood_nats, "at least; more draws tighten it"),
        _line("  effective draws", found.effective_samples, f"of {found.importance_samples}"),
        _line("ELBO", found.elbo_nats, "-distortion - rate"),
        _line("distortion", found.distortion_nats),
        _line("rate", found.rate_nats),
        _line(
            "  mutual information",
            found.mutual_information_nats,
            f"between latents and image; can be at most log {found.images} = "
            f"{found.mutual_information_ceiling_nats:.2f} here",
        ),
        _line(
            "  total correlation",
            found.total_correlation_nats,
            "no measure of dependence here, see below" if found.saturated else "between the latents",
        ),
        _line(
            "    and at least", found.total_correlation_bound_nats, "by a density of the draws; log N does not bound it"
        ),
        _line("  dimension-wise KL", found.dimension_wise_kl_nats, "of single latents from the prior"),
    ]
    if found.log_likelihood_bits_per_dim is not None and found.elbo_bits_per_dim is not None:
        lines += [
            "bits per dimension",
            _line("-log-likelihood", found.log_likelihood_bits_per_dim, "at most"),
            _line("-ELBO", found.elbo_bits_per_dim),
        ]
    lines.append(
        f"active latents: {found.active_latents} of {len(found.latent_rate_nats)} by their rate, {found.active_units} "
        "by the variance of their mean"
    )
    lines += _latent_lines(found)
    if found.saturated:
        lines.append(
            f"mutual information is at its ceiling: the latents tell all {found.images} images apart, so the total "
            "correlation is the rate less log N, whatever the latents know about each other"
        )
    if found.likelihood == "bernoulli":
        lines.append(
            "bernoulli: the cross-entropy of grey pixels is not a density: compare these with Bernoulli models only"
        )
    return lines


def _line(label: str, value: Average, note: str = "") -> str:
    digits = 4 if abs(value.mean) < 10 and value.standard_error < 0.01 else 2
    return f"  {label:<20} {value.mean:>12.{digits}f} ± {value.standard_error:<8.{digits}f} {note}".rstrip()


def _latent_lines(found: Estimates) -> list[str]:
    """A line for each latent that says anything: what it costs, and what that buys."""
    lines = ["latents by rate: what each costs, and how much the distortion rises without it, in nats"]
    rates = found.latent_rate_nats
    alive = sorted(np.flatnonzero(active_latents(rates)).tolist(), key=lambda latent: -rates[latent])
    shown, rest = alive[:_SHOWN_LATENTS], alive[_SHOWN_LATENTS:]
    lines += [f"  {latent:>4} {rates[latent]:>9.2f} {found.latent_distortion_nats[latent]:>9.2f}" for latent in shown]
    if rest:
        total = sum(rates[latent] for latent in rest)
        lines.append(f"  and {len(rest)} more, with {total:.2f} nats of rate together")
    return lines if alive else []
