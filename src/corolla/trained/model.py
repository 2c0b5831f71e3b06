"""A trained model as users meet it: pictures of any kind in, arrays out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch.utils.data import Dataset

from corolla.config.registry import find
from corolla.data.batches import to_batch
from corolla.data.given import batch_axes, checked_floats, file_of, is_file, item_parts, items, value_levels
from corolla.data.images import open_picture
from corolla.data.levels import Levels
from corolla.data.preprocessing import Preprocessing, preprocessing
from corolla.distributions import DiagonalGaussian, LatentDistribution
from corolla.errors import ModelError, UsageError
from corolla.models.vae import VAE, parameter_count
from corolla.pixels import to_float, to_levels
from corolla.trained.model_folder import ModelCard, ModelFolder
from corolla.trained.prior_file import PRIOR, load_prior

Picture: TypeAlias = Image.Image | Path | str | bytes | bytearray | memoryview | BinaryIO
Pixels: TypeAlias = Picture | NDArray[Any] | torch.Tensor
Images: TypeAlias = Pixels | Dataset[Any] | Sequence[Pixels | Mapping[str, Any] | tuple[Any, ...]]

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

    Wherever images go in, they may be a path, bytes, a binary file, a PIL image, an array or a tensor (see
    `corolla.data.given` for axes and values), or a sequence or data set of these. Pictures of another size or format
    than the model's go through the recipe that it was trained with. Images come out as
    N×height×width×C, uint8 or uint16.
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
        self.pixel_format = card.config.data.pixel_format
        """Channels and bits of its images."""
        self.latent_dim = card.config.network.latent_dim

    def __repr__(self) -> str:
        network = self.config.network.name
        return f"TrainedModel({network}, {self.latent_dim} latents, {self.height}x{self.width} pixels)"

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How images become the model's. Raises UsageError where its recipe is a plugin's that is not loaded."""
        return preprocessing(self.config.data)

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

    def decode(self, latents: ArrayLike | torch.Tensor) -> Levels:
        """The mean of p(x|z) for latents N×latent_dim (or one vector), as images."""
        pixels = self.pixel_format
        parts = [np.zeros((0, self.height, self.width, pixels.channels), pixels.dtype)]
        for mean in self.means(latents):
            levels = (mean * pixels.largest).round().clamp(0, pixels.largest).permute(0, 2, 3, 1).cpu().numpy()
            parts.append(levels.astype(pixels.dtype))
        return np.concatenate(parts)

    def means(self, latents: ArrayLike | torch.Tensor) -> Iterator[torch.Tensor]:
        """As `decode`, batch by batch, N×C×height×width in [0, 1], not rounded."""
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

    def reconstruct(self, images: Images, *, seed: int | None = None) -> Levels:
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
    ) -> Levels:
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

    def pixels(self, images: Images) -> Levels | NDArray[np.float32]:
        """Images as the model sees them, N×height×width×C: levels, or float32 in [0, 1] where floats came in.

        Raises UsageError if an array's shape, type or range is not that of images, DataError of an unreadable file.
        """
        if isinstance(images, torch.Tensor | np.ndarray):
            return self._array(images)
        if is_file(images) or isinstance(images, Image.Image):
            return self._picture(images)[None]
        parts = [self._item(item_parts(item)[0]) for item in items(images)]
        if not parts:
            raise UsageError("no images given")
        if len({part.dtype for part in parts}) > 1:
            parts = [to_float(part, np.float32) for part in parts]
        return np.concatenate(parts)

    def levels(self, images: Images) -> Levels:
        """As `pixels`, rounded to the model's levels where floats came in."""
        return to_levels(self.pixels(images), self.pixel_format.bits)

    def _picture(self, picture: Any) -> Levels:
        how = self.preprocessing
        if isinstance(picture, Image.Image):
            return how.apply(picture)
        return how.apply(open_picture(file_of(picture), at_least_px=how.at_least_px, reading=how.reading))

    def _item(self, image: Any) -> Levels | NDArray[np.float32]:
        return self._array(image, one=True) if isinstance(image, torch.Tensor | np.ndarray) else self.pixels(image)

    def _array(self, images: NDArray[Any] | torch.Tensor, *, one: bool = False) -> Levels | NDArray[np.float32]:
        shape = self.height, self.width, self.pixel_format.channels
        array = batch_axes(images, shape, one=one)
        if array.shape[1:] == shape:
            if array.dtype.kind == "f":
                return checked_floats(array).astype(np.float32)
            return value_levels(array, self.pixel_format.bits)
        # The recipes work on levels, as the model's training images were.
        return np.stack([self.preprocessing.apply(image) for image in value_levels(array, self.pixel_format.bits)])
