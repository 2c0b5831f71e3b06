"""The study notebook's network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from corolla.config import Network, register
from corolla.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from corolla.models.blocks import Shape


@register
class Notebook(Network):
    """Two valid 5×5 convolutions, 16 and 32 channels, and their mirror image; any size of at least 9×9 pixels.

    GELU in its tanh approximation after each layer but the last, Xavier-uniform weights. The study's final sigmoid
    belongs to the likelihood here: the decoder's output is its logit.
    """

    name: Literal["notebook"] = "notebook"

    def build(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder. Raises UsageError where the size does not fit."""
        from torch import nn

        from corolla.models.blocks import GaussianHead

        height, width = shape.height - 8, shape.width - 8
        if height < 1 or width < 1:
            raise UsageError(f"size {shape.height}x{shape.width}: the notebook network needs 9x9 pixels or more")
        features = 32 * height * width
        gelu = partial(nn.GELU, approximate="tanh")
        trunk = nn.Sequential(nn.Conv2d(shape.channels, 16, 5), gelu(), nn.Conv2d(16, 32, 5), gelu(), nn.Flatten())
        encoder = GaussianHead(trunk, features, shape.latent_dim)
        first = [nn.Linear(shape.latent_dim, features), gelu(), nn.Unflatten(1, (32, height, width))]
        up = [nn.ConvTranspose2d(32, 16, 5), gelu(), nn.ConvTranspose2d(16, shape.out_channels, 5)]
        decoder = nn.Sequential(*first, *up)
        for module in (*encoder.modules(), *decoder.modules()):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        return encoder, decoder
