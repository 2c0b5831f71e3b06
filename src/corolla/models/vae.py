"""The variational auto-encoder: two networks and a likelihood."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corolla.config import Config
from corolla.distributions import DiagonalGaussian, PixelDistribution
from corolla.distributions.posterior import LOGVAR_RANGE, bounded
from corolla.models.blocks import Shape


class VAE(nn.Module):
    """encode(x) -> q(z|x), decode(z) -> p(x|z), for float images in [0, 1], N×C×height×width."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """q(z|x) of each image, in float32 whatever the precision of the networks; its logvar is in `LOGVAR_RANGE`."""
        mean, logvar = self.encoder(x)
        return DiagonalGaussian(mean.float(), bounded(logvar.float(), *LOGVAR_RANGE))

    def decode(self, z: Tensor, x: Tensor | None = None) -> PixelDistribution:
        """p(x|z) for latents N×latent_dim; in training a calibrated likelihood looks at the images x."""
        p: PixelDistribution = self.likelihood(self.decoder(z).float(), x)
        return p

    def forward(self, x: Tensor) -> tuple[DiagonalGaussian, Tensor, PixelDistribution]:
        """q(z|x), a draw z from it, and p(x|z)."""
        q = self.encode(x)
        z = q.sample()
        return q, z, self.decode(z, x)


def build_model(config: Config) -> VAE:
    """A fresh model; its weights are drawn from torch's global generator. Raises UsageError on an impossible size."""
    height, width = config.data.size
    pixels = config.data.pixel_format
    shape = Shape(height, width, config.network.latent_dim, pixels.channels, pixels.channels)
    encoder, decoder = config.network.build(shape)
    # A plugin's class that knows of no levels serves 8 bits.
    likelihood = config.likelihood.build() if pixels.bits == 8 else config.likelihood.build(pixels.largest + 1)
    vae = VAE(encoder, decoder, likelihood)
    # The layout decides which kernel computes a convolution, and so its last bits: it is the same wherever a model is.
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return vae


def parameter_count(model: nn.Module | Config) -> int:
    """Numbers that training adjusts; of a configuration, those of the model that it describes, which is not built."""
    if isinstance(model, Config):
        with torch.device("meta"):
            model = build_model(model)
    return sum(parameter.numel() for parameter in model.parameters())
