"""Finished runs of a grid -> their numbers side by side, and in words which β they speak for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from corolla.metrics.names import TRAINING_SCORES
from corolla.sweeps.grid import Point, value_text
from corolla.trained.model_folder import ModelFolder
from corolla.trained.run_folder import csv_text
from corolla.training.advice import EARLY_STEPS, Finding, advise

BETA = "objective.beta"
_SHOWN = {"kl": "{:.1f}", "reconstruction": "{:.1f}", "psnr_db": "{:.2f} dB", "active_latents": "{:g}"}
_SENTENCES = {
    "collapsed": "The code has collapsed at beta {}: too large here, or in need of a warm-up.",
    "all latents needed": "All latents are needed at beta {}: more of them may help there.",
    "overfitting": "The training images are learnt by heart at beta {}.",
}


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, and the numbers of the model that it kept, on the evaluation split."""

    point: Point
    path: Path
    scores: Mapping[str, float]  # by the names of `metrics.csv`, and its `step`
    beta: float | None  # the weight of the KL that the objective amounts to, where there is such a number
    normalised_beta: float | None  # the same times latents over pixel values
    findings: tuple[Finding, ...]
    seconds: float  # spent in training steps


def read_result(point: Point, path: Path) -> Result:
    """The numbers of a finished run. Raises ModelError if its files are damaged."""
    folder = ModelFolder.find(path)
    card, rows = folder.card, folder.rows
    beta = card.config.objective.effective_beta(rows)
    return Result(
        point,
        path,
        {"step": card.step, **card.scores},
        beta,
        card.config.normalised_beta(beta),
        advise(card.config, card.scores, card.latent_kl_nats, rows, step=card.step or None),
        float(rows[-1]["train_seconds"]) if rows else 0.0,
    )


def table(results: Sequence[Result]) -> str:
    """One row for each run, as `sweep.csv` has it."""
    rows = [
        {
            "run": result.path.name,
            **{name: value_text(value) for name, value in result.point.values.items()},
            **result.scores,
            "beta": result.beta,
            "normalised_beta": result.normalised_beta,
            "findings": "; ".join(finding.kind for finding in result.findings),
            "train_seconds": result.seconds,
        }
        for result in results
    ]
    return csv_text(rows)


def point_rows(results: Sequence[Result]) -> list[dict[str, str]]:
    """A row for each point, texts by their headings; where there are several seeds, of the medians over them."""
    groups = grouped(results)
    seeds = max(map(len, groups), default=0)
    return [
        {
            **group[0].point.shown,
            **({"seeds": str(len(group))} if seeds > 1 else {}),
            **{TRAINING_SCORES[name].label: text.format(middle(group, name)) for name, text in _SHOWN.items()},
            "norm. beta": "" if group[0].normalised_beta is None else f"{group[0].normalised_beta:.3g}",
            "findings": ", ".join(kinds(group)),
        }
        for group in groups
    ]


def grouped(results: Sequence[Result]) -> list[list[Result]]:
    """The results of each point, its seeds together, in the order of the grid."""
    groups: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for result in results:
        groups.setdefault(result.point.group, []).append(result)
    return list(groups.values())


def middle(group: Sequence[Result], score: str) -> float:
    """The median of a score over the seeds of a point."""
    return median(result.scores[score] for result in group)


def kinds(group: Sequence[Result]) -> list[str]:
    """What is found in at least half of the seeds of a point."""
    found = [finding.kind for result in group for finding in result.findings]
    return [kind for kind in dict.fromkeys(found) if 2 * found.count(kind) >= len(group)]


def in_words(results: Sequence[Result]) -> list[str]:
    """Which β the numbers speak for, in plain words; a paragraph for each setting of the other axes."""
    series: dict[str, list[list[Result]]] = {}
    for group in grouped(results):
        point = group[0].point
        if BETA in point.values:
            others = ", ".join(f"{name}={text}" for name, text in point.group if name != BETA)
            series.setdefault(others, []).append(group)
    said = []
    for others, groups in series.items():
        ordered = sorted(groups, key=lambda group: group[0].point.values[BETA])
        if len(ordered) > 1:
            said.append(f"{others}: {_of_series(ordered)}" if others else _of_series(ordered))
    return said


def _of_series(groups: Sequence[Sequence[Result]]) -> str:
    """What one line of the rate-distortion curve says, from its smallest β to its largest."""
    if any("too early" in kinds(group) for group in groups):
        return f"With fewer than {EARLY_STEPS} steps it is too early to say anything of beta. Train for some thousands."
    sentences = []
    for kind, sentence in _SENTENCES.items():
        if betas := [value_text(_beta(group)) for group in groups if kind in kinds(group)]:
            sentences.append(sentence.format(" and ".join(filter(None, [", ".join(betas[:-1]), betas[-1]]))))
    useful = [group for group in groups if not {"collapsed", "overfitting"} & set(kinds(group))]
    if not useful:
        return " ".join([*sentences, "No beta of these can be recommended."])
    best = min(useful, key=_bound_nats)
    most = _beta(useful[-1])
    sentences.append(
        f"For faithful images and samples the numbers suggest beta {value_text(_beta(best))}: there a new image "
        f"costs least, distortion + rate = {_bound_nats(best):.1f} nats."
    )
    if best is groups[0] or best is groups[-1]:
        sentences.append(f"A {'smaller' if best is groups[0] else 'larger'} one may be better still.")
    if most > _beta(best):
        sentences.append(
            f"For fewer latents that each say more, go up to beta {value_text(most)}, the largest without alarm; "
            "whether they say separate things, look at with `corolla traverse`."
        )
    return " ".join(sentences)


def _bound_nats(group: Sequence[Result]) -> float:
    return median(result.scores["reconstruction"] + result.scores["kl"] for result in group)


def _beta(group: Sequence[Result]) -> float:
    return float(group[0].point.values[BETA])
