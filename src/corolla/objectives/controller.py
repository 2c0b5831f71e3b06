"""The controller of ControlVAE, which finds the β at which the KL comes to a target."""

from __future__ import annotations

import torch
from torch import Tensor

from corolla.objectives.companions import Companion, average_over_processes


class Controller(Companion):
    """The non-linear PI controller of ControlVAE (Shao et al. 2020, arXiv 2004.05988, eq. 5 and algorithm 1).

    With the error e = target - KL of a step, β = K_p / (1 + exp(e)) - K_i·Σe, kept in [0, max_beta]. So is the part of
    the sum: while β is at a bound, a sum that ran on would have to be worked off later.
    """

    beta: Tensor
    integral: Tensor
    kl: Tensor  # a moving average

    def __init__(self, target_nats: float, proportional: float, integral: float, max_beta: float) -> None:
        super().__init__()
        self.target_nats, self.max_beta = target_nats, max_beta
        self.proportional_gain, self.integral_gain = proportional, integral
        for name in ("beta", "integral", "kl"):
            self.register_buffer(name, torch.tensor(0.0))

    @torch.no_grad()
    def update(self, z: Tensor, kl: Tensor) -> None:
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
        beta, kl, target = float(self.beta), float(self.kl), f"the target of {self.target_nats:g} nats"
        if beta >= self.max_beta and kl > 1.1 * self.target_nats:
            return (
                f"the controller is at its largest beta, {beta:g}, and the KL of {kl:.1f} nats is above {target}; "
                "raise objective.target_nats or objective.control_max_beta"
            )
        if beta <= self.proportional_gain and kl < 0.9 * self.target_nats:
            return (
                f"the controller is at beta {beta:.2g}, and the KL of {kl:.1f} nats is below {target}; "
                "train longer, lower objective.target_nats or take more latents"
            )
        return None
