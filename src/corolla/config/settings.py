"""Settings: frozen values whose every field says its unit and range, and the sections that all runs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

if TYPE_CHECKING:
    from corolla.pixels import PixelFormat


MOST_CHANNELS = 64
"""Of an image. The memory that decoding takes grows with them."""


class Settings(BaseModel):
    """Frozen, and strict: an unknown key is an error."""

    # Most classes are never used by a process: what pydantic builds for one is built at its first use.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, defer_build=True)

    @classmethod
    def settings_in_steps(cls) -> list[str]:
        """The settings that are a number of steps, or a share of the run's."""
        return [name for name, field in cls.model_fields.items() if _WHOLE in field.metadata]


def _whole(value: Any) -> Any:
    """A share of the run, between 0 and 1, or a whole number of steps."""
    if value is None or 0 < value < 1:
        return value
    if value != int(value):
        raise ValueError("give a whole number of steps, or a share of the run's steps, below 1")
    return int(value)


_WHOLE = AfterValidator(_whole)
_AS_IT_IS = PlainSerializer(lambda value: value)  # 200, not 200.0
Steps = Annotated[float, _WHOLE, _AS_IT_IS]
"""A number of optimiser steps; a value between 0 and 1 is a share of those of the run."""
StepsOrNone = Annotated[float | None, _WHOLE, _AS_IT_IS]


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


def _texts(value: Any) -> Any:
    """One text as a tuple of it."""
    return (value,) if isinstance(value, str) else value


def _names(value: Any) -> Any:
    """A mapping whose values are names, also where YAML reads one as a number, such as 2023."""
    if not isinstance(value, dict):
        return value
    return {key: str(name) if type(name) is int else name for key, name in value.items()}


def _different(value: tuple[float, float] | None) -> tuple[float, float] | None:
    """Black and white that are two values."""
    if value is not None and value[0] == value[1]:
        raise ValueError("black and white are the same; give two values")
    return value


class DataConfig(Settings):
    """Which images, and how they become pixels."""

    source: str = Field(
        "florets",
        description="where the images come from, such as florets or folder:PATH; `corolla data list` lists them",
    )
    mirror: str | None = Field(None, description="folder or URL that holds the files of a downloaded source")
    recipe: str = Field("fit", description="named list of steps from image to pixels: fit, crop, enhance or your own")
    size: Size = Field((64, 64), description="height and width of the model's images, in pixels")
    train_split: str = Field("train", description="splits to train on, joined by +")
    eval_split: str = Field("auto", description="splits to evaluate on, joined by +; auto: val, or test without one")
    select_split: str | None = Field(None, description="splits to choose the best model on; default: eval_split")
    flip: bool = Field(True, description="mirror half of the training images left to right")
    shift_px: int = Field(4, ge=0, le=64, description="largest random shift of a training image, in pixels")
    on_error: Literal["skip", "refuse"] = Field("skip", description="what to do with an unreadable image")
    channels: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_CHANNELS)] = Field(
        "auto", description="of the model's images: 1 is grey, 3 RGB; auto: as the source has"
    )
    bits: Literal["auto", 8, 16] = Field("auto", description="of a channel of a pixel; auto: as the source has")
    mixed: Literal["convert", "refuse"] = Field(
        "convert", description="images of several formats under auto: make all RGB where one is, and 8 bits, or stop"
    )
    white: Annotated[tuple[float, float] | None, AfterValidator(_different)] = Field(
        None, description="black and white of deeper values than 8 bits; default: 0 and what the file states"
    )
    icc: bool = Field(True, description="convert the colours of embedded ICC profiles to sRGB")
    truncated: Literal["keep", "skip", "refuse"] = Field("skip", description="what to do with a damaged JPEG")
    page: int = Field(0, ge=0, description="picture of a TIFF that holds several, counted from 0")
    max_pixels: int = Field(178_956_970, ge=1, description="larger pictures are refused, as decompression bombs")
    labels: str | None = Field(None, description="CSV or JSON file with a label, and maybe a split, for each image")
    split_folders: Annotated[dict[str, str] | None, BeforeValidator(_names)] = Field(
        None, description="folders that are splits, such as {train: 2023, test: 2024}; default: by their names"
    )
    ignore: Annotated[tuple[str, ...], BeforeValidator(_texts)] = Field(
        (), description="patterns of paths to leave out, such as */thumbs/*"
    )

    @property
    def pixel_format(self) -> PixelFormat:
        """Channels and bits of the model's images; RGB of 8 bits as long as they are left open."""
        from corolla.pixels import RGB8, PixelFormat  # brings NumPy, which a command's help can do without

        channels = RGB8.channels if self.channels == "auto" else self.channels
        return PixelFormat(channels, RGB8.bits if self.bits == "auto" else self.bits)


class TrainingConfig(Settings):
    """How the optimiser runs, and what is written as it goes."""

    epochs: int = Field(200, ge=1, description="passes over the training images")
    max_steps: int | None = Field(None, ge=1, description="optimiser steps; overrides epochs")
    batch_size: int = Field(32, ge=1, description="images in a step, on each device")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="Adam, or Adam with decoupled weight decay")
    learning_rate: float = Field(1e-3, gt=0.0, description="of the optimiser, at its peak")
    weight_decay: float = Field(0.05, ge=0.0, description="of weight matrices; biases and norms have none")
    warmup_steps: Steps = Field(
        50, ge=0, description="steps, or a share of the run below 1, over which the learning rate grows from zero"
    )
    schedule: Literal["constant", "cosine"] = Field("cosine", description="of the learning rate")
    decay_start: float = Field(0.3, ge=0.0, le=1.0, description="cosine: share of the steps before the decay begins")
    clip_norm: float | None = Field(None, gt=0.0, description="largest gradient norm")
    ema_decay: float | None = Field(0.998, gt=0.0, lt=1.0, description="decay of the weights' moving average")
    evaluate_every: StepsOrNone = Field(
        None, gt=0, description="steps, or a share of the run below 1, between evaluations; default: one epoch"
    )
    patience: int | None = Field(None, ge=1, description="evaluations without improvement before stopping early")
    checkpoint_every: int | None = Field(None, ge=1, description="steps between checkpoints; default: at evaluations")
    samples_every: int | None = Field(
        None, ge=1, description="evaluations between sample pictures; default: ten in all"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="of the arithmetic; auto: bf16-mixed where the hardware has matrix units, else 32-true"
    )
    accelerator: str = Field("auto", description="kind of device: auto, cpu, gpu or mps")
    devices: int | str = Field("auto", description="how many of them, or auto")
    num_nodes: int = Field(1, ge=1, description="how many machines")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores")
