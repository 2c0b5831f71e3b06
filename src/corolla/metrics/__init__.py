"""Scores: pure functions over arrays, which never see a model."""

from corolla.metrics.complexity import complexity_nats
from corolla.metrics.dci import Dci, ImportanceEntropies, dci, importance_entropies
from corolla.metrics.factor_space import FactorGrid, FactorSpace, FactorTable
from corolla.metrics.features import FeatureFunction, named_features, pca, pixels
from corolla.metrics.generation import (
    DensityCoverage,
    GenerationIntervals,
    PrecisionRecall,
    density_coverage,
    frechet_distance,
    generation_intervals,
    precision_recall,
)
from corolla.metrics.images import psnr, ssim
from corolla.metrics.information import (
    InformationGap,
    Modularity,
    mig,
    modularity,
    modularity_of,
    mutual_information_score,
)
from corolla.metrics.intervals import Interval, bootstrap, normal_interval
from corolla.metrics.interventions import InterventionalRobustness, irs
from corolla.metrics.kid import KernelDistance, kid
from corolla.metrics.latent_space import (
    Accuracy,
    Correlation,
    continuity,
    correlation,
    knn_accuracy,
    linear_probe,
    trustworthiness,
)
from corolla.metrics.neighbours import DataCopying, Neighbours, data_copying, nearest
from corolla.metrics.predictors import AttributePredictability, Explicitness, explicitness, sap
from corolla.metrics.unsupervised import SeedAgreement, gaussian_total_correlation, udr
from corolla.metrics.votes import PairScore, VoteScore, beta_vae_score, factor_vae_score

__all__ = [
    "Accuracy",
    "AttributePredictability",
    "Correlation",
    "DataCopying",
    "Dci",
    "DensityCoverage",
    "Explicitness",
    "FactorGrid",
    "FactorSpace",
    "FactorTable",
    "FeatureFunction",
    "GenerationIntervals",
    "ImportanceEntropies",
    "InformationGap",
    "Interval",
    "InterventionalRobustness",
    "KernelDistance",
    "Modularity",
    "Neighbours",
    "PairScore",
    "PrecisionRecall",
    "SeedAgreement",
    "VoteScore",
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
    "pca",
    "pixels",
    "precision_recall",
    "psnr",
    "sap",
    "ssim",
    "trustworthiness",
    "udr",
]
