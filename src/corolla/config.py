"""A training run as a value: one frozen tree that the command line, YAML files and Python code all build.

Unknown keys are errors; every field says its unit and range; `Config.from_yaml` and `Config.to_yaml` are inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

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


def _parse_sigma(value: Any) -> Any:
    """Read a scale: a number, or how to find one. The bounds are those between which float32 loses no digits."""
    if value is None or value in ("calibrated", "learned"):
        return value
    try:
        if not isinstance(value, bool) and 1e-4 <= float(value) <= 10:
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ValueError("should be calibrated, learned, or a number from 0.0001 to 10")


Side = Annotated[int, Field(ge=8, le=4096)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_parse_size)]
Sigma = Annotated[float | Literal["calibrated", "learned"] | None, BeforeValidator(_parse_sigma)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class DataConfig(_Value):
    """Which images, and how they become pixels."""

    source: str = Field(
        "florets",
        description="florets[:COUNT], flowers102, folder:PATH, factors:FILE.npz or a set such as dsprites[:COUNT]",
    )
    mirror: str | None = Field(None, description="folder or URL that holds the files of a downloaded source")
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

    name: Literal["bernoulli", "continuous_bernoulli", "gaussian", "laplace", "discretised_logistic"] = "bernoulli"
    sigma: Sigma = Field(
        None,
        description="gaussian, laplace, discretised_logistic: the scale on the [0, 1] pixel scale, a number or found "
        "from each batch (calibrated; not discretised_logistic) or learned with the weights; default: calibrated where "
        "that is possible, else learned",
    )

    @model_validator(mode="after")
    def _has_a_scale(self) -> LikelihoodConfig:
        if self.sigma is not None and self.name in ("bernoulli", "continuous_bernoulli"):
            raise ValueError(f"{self.name} has no sigma; leave likelihood.sigma out (null)")
        if self.sigma == "calibrated" and self.name == "discretised_logistic":
            raise ValueError("discretised_logistic has no calibrated sigma; give a number or learned")
        return self


ObjectiveName = Literal[
    "ae",
    "dae",
    "vae",
    "beta_vae",
    "capacity_vae",
    "free_bits",
    "control_vae",
    "beta_tcvae",
    "factor_vae",
    "dip_vae_i",
    "dip_vae_ii",
    "info_vae",
]

# What a setting of ObjectiveConfig is when it is left open (null), by objective.
OBJECTIVE_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "dae": {"noise": 0.1},
    "capacity_vae": {"gamma": 1000.0},
    "beta_tcvae": {"alpha": 1.0, "gamma": 1.0},
    "factor_vae": {"gamma": 10.0},
    "dip_vae_i": {"lambda_diagonal": 100.0},
    "dip_vae_ii": {"lambda_diagonal": 10.0},
    "info_vae": {"alpha": 0.0},
}


class ObjectiveConfig(_Value):
    """What training minimises, in nats per image."""

    name: ObjectiveName = "beta_vae"
    beta: float = Field(4.0, ge=0.0, description="beta_vae: weight of the KL; beta_tcvae: of the total correlation")
    warmup_steps: int = Field(0, ge=0, description="optimiser steps over which the regulariser's weight grows from 0")
    cycle_steps: int | None = Field(None, ge=1, description="steps after which the warm-up begins anew; default: never")

    capacity_nats: float = Field(25.0, ge=0.0, description="capacity_vae: the KL it is led to")
    capacity_steps: int = Field(2000, ge=1, description="capacity_vae: steps over which that KL is let in")
    free_nats: float = Field(0.5, ge=0.0, description="free_bits: the KL of each latent that costs nothing")
    target_nats: float = Field(25.0, gt=0.0, description="control_vae: the KL that the controller finds beta for")
    control_proportional: float = Field(0.01, ge=0.0, description="control_vae: the proportional gain")
    control_integral: float = Field(0.001, gt=0.0, description="control_vae: the integral gain")
    control_max_beta: float = Field(1000.0, gt=0.0, description="control_vae: the largest beta to try")

    alpha: float | None = Field(
        None, ge=0.0, description="beta_tcvae: weight of the mutual information (1); info_vae: 1 - weight of the KL (0)"
    )
    gamma: float | None = Field(
        None,
        ge=0.0,
        description="beta_tcvae: weight of the dimension-wise KL (1); factor_vae: of the total correlation (10); "
        "capacity_vae: of the distance from the capacity (1000)",
    )
    tc_estimator: Literal["stratified", "weighted"] = Field(
        "stratified", description="beta_tcvae: how a batch stands for all training images"
    )
    discriminator_width: int = Field(1000, ge=1, le=8192, description="factor_vae: units in a layer")
    discriminator_layers: int = Field(
        5, ge=1, le=16, description="factor_vae: hidden layers, before that of the output"
    )
    discriminator_learning_rate: float = Field(1e-4, gt=0.0, description="factor_vae")
    lambda_offdiagonal: float = Field(10.0, ge=0.0, description="dip_vae_i, dip_vae_ii: weight of the covariances")
    lambda_diagonal: float | None = Field(
        None, ge=0.0, description="weight of the variances' distance from 1 (dip_vae_i: 100, dip_vae_ii: 10)"
    )
    lambda_mmd: float = Field(1000.0, ge=0.0, description="info_vae: weight of the prior's match, as in its paper")
    kernel: Literal["imq", "gaussian"] = Field(
        "imq", description="info_vae: inverse multi-quadratic, or Gaussian; see the docs for the bandwidth"
    )

    noise: float | None = Field(
        None, ge=0.0, le=1.0, description="standard deviation of the noise on the encoder's input (dae: 0.1; others: 0)"
    )
    mask: float = Field(0.0, ge=0.0, lt=1.0, description="share of the encoder's input that is hidden")
    mask_patch_px: int = Field(1, ge=1, le=512, description="side of the hidden squares, in pixels")
    perceptual: float = Field(
        0.0, ge=0.0, description="weight of a distance in image features, beside the likelihood; extra `perceptual`"
    )
    perceptual_after: int = Field(
        0, ge=0, description="optimiser steps before that distance is added; steps without it take less time"
    )

    @model_validator(mode="after")
    def _can_be(self) -> ObjectiveConfig:
        if self.cycle_steps is not None and self.cycle_steps <= self.warmup_steps:
            raise ValueError(f"cycle_steps {self.cycle_steps}: must be more than the {self.warmup_steps} warmup_steps")
        if self.cycle_steps is not None and not self.warmup_steps:
            raise ValueError("cycle_steps repeats the warm-up, and there is none; set warmup_steps")
        if self.name == "info_vae" and self.filled.alpha is not None and self.filled.alpha + self.lambda_mmd < 1:
            raise ValueError("lambda_mmd: alpha + lambda_mmd - 1 weighs the divergence and must not be below 0")
        if self.name == "info_vae" and self.alpha is not None and self.alpha > 1:
            raise ValueError(f"alpha {self.alpha:g}: 1 - alpha weighs the KL of info_vae and must not be below 0")
        if self.name == "dae" and self.filled.noise == 0 and self.mask == 0:
            raise ValueError("dae needs noise or mask above 0; without them it is ae")
        return self

    @property
    def filled(self) -> ObjectiveConfig:
        """The same with the settings that were left open decided, as the objective's paper has them."""
        values = {
            name: value for name, value in OBJECTIVE_DEFAULTS.get(self.name, {}).items() if getattr(self, name) is None
        }
        return self.model_copy(update=values)


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

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        name = self.objective.name
        if self.training.batch_size < 4 and name in ("beta_tcvae", "factor_vae", "dip_vae_i", "dip_vae_ii", "info_vae"):
            raise ValueError(f"{name} compares the images of a batch; set training.batch_size to 4 or more")
        if self.training.patience is not None and name in ("factor_vae", "control_vae"):
            raise ValueError(
                f"the losses of {name} cannot be compared over time, as what it learns beside the model changes; "
                "leave training.patience out (null)"
            )
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """Build and check a configuration. Raises UsageError that names each wrong key and value."""
        try:
            return cls.model_validate(_without_retired(values))
        except ValidationError as error:
            setting = ".".join(map(str, error.errors()[0]["loc"])) or None
            raise UsageError(f"{where}: {describe_faults(error)}", setting=setting) from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> Config:
        """Read a YAML file. Raises UsageError if it cannot be read or holds a wrong value."""
        values = read_yaml(path)
        values.pop("run", None)  # a run folder records there where its numbers came from
        return cls.from_dict(values, where=str(path))

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name, as YAML would have its value; `updated` takes these names."""
        return _flat(self.model_dump(mode="json"))

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
                raise UsageError(f"{dotted}: no such setting; see `corolla train --help` for the list", setting=dotted)
            branch[leaf] = value
        return Config.from_dict(tree)


RETIRED = ("training.report",)
"""Settings of earlier versions that files may still hold; they decide nothing now."""


def _without_retired(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    kept = dict(values)
    for name in RETIRED:
        section, _, key = name.partition(".")
        if isinstance(kept.get(section), Mapping):
            kept[section] = {setting: value for setting, value in kept[section].items() if setting != key}
    return kept


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat


def describe_faults(error: ValidationError) -> str:
    """Each wrong key and value in a few words, on one line."""
    return "; ".join(_describe(fault) for fault in error.errors())


def _describe(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error" and not isinstance(fault["input"], str | int | float | list | tuple):
        return f"{where}: {message}" if where else message  # settings that do not go together
    return f"{where or 'value'} = {fault['input']!r}: {message[0].lower()}{message[1:]}"


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
