"""An encoder and a decoder of your own: plain layers, for images of any size.

corolla --plugin examples/own_network.py train --preset quick --network mlp --set network.hidden=256
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

import corolla
from corolla.models.blocks import GaussianHead, Shape


@corolla.register
class MLP(corolla.Network):
    """Two hidden layers each way, as in Kingma & Welling 2014."""

    title: ClassVar[str] = "a multi-layer perceptron"

    name: Literal["mlp"] = "mlp"
    hidden: int = Field(512, ge=1, description="units in a layer")

    def build(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder."""
        pixels = shape.channels * shape.height * shape.width
        trunk = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.hidden), nn.ReLU()
        )
        decoder = nn.Sequential(
            nn.Linear(shape.latent_dim, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, shape.out_channels * shape.height * shape.width),
            nn.Unflatten(1, (shape.out_channels, shape.height, shape.width)),
        )
        return GaussianHead(trunk, self.hidden, shape.latent_dim), decoder
