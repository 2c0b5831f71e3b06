"""Images on a theme -> a prior to draw more of their kind from; and a model's own images by their labels.

The theme's images leave the aggregated posterior q(z) = 1/n Σ q(z|xᵢ) behind. The theme is the Gaussian with its mean
and its covariance, Cov(μᵢ) + 1/n Σ diag(σᵢ²) (the law of total variance); of a single image that is q(z|x) itself. As
there are often fewer images than latents, Cov(μᵢ) is shrunk after Ledoit & Wolf 2004 (Journal of Multivariate Analysis
88), who choose the amount of least expected error.
"""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from corolla.data import ImageCache, select_rows
from corolla.distributions.priors import RIDGE, GaussianPrior
from corolla.errors import DataError, UsageError
from corolla.trained import Images, TrainedModel

FEW_LABELS, CLOSE_LABELS = 12, 4
"""How many labels are named where none is like the one that is not found, and how many that are like it."""


def theme(model: TrainedModel, images: Images) -> GaussianPrior:
    """The Gaussian of images' aggregated posterior, for `TrainedModel.sample(prior=…)`."""
    q = model.posterior(images)
    variances = q.logvar.double().exp().numpy()
    if model.config.objective.auto_encoder:  # whose decoder learnt on means
        variances = np.zeros_like(variances)
    return theme_of_codes(q.mean.double().numpy(), variances)


def theme_of_codes(means: NDArray[np.float64], variances: NDArray[np.float64]) -> GaussianPrior:
    """The Gaussian of a mixture of Gaussians, given by means and variances, both N×latent_dim; see above.

    A millionth of the average variance, and never nothing, is added so that the covariance has a Cholesky factor.
    """
    latent_dim = means.shape[1]
    covariance = np.diag(variances.mean(0))
    if np.ptp(means, axis=0).any():
        covariance = covariance + ledoit_wolf(means)[0]
    floor = RIDGE * float(np.trace(covariance)) / latent_dim or RIDGE
    prior = GaussianPrior(latent_dim)
    prior.mean = torch.from_numpy(means.mean(0))
    prior.scale_tril = torch.from_numpy(np.linalg.cholesky(covariance + floor * np.eye(latent_dim)))
    return prior


def label_theme(model: TrainedModel, cache: ImageCache, label: str) -> GaussianPrior:
    """The theme of a model's own training images (`own_images`) with a label. Raises as `find_label`, and DataError."""
    rows, _ = split_by_label(cache, find_label(cache, label), model.config.data.train_split)
    if not len(rows):
        raise DataError(f"label {label!r}: no training image has it; name another label, or give images")
    return theme(model, np.asarray(cache.images[rows]))


def find_label(cache: ImageCache, name: str) -> int:
    """The number of a label, by its name in any case. Raises DataError without labels, UsageError without this one."""
    if cache.labels is None or not cache.label_names:
        raise DataError(f"label {name!r}: the model's images have no labels; give sets of images in its place")
    names, folded = cache.label_names, [label.casefold() for label in cache.label_names]
    word = name.strip().casefold()
    if word in folded:
        return folded.index(word)
    close = [label for label in folded if word and word in label] + get_close_matches(word, folded, CLOSE_LABELS)
    similar = [names[folded.index(label)] for label in dict.fromkeys(close)][:CLOSE_LABELS]
    if similar and len(names) > FEW_LABELS:
        raise UsageError(f"label {name!r}: no such label among {len(names)}; similar ones are {', '.join(similar)}")
    hint = f" (did you mean {similar[0]!r}?)" if similar else ""
    more = f" and {len(names) - FEW_LABELS} more" if len(names) > FEW_LABELS else ""
    raise UsageError(f"label {name!r}: no such label{hint}; there are {', '.join(names[:FEW_LABELS])}{more}")


def split_by_label(cache: ImageCache, label: int, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a split that have the label, and the others."""
    assert cache.labels is not None
    rows = select_rows(cache.splits, split)
    has = cache.labels[rows] == label
    return rows[has], rows[~has]
