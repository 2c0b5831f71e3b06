"""What an objective learns beside the model: a discriminator, a controller; each with a step of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Companion(nn.Module, ABC):
    """A module with a step of its own; what it holds is saved in checkpoints, but is no part of the model."""

    @abstractmethod
    def update(self, z: Tensor, kl: Tensor) -> None:
        """Learn from the step that the model has just made: its latents N×latent_dim, detached, and its mean KL."""

    def report(self) -> dict[str, float]:
        """Numbers for the record of the run."""
        return {}

    def complaint(self) -> str | None:
        """What is going wrong, in one line with the remedy, or None. Waits for the device."""
        return None


def average_over_processes(values: list[Tensor]) -> None:
    """Replace each value by its mean over the processes that train together, so that their companions stay alike."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for value in values:
            torch.distributed.all_reduce(value)
            value /= torch.distributed.get_world_size()


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
        beta, kl = float(self.beta), float(self.kl)
        reached, target = f"the KL of {kl:.1f} nats is", f"the target of {self.target_nats:g} nats"
        if beta >= self.max_beta and kl > 1.1 * self.target_nats:
            remedy = "raise objective.target_nats or objective.control_max_beta"
            return f"the controller is at its largest beta, {beta:g}, and {reached} above {target}; {remedy}"
        if beta <= self.proportional_gain and kl < 0.9 * self.target_nats:
            remedy = "train longer, lower objective.target_nats or take more latents"
            return f"the controller is at beta {beta:.2g}, and {reached} below {target}; {remedy}"
        return None


REAL, PERMUTED = 0, 1


def permute_latents(z: Tensor) -> Tensor:
    """Each latent's values shuffled over the batch by itself: draws from ∏_j q(z_j) (Kim & Mnih 2018, algorithm 1)."""
    return z.gather(0, torch.rand_like(z).argsort(0))


class Discriminator(Companion):
    """Tells draws of q(z) from draws of ∏_j q(z_j) (Kim & Mnih 2018, arXiv 1802.05983, section 3 and appendix A).

    It compares the latents of one half of the batch, as they are, with permuted latents of the other half: two
    different batches, as the paper asks, without encoding images only for this. It never moves the encoder: its latents
    come detached. With 5 hidden layers of 1000 units it is the paper's: leaky ReLU 0.2, Adam with β₁ = 0.5, β₂ = 0.9.
    """

    loss: Tensor

    def __init__(self, latent_dim: int, width: int, layers: int, learning_rate: float) -> None:
        super().__init__()
        sizes = pairwise([latent_dim] + [width] * layers)
        hidden = [layer for size in sizes for layer in (nn.Linear(*size), nn.LeakyReLU(0.2))]
        self.net = nn.Sequential(*hidden, nn.Linear(width, 2))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=learning_rate, betas=(0.5, 0.9), fused=True)
        self.register_buffer("loss", torch.tensor(0.6931))  # moving average; that of guessing is ln 2

    def log_ratio(self, z: Tensor) -> Tensor:
        """The log-ratio log q(z) - log ∏_j q(z_j) of points, N, as it has it; without gradients to its weights."""
        weights = {name: value.detach() for name, value in self.net.named_parameters()}
        logits: Tensor = torch.func.functional_call(self.net, weights, (z,))
        return (logits[:, REAL] - logits[:, PERMUTED]).to(z.dtype)

    def update(self, z: Tensor, kl: Tensor) -> None:
        """One step of the discriminator. A batch of fewer than four images is left out: there is nothing to permute."""
        half = len(z) // 2
        if half < 2:
            return
        points = torch.cat([z[:half], permute_latents(z[half : 2 * half])])
        labels = torch.tensor([REAL, PERMUTED], device=z.device).repeat_interleave(half)
        with torch.enable_grad():
            loss = F.cross_entropy(self.net(points).to(z.dtype), labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        average_over_processes([loss, *(p.grad for p in self.net.parameters() if p.grad is not None)])
        self.optimizer.step()
        self.loss.lerp_(loss.to(self.loss), 0.02)

    def report(self) -> dict[str, float]:
        """The moving average of its cross-entropy, in nats; guessing costs ln 2 = 0.69."""
        return {"discriminator_loss": float(self.loss)}

    def complaint(self) -> str | None:
        """Whether it has diverged, or is always right and so says nothing of how far the latents are dependent."""
        loss, slower = float(self.loss), "lower objective.discriminator_learning_rate"
        if not loss < 1.5:
            return f"the discriminator has diverged: its loss is {loss:.2f}, and guessing has 0.69; {slower}"
        if loss < 0.02:
            right = f"the discriminator is nearly always right (loss {loss:.3f})"
            return f"{right}, so the total correlation is no longer known; raise objective.gamma, or {slower}"
        return None

    def get_extra_state(self) -> Any:
        """The optimiser's state, saved with the weights."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Put back the optimiser's state."""
        self.optimizer.load_state_dict(state)
