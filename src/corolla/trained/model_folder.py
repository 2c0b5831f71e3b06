"""Model folder <-> model: `config.json` and `model.safetensors`, never a pickle.

Loading needs neither Lightning nor the run that trained the model, and is strict: a missing, extra, misshapen or
non-finite tensor is an error that names it, and so are weights that are not those which `config.json` describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from corolla.config import Config, describe_faults
from corolla.errors import ModelError, UsageError, command
from corolla.files import write_file
from corolla.models.vae import VAE, build_model
from corolla.trained.artefacts import FORMAT, Artefact, Card
from corolla.trained.run_folder import RunFolder

CARD_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What a model folder says of its model, apart from the weights.

    Attributes:
        config: Of its training.
        step: Optimiser steps behind the weights.
        scores: Averages over the evaluation split, in nats per image unless the name says otherwise.
        latent_kl_nats: KL of each latent, averaged over the evaluation split.
        data: Source, fingerprint, numbers of training and evaluation images.
        versions: Of Python and the packages that decide the numbers.
        weights_sha256: Of `model.safetensors`; what is made from a model says by it which weights it belongs to.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    config: Config
    step: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    latent_kl_nats: tuple[float, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""

    def to_json(self) -> str:
        """The text of `config.json`."""
        values = asdict(self) | {"config": self.config.model_dump(mode="json")}
        if self.config.plugins:
            values["plugins"] = self.config.plugins
        return json.dumps({"format": FORMAT} | values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> ModelCard:
        """Read the text of `config.json`. Raises ModelError that says what is wrong with it."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where}: not JSON: {error}") from None
        if not isinstance(values, dict) or "config" not in values:
            raise ModelError(f"{where}: not a Corolla model: it has no `config`")
        if values.pop("format", None) != FORMAT:
            raise ModelError(f"{where}: not of model format {FORMAT}; load it with the Corolla that wrote it")
        plugins = values.pop("plugins", ())
        try:
            card = _CARD.validate_python(values | {"config": Config.from_saved(values["config"], plugins, where=where)})
        except UsageError as error:
            raise ModelError(str(error)) from None
        except ValidationError as error:
            raise ModelError(f"{where}: {describe_faults(error)}") from None
        numbers, latents = len(card.latent_kl_nats), card.config.network.latent_dim
        if numbers not in (0, latents):
            raise ModelError(f"{where}: latent_kl_nats has {numbers} numbers for {latents} latents")
        return card


_CARD = TypeAdapter(ModelCard)


def pack_model(vae: VAE, card: ModelCard) -> dict[str, bytes]:
    """The files of a model folder by name, `config.json` and `model.safetensors`; `unpack_model` is the inverse."""
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in vae.state_dict().items()})
    card = replace(card, weights_sha256=hashlib.sha256(weights).hexdigest())
    return {WEIGHTS_NAME: weights, CARD_NAME: card.to_json().encode()}


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a model, and what is made for this model: `config.json`, `model.safetensors`, artefacts.

    `run` is the run folder that it lies in as `model`, if it does.
    """

    path: Path
    run: RunFolder | None = None

    @classmethod
    def find(cls, path: Path | str) -> ModelFolder:
        """The model at a path: a model folder, or a run folder with one inside. Both ways lead to the same value.

        Raises ModelError if there is none.
        """
        path = Path(path)
        if not path.is_dir():
            raise ModelError(f"{path}: no such folder; give a run folder or a model folder", path=path)
        if (path / CARD_NAME).is_file():
            run = RunFolder(path.parent if path.name else path.absolute().parent)  # the working folder has no name
            return cls(path, run if run.exists and run.model.absolute() == path.absolute() else None)
        run = RunFolder(path)
        if (run.model / CARD_NAME).is_file():
            return cls(run.model, run)
        if run.exists:
            remedy = f"finish it with `{command('train', '--resume', path)}`"
            raise ModelError(f"{path}: this run has no model yet", path=path, remedy=remedy)
        raise ModelError(f"{path}: holds no model: neither {CARD_NAME} nor model/{CARD_NAME} is there", path=path)

    @property
    def home(self) -> Path:
        """The folder that people know the model by: the run folder, or the model folder where there is no run."""
        return self.path if self.run is None else self.run.path

    @property
    def card(self) -> ModelCard:
        """What the folder says of its model, without the weights. Raises ModelError."""
        return ModelCard.from_json(_read(self.path / CARD_NAME), where=str(self.path / CARD_NAME))

    @property
    def rows(self) -> list[dict[str, str]]:
        """The run's record, oldest first; none where there is no run. Raises ModelError if it is damaged."""
        return [] if self.run is None else self.run.rows()

    def stopped(self, card: ModelCard) -> str:
        """Where the run of a model stands if it has not come to its end: the one sentence that says so; else nothing.

        Nothing, too, where its record cannot be read: the model is whole all the same.
        """
        if self.run is None or not self.run.exists:
            return ""
        with suppress(ModelError):
            rows, state = self.run.rows(), self.run.checkpoint_state() or {}
            last = {name: float(rows[-1].get(name) or 0) for name in ("step", "epoch")} if rows else {}
            step = int(max(last.get("step", 0), state.get("step", 0)))
            steps = _total_steps(card, **last)
            if step and not state.get("finished", steps is None or step >= steps):
                resume = command("train", "--resume", self.run.path)
                where = f"step {step:,} of {steps:,}" if steps else f"step {step:,}"
                return f"{self.run.path}: stopped at {where}, if it is not in training now; go on with `{resume}`"
        return ""

    def load(self, vae: VAE | None = None) -> tuple[VAE, ModelCard]:
        """Model and card, in evaluation mode; a new model on the CPU, or the one that is given. Raises ModelError."""
        return unpack_model({name: _read(self.path / name) for name in (CARD_NAME, WEIGHTS_NAME)}, self.path, vae)

    def save(self, vae: VAE, card: ModelCard) -> None:
        """Write the model. Each file is replaced at once; a kill between the two is noticed by `load`.

        Whatever else is in the folder stays; what belongs to other weights shows it by the card's `weights_sha256`.
        Raises WriteError.
        """
        for name, content in pack_model(vae, card).items():
            write_file(self.path / name, content)

    def file(self, kind: Artefact[Any], name: str = "") -> Path:
        """Where an artefact lies, whether it is there or not."""
        return (self.home if kind.in_run else self.path) / kind.file_name.format(name=name)

    def read(self, kind: Artefact[Card], weights_sha256: str, name: str = "") -> tuple[Card, dict[str, NDArray[Any]]]:
        """The card and the tensors of an artefact; of the model's weights now, and by its name where it has one.

        Raises ModelError if it is not there; else as `Artefact.read`.
        """
        file = self.file(kind, name)
        if not file.is_file():
            raise ModelError(f"{file}: missing", path=file, remedy=kind.remedy(file, name, "make it"))
        card, arrays, _ = kind.read(file, name=name, weights_sha256=weights_sha256)
        return card, arrays


def unpack_model(files: Mapping[str, bytes], folder: Path, vae: VAE | None = None) -> tuple[VAE, ModelCard]:
    """Model and card from the files of a model folder, which messages name. Raises ModelError."""
    card = ModelCard.from_json(files[CARD_NAME], where=str(folder / CARD_NAME))
    weights, file = files[WEIGHTS_NAME], folder / WEIGHTS_NAME
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise ModelError(f"{file}: damaged or not readable: {error}") from None
    if vae is None:
        with torch.random.fork_rng(devices=[]):
            vae = build_model(card.config)
    remedy = "go on with the run by `corolla train --resume`, or bring back both files"
    check_tensors(file, "model", tensors, vae.state_dict(), remedy)
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        problem = f"{file}: not the weights that {CARD_NAME} describes: one was replaced, or saving was interrupted"
        raise ModelError(problem, path=file, remedy=remedy)
    vae.load_state_dict(tensors)
    return vae.eval(), card


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{file}: missing; the model folder is not complete") from None
    except OSError as error:
        raise ModelError(f"{file}: damaged or not readable: {error.strerror}") from None


def _total_steps(card: ModelCard, step: float = 0, epoch: float = 0) -> int | None:
    """The steps of the whole run, which had done so many at this epoch; None where the card does not tell."""
    training, images = card.config.training, card.data.get("training_images")
    if training.max_steps or not isinstance(images, int):
        return training.max_steps
    alone = -(-images // training.batch_size)
    processes = max(1, round(alone * epoch / step)) if step else 1  # several share the images of an epoch
    return training.epochs * -(-images // (training.batch_size * processes))


def check_tensors(
    file: Path, what: str, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], remedy: str
) -> None:
    """Raise ModelError, which names the tensor, if one is missing, not expected, of another shape, or not finite.

    `what` says in a word what they make up; `expected` has tensors of the shapes and types that they should have.
    """
    problems = [f"{name} is missing" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"{name} is not part of this {what}" for name in sorted(tensors.keys() - expected.keys())]
    for name in tensors.keys() & expected.keys():
        tensor = tensors[name]
        shape, needed = (f"{tuple(each.shape)} {each.dtype}" for each in (tensor, expected[name]))
        if shape != needed:
            problems.append(f"{name} is {shape}, but this {what} needs {needed}")
        elif tensor.numel() and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():  # one pass over it
            problems.append(f"{name} holds values that are not finite")
    if problems:
        raise ModelError(f"{file}: tensor {problems[0]}", path=file, remedy=remedy)
