"""What can be scored: anything with codes. A trained model is one, and so is PCA, to compare it with."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from corolla.distributions.posterior import active_latents
from corolla.errors import UsageError
from corolla.metrics import pixels
from corolla.metrics.features import fit_pca
from corolla.pixels import format_of, to_levels
from corolla.trained import TrainedModel, seeded_generator


class Codec(Protocol):
    """Images to codes and back, and new images; images are levels, N×H×W×C."""

    @property
    def latent_dim(self) -> int:
        """Numbers in a code."""

    def encode(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Codes, N×latent_dim; of a distribution its mean."""

    def decode(self, latents: NDArray[np.float32], /) -> NDArray[np.uint8]:
        """Images of codes."""

    def sample(self, count: int, *, seed: int, prior: str) -> NDArray[np.uint8]:
        """New images, decoded from draws from a prior."""


def encode_live(codec: Codec, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Codes N×latent_dim, and the same with dead latents at 0, the prior's mean, by `active_latents` of these images.

    A dead latent's mean still moves by a little noise, which scores that do not see its scale would take for a code.
    Codes without a distribution, of auto-encoders or PCA, have no dead latents.
    """
    if not isinstance(codec, TrainedModel) or codec.config.objective.auto_encoder:
        return (codes := codec.encode(images)), codes
    q = codec.posterior(images)
    dead = ~active_latents(q.kl_per_latent().double().mean(0).numpy())
    return q.mean.numpy(), np.where(dead, np.float32(0), q.mean.numpy())


class PrincipalComponents:
    """PCA as a model: codes are the principal components, scaled so that the standard normal is their prior.

    Probabilistic PCA (Tipping & Bishop 1999) without its noise. Pixels beyond [0, 1] are cut off.
    """

    def __init__(self, images: NDArray[np.uint8], latent_dim: int) -> None:
        """Fit the components to images N×H×W×3. Raises UsageError if there are too few images for so many."""
        self.latent_dim = latent_dim
        self._shape, self._bits = images.shape[1:], format_of(images).bits
        self._pca = fit_pca(pixels(images), latent_dim)
        self.stddevs: NDArray[np.float64] = np.sqrt(self._pca.explained_variance_)
        """Standard deviation of each component, in pixel space, latent_dim."""

    def encode(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """The scaled components, N×latent_dim."""
        return np.asarray((self._pca.transform(pixels(images)) / self.stddevs).astype(np.float32))

    def decode(self, latents: NDArray[np.float32], /) -> NDArray[np.uint8]:
        """Images of codes, N×H×W×3."""
        restored = self._pca.inverse_transform(np.asarray(latents, np.float32) * self.stddevs)
        return to_levels(restored, self._bits).reshape(-1, *self._shape)

    def sample(self, count: int, *, seed: int, prior: str = "standard") -> NDArray[np.uint8]:
        """New images, from the standard normal. Raises UsageError for another prior."""
        if prior != "standard":
            raise UsageError(f"prior {prior}: PCA has the standard normal only")
        return self.decode(torch.randn(count, self.latent_dim, generator=seeded_generator(seed)).numpy())
