"""A trained model as restoration needs it: pixels as tensors, decoding that gradients pass, the latents' prior."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corolla.apps.restoration.latents import Decoder, LogPrior, standard_log_prior
from corolla.pixels import to_uint8
from corolla.trained import Images, TrainedModel


def observed_pixels(model: TrainedModel, images: Images) -> NDArray[np.uint8]:
    """Images at the model's size, uint8 N×H×W×3. Raises as `TrainedModel.pixels`."""
    return to_uint8(model.pixels(images))


def to_tensor(images: NDArray[np.float64]) -> Tensor:
    """N×H×W×C as float32 N×C×H×W."""
    return torch.from_numpy(images).float().permute(0, 3, 1, 2)


def decoder(model: TrainedModel) -> Decoder:
    """Latents on the CPU to the means of p(x|z) on the CPU; gradients pass."""
    return lambda z: model.vae.decode(z.to(model.device)).mean.cpu()


def decoded_means(model: TrainedModel, z: Tensor) -> NDArray[np.float64]:
    """The means of p(x|z) on the [0, 1] scale, N×H×W×3."""
    with torch.no_grad():
        return decoder(model)(z).permute(0, 2, 3, 1).double().numpy()


def latent_log_prior(model: TrainedModel, name: str = "standard") -> LogPrior:
    """The log-density of a model's latents, for `map_latents`; without a prior, of an auto-encoder, 0."""
    if model.config.objective.auto_encoder and name == "standard":
        return lambda z: torch.zeros(len(z))
    if name == "standard":
        return standard_log_prior
    fitted = model.prior(name)
    return lambda z: fitted.log_prob(z).to(z.dtype)
