"""A prior of your own: each latent has a Student-t distribution, whose tails are heavier than a Gaussian's.

corolla --plugin examples/own_prior.py fit-prior runs/quick student --set degrees=5
corolla --plugin examples/own_prior.py sample runs/quick --prior student -o samples.png
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import corolla


class StudentT(nn.Module):
    """Independent Student-t distributions, count×latent_dim; scales are those of the density, not the deviation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int, degrees: int) -> None:
        super().__init__()
        self.degrees = degrees
        self.register_buffer("mean", torch.zeros(latent_dim, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(latent_dim, dtype=torch.float64))

    @property
    def options(self) -> dict[str, Any]:
        """The settings, to be saved."""
        return {"degrees": self.degrees}

    def sample(self, count: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """A Gaussian draw over the root of the mean square of ν others."""
        normal = torch.randn(count, len(self.mean), 1 + self.degrees, generator=generator, dtype=torch.float64)
        spread = (normal[..., 1:] ** 2).mean(-1).sqrt()
        return (self.mean + temperature * self.scale * normal[..., 0] / spread).float()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats."""
        return torch.distributions.StudentT(self.degrees, self.mean, self.scale).log_prob(z.double()).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""
        return self.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was saved."""
        self.load_state_dict(tensors)


@corolla.register
class Student(corolla.Prior):
    """A Student-t distribution of each latent, with the mean and variance of the codes."""

    title: ClassVar[str] = "independent Student-t distributions"

    name: Literal["student"] = "student"
    degrees: int = Field(5, ge=3, description="degrees of freedom")

    def build(self, latent_dim: int) -> StudentT:
        """Of mean 0 and scale 1."""
        return StudentT(latent_dim, self.degrees)

    def fit(self, codes: Tensor, **_: Any) -> StudentT:
        """By moments: the variance of a Student-t is scale²·ν/(ν - 2)."""
        z = codes.double().flatten(0, -2)
        prior = self.build(z.shape[1])
        prior.mean, prior.scale = z.mean(0), z.std(0) * ((self.degrees - 2) / self.degrees) ** 0.5
        return prior
