"""What training minimises beside -log p(x|z), one paper a file; `loss` puts the two together.

The terms are averages over the batch of sums over pixels, channels and latents, so the weight of the KL means the same
for every likelihood, size and batch.
"""

from corolla.objectives.auto_encoder import AutoEncoder, DenoisingAutoEncoder
from corolla.objectives.beta_tcvae import BetaTCVAE
from corolla.objectives.beta_vae import VAE, BetaVAE
from corolla.objectives.capacity_vae import CapacityVAE
from corolla.objectives.control_vae import ControlVAE
from corolla.objectives.dip_vae import DIPVAEI, DIPVAEII
from corolla.objectives.factor_vae import FactorVAE
from corolla.objectives.free_bits import FreeBits
from corolla.objectives.info_vae import InfoVAE

__all__ = [
    "DIPVAEI",
    "DIPVAEII",
    "VAE",
    "AutoEncoder",
    "BetaTCVAE",
    "BetaVAE",
    "CapacityVAE",
    "ControlVAE",
    "DenoisingAutoEncoder",
    "FactorVAE",
    "FreeBits",
    "InfoVAE",
]
