"""Posterior, priors and likelihoods: the only place where pixels meet probability."""

from corolla.distributions.aggregate import (
    AggregateEstimator,
    KLTerms,
    kl_terms,
    log_aggregate,
    log_importance_weights,
    pairwise_log_density,
)
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
    "AggregateEstimator",
    "Bernoulli",
    "BernoulliLikelihood",
    "DiagonalGaussian",
    "Gaussian",
    "GaussianLikelihood",
    "KLTerms",
    "Likelihood",
    "PixelDistribution",
    "kl_terms",
    "log_aggregate",
    "log_importance_weights",
    "pairwise_log_density",
    "sample_prior",
]
