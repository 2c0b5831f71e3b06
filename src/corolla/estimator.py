"""The scikit-learn face: a β-VAE as a transformer of arrays."""

from __future__ import annotations

import math
import signal
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from corolla.config import Config
from corolla.config.registry import find, name_of
from corolla.data.arrays import layout_of
from corolla.data.batches import to_float
from corolla.data.cache import ImageCache, cache_in_memory
from corolla.errors import TrainingError, UsageError
from corolla.files import temporary_folder
from corolla.progress import ProgressDisplay
from corolla.trained import BATCH_SIZE, TrainedModel
from corolla.trained.model_folder import pack_model, unpack_model
from corolla.trained.run_folder import RunFolder

_DRAWS = 8  # of z for each image that is scored
_LARGEST_SEED = 2**31 - 1
_SETTINGS = (
    *("data.flip", "data.shift_px", "network.name", "network.latent_dim", "objective.name", "likelihood.name"),
    *(f"training.{name}" for name in ("epochs", "max_steps", "batch_size", "learning_rate", "threads")),
)
"""Those that are parameters by their last name, or by that of the table that `name` chooses from."""
_FOR_FILES = ("training.checkpoint_every", "training.samples_every")
_GRID = 8  # patches to a side that a network should see, where the size allows it

# Trainings draw from torch's global generator, of which a process has one: those of several threads take turns.
_TURN = threading.Lock()


@dataclass(kw_only=True, eq=False, repr=False)
class BetaVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A β-VAE as a scikit-learn transformer: images to the means of their posteriors, and back.

    X is an array of images, N×H×W (grey) or N×H×W×C with 1 or 3 channels, or their flat rows, N×(H·W·C), with
    `image_shape`. The numbers are uint8 from 0 to 255, floats from 0 to 1, or what `value_range` says; the model sees
    them rounded to 8 bits, and grey as one channel, whose nats count once in its loss and score.
    `settings` takes everything else that a `corolla.Config` has, by its dotted name.

    Args:
        image_shape: (H, W) or (H, W, C) of the images in flat rows; "table": the numbers of a row are no image,
            and are laid out in a square as if they were.
        value_range: what black and white are, (low, high); "data": the smallest and largest number in `fit`, and later
            numbers beyond them are clipped. None: by the array's type, as above.
        latent_dim: number of latents, the features that `transform` gives.
        network: "resnet", "notebook" or "burgess".
        width: channels of the resnet's first stage.
        objective: "beta_vae" or another of the family, as in the configuration.
        beta: weight of the KL of "beta_vae", of the total correlation of "beta_tcvae"; 1 is the VAE, from where more
            makes a sparser code of separate features, and blurs.
        likelihood: of pixels: "bernoulli", "continuous_bernoulli", "gaussian", "laplace" or "discretised_logistic".
        epochs: passes over the training images.
        max_steps: optimiser steps; overrides `epochs`.
        batch_size: images in a step.
        learning_rate: of the optimiser.
        flip: whether half of the training images are mirrored left to right.
        shift_px: largest random shift of a training image, in pixels.
        validation_fraction: share of X that is not trained on but says which epoch's model is the best; at 0, and for
            fewer than 2 images, the training images do.
        random_state: fixes everything: the same value gives the same model on the same machine.
        threads: CPU threads for the training; default: all cores.
        settings: other settings by their dotted names, such as {"objective.warmup_steps": 200}.
        verbose: whether to show the progress of the training on standard error.

    Attributes:
        model_: the `corolla.TrainedModel`, on the CPU.
        image_shape_: of the images that the network sees, (H, W) or (H, W, C).
        n_features_in_: numbers in an image.
        n_iter_: optimiser steps that were made.
        history_: the columns of `metrics.csv` by name, one number for each evaluation.
    """

    image_shape: tuple[int, ...] | Literal["table"] | None = None
    value_range: tuple[float, float] | Literal["data"] | None = None
    latent_dim: int = 16
    network: str = "resnet"
    width: int = 32
    objective: str = "beta_vae"
    beta: float = 1.0
    likelihood: str = "bernoulli"
    epochs: int = 30
    max_steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 1e-3
    flip: bool = False
    shift_px: int = 0
    validation_fraction: float = 0.1
    random_state: int | np.random.RandomState | None = None
    threads: int | None = None
    settings: Mapping[str, Any] | None = None
    verbose: bool = False

    def fit(self, X: ArrayLike, y: Any = None) -> BetaVAE:  # noqa: ARG002, N803 - scikit-learn's names
        """Train a model on images. Nothing of it stays on the disk.

        Raises ValueError if X is not an array of finite numbers, UsageError if it does not hold images as they were
        described or a parameter cannot be, and TrainingError if the loss is not finite.
        """
        array = self._array(X, reset=True)
        layout = layout_of(array, self.image_shape, self.value_range)
        pixels = layout.to_pixels(array)
        random = check_random_state(self.random_state)
        splits = self._splits(len(pixels), random)
        config = self._config(layout.size, len(splits["train"]), int(random.randint(_LARGEST_SEED)))
        self.model_, self.history_ = _train(config, cache_in_memory(pixels, splits), verbose=self.verbose)
        self._layout = layout
        self.image_shape_ = layout.image_shape
        self.n_features_in_ = math.prod(layout.shape)
        self.n_iter_ = int(self.history_["step"][-1])
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """The mean of q(z|x) of each image, N×latent_dim."""
        pixels = self._pixels(X)
        return self.model_.encode(pixels)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The mean of p(x|z) for latents N×latent_dim, in the shape, range and type of the images in `fit`.

        Uint8 comes back as uint8, and everything else as float32.
        """
        check_is_fitted(self, "model_")
        latents = check_array(X, dtype=np.float32)
        means = torch.cat(list(self.model_.means(latents))).permute(0, 2, 3, 1)
        return self._layout.from_means(means.cpu().numpy())

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """The evidence lower bound of each image, E log p(x|z) - KL(q(z|x) ‖ p(z)) in nats, N.

        The expectation is the average over 8 draws of z, which depend on the image alone. An auto-encoder has no such
        bound: for "ae" and "dae" it is log p(x|z) at the mean of q(z|x).
        """
        pixels = self._pixels(X)
        return _score(self.model_, pixels)

    def score(self, X: ArrayLike, y: Any = None) -> float:  # noqa: ARG002, N803
        """The average of `score_samples`, in nats per image; higher is better.

        It does not weight the KL with β, so that models of different β compare. Those of different likelihoods do not.
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> NDArray[Any]:
        """New images, decoded from draws z ~ N(0, I), in the shape, range and type of the images in `fit`."""
        check_is_fitted(self, "model_")
        seed = int(check_random_state(random_state).randint(_LARGEST_SEED))
        return self.inverse_transform(self.model_.sample_latents(n_samples, seed=seed))

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent_dim

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # which is what comes out, whatever came in
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and the model as the files of its folder."""
        state: dict[str, Any] = {**super().__getstate__()}
        if "model_" in state:
            model: TrainedModel = state.pop("model_")
            state["_model_files"] = pack_model(model.vae, model.card)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raises ModelError if the model is damaged."""
        state = dict(state)
        files = state.pop("_model_files", None)
        super().__setstate__(state)
        if files is not None:
            self.model_ = TrainedModel(*unpack_model(files, Path("pickle")))

    def _array(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:  # noqa: N803
        """X as an array of finite numbers; flat rows in scikit-learn's own way."""
        ndim = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
        if ndim <= 2:
            return validate_data(self, X, reset=reset)  # type: ignore[no-any-return]
        if reset and hasattr(self, "feature_names_in_"):  # of columns in an earlier fit
            del self.feature_names_in_
        return check_array(X, allow_nd=True, input_name="X")  # type: ignore[no-any-return]

    def _pixels(self, X: ArrayLike) -> NDArray[np.uint8]:  # noqa: N803
        """New images as the model sees them."""
        check_is_fitted(self, "model_")
        array = self._array(X, reset=False)
        if array.ndim > 2 and array.shape[1:] != self.image_shape_:
            raise UsageError(f"images of shape {array.shape[1:]}: the model was fitted to {self.image_shape_}")
        return self._layout.to_pixels(array)

    def _splits(self, count: int, random: np.random.RandomState) -> dict[str, NDArray[np.int64]]:
        """Which images are trained on, and which say what model is the best."""
        share = self.validation_fraction
        if not 0 <= share < 1:
            raise UsageError(f"validation_fraction {share}: give a number from 0 up to but not including 1")
        held_out = min(count - 1, math.ceil(share * count))
        order = random.permutation(count)
        return {"train": np.sort(order[held_out:]), "val": np.sort(order[:held_out] if held_out else order)}

    def _config(self, size: tuple[int, int], training_images: int, seed: int) -> Config:
        """The run that the parameters describe."""
        parameters = {name: getattr(self, _parameter(name)) for name in _SETTINGS} | {"seed": seed}
        network, objective = find("network", self.network), find("objective", self.objective)
        for name, choice, value, default in (("width", network, self.width, 32), ("beta", objective, self.beta, 1.0)):
            if name in choice.model_fields:
                parameters[f"{choice.kind}.{name}"] = value
            elif value != default:
                raise UsageError(f"{name} {value:g}: {name_of(choice)} has none; leave it out")
        settings = dict(self.settings or {})
        for name in settings:
            if name in parameters:
                raise UsageError(f"settings {name}: is a parameter of its own; set {_parameter(name)} instead")
            if name.startswith("data."):
                raise UsageError(f"settings {name}: the images are those given to fit; leave it out")
            if name in _FOR_FILES:
                raise UsageError(f"settings {name}: is for files of a run, and a fit leaves none; leave it out")
        # More devices would start this very program again on each.
        chosen = {"data.source": "arrays", "data.size": list(size), "training.devices": 1}
        if "patch" in network.model_fields:
            chosen["network.patch"] = _patch(*size)
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in parameters.items()}
        config = Config().updated(chosen | values | settings)
        # A checkpoint is for resuming, and what lies in a temporary folder cannot be resumed.
        training = config.training
        steps = training.max_steps or training.epochs * -(-training_images // training.batch_size)
        return config.updated({"training.checkpoint_every": steps})


def _parameter(setting: str) -> str:
    above, _, leaf = setting.rpartition(".")
    return {"name": above, "seed": "random_state"}.get(leaf, leaf)


def _patch(height: int, width: int) -> int:
    """Side of the resnet's patches, which divides the size: about an eighth of the shorter side, and at most 8."""
    both = math.gcd(height, width)
    largest = min(8, max(1, min(height, width) // _GRID))
    return next(patch for patch in range(largest, 0, -1) if both % patch == 0)


def _train(config: Config, data: ImageCache, *, verbose: bool) -> tuple[TrainedModel, dict[str, NDArray[np.float64]]]:
    """The model and the columns of its record. A signal goes, in the end, where it would have gone without us."""
    from corolla.training import TrainingInterrupted, fit_cache  # brings Lightning, which only training needs

    try:
        with _TURN, temporary_folder() as folder:
            model = fit_cache(config, data, folder, progress=ProgressDisplay("training") if verbose else None)
            rows = RunFolder(folder).rows()
    except TrainingInterrupted as interrupted:
        stopped_by = interrupted.exit_code - 128
    else:
        history = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
        return TrainedModel(model.vae, model.card), history
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt  # also where the process was started with Ctrl-C ignored, as in the background
    signal.raise_signal(stopped_by)
    raise TrainingError(f"{signal.Signals(stopped_by).name}: stopped, and nothing was kept; fit again")


def _score(model: TrainedModel, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    scores = []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH_SIZE // _DRAWS):
            some = pixels[start : start + BATCH_SIZE // _DRAWS]
            x = to_float(torch.from_numpy(some).to(model.device).permute(0, 3, 1, 2))
            q = model.vae.encode(x)
            if model.config.objective.auto_encoder:
                scores.append(model.vae.decode(q.mean).log_prob(x).double())
                continue
            noise = torch.from_numpy(np.stack([_noise(image, model.latent_dim) for image in some], axis=1))
            z = q.mean + q.stddev * noise.to(model.device)
            log_pixels = model.vae.decode(z.flatten(0, 1)).log_prob(x.repeat(_DRAWS, 1, 1, 1)).double()
            scores.append(log_pixels.view(_DRAWS, -1).mean(0) - q.kl().double())
    return torch.cat(scores).cpu().numpy()


def _noise(image: NDArray[np.uint8], latent_dim: int) -> NDArray[np.float32]:
    """Draws×latent_dim from N(0, 1), a function of the image: its score depends on no other image."""
    random = np.random.default_rng(zlib.crc32(image.tobytes()))
    return random.standard_normal((_DRAWS, latent_dim), dtype=np.float32)
