"""What an objective says of its weights: which β it amounts to, and what presses on the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from corolla.config import Config, ObjectiveConfig

WITHOUT_CODE_LENGTH = ("ae", "dae")
"""Objectives whose codes are points: their KL is reported but means nothing."""
TAKES_BETA = ("beta_vae", "beta_tcvae")
"""Objectives that read `objective.beta`."""


def beta_of(objective: ObjectiveConfig, rows: Sequence[Mapping[str, str]] = ()) -> float | None:
    """The β that an objective amounts to, as a weight of the KL in nats per image.

    For beta_tcvae it weighs the total correlation only. For control_vae it is what the controller has come to, from the
    last of the rows of `metrics.csv`. None where there is no such number: capacity_vae, or no rows.
    """
    if objective.name in WITHOUT_CODE_LENGTH:
        return 0.0
    if objective.name == "capacity_vae":
        return None
    if objective.name == "control_vae":
        return float(rows[-1]["beta"]) if rows and rows[-1].get("beta") else None
    if objective.name == "info_vae":
        return 1.0 - (objective.filled.alpha or 0.0)
    return objective.beta if objective.name in TAKES_BETA else 1.0


def normalised_beta(config: Config, beta: float | None) -> float | None:
    """β·latent_dim / (pixel values), so that sizes can be compared (Higgins et al. 2017, sec. 4.2)."""
    height, width = config.data.size
    return None if beta is None else beta * config.network.latent_dim / (3 * height * width)


def weights_in_words(objective: ObjectiveConfig, beta: float | None) -> str:
    """What presses on the code, e.g. "beta 4" or "KL led to 25 nats"."""
    filled = objective.filled
    found = "" if beta is None else f", for which it has come to beta {beta:.3g}"
    phrases: dict[str, Callable[[], str]] = {
        "ae": lambda: "no KL",
        "dae": lambda: "no KL",
        "capacity_vae": lambda: f"KL led to {filled.capacity_nats:g} nats, gamma {filled.gamma:g}",
        "free_bits": lambda: f"beta 1, {filled.free_nats:g} nats of each latent free",
        "control_vae": lambda: f"KL held at {filled.target_nats:g} nats{found}",
        "beta_tcvae": lambda: (
            f"mutual information x {filled.alpha:g}, total correlation x {filled.beta:g} (its beta), "
            f"dimension-wise KL x {filled.gamma:g}"
        ),
        "factor_vae": lambda: f"beta 1, total correlation x {filled.gamma:g} more",
        "dip_vae_i": lambda: _dip(filled),
        "dip_vae_ii": lambda: _dip(filled),
        "info_vae": lambda: f"beta {beta or 0:g}, divergence x {(filled.alpha or 0) + filled.lambda_mmd - 1:g}",
    }
    return phrases.get(objective.name, lambda: f"beta {beta:g}")()


def _dip(filled: ObjectiveConfig) -> str:
    return f"beta 1, covariances x {filled.lambda_offdiagonal:g}, variances x {filled.lambda_diagonal:g}"
