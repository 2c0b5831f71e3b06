"""A training run as a value: one frozen tree that the command line, YAML files and Python code all build.

Unknown keys are errors; every field says its unit and range; `Config.from_yaml` and `Config.to_yaml` are inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from corolla.errors import UsageError


def _parse_size(value: Any) -> Any:
    """Read 64, "64", "48x64" or [48, 64] as (height, width)."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        if not all(part.strip().isdigit() for part in parts):
            raise ValueError(f"{value!r} is not a size; write 64, or 48x64 for height x width")
        value = [int(part) for part in parts]
        if len(value) == 1:
            value = value * 2
    if isinstance(value, int):
        value = (value, value)
    return value


Side = Annotated[int, Field(ge=8, le=4096)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_parse_size)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class DataConfig(_Value):
    """Which images, and how they become pixels."""

    source: str = Field("florets", description="flowers102, folder:PATH, or florets[:COUNT]")
    mirror: str | None = Field(None, description="folder or URL that holds the files of flowers102")
    recipe: Literal["fit", "crop", "enhance"] = Field("fit", description="named list of steps from image to pixels")
    size: Size = Field((64, 64), description="height and width of the model's images, in pixels")
    train_split: str = Field("train", description="splits to train on, joined by +")
    eval_split: str = Field("val", description="splits to evaluate on, joined by +")
    flip: bool = Field(True, description="mirror half of the training images left to right")
    shift_px: int = Field(4, ge=0, le=64, description="largest random shift of a training image, in pixels")
    on_error: Literal["skip", "refuse"] = Field("skip", description="what to do with an unreadable image")


class NetworkConfig(_Value):
    """The encoder and decoder."""

    name: Literal["notebook", "burgess", "resnet"] = "resnet"
    latent_dim: int = Field(64, ge=1, le=4096)
    width: int = Field(64, ge=4, le=1024, description="resnet: channels of the first stage")
    stages: int = Field(2, ge=1, le=6, description="resnet: resolutions, each half of the one before")
    blocks: int = Field(1, ge=0, le=16, description="resnet: residual blocks per stage")
    patch: int = Field(8, ge=1, le=32, description="resnet: side of the stem's patches, in pixels")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="resnet: share of features dropped inside a block")


class LikelihoodConfig(_Value):
    """How the decoder's output describes pixels."""

    name: Literal["bernoulli", "gaussian"] = "bernoulli"
    sigma: Annotated[float, Field(gt=0)] | Literal["calibrated"] = Field(
        "calibrated", description="gaussian: standard deviation on the [0, 1] pixel scale, or found from the data"
    )


class ObjectiveConfig(_Value):
    """What training minimises, in nats per image."""

    name: Literal["ae", "vae", "beta_vae"] = "beta_vae"
    beta: float = Field(4.0, ge=0.0, description="beta_vae: weight of the KL, in nats per image")
    warmup_steps: int = Field(0, ge=0, description="optimiser steps over which the KL's weight grows from zero")


class TrainingConfig(_Value):
    """How the optimiser runs, and what is written as it goes."""

    epochs: int = Field(200, ge=1, description="passes over the training images")
    max_steps: int | None = Field(None, ge=1, description="optimiser steps; overrides epochs")
    batch_size: int = Field(32, ge=1)
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0.0)
    weight_decay: float = Field(0.05, ge=0.0)
    warmup_steps: int = Field(50, ge=0, description="steps over which the learning rate grows from zero")
    schedule: Literal["constant", "cosine"] = "cosine"
    decay_start: float = Field(0.3, ge=0.0, le=1.0, description="cosine: share of the steps before the decay begins")
    clip_norm: float | None = Field(None, gt=0.0, description="largest gradient norm")
    ema_decay: float | None = Field(0.998, gt=0.0, lt=1.0, description="decay of the weights' moving average")
    evaluate_every: int | None = Field(None, ge=1, description="steps between evaluations; default: one epoch")
    patience: int | None = Field(None, ge=1, description="evaluations without improvement before stopping early")
    checkpoint_every: int | None = Field(None, ge=1, description="steps between checkpoints; default: at evaluations")
    samples_every: int | None = Field(
        None, ge=1, description="evaluations between sample pictures; default: ten in all"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed where the hardware has matrix units for it, else 32-true"
    )
    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores")


class Config(_Value):
    """A whole run. The same value gives the same weights, bit for bit, on the same machine."""

    seed: int = Field(42, ge=0, lt=2**32)
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    likelihood: LikelihoodConfig = LikelihoodConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """Build and check a configuration. Raises UsageError that names each wrong key and value."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(_describe(fault) for fault in error.errors())
            raise UsageError(f"{where}: {faults}") from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> Config:
        """Read a YAML file. Raises UsageError if it cannot be read or holds a wrong value."""
        values = read_yaml(path)
        values.pop("run", None)  # a run folder records there where its numbers came from
        return cls.from_dict(values, where=str(path))

    def to_yaml(self) -> str:
        """The whole tree, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def updated(self, changes: Mapping[str, Any]) -> Config:
        """A copy with dotted fields replaced, e.g. {"objective.beta": 2}. Raises UsageError on a wrong key or value."""
        tree = self.model_dump(mode="json")
        for dotted, value in changes.items():
            *parents, leaf = dotted.split(".")
            branch: Any = tree
            for parent in parents:
                branch = branch.get(parent) if isinstance(branch, dict) else None
            if not isinstance(branch, dict) or leaf not in branch:
                raise UsageError(f"{dotted}: no such setting; see `corolla train --help` for the list")
            branch[leaf] = value
        return Config.from_dict(tree)


def _describe(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "value"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where} = {fault['input']!r}: {message[0].lower()}{message[1:]}"


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping. Raises UsageError that names the file and the line where it is wrong."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: should hold settings such as `seed: 42`, but holds {type(values).__name__}")
    return values


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    folder = resources.files("corolla") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def preset(name: str) -> Config:
    """A shipped preset by name. Raises UsageError that lists the names there are."""
    if name not in preset_names():
        raise UsageError(f"{name}: no such preset; there are {', '.join(preset_names())}")
    text = (resources.files("corolla") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return Config.from_dict(yaml.safe_load(text), where=f"preset {name}")
