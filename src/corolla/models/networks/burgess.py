"""The standard pair of the disentanglement literature."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
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
            remedy = "use size 64, or the resnet network"
            raise UsageError(
                f"size {shape.height}x{shape.width}: the burgess network takes 64x64 images only; {remedy}"
            )

        def dense(*widths: int) -> list[nn.Module]:
            return [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]

        halve, double = (partial(kind, kernel_size=4, stride=2, padding=1) for kind in (nn.Conv2d, nn.ConvTranspose2d))
        down = [layer for channels in (shape.channels, 32, 32, 32) for layer in (halve(channels, 32), nn.ReLU())]
        trunk = nn.Sequential(*down, nn.Flatten(), *dense(512, 256, 256))
        up = [layer for _ in range(3) for layer in (double(32, 32), nn.ReLU())]
        first = [*dense(shape.latent_dim, 256, 256, 512), nn.Unflatten(1, (32, 4, 4))]
        decoder = nn.Sequential(*first, *up, double(32, shape.out_channels))
        return GaussianHead(trunk, 256, shape.latent_dim), decoder
