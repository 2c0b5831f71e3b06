"""Regularisers that weigh the rate, KL(q(z|x) ‖ N(0, I)): from none at all to one that is held at a wished value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from corolla.distributions import DiagonalGaussian
from corolla.objectives.seam import Companion, average_over_processes


@dataclass(frozen=True)
class NoRate:
    """Nothing: the auto-encoder and the denoising auto-encoder, whose codes are points.

    The KL takes part with weight 0, so that the encoder's log-variance, which nothing uses, has a gradient: zero.
    """

    def __call__(self, q: DiagonalGaussian, _z: Tensor, _step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """0·KL."""
        return {"kl": 0.0 * q.kl().mean()}


@dataclass(frozen=True)
class WeightedRate:
    """β·KL(q(z|x) ‖ N(0, I)) (Higgins et al. 2017, eq. 4); β = 1 is the VAE of Kingma & Welling 2014."""

    beta: float = 1.0

    def __call__(self, q: DiagonalGaussian, _z: Tensor, _step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """β·KL in nats per image."""
        return {"kl": self.beta * q.kl().mean()}


@dataclass(frozen=True)
class Capacity:
    """γ·|KL - C(step)|, where C grows linearly to `capacity_nats` (Burgess et al. 2018, arXiv 1804.03599, eq. 8)."""

    gamma: float
    capacity_nats: float
    capacity_steps: int

    def __call__(self, q: DiagonalGaussian, _z: Tensor, step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """γ·|KL - C(step)| in nats per image, of the batch's mean KL."""
        share = 1.0 if step is None else min(1.0, step / self.capacity_steps)
        capacity = share * self.capacity_nats
        return {"capacity": self.gamma * (q.kl().mean() - capacity).abs()}


@dataclass(frozen=True)
class FreeBits:
    """Σ_j max(λ, KL_j), KL_j averaged over the batch (Kingma et al. 2016, arXiv 1606.04934, appendix C.8).

    A latent whose KL is below λ = `free_nats` costs the same whatever it says, so nothing pushes it to say less.
    """

    free_nats: float

    def __call__(self, q: DiagonalGaussian, _z: Tensor, _step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """Σ_j max(λ, KL_j) in nats per image."""
        return {"kl": q.kl_per_latent().mean(0).clamp_min(self.free_nats).sum()}


class Controller(Companion):
    """The non-linear PI controller of ControlVAE (Shao et al. 2020, arXiv 2004.05988, eq. 5 and algorithm 1).

    With the error e = target - KL of a step, β = K_p / (1 + exp(e)) - K_i·Σe, kept in [0, max_beta]. So is the part of
    the sum: while β is at a bound, a sum that ran on would have to be worked off later.
    """

    beta: Tensor
    integral: Tensor
    kl: Tensor

    def __init__(self, target_nats: float, proportional: float, integral: float, max_beta: float) -> None:
        super().__init__()
        self.target_nats, self.max_beta = target_nats, max_beta
        self.proportional_gain, self.integral_gain = proportional, integral
        self.register_buffer("beta", torch.tensor(0.0))
        self.register_buffer("integral", torch.tensor(0.0))
        self.register_buffer("kl", torch.tensor(0.0))  # moving average, to tell how it goes

    @torch.no_grad()
    def update(self, z: Tensor, kl: Tensor) -> None:  # noqa: ARG002
        """Move β after a step whose KL was `kl` nats per image."""
        kl = kl.clone()
        average_over_processes([kl])
        error = self.target_nats - kl
        self.integral.add_(error).clamp_(-self.max_beta / self.integral_gain, 0.0)
        output = self.proportional_gain * torch.sigmoid(-error) - self.integral_gain * self.integral
        self.beta.copy_(output.clamp(0.0, self.max_beta))
        self.kl.lerp_(kl, 0.05)

    def report(self) -> dict[str, float]:
        """The β that the controller has found."""
        return {"beta": float(self.beta)}

    def complaint(self) -> str | None:
        """Whether β is at a bound, where it cannot bring the KL to its target."""
        beta, kl, wished = float(self.beta), float(self.kl), f"the target of {self.target_nats:g} nats"
        if beta >= self.max_beta and kl > 1.1 * self.target_nats:
            return (
                f"the controller is at its largest beta, {beta:g}, and the KL of {kl:.1f} nats is above {wished}; "
                "raise objective.target_nats or objective.control_max_beta"
            )
        if beta <= self.proportional_gain and kl < 0.9 * self.target_nats:
            return (
                f"the controller is at beta {beta:.2g}, and the KL of {kl:.1f} nats is below {wished}; "
                "train longer, lower objective.target_nats or take more latents"
            )
        return None


@dataclass(frozen=True)
class ControlledRate:
    """β·KL with the β at which the KL comes to a wished value; a controller finds it while the model learns."""

    controller: Controller

    def __call__(self, q: DiagonalGaussian, _z: Tensor, _step: int | None, _data_size: int, /) -> Mapping[str, Tensor]:
        """β·KL in nats per image, with the controller's present β."""
        return {"kl": self.controller.beta * q.kl().mean()}
