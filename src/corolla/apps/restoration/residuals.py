"""What a model leaves out of its images, as a prior over patches, and what noise leaves of that.

The residual e = x - decode(z) of a patch is √s·u with u ~ N(0, C) and a scale s that is drawn from a few: a Gaussian
scale mixture (Portilla et al. 2003, IEEE TIP 12(11), there of wavelet coefficients). One covariance holds how pixels
and channels go together; the scale says how much there is to see at a place. Under white Gaussian noise all is closed:
for each scale and each direction of C the posterior's mean is the mean weighted by precision,

    e = (y - decode(z))·s·λ / (s·λ + σ²),

and the scales are weighted by how well they explain the patch. Overlapping patches are averaged.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from corolla.data import select_rows
from corolla.errors import ModelError, StaleError
from corolla.pixels import to_float
from corolla.progress import OnProgress
from corolla.trained import TrainedModel
from corolla.trained.artefacts import Artefact
from corolla.trained.own_images import own_images

PATCH_PX = 6
SCALES = 2.0 ** np.arange(-6, 5)
MOST_IMAGES = 1000
MOST_PATCHES = 60_000

Array = NDArray[np.float64]

_SMALLEST = 1e-6  # variance: a quarter of a level
_SHAPE_ITERATIONS, _WEIGHT_ITERATIONS = 3, 50


@dataclass(frozen=True, eq=False)
class ResidualPrior:
    """A scale mixture over patches of PATCH_PX×PATCH_PX pixels of 3 channels, values on the [0, 1] pixel scale."""

    # eigenvectors of C in columns, 108×108; the values of a patch are in the order channel, row, column
    directions: Array
    variances: Array  # eigenvalues of C, 108
    weights: Array  # how often each of SCALES is met; they sum to 1

    def posterior(self, y: Array, sigma: float, *, variance: bool = False) -> tuple[Array, Array | None]:
        """Mean, and on request variance, of an image's residual that was seen as y under noise of σ > 0; H×W×3 each.

        The variance of a pixel is the average over the patches that hold it.
        """
        patches = _patches(y)
        seen = patches.reshape(-1, patches.shape[-1]) @ self.directions
        shares = softmax(self._log_joint(seen, sigma), axis=1)
        spread = SCALES[:, None] * self.variances
        gains = spread / (spread + sigma**2)
        mean = (seen * (shares @ gains)) @ self.directions.T
        if not variance:
            return _overlaid(mean.reshape(patches.shape), y.shape), None
        # Law of total variance: within each scale, and between the scales' means.
        square = shares @ (gains * sigma**2 @ (self.directions**2).T) - mean**2
        for share, gain in zip(shares.T, gains, strict=True):
            square += share[:, None] * ((seen * gain) @ self.directions.T) ** 2
        mean, square = (_overlaid(part.reshape(patches.shape), y.shape) for part in (mean, square))
        return mean, np.maximum(square, 0)

    def estimate_sigma(self, y: Array) -> float:
        """The noise's standard deviation that explains a residual H×W×3 best, from half a level to 128 levels."""
        patches = _patches(y)[::2, ::2]
        seen = patches.reshape(-1, patches.shape[-1]) @ self.directions

        def cost(log_sigma: float) -> float:
            return -float(np.logaddexp.reduce(self._log_joint(seen, float(np.exp(log_sigma))), axis=1).mean())

        limits = np.log(0.5 / 255), np.log(128 / 255)
        return float(np.exp(minimize_scalar(cost, bounds=limits, method="bounded", options={"xatol": 0.01}).x))

    def _log_joint(self, seen: Array, sigma: float) -> Array:
        """Log p(patch, scale), patches×scales, up to a constant."""
        total = SCALES[:, None] * self.variances + sigma**2
        return np.asarray(-0.5 * ((seen**2) @ (1 / total).T + np.log(total).sum(1)) + np.log(self.weights))


@dataclass(frozen=True)
class ResidualCard:
    """What the file of a residual prior says of it: which model it belongs to."""

    weights_sha256: str


RESIDUALS = Artefact("residual prior", "residuals.safetensors", ResidualCard, plain=True)


def fit_residual_prior(residuals: Array) -> ResidualPrior:
    """Fit the mixture to residuals N×H×W×C.

    C is Tyler's shape matrix (Tyler 1987), to which each patch counts alike however strong it is; the scales' weights
    are those of largest likelihood, by expectation-maximisation.
    """
    rng = np.random.default_rng(0)
    each = -(-MOST_PATCHES // len(residuals))
    all_patches = (_patches(image).reshape(-1, residuals.shape[3] * PATCH_PX**2) for image in residuals)
    patches = np.concatenate([patches[rng.permutation(len(patches))[:each]] for patches in all_patches])
    ridge = _SMALLEST * np.eye(patches.shape[1])
    shape = patches.T @ patches / len(patches) + ridge
    for _ in range(_SHAPE_ITERATIONS):
        strength = (patches * np.linalg.solve(shape, patches.T).T).mean(1)
        shape = (patches / np.maximum(strength, SCALES[0])[:, None]).T @ patches / len(patches) + ridge
    variances, directions = np.linalg.eigh(shape)
    weights = np.full(len(SCALES), 1 / len(SCALES))
    seen = patches @ directions
    for _ in range(_WEIGHT_ITERATIONS):
        prior = ResidualPrior(directions, variances, weights)
        weights = softmax(prior._log_joint(seen, _SMALLEST**0.5), axis=1).mean(0) + 1e-9  # none dies for good
        weights /= weights.sum()
    return ResidualPrior(directions, variances, weights)


def residual_prior(
    model: TrainedModel,
    *,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> tuple[ResidualPrior, Path | None]:
    """A model's residual prior, from its folder, or fitted and put there; and the file if it was written now.

    It is fitted to the model's residuals on up to MOST_IMAGES of its own training images, drawn once and for all; see
    `own_images` for source and mirror, and for errors. Raises ModelError if the file is damaged, and WriteError.
    """
    file = None if model.folder is None else model.folder.file(RESIDUALS)
    if file is not None and file.is_file():
        with suppress(StaleError):  # as after more training
            _, arrays, _ = RESIDUALS.read(file, weights_sha256=model.card.weights_sha256)
            size = model.preprocessing.pixels.channels * PATCH_PX**2
            shapes = {"directions": (size, size), "variances": (size,), "weights": SCALES.shape}
            fits = {name: array.shape for name, array in arrays.items()} == shapes
            if fits and arrays["variances"].min() > 0 and arrays["weights"].min() > 0:
                return ResidualPrior(**arrays), None
            raise ModelError(f"{file}: holds no residual prior", path=file, remedy=RESIDUALS.remedy(file))
    cache = own_images(model, source=source, mirror=mirror, progress=progress)
    rows = select_rows(cache.splits, model.config.data.train_split)
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_IMAGES])
    images = np.asarray(cache.images[chosen])
    prior = fit_residual_prior(to_float(images) - to_float(model.reconstruct(images)))
    if file is not None:
        RESIDUALS.write(file, ResidualCard(model.card.weights_sha256), vars(prior))
    return prior, file


def _patches(image: Array) -> Array:
    """All patches of an image H×W×C: rows×columns×(C·36)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH_PX, PATCH_PX), axis=(0, 1))
    return windows.reshape(*windows.shape[:2], -1)


def _overlaid(patches: Array, shape: tuple[int, ...]) -> Array:
    """The average, at each pixel, over the patches that hold it."""
    total, count = np.zeros(shape), np.zeros((*shape[:2], 1))
    rows, columns = patches.shape[:2]
    parts = patches.reshape(rows, columns, shape[2], PATCH_PX, PATCH_PX)
    for y in range(PATCH_PX):
        for x in range(PATCH_PX):
            total[y : y + rows, x : x + columns] += parts[..., y, x]
            count[y : y + rows, x : x + columns] += 1
    return total / count
