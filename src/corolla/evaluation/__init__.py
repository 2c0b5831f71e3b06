"""A trained model and its images -> scores: of reconstructions, samples, codes and, where they are known, factors."""

from corolla.evaluation.codec import PrincipalComponents
from corolla.evaluation.folders import estimate_folder, evaluate_folder
from corolla.evaluation.material import Material, gather
from corolla.evaluation.reconstructions import extremes
from corolla.evaluation.record import FILE_NAME, SCORES, Score, Scores, load_scores, save_scores
from corolla.evaluation.scoring import Evaluated, evaluate
from corolla.metrics.names import GROUPS, Group

__all__ = [
    "FILE_NAME",
    "GROUPS",
    "SCORES",
    "Evaluated",
    "Group",
    "Material",
    "PrincipalComponents",
    "Score",
    "Scores",
    "estimate_folder",
    "evaluate",
    "evaluate_folder",
    "extremes",
    "gather",
    "load_scores",
    "save_scores",
]
