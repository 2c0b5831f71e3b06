"""Model folder <-> model: `config.json` and `model.safetensors`, never a pickle.

Loading needs neither Lightning nor the run that trained the model, and is strict: a missing, extra, misshapen or
non-finite tensor is an error that names it, and so are weights that are not those which `config.json` describes. Priors
that were fitted to the model's codes lie beside it as `prior-NAME.safetensors`, and say which weights they belong to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from corolla.config import Config, describe_faults
from corolla.distributions import FITTED_PRIORS, Prior
from corolla.errors import CorollaError, ModelError, UsageError, command
from corolla.files import write_atomically
from corolla.models.vae import VAE, build_model

FORMAT = 1
CARD_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

Card = TypeVar("Card")


@dataclass(frozen=True)
class ModelCard:
    """What a model folder says of its model, apart from the weights."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    config: Config
    step: int = 0
    """Optimiser steps behind the weights."""
    scores: dict[str, float] = field(default_factory=dict)
    """Averages over the evaluation split, in nats per image unless the name says otherwise."""
    latent_kl_nats: tuple[float, ...] = ()
    """KL of each latent, averaged over the evaluation split."""
    data: dict[str, Any] = field(default_factory=dict)
    """Source, fingerprint, number of training images."""
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""
    """Of `model.safetensors`: what else is made from a model can say by this which weights it belongs to."""

    def to_json(self) -> str:
        """The text of `config.json`."""
        values = asdict(self) | {"config": self.config.model_dump(mode="json")}
        return json.dumps({"format": FORMAT} | values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> ModelCard:
        """Read the text of `config.json`. Raises ModelError that says what is wrong with it."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where}: not JSON: {error}") from None
        if not isinstance(values, dict) or "config" not in values:
            raise ModelError(f"{where}: not a Corolla model: it has no `config`")
        if values.pop("format", None) != FORMAT:
            raise ModelError(f"{where}: not of model format {FORMAT}; load it with the Corolla that wrote it")
        try:
            card = _CARD.validate_python(values | {"config": Config.from_dict(values["config"], where=where)})
        except UsageError as error:
            raise ModelError(str(error)) from None
        except ValidationError as error:
            raise ModelError(f"{where}: {describe_faults(error)}") from None
        if len(card.latent_kl_nats) not in (0, card.config.network.latent_dim):
            raise ModelError(
                f"{where}: latent_kl_nats has {len(card.latent_kl_nats)} numbers for "
                f"{card.config.network.latent_dim} latents"
            )
        return card


_CARD = TypeAdapter(ModelCard)


def pack_model(vae: VAE, card: ModelCard) -> dict[str, bytes]:
    """The files of a model folder by name, `config.json` and `model.safetensors`; `unpack_model` is the inverse."""
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in vae.state_dict().items()})
    card = replace(card, weights_sha256=hashlib.sha256(weights).hexdigest())
    return {WEIGHTS_NAME: weights, CARD_NAME: card.to_json().encode()}


def save_model(folder: Path, vae: VAE, card: ModelCard) -> None:
    """Write a model folder. Each file is replaced at once; a kill between the two is noticed by `load_model`.

    Whatever else is in the folder stays; what belongs to other weights tells it by the card's `weights_sha256`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pack_model(vae, card).items():
        write_atomically(folder / name, content)


def find_model(path: Path | str) -> Path:
    """The model folder at a path: itself, or `model` inside a run folder. Raises ModelError if there is none."""
    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path}: no such folder; give a run folder or a model folder")
    for folder in (path, path / "model"):
        if (folder / CARD_NAME).is_file():
            return folder
    if (path / "config.yaml").is_file():
        raise ModelError(f"{path}: this run has no model yet; finish it with `{command('train', '--resume', path)}`")
    raise ModelError(f"{path}: holds no model: neither {CARD_NAME} nor model/{CARD_NAME} is there")


def load_card(path: Path | str) -> ModelCard:
    """What a run or model folder says of its model, without the weights. Raises ModelError."""
    file = find_model(path) / CARD_NAME
    return _read_card(_read(file), file)


def load_model(path: Path | str) -> tuple[VAE, ModelCard]:
    """Model and card from a run or model folder, on the CPU in evaluation mode. Raises ModelError."""
    folder = find_model(path)
    return unpack_model({name: _read(folder / name) for name in (CARD_NAME, WEIGHTS_NAME)}, folder)


def unpack_model(files: Mapping[str, bytes], folder: Path) -> tuple[VAE, ModelCard]:
    """Model and card from the files of a model folder, which messages name. Raises ModelError."""
    card = _read_card(files[CARD_NAME], folder / CARD_NAME)
    weights, file = files[WEIGHTS_NAME], folder / WEIGHTS_NAME
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise ModelError(f"{file}: damaged or not readable: {error}") from None
    with torch.random.fork_rng(devices=[]):
        vae = build_model(card.config)
    _check_tensors(tensors, vae.state_dict(), file, "model", CARD_NAME)
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        raise ModelError(
            f"{file}: not the weights that {CARD_NAME} describes (another SHA-256): the file was exchanged, or saving "
            "was interrupted; go on with the run by `corolla train --resume`, or bring back both files"
        )
    vae.load_state_dict(tensors)
    return vae.eval(), card


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{file}: missing; the model folder is not complete") from None
    except OSError as error:
        raise ModelError(f"{file}: damaged or not readable: {error.strerror}") from None


def _read_card(content: bytes, file: Path) -> ModelCard:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{file}: not JSON: {error}") from None
    return ModelCard.from_json(text, where=str(file))


@dataclass(frozen=True)
class PriorCard:
    """What the file of a fitted prior says of it, apart from its tensors."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    """Which of FITTED_PRIORS."""
    options: dict[str, Any]
    """What its constructor takes beside the number of latents."""
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


_PRIOR_CARD = TypeAdapter(PriorCard)


def prior_file(folder: Path, name: str) -> Path:
    """Where a model folder keeps a fitted prior."""
    return folder / f"prior-{name}.safetensors"


def description(kind: str, card: Any) -> dict[str, str]:
    """The metadata of a file of tensors: a dataclass that says what they are, under their kind; `read_described`."""
    return {kind: json.dumps({"format": FORMAT} | asdict(card))}


def read_described(
    file: Path | str,
    kind: str,
    adapter: TypeAdapter[Card],
    *,
    framework: Literal["pt", "numpy"],
    again: str,
    error: type[CorollaError] = ModelError,
) -> tuple[Card, dict[str, Any], dict[str, str]]:
    """The card, the tensors by name and all metadata of a safetensors file that was written with a `description`.

    Args:
        file: it must be there.
        kind: what it holds, in a word: the key of its description.
        adapter: of the card.
        framework: what the tensors become.
        again: how to make the file anew, for messages.
        error: what is raised.

    Raises:
        CorollaError: of the type `error`: the file is damaged, cannot be read, or holds something else.
    """
    try:
        with safe_open(file, framework) as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise error(f"{file}: damaged or not readable: {fault}; {again}") from None
    try:
        values = json.loads(metadata.get(kind, ""))
        if values.pop("format") != FORMAT:
            raise error(f"{file}: not of format {FORMAT}; {again}")
        return adapter.validate_python(values), tensors, metadata
    except ValidationError as fault:
        raise error(f"{file}: {describe_faults(fault)}; {again}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise error(f"{file}: does not say what {kind} it holds; {again}") from None


def save_prior(folder: Path, prior: Prior, card: PriorCard) -> Path:
    """Write a fitted prior into a model folder, whole or not at all; returns the file.

    Raises:
        ModelError: it cannot be written.
    """
    file = prior_file(folder, card.name)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in prior.tensors().items()}
    try:
        write_atomically(file, save(tensors, metadata=description("prior", card)))
    except OSError as error:
        raise ModelError(f"{file}: cannot be written: {error.strerror or error}") from None
    return file


def load_prior(folder: Path, name: str, model: ModelCard) -> tuple[Prior, PriorCard]:
    """A fitted prior of a model folder, bit for bit as it was saved.

    Raises:
        ModelError: there is none; it is damaged; or it was fitted to other weights than the model has now.
        UsageError: it needs an extra that is not installed.
    """
    file = prior_file(folder, name)
    fitting = f"`{command('fit-prior', folder, name)}`"
    again = f"fit it anew with {fitting}"
    if not file.is_file():
        raise ModelError(f"{file}: missing; fit this prior with {fitting}")
    card, tensors, _ = read_described(file, "prior", _PRIOR_CARD, framework="pt", again=again)
    if card.name != name:
        raise ModelError(f"{file}: holds the prior {card.name}, not {name}; {again}")
    if card.weights_sha256 != model.weights_sha256:
        raise ModelError(f"{file}: fitted to other weights than the model has now; {again}")
    try:
        prior = FITTED_PRIORS[name](model.config.network.latent_dim, **card.options)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    except (TypeError, RuntimeError):
        raise ModelError(f"{file}: options {card.options} are not those of the prior {name}; {again}") from None
    _check_tensors(tensors, prior.tensors(), file, "prior", "description")
    try:
        prior.restore(tensors)
    except ValueError as error:
        raise ModelError(f"{file}: tensor {error}; {again}") from None
    return prior, card


def _check_tensors(
    found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], file: Path, what: str, described_by: str
) -> None:
    for name in sorted(wanted.keys() - found.keys()):
        raise ModelError(f"{file}: tensor {name} is missing; the weights do not belong to this {described_by}")
    for name in sorted(found.keys() - wanted.keys()):
        raise ModelError(
            f"{file}: tensor {name} is not part of the {what}; the weights belong to another {described_by}"
        )
    for name, tensor in found.items():
        expected = wanted[name]
        if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise ModelError(
                f"{file}: tensor {name} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"but the {what} needs {tuple(expected.shape)} {expected.dtype}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{file}: tensor {name} holds values that are not finite; the {what} is damaged")
