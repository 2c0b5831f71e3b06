"""Configuration -> run folder. The only package that imports Lightning or a logger."""

from corolla.training.recorder import StopRule, TrainingInterrupted
from corolla.training.runs import fit, fit_cache, is_finished, prepare, resolve, resume

__all__ = ["StopRule", "TrainingInterrupted", "fit", "fit_cache", "is_finished", "prepare", "resolve", "resume"]
