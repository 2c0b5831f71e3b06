"""What training minimises, in nats per image: -log p(x|z) and the regulariser of a variant.

The terms are averages over the batch of sums over pixels, channels and latents, so the weight of the KL means the same
for every likelihood, size and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from corolla.config import ObjectiveConfig, ObjectiveName
from corolla.models.lite0 import PerceptualDistance
from corolla.objectives.adversarial import AdversarialCorrelation, Discriminator
from corolla.objectives.aggregate import DecomposedRate, MomentMatching, PriorMatching
from corolla.objectives.rate import Capacity, ControlledRate, Controller, FreeBits, NoRate, WeightedRate
from corolla.objectives.seam import Companion, LossTerms, Objective, Regulariser

__all__ = ["AUTO_ENCODERS", "OBJECTIVES", "Companion", "LossTerms", "Objective", "Regulariser", "build_objective"]


AUTO_ENCODERS: tuple[ObjectiveName, ...] = ("ae", "dae")
"""The objectives whose decoder sees the mean of q(z|x) and never a draw; its variance means nothing there."""


def _control(config: ObjectiveConfig, _latent_dim: int) -> tuple[Regulariser, Companion]:
    controller = Controller(
        config.target_nats, config.control_proportional, config.control_integral, config.control_max_beta
    )
    return ControlledRate(controller), controller


def _factor(config: ObjectiveConfig, latent_dim: int) -> tuple[Regulariser, Companion]:
    discriminator = Discriminator(
        latent_dim, config.discriminator_width, config.discriminator_layers, config.discriminator_learning_rate
    )
    return AdversarialCorrelation(_set(config.gamma), discriminator), discriminator


def _set(value: float | None) -> float:
    assert value is not None, "config.filled sets it"
    return value


OBJECTIVES: Mapping[ObjectiveName, Callable[[ObjectiveConfig, int], Regulariser | tuple[Regulariser, Companion]]] = {
    "ae": lambda _config, _latent_dim: NoRate(),
    "dae": lambda _config, _latent_dim: NoRate(),
    "vae": lambda _config, _latent_dim: WeightedRate(1.0),
    "beta_vae": lambda config, _latent_dim: WeightedRate(config.beta),
    "capacity_vae": lambda config, _latent_dim: Capacity(
        _set(config.gamma), config.capacity_nats, config.capacity_steps
    ),
    "free_bits": lambda config, _latent_dim: FreeBits(config.free_nats),
    "control_vae": _control,
    "beta_tcvae": lambda config, _latent_dim: DecomposedRate(
        _set(config.alpha), config.beta, _set(config.gamma), config.tc_estimator
    ),
    "factor_vae": _factor,
    "dip_vae_i": lambda config, _latent_dim: MomentMatching(
        config.lambda_offdiagonal, _set(config.lambda_diagonal), "means"
    ),
    "dip_vae_ii": lambda config, _latent_dim: MomentMatching(
        config.lambda_offdiagonal, _set(config.lambda_diagonal), "aggregate"
    ),
    "info_vae": lambda config, _latent_dim: PriorMatching(_set(config.alpha), config.lambda_mmd, config.kernel),
}


def build_objective(config: ObjectiveConfig, latent_dim: int) -> Objective:
    """The objective that a configuration names. A discriminator's weights are drawn from torch's global generator.

    Raises:
        UsageError: it has a perceptual term, and the extra `perceptual` is not installed.
    """
    config = config.filled
    built = OBJECTIVES[config.name](config, latent_dim)
    regulariser, companion = built if isinstance(built, tuple) else (built, None)
    return Objective(
        regulariser,
        stochastic=config.name not in AUTO_ENCODERS,
        warmup_steps=config.warmup_steps,
        cycle_steps=config.cycle_steps,
        companion=companion,
        perceptual=config.perceptual,
        perceptual_after=config.perceptual_after,
        distance=PerceptualDistance(for_training=True) if config.perceptual else None,
    )
