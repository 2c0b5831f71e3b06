"""What training minimises beside -log p(x|z), one paper a file; `loss` puts the two together.

The terms are averages over the batch of sums over pixels, channels and latents, so the weight of the KL means the same
for every likelihood, size and batch.
"""

from corolla.objectives import (  # noqa: F401, each registers its own
    auto_encoder,
    beta_tcvae,
    beta_vae,
    capacity_vae,
    control_vae,
    dip_vae,
    factor_vae,
    free_bits,
    info_vae,
)
