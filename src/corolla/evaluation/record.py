"""The scores of a model as values, and the file that keeps them: `scores.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from corolla.config import describe_faults
from corolla.errors import CorollaError, ModelError
from corolla.files import write_atomically

FORMAT = 1
FILE_NAME = "scores.json"


@dataclass(frozen=True)
class Score:
    """A value and, where it is an estimate from a choice of images, its 95% confidence interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scores:
    """What `evaluate` found.

    Attributes:
        scores: by key; `corolla.metrics.names` says what each is.
        details: what does not fit one number, ready for JSON: factor names, matrices, the worst and best images.
        split: which of the model's images were used.
        images: how many.
        samples: how many were drawn from each prior.
        seed: fixes all that was drawn.
        data: source, size and recipe of the images, and their fingerprint.
        weights_sha256: which weights they belong to; empty if it was not a Corolla model.
        versions: of the software.
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

    def to_json(self) -> str:
        """The text of `scores.json`."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=2, allow_nan=False) + "\n"


_SCORES = TypeAdapter(Scores)


def save_scores(file: Path, scores: Scores) -> None:
    """Write `scores.json`, whole or not at all. Raises CorollaError if it cannot be written."""
    try:
        write_atomically(file, scores.to_json().encode())
    except OSError as error:
        raise CorollaError(f"{file}: cannot be written: {error.strerror}; choose another place") from None


def load_scores(file: Path) -> Scores:
    """Read `scores.json`. Raises ModelError if it is damaged or of another format."""
    remedy = "write it anew with `corolla evaluate`"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ModelError(f"{file}: not scores of format {FORMAT}; {remedy}")
        return _SCORES.validate_python(values)
    except ValidationError as error:
        raise ModelError(f"{file}: {describe_faults(error)}; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: cannot be read: {error}; {remedy}") from None
