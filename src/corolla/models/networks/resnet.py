"""The default network: residual blocks between patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from corolla.config import Network, register
from corolla.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from corolla.models.blocks import Shape


@register
class ResNet(Network):
    """Residual blocks with group normalisation between a patch-wise stem and a patch-wise head.

    The stem turns patches into channels and the head turns channels into patches, so nothing runs at full resolution.
    Each further stage halves the resolution and doubles the channels, up to four times the first. Height and width
    may differ; both must be divisible by the patch. Raises UsageError where they are not.
    """

    name: Literal["resnet"] = "resnet"
    width: int = Field(64, ge=4, le=1024, description="channels of the first stage")
    stages: int = Field(2, ge=1, le=6, description="resolutions, each half of the one before")
    blocks: int = Field(1, ge=0, le=16, description="residual blocks per stage")
    patch: int = Field(8, ge=1, le=32, description="side of the stem's patches, in pixels")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="share of features dropped inside a block")

    def build(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder. Raises UsageError where the size does not fit."""
        from torch import nn

        from corolla.models.blocks import GaussianHead, ResidualBlock, norm

        width, stages, blocks, patch, dropout = self.width, self.stages, self.blocks, self.patch, self.dropout
        if shape.height % patch or shape.width % patch:
            remedy = f"choose multiples of {patch}, or another network.patch"
            raise UsageError(
                f"size {shape.height}x{shape.width}: not divisible by the patch of {patch} pixels; {remedy}"
            )
        # Half of the side before, rounded up.
        grids = [(-(-shape.height // side), -(-shape.width // side)) for side in (patch << i for i in range(stages))]
        channels = [width * min(2**stage, 4) for stage in range(stages)]

        down: list[nn.Module] = [nn.Conv2d(shape.channels, channels[0], patch, stride=patch)]
        for stage in range(stages):
            if stage:
                down.append(nn.Conv2d(channels[stage - 1], channels[stage], 3, stride=2, padding=1))
            down += [ResidualBlock(channels[stage], dropout) for _ in range(blocks)]
        features = channels[-1] * grids[-1][0] * grids[-1][1]
        trunk = nn.Sequential(*down, norm(channels[-1]), nn.SiLU(), nn.Flatten())

        up: list[nn.Module] = [nn.Linear(shape.latent_dim, features), nn.Unflatten(1, (channels[-1], *grids[-1]))]
        for stage in reversed(range(stages)):
            up += [ResidualBlock(channels[stage], dropout) for _ in range(blocks)]
            if stage:
                up += [nn.Conv2d(channels[stage], channels[stage - 1], 1), nn.Upsample(grids[stage - 1])]
        last = nn.Conv2d(channels[0], shape.out_channels * patch**2, 3, padding=1)
        decoder = nn.Sequential(*up, norm(channels[0]), nn.SiLU(), last, nn.PixelShuffle(patch))
        return GaussianHead(trunk, features, shape.latent_dim), decoder
