"""What encoders and decoders connect, and their pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """What a pair of networks connects: image size in pixels, channels in and out, number of latents."""

    height: int
    width: int
    latent_dim: int
    channels: int = 3
    out_channels: int = 3


class GaussianHead(nn.Module):
    """A trunk and two linear heads: features to the mean and log-variance of q(z|x)."""

    def __init__(self, trunk: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.mean = nn.Linear(features, latent_dim)
        self.logvar = nn.Linear(features, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each N×latent_dim."""
        features = self.trunk(x)
        return self.mean(features), self.logvar(features)


class ResidualBlock(nn.Module):
    """Pre-activation residual block; its last layer starts at zero, so that a deep stack starts as the identity."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x.add(self.conv2(self.dropout(F.silu(self.norm2(h)))))


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in eight groups, or as many as divide the channels."""
    return nn.GroupNorm(math.gcd(8, channels), channels)
