"""What can be chosen in a configuration, and what each kind must be able to do: the classes to derive from.

A choice is told apart by its `name` and carries its own settings as pydantic fields. The classes import torch only
where they need it, so that a configuration can be made and checked without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from corolla.config.settings import Settings, Steps, StepsOrNone
from corolla.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from corolla.distributions import DiagonalGaussian, LatentDistribution
    from corolla.models.blocks import Shape
    from corolla.objectives.companions import Companion


class Choice(Settings):
    """One arm of an open union.

    Attributes:
        kind: what it is a choice of.
        title: what it is called in a sentence, such as "a β-VAE".
        idle: inherited settings that mean nothing here; to set one is an error.
    """

    kind: ClassVar[str]
    title: ClassVar[str] = ""
    idle: ClassVar[frozenset[str]] = frozenset()

    name: str

    def dump(self) -> dict[str, Any]:
        """The settings as YAML and JSON have them."""
        return self.model_dump(mode="json", exclude=set(self.idle))

    @model_validator(mode="after")
    def _sets_nothing_idle(self) -> Any:
        for name in sorted(self.idle & self.model_fields_set):
            if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} means nothing for {self.name}; leave it out")
        return self


class Network(Choice, ABC):
    """An encoder and a decoder: tensors to tensors, nothing of pixels or probability."""

    kind: ClassVar[str] = "network"

    latent_dim: int = Field(64, ge=1, le=4096, description="number of latents")

    @abstractmethod
    def build(self, shape: Shape) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder; their weights are drawn from torch's global generator.

        The encoder maps images (N×C×H×W) to the mean and the log-variance of q(z|x), each N×latent_dim. The decoder
        maps latents (N×latent_dim) to a raw output (N×out_channels×H×W) that only the likelihood interprets.

        Raises:
            UsageError: The network cannot take images of this size.
        """


class Likelihood(Choice, ABC):
    """How the decoder's raw output describes pixels: p(x|z)."""

    kind: ClassVar[str] = "likelihood"

    @abstractmethod
    def build(self, levels: int = 256) -> nn.Module:
        """A module `(raw, x=None) -> PixelDistribution`; x are the images, in training, for what is calibrated.

        `levels` is how many values a channel of a pixel can have: 256, or 65,536.
        """


class Prior(Choice, ABC):
    """p(z), that latents are drawn from; where it is `fitted`, it is fitted to a model's codes and kept with it."""

    kind: ClassVar[str] = "prior"
    fitted: ClassVar[bool] = True

    @abstractmethod
    def build(self, latent_dim: int) -> LatentDistribution:
        """The distribution as it is before a fit; what was saved is put into it."""

    def check(self, codes: int) -> None:
        """Raise UsageError where so many codes do not suffice."""

    def fit(self, codes: Tensor, **how: Any) -> LatentDistribution:  # noqa: ARG002
        """The distribution, fitted to codes N×latent_dim, or images×draws×latent_dim.

        `how` has `seed`, which fixes all that is drawn, and `progress`, which is called with the rounds done, how many
        there are at most, and a few words.
        """
        raise UsageError(f"prior {self.name}: needs no fitting")


class Objective(Choice, ABC):
    """What training minimises beside -log p(x|z): named terms in nats per image.

    Attributes:
        auto_encoder: the decoder sees the mean of q(z|x) and never a draw; its variance means nothing.
        stationary: losses of different steps can be compared; not so where something is learnt beside the model.
        least_batch: the smallest batch that the terms can be computed of.
        beta_setting: the setting that is its β, the weight of the KL; None if it has none.
        target_setting: the setting that asks for a rate; None if no rate is asked for.
        pressure_setting: the setting that, made smaller, presses less on the code; None: its β.
        warmup_settings: settings in steps, or shares of the run, over which its pressure on the code grows.
    """

    kind: ClassVar[str] = "objective"
    auto_encoder: ClassVar[bool] = False
    stationary: ClassVar[bool] = True
    least_batch: ClassVar[int] = 1
    beta_setting: ClassVar[str | None] = None
    target_setting: ClassVar[str | None] = None
    pressure_setting: ClassVar[str | None] = None
    warmup_settings: ClassVar[tuple[str, ...]] = ("warmup_steps",)

    warmup_steps: Steps = Field(
        0, ge=0, description="steps, or a share of the run below 1, over which the terms' weight grows from 0"
    )
    cycle_steps: StepsOrNone = Field(
        None, gt=0, description="steps, or a share of the run below 1, after which the warm-up repeats; default: never"
    )
    noise: float = Field(0.0, ge=0.0, le=1.0, description="standard deviation of the noise on the encoder's input")
    mask: float = Field(0.0, ge=0.0, lt=1.0, description="share of the encoder's input that is hidden")
    mask_patch_px: int = Field(1, ge=1, le=512, description="side of the hidden squares, in pixels")
    perceptual: float = Field(
        0.0, ge=0.0, description="weight of a distance in image features, beside the likelihood; extra `perceptual`"
    )
    perceptual_after: Steps = Field(
        0,
        ge=0,
        description="steps, or a share of the run below 1, before that distance is added; those take less time",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Any:
        if self.cycle_steps is not None and not self.warmup_steps:
            raise ValueError("cycle_steps repeats the warm-up, and there is none; set warmup_steps")
        cycle = self.cycle_steps or 0
        if 0 < cycle <= self.warmup_steps and (cycle < 1) == (self.warmup_steps < 1):  # both steps, or both shares
            raise ValueError(f"cycle_steps {cycle}: must be more than the {self.warmup_steps} warmup_steps")
        if self.mask_patch_px > 1 and not self.mask:
            raise ValueError(f"mask_patch_px {self.mask_patch_px}: nothing is hidden; set mask, or leave it out")
        if self.perceptual_after and not self.perceptual:
            raise ValueError(f"perceptual_after {self.perceptual_after}: set perceptual too, or leave it out")
        return self

    @abstractmethod
    def terms(
        self, q: DiagonalGaussian, z: Tensor, *, step: int | None, data_size: int, companion: Any
    ) -> Mapping[str, Tensor]:
        """The terms of a batch with their weights, in nats per image, averaged over the batch.

        Args:
            q: The posterior of each image.
            z: The latents that were decoded, N×latent_dim: draws from q.
            step: The optimiser step, for schedules; None: as they are at their end.
            data_size: The number of training images in all their augmented versions, for what is estimated of them.
            companion: What `companion` made, if anything.
        """

    def companion(self, latent_dim: int) -> Companion | None:  # noqa: ARG002
        """What is learnt beside the model, such as a discriminator; its weights come from torch's global generator."""
        return None

    def effective_beta(self, rows: Sequence[Mapping[str, str]] = ()) -> float | None:  # noqa: ARG002
        """The weight of the KL in nats per image that it amounts to; None where there is no such number.

        `rows` are those of `metrics.csv`, oldest first, for a weight that changes in training.
        """
        if self.auto_encoder:
            return 0.0
        if self.target_setting is not None:
            return None
        return 1.0 if self.beta_setting is None else float(getattr(self, self.beta_setting))

    def describe(self, beta: float | None) -> str:
        """What presses on the code, in a few words; `beta` is the effective one."""
        return "no KL" if self.auto_encoder else f"beta {beta or 0:g}"

    def loosen(self) -> str:
        """The change of a setting that presses less on the code, in a few words."""
        if self.target_setting is not None:
            return f"a larger objective.{self.target_setting}"
        setting = self.pressure_setting or self.beta_setting
        if setting is None:
            return "a beta below 1 (objective.name=beta_vae, objective.beta=0.5)"
        return f"a smaller objective.{setting} than {getattr(self, setting):g}"

    @property
    def target(self) -> tuple[str, float] | None:
        """The setting that asks for a rate, and that rate in nats; None where no rate is asked for."""
        return None if self.target_setting is None else (self.target_setting, getattr(self, self.target_setting))

    def off_target(self, rate: float, beta: float | None) -> tuple[str, str]:  # noqa: ARG002
        """A kind and a remedy where the rate, in nats, is not the `target`."""
        return "off target", "Train longer."

    @property
    def free_nats_per_latent(self) -> float:
        """Nats of a latent's KL that cost nothing."""
        return 0.0
