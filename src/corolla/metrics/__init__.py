"""Scores: pure functions over arrays, which never see a model.

Codes are N×D, usually the means of q(z|x). Factors are N×K; every distinct value of a factor is a class, and
`factor_bins` cuts factors with more values than that into so many equal-width bins. Features are rows N×D, images
N×H×W×C. `seed` fixes all that is drawn. Every score raises UsageError on arrays that do not fit together, on too few
rows, latents or factors, on factors that never vary, and on values that are not finite.
"""

from corolla.metrics.dci import dci, importance_entropies
from corolla.metrics.dependence import total_correlation_bound
from corolla.metrics.features import FeatureFunction, named_features, pca, pixels
from corolla.metrics.generation import (
    density_coverage,
    frechet_distance,
    generation_intervals,
    kid,
    precision_recall,
)
from corolla.metrics.images import complexity_nats, psnr, ssim
from corolla.metrics.information import mig, modularity, modularity_of, mutual_information_score
from corolla.metrics.intervals import (
    Interval,
    bootstrap,
    interval_of_parts,
    normal_interval,
    parts_of,
    proportion_interval,
)
from corolla.metrics.latent_space import continuity, correlation, knn_accuracy, linear_probe, trustworthiness
from corolla.metrics.neighbours import Neighbours, data_copying, nearest
from corolla.metrics.predictors import explicitness, sap
from corolla.metrics.shared_factors import beta_vae_score, factor_vae_score, irs
from corolla.metrics.unsupervised import gaussian_total_correlation, udr

__all__ = [
    "FeatureFunction",
    "Interval",
    "Neighbours",
    "beta_vae_score",
    "bootstrap",
    "complexity_nats",
    "continuity",
    "correlation",
    "data_copying",
    "dci",
    "density_coverage",
    "explicitness",
    "factor_vae_score",
    "frechet_distance",
    "gaussian_total_correlation",
    "generation_intervals",
    "importance_entropies",
    "interval_of_parts",
    "irs",
    "kid",
    "knn_accuracy",
    "linear_probe",
    "mig",
    "modularity",
    "modularity_of",
    "mutual_information_score",
    "named_features",
    "nearest",
    "normal_interval",
    "parts_of",
    "pca",
    "pixels",
    "precision_recall",
    "proportion_interval",
    "psnr",
    "sap",
    "ssim",
    "total_correlation_bound",
    "trustworthiness",
    "udr",
]
