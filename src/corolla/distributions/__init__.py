"""Posterior, priors and likelihoods: the only place where pixels meet probability."""

from corolla.distributions.pixels import PixelDistribution, bits_per_dim
from corolla.distributions.posterior import DiagonalGaussian, kl_terms, log_importance_weights
from corolla.distributions.priors import LatentDistribution

__all__ = [
    "DiagonalGaussian",
    "LatentDistribution",
    "PixelDistribution",
    "bits_per_dim",
    "kl_terms",
    "log_importance_weights",
]
