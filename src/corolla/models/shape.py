"""What an encoder and a decoder connect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What a pair of networks connects: image size in pixels, channels in and out, number of latents."""

    height: int
    width: int
    latent_dim: int
    channels: int = 3
    out_channels: int = 3
