"""Scores: pure functions over arrays, which never see a model."""

from corolla.metrics.kid import KernelDistance, kid

__all__ = ["KernelDistance", "kid"]
