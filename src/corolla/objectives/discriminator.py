"""The discriminator of FactorVAE, which is trained beside the model and judges its total correlation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corolla.objectives.companions import Companion, average_over_processes

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
        loss = float(self.loss)
        if not loss < 1.5:
            return (
                f"the discriminator has diverged: its loss is {loss:.2f}, and guessing has 0.69; "
                "lower objective.discriminator_learning_rate"
            )
        if loss < 0.02:
            return (
                f"the discriminator is nearly always right (loss {loss:.3f}), so the total correlation is no longer "
                "known; raise objective.gamma, or lower objective.discriminator_learning_rate"
            )
        return None

    def get_extra_state(self) -> Any:
        """The optimiser's state, saved with the weights."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Put back the optimiser's state."""
        self.optimizer.load_state_dict(state)
