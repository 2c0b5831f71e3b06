"""A prior that was fitted to a model's codes <-> its file in the model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict

from corolla.config.choosing import make
from corolla.config.registry import find
from corolla.distributions import LatentDistribution
from corolla.errors import ModelError, UsageError
from corolla.trained.artefacts import Artefact
from corolla.trained.model_folder import ModelCard, ModelFolder, check_tensors


@dataclass(frozen=True)
class PriorCard:
    """What the file of a fitted prior says of it, apart from its tensors."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    """Which prior."""
    options: dict[str, Any]
    """Its settings."""
    weights_sha256: str
    """The card's of the model to whose codes it was fitted."""
    codes: int
    """How many codes those were."""
    images: int
    """From how many images."""
    seed: int
    source: str
    """Where the images came from."""
    log_prob_nats: float | None = None
    """log p(z) of the evaluation images' codes under this prior, averaged."""
    standard_log_prob_nats: float | None = None
    """The same under the standard normal."""


PRIOR = Artefact("prior", "prior-{name}.safetensors", PriorCard, again=("fit-prior", "{folder}", "{name}"))


def save_prior(folder: ModelFolder, prior: LatentDistribution, card: PriorCard) -> Path:
    """Write a fitted prior into a model folder, whole or not at all; returns the file. Raises WriteError."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in prior.tensors().items()}
    return PRIOR.write(folder.file(PRIOR, card.name), card, arrays)


def load_prior(folder: ModelFolder, name: str, model: ModelCard) -> tuple[LatentDistribution, PriorCard]:
    """A fitted prior of a model folder, bit for bit as it was saved.

    Raises:
        ModelError: there is none; it is damaged; or (StaleError) it was fitted to other weights than the model has now.
        UsageError: it needs an extra that is not installed.
    """
    card, arrays = folder.read(PRIOR, model.weights_sha256, name)
    file = folder.file(PRIOR, name)
    remedy = PRIOR.remedy(file, name)
    if card.name != name:
        raise ModelError(f"{file}: holds the prior {card.name}, not {name}", path=file, remedy=remedy)
    find("prior", name)  # says which plugin is missing
    try:
        choice = make("prior", name, **card.options)
    except UsageError as error:
        raise ModelError(f"{file}: {error}", path=file, remedy=remedy) from None
    try:
        prior: LatentDistribution = choice.build(model.config.network.latent_dim)
    except UsageError as error:  # an extra is missing
        raise UsageError(f"{file}: {error}") from None
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    check_tensors(file, "prior", tensors, prior.tensors(), remedy)
    try:
        prior.restore(tensors)
    except ValueError as error:
        raise ModelError(f"{file}: tensor {error}", path=file, remedy=remedy) from None
    return prior, card
