"""A trained model as users meet it: pictures of any kind in, arrays out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from corolla.config.registry import find
from corolla.data.batches import to_batch
from corolla.data.images import open_image, upright_rgb
from corolla.data.recipes import recipe_named
from corolla.distributions import DiagonalGaussian, LatentDistribution
from corolla.errors import ModelError, UsageError
from corolla.models.vae import VAE, parameter_count
from corolla.pixels import to_float, to_uint8
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.prior_file import PRIOR, load_prior

Picture: TypeAlias = Image.Image | Path | str
Images: TypeAlias = Picture | NDArray[Any] | torch.Tensor | Sequence[Picture | NDArray[Any] | torch.Tensor]

BATCH_SIZE = 256
LARGEST_SEED = 2**64 - 1

_LOG = logging.getLogger("corolla")


def seeded_generator(seed: int | None) -> torch.Generator:
    """A source of random numbers on the CPU that the seed fixes; None gives another one each time.

    Raises UsageError if the seed is below 0 or does not fit into 64 bits.
    """
    generator = torch.Generator()
    if seed is None:
        seed = generator.seed()
    elif not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"seed {seed}: give a whole number from 0 to {LARGEST_SEED}")
    return generator.manual_seed(int(seed))


def load(path: Path | str, *, device: str | torch.device = "cpu", vae: VAE | None = None) -> TrainedModel:
    """Load a model from its run folder or model folder. Of a run that was stopped, a warning says so.

    `vae` are the networks, where they were made by hand; the saved weights are put into them. Raises ModelError, which
    names the file and the tensor, if there is no model or it is damaged.
    """
    folder = ModelFolder.find(path)
    vae, card = folder.load(vae)
    model = TrainedModel(vae, card, device=device, folder=folder)
    if model.stopped:
        _LOG.warning("%s", model.stopped, extra={"once": True})
    return model


class TrainedModel:
    """A model with its configuration.

    Wherever images go in, they may be a path, a PIL image, an array (H×W×3 or N×H×W×3) or a tensor (3×H×W or N×3×H×W),
    or a sequence of these; uint8, or floats in [0, 1]. Pictures of another size than the model's go through the recipe
    that the model was trained with. Images come out as uint8, N×height×width×3.
    """

    def __init__(
        self, vae: VAE, card: ModelCard, *, device: str | torch.device = "cpu", folder: ModelFolder | None = None
    ) -> None:
        self.folder = folder
        """Where it was loaded from, if it was."""
        self.stopped = "" if folder is None else folder.stopped(card)
        """A sentence about the run, if it has not come to its end."""
        self.device = torch.device(device)
        self.vae = vae.to(self.device).eval()
        self.card = card
        self.fitted_priors: dict[str, LatentDistribution] = {}
        """Those that were fitted or loaded so far, by name; see `prior`."""
        self.config = card.config
        self.height, self.width = card.config.data.size
        self.latent_dim = card.config.network.latent_dim

    def __repr__(self) -> str:
        network = self.config.network.name
        return f"TrainedModel({network}, {self.latent_dim} latents, {self.height}x{self.width} pixels)"

    @property
    def path(self) -> Path | None:
        """The run folder, or the model folder where there is no run; None of a model that was not loaded."""
        return None if self.folder is None else self.folder.home

    @property
    def parameter_count(self) -> int:
        """Numbers that training adjusts, of encoder, decoder and likelihood together."""
        return parameter_count(self.vae)

    def posterior(self, images: Images) -> DiagonalGaussian:
        """q(z|x) of each image: mean and logvar as tensors N×latent_dim on the CPU."""
        pixels = self.pixels(images)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH_SIZE):
                q = self.vae.encode(to_batch(pixels[start : start + BATCH_SIZE], self.device))
                parts.append(torch.stack([q.mean, q.logvar]).cpu())
        mean, logvar = torch.cat(parts, dim=1)
        return DiagonalGaussian(mean, logvar)

    def encode(self, images: Images) -> NDArray[np.float32]:
        """The mean of q(z|x) of each image, N×latent_dim."""
        return self.posterior(images).mean.numpy()

    def decode(self, latents: ArrayLike | torch.Tensor) -> NDArray[np.uint8]:
        """The mean of p(x|z) for latents N×latent_dim (or one vector), as images."""
        parts = [np.zeros((0, self.height, self.width, 3), np.uint8)]
        for mean in self.means(latents):
            parts.append((mean * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)

    def means(self, latents: ArrayLike | torch.Tensor) -> Iterator[torch.Tensor]:
        """As `decode`, batch by batch, N×3×height×width in [0, 1], not rounded."""
        plain = latents if isinstance(latents, torch.Tensor) else torch.as_tensor(np.asarray(latents, np.float32))
        z = plain.detach().to("cpu", torch.float32)
        z = z[None] if z.ndim == 1 else z
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise UsageError(f"latents of shape {tuple(z.shape)}: this model needs N×{self.latent_dim}")
        finite = z.isfinite()
        if not finite.all():
            index, latent = (~finite).nonzero()[0].tolist()
            raise UsageError(f"latents[{index}, {latent}] is {float(z[index, latent])}: latents must be finite")
        for batch in torch.split(z, BATCH_SIZE):
            with torch.inference_mode():
                mean = self.vae.decode(batch.to(self.device)).mean
            yield mean

    def reconstruct(self, images: Images, *, seed: int | None = None) -> NDArray[np.uint8]:
        """Images through the model and back: of the posterior's mean, or with a seed of a draw from it."""
        q = self.posterior(images)
        if seed is None:
            return self.decode(q.mean)
        noise = torch.randn(len(q.mean), self.latent_dim, generator=seeded_generator(seed))
        return self.decode(q.mean + q.stddev * noise)

    def sample(
        self,
        count: int = 1,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
        prior: str | LatentDistribution = "standard",
    ) -> NDArray[np.uint8]:
        """New images, decoded from draws from a prior; see `sample_latents`."""
        return self.decode(self.sample_latents(count, seed=seed, temperature=temperature, prior=prior))

    def sample_latents(
        self,
        count: int = 1,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
        prior: str | LatentDistribution = "standard",
    ) -> NDArray[np.float32]:
        """Draws from a prior, count×latent_dim; by default z ~ N(0, temperature²·I).

        The temperature scales the prior's standard deviation: below 1 images are plainer and safer, above 1 wilder.
        Raises UsageError on a count, seed or temperature that cannot be; of a prior's name, as `prior`.
        """
        if not isinstance(count, Integral) or count < 1:
            raise UsageError(f"count {count}: give a whole number, at least 1")
        if not 0 <= temperature < float("inf"):
            raise UsageError(f"temperature {temperature}: give a number from 0 up; 1 is the prior itself")
        generator = seeded_generator(seed)
        return (
            (self.prior(prior) if isinstance(prior, str) else prior).sample(int(count), generator, temperature).numpy()
        )

    def prior(self, name: str = "standard") -> LatentDistribution:
        """The standard normal, or a prior that was fitted to the model's codes (`trained.fitted_priors.fit_prior`).

        Raises UsageError if there is no such prior, ModelError if it is not fitted yet; else as `load_prior`.
        """
        choice = find("prior", name)
        if not choice.fitted:
            return choice().build(self.latent_dim)  # type: ignore[no-any-return]
        if name not in self.fitted_priors:
            if self.folder is None:
                raise ModelError(f"prior {name}: not fitted yet; do so with corolla.trained.fitted_priors.fit_prior")
            self.fitted_priors[name], _ = load_prior(self.folder, name, self.card)
        return self.fitted_priors[name]

    def has_prior(self, name: str) -> bool:
        """Whether `prior` finds one by that name, fit for use or not. Raises UsageError if there can be none."""
        if not find("prior", name).fitted or name in self.fitted_priors:
            return True
        return self.folder is not None and self.folder.file(PRIOR, name).is_file()

    def pixels(self, images: Images) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Images as the model sees them: N×height×width×3, uint8, or float32 in [0, 1] where floats came in.

        Raises UsageError if an array's shape, type or range is not that of images, DataError of an unreadable file.
        """
        if isinstance(images, str | Path | Image.Image):
            return self._picture(images)[None]
        if isinstance(images, torch.Tensor):
            return self._array(_channels_last_array(images))
        if isinstance(images, np.ndarray):
            return self._array(images)
        parts = [self.pixels(image) for image in images]
        if not parts:
            raise UsageError("no images given")
        if len({part.dtype for part in parts}) > 1:
            parts = [to_float(part, np.float32) for part in parts]
        return np.concatenate(parts)  # type: ignore[return-value]

    def levels(self, images: Images) -> NDArray[np.uint8]:
        """As `pixels`, rounded to 8 bits where floats came in."""
        return to_uint8(self.pixels(images))

    def _picture(self, picture: Picture) -> NDArray[np.uint8]:
        recipe = recipe_named(self.config.data.recipe)
        if isinstance(picture, Image.Image):
            picture = upright_rgb(picture)
        else:
            picture = open_image(picture, at_least_px=recipe.decode_at_least_px(self.height, self.width))
        return recipe.apply(picture, self.height, self.width)

    def _array(self, images: NDArray[Any]) -> NDArray[np.uint8] | NDArray[np.float32]:
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or images.shape[3] != 3 or len(images) == 0:
            raise UsageError(f"images of shape {images.shape}: an array needs N×H×W×3, a tensor N×3×H×W")
        if images.dtype != np.uint8:
            if not np.issubdtype(images.dtype, np.floating):
                raise UsageError(f"images of type {images.dtype}: give uint8, or floats in [0, 1]")
            low, high = float(images.min()), float(images.max())
            if not (low >= 0 and high <= 1):
                raise UsageError(f"float images from {low:g} to {high:g}: floats must lie in [0, 1]")
            images = images.astype(np.float32)
        if images.shape[1:3] == (self.height, self.width):
            return images
        # The recipes work on 8-bit pictures, as the model's training images were.
        return np.stack([self._picture(Image.fromarray(image)) for image in to_uint8(images)])


def _channels_last_array(images: torch.Tensor) -> NDArray[Any]:
    if images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise UsageError(f"images of shape {tuple(images.shape)}: a tensor needs N×3×H×W")
    images = images.detach().cpu().movedim(-3, -1)
    array: NDArray[Any] = (images.float() if images.dtype == torch.bfloat16 else images).numpy()
    return array
