"""A trained model and its images -> scores: of reconstructions, samples, codes and, where they are known, factors."""

from corolla.evaluation.codec import PrincipalComponents
from corolla.evaluation.comparison_files import compare_folders
from corolla.evaluation.folders import estimate_folder, evaluate_folder
from corolla.evaluation.material import Material, gather
from corolla.evaluation.record import FILE_NAME, SCORES, Score, Scores
from corolla.evaluation.scoring import Evaluated, evaluate

__all__ = [
    "FILE_NAME",
    "SCORES",
    "Evaluated",
    "Material",
    "PrincipalComponents",
    "Score",
    "Scores",
    "compare_folders",
    "estimate_folder",
    "evaluate",
    "evaluate_folder",
    "gather",
]
