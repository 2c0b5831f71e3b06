"""The command that estimates: how likely images are under a model, and what its latents know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corolla.cli.output import out
from corolla.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from corolla.config import Config
    from corolla.evaluation.estimates import Average, Estimates
    from corolla.progress import OnProgress

_NEAR_CEILING_NATS = 0.5
_SHOWN_LATENTS = 16

_WITHOUT_DENSITY = "the cross-entropy of grey pixels is not a density: compare these with Bernoulli models only"


def estimate(
    model: Path,
    /,
    *,
    split: str | None = None,
    importance_samples: int = 100,
    count: int | None = None,
    seed: int = 0,
) -> None:
    """Estimate the likelihood of images, and what the latents know about them and about each other.

    Args:
        model: Run folder or model folder.
        split: Splits of the model's images, joined by +; by default those it was evaluated on.
        importance_samples: Draws for each image: more give a tighter bound on the likelihood, and take longer.
        count: At most so many images, spread over the split.
        seed: Fixes the draws.
    """
    if importance_samples < 1:
        raise UsageError(f"--importance-samples {importance_samples}: give at least 1")
    if count is not None and count < 2:
        raise UsageError(f"--count {count}: give at least 2; averages need them")
    from corolla.evaluation import estimates
    from corolla.trained import load

    trained = load(model)
    config = trained.config
    if config.objective.auto_encoder:
        raise UsageError(
            f"{model}: an auto-encoder ({config.objective.name}) has no distribution over latents or images to "
            "estimate; train with another objective, such as vae"
        )
    split = split or config.data.eval_split
    with out.progress() as progress:
        images, rows = _images(config, split, count, progress)
        found = estimates.estimate(
            trained.vae,
            images,
            rows,
            importance_samples=importance_samples,
            seed=seed,
            progress=progress,
        )
    noun = f"{found.images} images of {split} ({config.data.source}), {importance_samples} draws each, seed {seed}"
    out.lines([f"{model}: {noun}", *_lines(config, found)], **_facts(model, split, seed, config, found))


def _images(
    config: Config, split: str, count: int | None, progress: OnProgress | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images that a model was made for, and the rows of a split, or of `count` spread over it."""
    from corolla.data import select_rows, spread_rows
    from corolla.trained.own_images import open_images

    cache = open_images(config.data, progress=progress)
    rows = select_rows(cache.splits, split)
    return cache.images, rows if count is None else spread_rows(rows, count)


def _facts(path: Path, split: str, seed: int, config: Config, found: Estimates) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "path": str(path),
        "source": config.data.source,
        "split": split,
        "seed": seed,
        "likelihood": config.likelihood.name,
        **asdict(found),
        "active_latents": found.active_latents,
        "active_units": found.active_units,
    }


def _lines(config: Config, found: Estimates) -> list[str]:
    count = len(found.latent_rate_nats)
    lines = [
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
        _line("  total correlation", found.total_correlation_nats, "between the latents"),
        _line("  dimension-wise KL", found.dimension_wise_kl_nats, "of single latents from the prior"),
    ]
    if found.log_likelihood_bits_per_dim is not None and found.elbo_bits_per_dim is not None:
        lines += [
            "bits per dimension",
            _line("-log-likelihood", found.log_likelihood_bits_per_dim, "at most"),
            _line("-ELBO", found.elbo_bits_per_dim),
        ]
    lines.append(
        f"active latents: {found.active_latents} of {count} by their rate, {found.active_units} by the variance of "
        "their mean"
    )
    lines += _latent_lines(found)
    if found.mutual_information_ceiling_nats - found.mutual_information_nats.mean < _NEAR_CEILING_NATS:
        lines.append(
            f"mutual information is at its ceiling: the latents tell all {found.images} images apart, and the three "
            "parts of the rate depend on how many there are"
        )
    if config.likelihood.name == "bernoulli":
        lines.append(f"bernoulli: {_WITHOUT_DENSITY}")
    return lines


def _line(label: str, value: Average, note: str = "") -> str:
    digits = 4 if abs(value.mean) < 10 and value.standard_error < 0.01 else 2
    return f"  {label:<20} {value.mean:>12.{digits}f} ± {value.standard_error:<8.{digits}f} {note}".rstrip()


def _latent_lines(found: Estimates) -> list[str]:
    """A line for each latent that says anything: what it costs, and what that buys."""
    from corolla.distributions.posterior import active_latents

    lines = ["latents by rate: what each costs, and how much the distortion rises without it, in nats"]
    pairs = list(zip(found.latent_rate_nats, found.latent_distortion_nats, strict=True))
    ranked = sorted(range(len(pairs)), key=lambda latent: -pairs[latent][0])
    active = active_latents(found.latent_rate_nats)
    alive = [latent for latent in ranked if active[latent]]
    for latent in alive[:_SHOWN_LATENTS]:
        rate, rise = pairs[latent]
        lines.append(f"  {latent:>4} {rate:>9.2f} {rise:>9.2f}")
    if len(alive) > _SHOWN_LATENTS:
        rest = [pairs[latent] for latent in alive[_SHOWN_LATENTS:]]
        lines.append(f"  and {len(rest)} more, with {sum(rate for rate, _ in rest):.2f} nats of rate together")
    return lines if alive else []
