"""Posterior, priors and likelihoods: the only place where pixels meet probability."""

from corolla.distributions.aggregate import (
    AggregateEstimator,
    KLTerms,
    kl_terms,
    log_aggregate,
    log_importance_weights,
    pairwise_log_density,
)
from corolla.distributions.likelihoods import LogitLikelihood, ScaledLikelihood
from corolla.distributions.pixels import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    Laplace,
    PixelDistribution,
    bits_per_dim,
)
from corolla.distributions.posterior import DiagonalGaussian
from corolla.distributions.priors import FITTED_PRIORS, PRIORS, Prior, check_prior_name, sample_prior

__all__ = [
    "FITTED_PRIORS",
    "PRIORS",
    "AggregateEstimator",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiagonalGaussian",
    "DiscretisedLogistic",
    "Gaussian",
    "KLTerms",
    "Laplace",
    "LogitLikelihood",
    "PixelDistribution",
    "Prior",
    "ScaledLikelihood",
    "bits_per_dim",
    "check_prior_name",
    "kl_terms",
    "log_aggregate",
    "log_importance_weights",
    "pairwise_log_density",
    "sample_prior",
]
