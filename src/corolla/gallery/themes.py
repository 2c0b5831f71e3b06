"""Images on a theme -> a prior to draw more of their kind from.

The theme's images leave the aggregated posterior q(z) = 1/n Σ q(z|xᵢ) behind. The theme is the Gaussian with its mean
and its covariance, Cov(μᵢ) + 1/n Σ diag(σᵢ²) (the law of total variance); of a single image that is q(z|x) itself. As
there are often fewer images than latents, Cov(μᵢ) is shrunk after Ledoit & Wolf 2004 (Journal of Multivariate Analysis
88), who choose the amount of least expected error.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from corolla.distributions.gaussians import RIDGE, GaussianPrior
from corolla.errors import DataError
from corolla.gallery.labels import find_label, split_by_label
from corolla.progress import OnProgress
from corolla.trained import Images, TrainedModel
from corolla.trained.own_images import own_images


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


def label_theme(
    model: TrainedModel,
    label: str,
    *,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> GaussianPrior:
    """The theme of the training images with a label; see `own_images` for source, mirror and errors.

    Raises UsageError if there is no such label, DataError if no training image has it.
    """
    cache = own_images(model, source=source, mirror=mirror, progress=progress)
    number = find_label(cache, label)
    rows, _ = split_by_label(cache, number, model.config.data.train_split)
    if not len(rows):
        raise DataError(f"label {label!r}: no training image has it; name another label, or give images")
    return theme(model, np.asarray(cache.images[rows]))
