"""Posterior, priors and likelihoods: the only place where pixels meet probability."""

from corolla.distributions.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    BernoulliLikelihood,
    Gaussian,
    GaussianLikelihood,
    Likelihood,
    PixelDistribution,
)
from corolla.distributions.posterior import DiagonalGaussian
from corolla.distributions.priors import sample_prior

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "BernoulliLikelihood",
    "DiagonalGaussian",
    "Gaussian",
    "GaussianLikelihood",
    "Likelihood",
    "PixelDistribution",
    "sample_prior",
]
