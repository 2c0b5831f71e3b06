"""The standard pair of the disentanglement literature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from corolla.config import Network, register
from corolla.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from corolla.models.blocks import Shape


@register
class Burgess(Network):
    """Four stride-2 4×4 convolutions of 32 channels and two layers of 256 units, mirrored; 64×64 images only.

    Source: Burgess et al. 2018, Understanding disentangling in β-VAE, arXiv 1804.03599, appendix A.
    """

    name: Literal["burgess"] = "burgess"

    def build(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder. Raises UsageError where the size does not fit."""
        from torch import nn

        from corolla.models.blocks import GaussianHead

        if (shape.height, shape.width) != (64, 64):
            raise UsageError(
                f"size {shape.height}x{shape.width}: the burgess network takes 64x64 images only; "
                "use size 64, or the resnet network"
            )
        down: list[nn.Module] = []
        for channels in (shape.channels, 32, 32, 32):
            down += [nn.Conv2d(channels, 32, 4, stride=2, padding=1), nn.ReLU()]
        trunk = nn.Sequential(*down, nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        up: list[nn.Module] = []
        for _ in range(3):
            up += [nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.ReLU()]
        decoder = nn.Sequential(
            nn.Linear(shape.latent_dim, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 512),
            nn.ReLU(),
            nn.Unflatten(1, (32, 4, 4)),
            *up,
            nn.ConvTranspose2d(32, shape.out_channels, 4, stride=2, padding=1),
        )
        return GaussianHead(trunk, 256, shape.latent_dim), decoder
