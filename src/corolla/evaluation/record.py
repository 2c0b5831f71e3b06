"""The scores of a model as values, and the file that keeps them: `scores.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict

from corolla.metrics import Interval
from corolla.trained.artefacts import Artefact

FILE_NAME = "scores.json"


@dataclass(frozen=True)
class Score:
    """A value and, where it is an estimate from a choice of images, its 95% confidence interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, found: Interval, *, least: float = -math.inf, most: float = math.inf) -> Score:
        """A score whose interval ends where the score does."""
        return cls(found.value, max(least, found.low), min(most, found.high))


@dataclass(frozen=True)
class Scores:
    """What `evaluate` found: scores by key, which `corolla.metrics.names` explains, and what they are of.

    `details` holds what does not fit one number, ready for JSON: factor names, matrices, the worst and best images.
    `samples` were drawn from each prior; `data` is source, size, recipe and fingerprint of the images.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    scores: dict[str, Score]
    details: dict[str, Any] = field(default_factory=dict)
    split: str = ""
    images: int = 0
    samples: int = 0
    seed: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)


SCORES = Artefact("scores", FILE_NAME, Scores, again=("evaluate", "{folder}"), in_run=True)
"""The file of the scores: `SCORES.write(file, scores)`, and `SCORES.read(file)[0]`."""
