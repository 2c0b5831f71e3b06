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
    """What the file of a fitted prior says of it, apart from its tensors.

    Attributes:
        name: Which prior.
        options: Its settings.
        weights_sha256: Of the model to whose codes it was fitted.
        codes: How many codes those were.
        images: From how many images.
        seed: Of the fit.
        source: Where the images came from.
        log_prob_nats: log p(z) of the evaluation images' codes under this prior, averaged.
        standard_log_prob_nats: The same under the standard normal.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    options: dict[str, Any]
    weights_sha256: str
    codes: int
    images: int
    seed: int
    source: str
    log_prob_nats: float | None = None
    standard_log_prob_nats: float | None = None


PRIOR = Artefact("prior", "prior-{name}.safetensors", PriorCard, again=("fit-prior", "{folder}", "{name}"))


def save_prior(folder: ModelFolder, prior: LatentDistribution, card: PriorCard) -> Path:
    """Write a fitted prior into a model folder, whole or not at all; returns the file. Raises WriteError."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in prior.tensors().items()}
    return PRIOR.write(folder.file(PRIOR, card.name), card, arrays)


def load_prior(folder: ModelFolder, name: str, model: ModelCard) -> tuple[LatentDistribution, PriorCard]:
    """A fitted prior of a model folder, bit for bit as it was saved.

    Raises ModelError if there is none or it is damaged, StaleError if it was fitted to other weights than the model has
    now, and UsageError if it needs a plugin that is not loaded or an extra that is not installed.
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
    prior: LatentDistribution = choice.build(model.config.network.latent_dim)  # says which extra is missing
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    check_tensors(file, "prior", tensors, prior.tensors(), remedy)
    try:
        prior.restore(tensors)
    except ValueError as error:
        raise ModelError(f"{file}: tensor {error}", path=file, remedy=remedy) from None
    return prior, card
