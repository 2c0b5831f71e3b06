"""What is made for a model and kept in a file: fitted priors, calibrations, directions, scores.

Each kind is a value that says how its file is called and what its card, a dataclass, looks like. Every card records the
SHA-256 of the weights that it was made with; what was made with other weights than the model has now is stale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from corolla.config import describe_faults
from corolla.errors import CorollaError, ModelError, StaleError, command
from corolla.files import write_file

FORMAT = 1

Card = TypeVar("Card")
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Artefact(Generic[Card]):
    """A kind of thing that is made for a model.

    Attributes:
        title: What it is, in a word; in a file of tensors the key of its card.
        file_name: A name in `.safetensors`, or in `.json` if there are no tensors; may hold `{name}`.
        card: A dataclass with the field `weights_sha256`.
        again: The command that makes it again; may hold `{folder}` and `{name}`. Without, a missing one is made.
        in_run: It belongs into the run folder, where there is one, and not into the model folder.
        plain: The file's metadata are the fields of the card, all texts.
        error: What is raised where the file is damaged.
    """

    title: str
    file_name: str
    card: type[Card]
    again: tuple[str, ...] = ()
    in_run: bool = False
    plain: bool = False
    error: type[CorollaError] = ModelError

    def remedy(self, file: Path, name: str = "", make: str = "make it again") -> str:
        """What to do about a file that cannot be used."""
        words = [word.format(folder=file.parent, name=name) for word in self.again]
        return f"{make} with `{command(*words)}`" if words else "remove it, and it is made again"

    def to_json(self, card: Card) -> str:
        """The text of a file without tensors."""
        values = {"format": FORMAT} | asdict(card)  # type: ignore[call-overload]
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def write(self, file: Path, card: Card, arrays: Arrays | None = None, **metadata: str) -> Path:
        """Write the file, whole or not at all, and return it. Raises WriteError."""
        if file.suffix == ".json":
            return write_file(file, self.to_json(card).encode())
        values = asdict(card)  # type: ignore[call-overload]
        about = values if self.plain else {self.title: json.dumps({"format": FORMAT} | values)}
        contiguous = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in (arrays or {}).items()}
        return write_file(file, save(contiguous, metadata=about | metadata))

    def read(
        self, file: Path, *, name: str = "", weights_sha256: str | None = None
    ) -> tuple[Card, dict[str, NDArray[Any]], dict[str, str]]:
        """The card, the tensors and all metadata of a file that is there; `name` is for messages.

        Raises the kind's own error if the file is damaged, cannot be read, or holds something else, and StaleError if
        it was made with other weights than `weights_sha256`, if these are given.
        """
        remedy = self.remedy(file, name)

        def fault(problem: str) -> CorollaError:
            return self.error(f"{file}: {problem}", path=file, remedy=remedy)

        arrays: dict[str, NDArray[Any]] = {}
        metadata: dict[str, str] = {}
        try:
            if file.suffix == ".json":
                text = file.read_text(encoding="utf-8")
            else:
                with safe_open(file, "np") as opened:
                    metadata = opened.metadata() or {}
                    arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
                text = json.dumps({"format": FORMAT} | metadata) if self.plain else metadata.get(self.title, "")
        except (SafetensorError, OSError, UnicodeDecodeError) as error:
            raise fault(f"damaged or not readable: {error}") from None
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise fault(f"does not say what {self.title} it holds: {error}") from None
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise fault(f"holds no {self.title} of format {FORMAT}")
        try:
            card = TypeAdapter(self.card).validate_python(values)
        except ValidationError as error:
            raise fault(describe_faults(error)) from None
        if weights_sha256 is not None:
            check_weights(file, card.weights_sha256, weights_sha256, remedy)  # type: ignore[attr-defined]
        return card, arrays, metadata


def check_weights(what: Path | str, made_with: str, weights_sha256: str, remedy: str) -> None:
    """Raise StaleError if something, a file or what it is called, was not made with the weights of a model now."""
    if made_with != weights_sha256:
        path = what if isinstance(what, Path) else None
        raise StaleError(f"{what}: made with other weights than the model has now", path=path, remedy=remedy)
