"""Encoders and decoders: tensors to tensors, nothing of pixels or probability.

An encoder maps images (N×C×H×W) to the mean and the log-variance of q(z|x), each N×latent_dim. A decoder maps latents
(N×latent_dim) to a raw output (N×out_channels×H×W) that only the likelihood interprets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corolla.errors import UsageError


@dataclass(frozen=True)
class Shape:
    """What a pair of networks connects: image size in pixels, channels in and out, number of latents."""

    height: int
    width: int
    latent_dim: int
    channels: int = 3
    out_channels: int = 3


class _Gaussian(nn.Module):
    """A trunk and two linear heads: features to the mean and log-variance of q(z|x)."""

    def __init__(self, trunk: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.mean = nn.Linear(features, latent_dim)
        self.logvar = nn.Linear(features, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return self.mean(features), self.logvar(features)


# --- notebook: the study notebook's network ---------------------------------------------------------------------------


def notebook(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Two valid 5×5 convolutions, 16 and 32 channels, and their mirror image; any size of at least 9×9 pixels.

    GELU in its tanh approximation after each layer but the last, Xavier-uniform weights. The study's final sigmoid
    belongs to the likelihood here: the decoder's output is its logit.
    """
    height, width = shape.height - 8, shape.width - 8
    if height < 1 or width < 1:
        raise UsageError(
            f"size {shape.height}x{shape.width}: the notebook network needs at least 9x9 pixels; choose a larger size"
        )
    features = 32 * height * width
    trunk = nn.Sequential(
        nn.Conv2d(shape.channels, 16, 5),
        nn.GELU(approximate="tanh"),
        nn.Conv2d(16, 32, 5),
        nn.GELU(approximate="tanh"),
        nn.Flatten(),
    )
    encoder = _Gaussian(trunk, features, shape.latent_dim)
    decoder = nn.Sequential(
        nn.Linear(shape.latent_dim, features),
        nn.GELU(approximate="tanh"),
        nn.Unflatten(1, (32, height, width)),
        nn.ConvTranspose2d(32, 16, 5),
        nn.GELU(approximate="tanh"),
        nn.ConvTranspose2d(16, shape.out_channels, 5),
    )
    for network in (encoder, decoder):
        network.apply(_xavier_uniform)
    return encoder, decoder


def _xavier_uniform(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)


# --- burgess: the standard pair of the disentanglement literature -----------------------------------------------------


def burgess(shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Four stride-2 4×4 convolutions of 32 channels and two layers of 256 units, mirrored; 64×64 images only.

    Source: Burgess et al. 2018, Understanding disentangling in β-VAE, arXiv 1804.03599, appendix A.
    """
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
    return _Gaussian(trunk, 256, shape.latent_dim), decoder


# --- resnet: the default ----------------------------------------------------------------------------------------------


class _Block(nn.Module):
    """Pre-activation residual block; its last layer starts at zero, so that a deep stack starts as the identity."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        total: Tensor = x + h
        return total


class _Upsample(nn.Module):
    """Nearest-neighbour enlargement to a given size, which undoes a stride-2 convolution of odd sizes too."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = F.interpolate(x, size=self.size, mode="nearest")
        return enlarged


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


def resnet(
    shape: Shape, *, width: int = 64, stages: int = 3, blocks: int = 1, patch: int = 4, dropout: float = 0.0
) -> tuple[nn.Module, nn.Module]:
    """Residual blocks with group normalisation between a patch-wise stem and a patch-wise head.

    The stem turns patches into channels and the head turns channels into patches, so nothing runs at full resolution.
    Each further stage halves the resolution and doubles the channels, up to four times the first. Height and width
    may differ; both must be divisible by the patch. Raises UsageError where they are not.
    """
    if shape.height % patch or shape.width % patch:
        raise UsageError(
            f"size {shape.height}x{shape.width}: not divisible by the patch of {patch} pixels; "
            f"choose multiples of {patch}, or another network.patch"
        )
    grids = [(shape.height // patch, shape.width // patch)]
    for _ in range(stages - 1):
        grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))
    channels = [width * min(2**stage, 4) for stage in range(stages)]

    down: list[nn.Module] = [nn.Conv2d(shape.channels, channels[0], patch, stride=patch)]
    for stage in range(stages):
        if stage:
            down.append(nn.Conv2d(channels[stage - 1], channels[stage], 3, stride=2, padding=1))
        down += [_Block(channels[stage], dropout) for _ in range(blocks)]
    features = channels[-1] * grids[-1][0] * grids[-1][1]
    trunk = nn.Sequential(*down, _norm(channels[-1]), nn.SiLU(), nn.Flatten())

    up: list[nn.Module] = [nn.Linear(shape.latent_dim, features), nn.Unflatten(1, (channels[-1], *grids[-1]))]
    for stage in reversed(range(stages)):
        up += [_Block(channels[stage], dropout) for _ in range(blocks)]
        if stage:
            up += [nn.Conv2d(channels[stage], channels[stage - 1], 1), _Upsample(*grids[stage - 1])]
    up += [
        _norm(channels[0]),
        nn.SiLU(),
        nn.Conv2d(channels[0], shape.out_channels * patch**2, 3, padding=1),
        nn.PixelShuffle(patch),
    ]
    return _Gaussian(trunk, features, shape.latent_dim), nn.Sequential(*up)


NETWORKS: Mapping[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "notebook": notebook,
    "burgess": burgess,
    "resnet": resnet,
}


def channels_last(module: nn.Module) -> None:
    """Lay a module's 4-dimensional weights out in channels-last memory, as batches are."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
