"""What a training step of each objective, and of each likelihood, costs beside the plain VAE's.

All of them take their steps in turns, one each, on the same images with the network, batch and precision of a preset;
so the machine's moods meet them alike, and the ratio of the medians is what counts.

    python dev.py bench cost
    python dev.py bench cost --preset flowers --steps 100
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch

from corolla.config import Config, preset, registered
from corolla.data.florets import render, sample_factors
from corolla.models.vae import build_model
from corolla.objectives.loss import build_loss
from corolla.training import resolve
from environment import describe, markdown_table


@dataclass
class Contender:
    """One configuration with its model and optimiser, and the seconds of its steps."""

    config: Config
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.vae = build_model(self.config).train()
        self.loss = build_loss(self.config.objective, self.config.network.latent_dim)
        self.optimizer = torch.optim.AdamW(self.vae.parameters(), lr=1e-4, fused=True)

    def step(self, x: torch.Tensor, number: int) -> None:
        """One optimiser step, as training makes it."""
        mixed = self.config.training.precision == "bf16-mixed"
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            q = self.vae.encode(x)
            z = q.sample() if not self.config.objective.auto_encoder else q.mean
            terms = self.loss(x, q, z, self.vae.decode(z, x), number, 1000)
        self.optimizer.zero_grad()
        terms.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.loss.companion is not None:
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                self.loss.companion.update(z.detach(), terms.kl.detach())
        self.seconds.append(time.perf_counter() - start)


def measure(contenders: dict[str, Contender], x: torch.Tensor, steps: int) -> list[list[str]]:
    """A row for each contender; the first is what the others are compared with."""
    for number in range(steps + steps // 4):
        for contender in contenders.values():
            contender.step(x, number)
    middle = {name: median(contender.seconds[steps // 4 :]) for name, contender in contenders.items()}
    plain = next(iter(middle.values()))
    return [[name, f"{1000 * seconds:.1f}", f"{seconds / plain:.2f}"] for name, seconds in middle.items()]


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()

    base = resolve(preset(arguments.preset).updated({"data.source": "florets", "objective.warmup_steps": 0}))
    height, width = base.data.size
    batch_size = base.training.batch_size
    pixels = render(sample_factors(batch_size, np.random.default_rng(0)), height, width)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)
    names = ["vae", *(name for name in registered("objective") if name != "vae")]
    objectives = {name: Contender(base.updated({"objective.name": name})) for name in names}
    vae = base.updated({"objective.name": "vae"})
    likelihoods = {name: Contender(vae.updated({"likelihood.name": name})) for name in registered("likelihood")}
    print(describe())
    print(f"preset {arguments.preset}, {base.training.precision}, batches of {batch_size}")
    for title, contenders in (("objective", objectives), ("likelihood, with vae", likelihoods)):
        print()
        print(markdown_table([title, "ms a step", "ratio"], measure(contenders, x, arguments.steps)))


if __name__ == "__main__":
    main()
