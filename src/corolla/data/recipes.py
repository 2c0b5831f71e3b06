"""Recipes: named lists of steps that turn an upright picture of any size into height×width pixels.

A recipe is a value: it can be compared, hashed, pickled, digested and previewed stage by stage. `fit` keeps as much of
the picture as the wanted shape allows. `crop` and `enhance` are the two recipes of the study notebook, and their steps
mean what torchvision's functions of the same names mean for PIL images, so that the notebook's pixels come out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from corolla.config import register
from corolla.config.registry import find
from corolla.data.levels import LARGEST_PIXELS, Levels
from corolla.errors import DataError, UsageError, suggestion
from corolla.pixels import format_of

# Part of every digest. Raise it whenever an operation below changes the pixels that it makes.
_OPERATIONS_VERSION = 1

_MOST_RESIZED_PIXELS = LARGEST_PIXELS // 2
"""A picture is not enlarged to more."""
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_OPERATIONS: dict[str, Callable[..., Image.Image]] = {}
_ANY_PIXELS: set[str] = set()  # those that work on one channel of floats as they do on a picture

Operation = TypeVar("Operation", bound=Callable[..., Image.Image])


def operation(function: Operation, *, any_pixels: bool = False) -> Operation:
    """Make a function a step of recipes, under its own name; use as a decorator.

    Args:
        function: From an 8-bit picture, RGB or grey, the (height, width) of the recipe's result, and parameters as
            keywords, to a picture of the same mode. Where its result changes, give it another name: a cache of pixels
            knows it by that alone.
        any_pixels: It can be applied to one channel after another, as a PIL image of mode F; then 16-bit pictures and
            those of other channels than 1 and 3 can have this step.

    Raises UsageError if there is one by that name.
    """
    name = function.__name__
    if name in _OPERATIONS and _OPERATIONS[name].__code__.co_filename != function.__code__.co_filename:
        raise UsageError(f"the step {name!r} is there already; give the function another name")
    _OPERATIONS[name] = function
    if any_pixels:
        _ANY_PIXELS.add(name)
    return function


@dataclass(frozen=True)
class Step:
    """One step of a recipe: the name of an operation, and its parameters as (name, value) pairs."""

    operation: str
    parameters: tuple[tuple[str, float | int | str], ...] = ()

    def __post_init__(self) -> None:
        if self.operation not in _OPERATIONS:
            hint = suggestion(self.operation, _OPERATIONS)
            raise UsageError(f"{self.operation}: no such step{hint}; there are {', '.join(_OPERATIONS)}")

    def __call__(self, image: Image.Image, height: int, width: int) -> Image.Image:
        """Apply the step to an RGB picture; height and width are those of the recipe's result."""
        return _OPERATIONS[self.operation](image, (height, width), **dict(self.parameters))

    @property
    def description(self) -> str:
        """What its operation does: the first paragraph of the function's docstring, empty without one."""
        return " ".join((_OPERATIONS[self.operation].__doc__ or "").strip().split("\n\n")[0].split())

    def __str__(self) -> str:
        """The step as a short label, e.g. "blur kernel_px 3, sigma_px 2.0"."""
        return " ".join([self.operation, ", ".join(f"{name} {value}" for name, value in self.parameters)]).strip()


@dataclass(frozen=True)
class Recipe:
    """A named list of steps from a picture to pixels.

    Attributes:
        name: What the configuration calls it.
        steps: Applied in order.
        largest_px: The largest height or width that the steps can make; None if there is no limit.
        decode_px: How large the short side of a picture must be for the steps to lose nothing that can be seen; None
            if that depends on the result alone (see `decode_at_least_px`).
    """

    kind: ClassVar[str] = "recipe"

    name: str
    steps: tuple[Step, ...]
    largest_px: int | None = None
    decode_px: int | None = None

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 that changes with any step, any parameter, and the meaning of any operation."""
        steps = [[step.operation, list(step.parameters)] for step in self.steps]
        return hashlib.sha256(json.dumps([_OPERATIONS_VERSION, steps]).encode()).hexdigest()

    def check_size(self, height: int, width: int) -> None:
        """Raise UsageError if the recipe cannot make pictures of this size."""
        if height < 1 or width < 1:
            raise UsageError(f"{height}x{width}: not a size; height and width are at least 1 pixel")
        if self.largest_px is not None and max(height, width) > self.largest_px:
            raise UsageError(
                f"the recipe `{self.name}` makes at most {self.largest_px}x{self.largest_px} pixels, not "
                f"{height}x{width}; choose a smaller size, or the recipe `fit`"
            )

    def decode_at_least_px(self, height: int, width: int) -> int | None:
        """How long the short side must at least stay when a JPEG is decoded at reduced scale; None for full scale.

        Reduced-scale decoding averages blocks of pixels in the frequency domain, and rounds the picture's sides up.
        With about twice as many pixels as are kept, the result differs from a full decode by 41 to 44 dB PSNR on
        photographs of flowers made into 64 to 128 pixels (and over 49 dB for `crop` and `enhance`); most of that is
        a displacement by less than a tenth of a pixel.
        """
        # 1.9, not 2: a photograph of the usual 500 pixels made into 64 is then decoded at a quarter (125), not at half.
        return self.decode_px if self.decode_px is not None else -(-19 * max(height, width) // 10)

    def stages(self, image: Image.Image, height: int, width: int) -> list[tuple[str, Image.Image]]:
        """Each step's label and the picture that it makes, the original first. Raises as `apply`."""
        self.check_size(height, width)
        image = image if image.mode == "RGB" else image.convert("RGB")
        pictures = [("original", image)]
        for step in self.steps:
            image = step(image, height, width)
            pictures.append((str(step), image))
        return pictures

    def apply(self, picture: Levels | Image.Image, height: int, width: int) -> Levels:
        """Turn an upright picture, H×W×C of uint8 or uint16, into pixels of the same format, height×width×C.

        A PIL image is taken as 8-bit RGB.

        Pictures smaller than the result are enlarged, as the notebook does.

        Raises:
            UsageError: The recipe cannot make pictures of this size.
            DataError: The picture is too elongated, or smaller than a crop, or a step is for 8-bit grey and RGB alone.
        """
        self.check_size(height, width)
        if isinstance(picture, Image.Image):
            picture = np.asarray(picture.convert("RGB"))
        if picture.dtype == np.uint8 and picture.shape[2] in (1, 3):
            pixels = self._planes(Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture), height, width)
        else:
            unfit = next((step.operation for step in self.steps if step.operation not in _ANY_PIXELS), None)
            if unfit is not None:
                raise DataError(
                    f"the step {unfit!r} of the recipe `{self.name}` needs 8-bit grey or RGB, not "
                    f"{format_of(picture)}; choose the recipe `fit`, or set data.bits to 8"
                )
            channels = [
                self._planes(Image.fromarray(channel.astype(np.float32)), height, width)
                for channel in np.moveaxis(picture, 2, 0)
            ]
            largest = np.iinfo(picture.dtype).max
            pixels = np.rint(np.stack(channels, axis=2)).clip(0, largest).astype(picture.dtype)
        if pixels.shape[:2] != (height, width):
            raise UsageError(f"the recipe `{self.name}` made {pixels.shape[0]}x{pixels.shape[1]}, not {height}x{width}")
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _planes(self, image: Image.Image, height: int, width: int) -> NDArray[Any]:
        for step in self.steps:
            image = step(image, height, width)
        return np.asarray(image)


@partial(operation, any_pixels=True)
def fit(image: Image.Image, size: tuple[int, int], *, method: str) -> Image.Image:
    """Cut the largest centred rectangle of the wanted shape, to a fraction of a pixel, and scale it to size.

    That is to scale the picture until it just covers the size and to crop the middle, without rounding in between: the
    same part is seen whatever the scale that the picture was decoded at.
    """
    height, width = size
    return ImageOps.fit(image, (width, height), _FILTERS[method])


@partial(operation, any_pixels=True)
def resize(image: Image.Image, _size: tuple[int, int], *, short_px: int, method: str) -> Image.Image:
    """Bring the short side to short_px; the long side keeps the aspect, rounded down (torchvision's Resize)."""
    short, long = sorted(image.size)
    scaled = short_px * long // short
    if short_px * scaled > _MOST_RESIZED_PIXELS:
        raise DataError(f"a picture of {image.height}x{image.width} pixels is too elongated to resize")
    return image.resize((short_px, scaled) if image.width <= image.height else (scaled, short_px), _FILTERS[method])


@partial(operation, any_pixels=True)
def center_crop(image: Image.Image, size: tuple[int, int], *, side_px: int | None = None) -> Image.Image:
    """Cut a rectangle from the middle: side_px×side_px, or the size of the result (torchvision's CenterCrop)."""
    height, width = size if side_px is None else (side_px, side_px)
    if image.height < height or image.width < width:
        raise DataError(f"a picture of {image.height}x{image.width} pixels is smaller than the crop, {height}x{width}")
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


@operation
def blur(image: Image.Image, _size: tuple[int, int], *, kernel_px: int, sigma_px: float) -> Image.Image:
    """Gaussian blur with a kernel cut off at kernel_px, mirrored at the border (torchvision's gaussian_blur)."""
    from scipy.ndimage import correlate1d  # slow to import, and most recipes do without

    offsets = np.arange(kernel_px) - (kernel_px - 1) / 2
    weights = np.exp(-0.5 * (offsets / sigma_px) ** 2)
    weights /= weights.sum()
    pixels = np.asarray(image, dtype=np.float32)
    for axis in (0, 1):
        pixels = correlate1d(pixels, weights, axis=axis, mode="mirror")
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


@operation
def gamma(image: Image.Image, _size: tuple[int, int], *, gamma: float, gain: float) -> Image.Image:
    """255 · gain · (x/255)^gamma, clamped (torchvision's adjust_gamma: its table rounds down from 255.999)."""
    table = [min(255, int(255.999 * gain * (value / 255) ** gamma)) for value in range(256)]
    return image.point(table * len(image.getbands()))


@operation
def brightness(image: Image.Image, _size: tuple[int, int], *, factor: float) -> Image.Image:
    """Scale the brightness."""
    return ImageEnhance.Brightness(image).enhance(factor)


@operation
def saturation(image: Image.Image, _size: tuple[int, int], *, factor: float) -> Image.Image:
    """Scale the distance from grey."""
    return ImageEnhance.Color(image).enhance(factor)


@operation
def sharpness(image: Image.Image, _size: tuple[int, int], *, factor: float) -> Image.Image:
    """Scale the distance from a smoothed picture."""
    return ImageEnhance.Sharpness(image).enhance(factor)


@operation
def autocontrast(image: Image.Image, _size: tuple[int, int]) -> Image.Image:
    """Stretch each channel to 0..255."""
    return ImageOps.autocontrast(image)


def _step(operation: str, **parameters: Any) -> Step:
    return Step(operation, tuple(parameters.items()))


# torchvision resizes bilinearly unless told otherwise; the notebook told it only for the first resize.
_OPENING = (_step("resize", short_px=384, method="bicubic"), _step("center_crop", side_px=320))
_CLOSING = (_step("resize", short_px=256, method="bilinear"), _step("center_crop"))

register(Recipe("fit", (_step("fit", method="bicubic"),)))
register(Recipe("crop", (*_OPENING, *_CLOSING), largest_px=256, decode_px=768))
register(
    Recipe(
        "enhance",
        (
            *_OPENING,
            _step("blur", kernel_px=3, sigma_px=2.0),
            _step("gamma", gamma=1.6, gain=1.1),
            _step("brightness", factor=0.7),
            _step("saturation", factor=1.5),
            _step("autocontrast"),
            _step("sharpness", factor=4.0),
            _step("blur", kernel_px=3, sigma_px=1.5),
            *_CLOSING,
        ),
        largest_px=256,
        decode_px=768,
    )
)


def recipe_named(name: str) -> Recipe:
    """A recipe by its name in the configuration. Raises UsageError that lists the names there are."""
    recipe: Recipe = find("recipe", name)
    return recipe
