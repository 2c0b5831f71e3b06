"""Posterior, priors and likelihoods: the only place where pixels meet probability."""

from corolla.distributions.aggregate import (
    AggregateEstimator,
    KLTerms,
    kl_terms,
    log_aggregate,
    log_importance_weights,
    pairwise_log_density,
)
from corolla.distributions.flow import FlowPrior
from corolla.distributions.gaussians import GaussianPrior, MixturePrior
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
from corolla.distributions.priors import LatentDistribution, StandardPrior, sample_prior

__all__ = [
    "AggregateEstimator",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiagonalGaussian",
    "DiscretisedLogistic",
    "FlowPrior",
    "Gaussian",
    "GaussianPrior",
    "KLTerms",
    "Laplace",
    "LatentDistribution",
    "LogitLikelihood",
    "MixturePrior",
    "PixelDistribution",
    "ScaledLikelihood",
    "StandardPrior",
    "bits_per_dim",
    "kl_terms",
    "log_aggregate",
    "log_importance_weights",
    "pairwise_log_density",
    "sample_prior",
]
