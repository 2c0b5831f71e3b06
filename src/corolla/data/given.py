"""Images that a Python program has, arrays, tensors and data sets -> levels N×H×W×C, labels and factors.

Axes: three are N×H×W, grey. Of four, the channels are the last in a NumPy array and the second in a tensor, unless only
the other one can be: an axis of 1, 3 or 4, or else one shorter than the two beside it.

Values: uint8 and uint16 are levels, and booleans black and white; so are zeros and ones of uint8 alone. Other integers
are levels of 16 bits where one of them is above 255, or the model's images have 16. Floats lie in [0, 1], up to
rounding; they become 8 bits where all are multiples of 1/255, and 16 bits otherwise.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from corolla.data.images import open_picture, picture_of
from corolla.data.levels import Levels, Reading, in_format
from corolla.errors import DataError, UsageError
from corolla.pixels import PixelFormat, format_of, to_levels

_LOG = logging.getLogger("corolla")

_SLACK = 1e-5
"""By so much may floats pass 0 and 1: arithmetic in float32 rounds."""
_LIKELY_CHANNELS = (1, 3, 4)
_IMAGE_NAMES = ("image", "img", "images", "pixel_values", "x", "jpg", "png")
_LABEL_NAMES = ("label", "labels", "target", "class", "fine_label", "y")


@dataclass(frozen=True, eq=False)
class Given:
    """Images of one format and size, or of several sizes.

    Attributes:
        images: One array N×H×W×C, or a list of H×W×C where sizes differ; all of one format.
        labels: One 0-based label for each image, if there are labels.
        label_names: What each label is called.
        factors: N×F factors of variation, if they are known.
        factor_names: What each factor is called.
        splits: The split of each image, train, val or test, if it is known.
    """

    images: Levels | list[Levels]
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    factors: NDArray[np.float32] | None = None
    factor_names: tuple[str, ...] = ()
    splits: tuple[str, ...] | None = None

    @property
    def format(self) -> PixelFormat:
        """Channels and bits of all images."""
        return format_of(self.images[0])


def given(
    images: Any,
    *,
    labels: ArrayLike | None = None,
    factors: ArrayLike | Mapping[str, ArrayLike] | None = None,
    splits: Sequence[str] | None = None,
    reading: Reading | None = None,
) -> Given:
    """Images as a training source can use them.

    Args:
        images: An array or tensor of images (see the module), a torch `Dataset` of images or of (image, label), a data
            set of Hugging Face's `datasets`, or any sequence of images as `picture` takes them.
        labels: One for each image, of any kind; those of a data set by default.
        factors: N×F numbers, or columns by name.
        splits: train, val or test for each image; default: by its number.
        reading: How files and PIL images among them are read.

    Raises:
        UsageError: The images are of no kind that is known, or labels or factors are not as many.
        DataError: An image cannot be read.
    """
    names: tuple[str, ...] = ()
    if _is_tensor(images) or isinstance(images, np.ndarray):
        levels: Levels | list[Levels] = array_levels(images)
    else:
        levels, own, names = _collected(images, reading)
        labels = own if labels is None else labels
    count = len(levels)
    numbers, names = _labels(labels, names, count)
    columns, factor_names = _factors(factors, count)
    if splits is not None and len(splits) != count:
        raise UsageError(f"{len(splits)} splits: give one for each of the {count} images")
    return Given(levels, numbers, names, columns, factor_names, None if splits is None else tuple(map(str, splits)))


def array_levels(images: Any) -> Levels:
    """An array or tensor of images, N×H×W, N×H×W×C or N×C×H×W, as levels N×H×W×C; see the module for the rules.

    Raises UsageError for another shape, type or range.
    """
    return value_levels(batch_axes(images))


def batch_axes(images: Any, model: tuple[int, int, int] | None = None, *, one: bool = False) -> NDArray[Any]:
    """An array or tensor with its axes in the order N×H×W×C; see the module for the rules. Raises UsageError.

    With the height, width and channels of a model's images, two axes are one grey image, and three are one image too if
    it has as many channels, 1 or 3, unless they are grey images of just that height and width, and not surely `one`.
    """
    first, array = _is_tensor(images), _as_array(images)
    channels = None if model is None else model[2]
    if model is not None and array.ndim == 2:
        array = array[None]
    if array.ndim == 3:
        axis = channel_axis(array.shape, first=first)
        grey = not one and model is not None and (*array.shape[1:], 1) == model
        if model is not None and not grey and array.shape[axis] in {channels, *_LIKELY_CHANNELS[:2]}:
            array = array[None]
        else:
            array = array[..., None]
    elif array.ndim != 4:
        raise UsageError(
            f"images of shape {tuple(array.shape)}: give N×H×W (grey), N×H×W×C or N×C×H×W; one image needs an axis in "
            "front, image[None]"
        )
    if 0 in array.shape:
        raise UsageError(f"images of shape {tuple(array.shape)}: there are none")
    if array.shape[3] != channels and channel_axis(array.shape[1:], first=first) == 0:
        array = np.moveaxis(array, 1, 3)
    return array


def channel_axis(shape: Sequence[int], *, first: bool) -> int:
    """Which axis of an image of three axes holds the channels, 0 or 2; `first` is what its kind of array prefers."""

    def can_be(axis: int) -> bool:
        return shape[axis] in _LIKELY_CHANNELS

    preferred, other = (0, 2) if first else (2, 0)
    if can_be(preferred) or not can_be(other):
        if can_be(preferred) or shape[preferred] < min(shape[1], shape[other]):
            return preferred
        if shape[other] < min(shape[1], shape[preferred]):
            return other
        return preferred
    return other


def value_levels(array: NDArray[Any], bits: int | None = None, *, whole: bool = True) -> Levels:
    """Values as levels, of so many bits if given; see the module for the rules. Raises UsageError.

    Of an array that is not the `whole` set of images, zeros and ones do not say that they are black and white.
    """
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint8:
        if whole and array.max(initial=0) == 1:
            _say_black_and_white()
            array = array * np.uint8(255)
    elif array.dtype.kind == "f" or str(array.dtype) == "bfloat16":
        array = np.asarray(checked_floats(array))
        if bits is None:
            scaled = array.astype(np.float64) * 255
            bits = 8 if np.abs(scaled - np.rint(scaled)).max() < 255 * _SLACK else 16
    elif array.dtype != np.uint16:
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 65535:
            raise UsageError(f"images of type {array.dtype}: give uint8, uint16, bool, or floats in [0, 1]")
        # u2: of the other order of bytes
        deep = bits == 16 or array.dtype.str[1:] == "u2" or array.max() > 255
        array = array.astype(np.uint16 if deep else np.uint8)
    return np.ascontiguousarray(to_levels(array, bits or 8 * array.dtype.itemsize))


def _say_black_and_white() -> None:
    _LOG.warning("the images hold 0 and 1 alone: taken for black and white", extra={"once": True})


def checked_floats(array: NDArray[Any]) -> NDArray[Any]:
    """Floats in [0, 1], of which rounding past the ends is taken off. Raises UsageError."""
    low, high = float(array.min()), float(array.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise UsageError(f"float images from {low:.9g} to {high:.9g}: floats must lie in [0, 1]; scale them to that")
    return np.asarray(array.clip(0, 1))


def picture(image: Any, reading: Reading | None = None) -> Levels:
    """One image, H×W×C of its own format: a path, bytes, a binary file, a PIL image, an array or a tensor.

    Raises UsageError for another kind, DataError for a file that cannot be read.
    """
    if is_file(image):
        return open_picture(file_of(image), reading=reading)
    if isinstance(image, Image.Image):
        return picture_of(image, reading=reading)
    if _is_tensor(image) or isinstance(image, np.ndarray):
        array = _as_array(image)
        if array.ndim == 2:
            array = array[..., None]
        elif array.ndim == 3 and channel_axis(array.shape, first=_is_tensor(image)) == 0:
            array = np.moveaxis(array, 0, 2)
        if array.ndim != 3 or 0 in array.shape:
            raise UsageError(f"an image of shape {tuple(array.shape)}: give H×W, H×W×C or C×H×W")
        return value_levels(array, whole=False)
    raise UsageError(
        f"{type(image).__name__}: no image; give a path, bytes, a binary file, a PIL image, an array or a tensor"
    )


def is_file(image: Any) -> bool:
    """Whether something holds an image file: a path, bytes, or a binary file."""
    return isinstance(image, str | Path | bytes | bytearray | memoryview) or (
        hasattr(image, "read") and hasattr(image, "seek") and not isinstance(image, Image.Image)
    )


def file_of(image: Any) -> str | Path | BinaryIO:
    """What `open_picture` takes of what `is_file` finds to be one."""
    return io.BytesIO(bytes(image)) if isinstance(image, bytes | bytearray | memoryview) else image


def item_parts(item: Any) -> tuple[Any, Any]:
    """Image and label, None without one, of an item of a data set: an image, a pair of both, or a row with names."""
    if isinstance(item, Mapping):
        image = next((item[name] for name in _IMAGE_NAMES if name in item), None)
        if image is None:
            raise UsageError(f"a row with {', '.join(map(str, item))}, none of which is `image`")
        if isinstance(image, Mapping) and "bytes" in image:  # as Parquet files of images have them
            image = image["bytes"] or image.get("path")
        return image, next((item[name] for name in _LABEL_NAMES if name in item), None)
    if isinstance(item, tuple | list) and len(item) in (1, 2) and not np.isscalar(item[0]):
        label = item[1] if len(item) == 2 else None
        if label is None or np.ndim(label) == 0:
            return item[0], label
    return item, None


def _collected(images: Any, reading: Reading | None) -> tuple[Levels | list[Levels], list[Any] | None, tuple[str, ...]]:
    """Images of a data set or sequence in one format, with its labels and their names, if it has any."""
    names: tuple[str, ...] = ()
    features = getattr(images, "features", None)
    pictures: list[Levels] = []
    labels: list[Any] = []
    bytes_, integers = [], []  # the numbers of those whose values mean what the largest of all says
    for number, item in enumerate(items(images)):
        try:
            image, label = item_parts(item)
            pictures.append(picture(image, reading))
            dtype = _as_array(image).dtype if _is_tensor(image) or isinstance(image, np.ndarray) else None
            if dtype == np.uint8:
                bytes_.append(number)
            elif dtype is not None and dtype.kind in "iu" and dtype != np.uint16:
                integers.append(number)
        except (UsageError, DataError) as error:
            raise type(error)(f"image {number}: {error}") from None
        labels.append(label)
    if isinstance(features, Mapping):
        names = next(
            (tuple(getattr(features[name], "names", None) or ()) for name in _LABEL_NAMES if name in features), ()
        )
    if not pictures:
        raise UsageError("no images given")
    if max((int(pictures[number].max()) for number in bytes_), default=0) == 1:
        _say_black_and_white()
        for number in bytes_:
            pictures[number] = pictures[number] * np.uint8(255)
    if any(pictures[number].dtype == np.uint16 for number in integers):
        for number in integers:
            pictures[number] = pictures[number].astype(np.uint16)  # levels as they are
    formats = {format_of(one) for one in pictures}
    if len(formats) > 1:
        target = PixelFormat(max(one.channels for one in formats), max(one.bits for one in formats))
        _LOG.warning(
            "the images are %s: all are made %s", " and ".join(sorted(map(str, formats))), target, extra={"once": True}
        )
        pictures = [in_format(one, target) for one in pictures]
    whole: Levels | list[Levels] = pictures
    if len({one.shape for one in pictures}) == 1:
        whole = np.stack(pictures)
    return whole, None if all(label is None for label in labels) else labels, names


def items(images: Any) -> Iterator[Any]:
    """The items of a data set or sequence, one after another. Raises UsageError if it is none."""
    if isinstance(images, str | bytes | Path) or not (isinstance(images, Iterable) or hasattr(images, "__getitem__")):
        raise UsageError(
            f"{type(images).__name__}: no set of images; give an array, a tensor, a data set or a sequence of images"
        )
    if hasattr(images, "__len__") and hasattr(images, "__getitem__") and not isinstance(images, Mapping):
        return (images[number] for number in range(len(images)))  # a torch Dataset need not be iterable
    if isinstance(images, Mapping) or type(images).__name__ == "DataFrame":
        raise UsageError(f"{type(images).__name__}: give its column of images, such as list(table['image'])")
    return iter(images)


def _labels(
    labels: ArrayLike | None, names: tuple[str, ...], count: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if labels is None:
        return None, ()
    array = _as_array(labels) if _is_tensor(labels) else np.asarray(labels)
    if array.shape != (count,):
        raise UsageError(f"labels of shape {array.shape}: give one for each of the {count} images")
    if names and array.dtype.kind in "iu" and array.min() >= 0 and array.max() < len(names):
        return array.astype(np.int64), names
    kinds, numbers = np.unique(array.astype(str) if array.dtype == object else array, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(str(kind) for kind in kinds)


def _factors(
    factors: ArrayLike | Mapping[str, ArrayLike] | None, count: int
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    if factors is None:
        return None, ()
    names: tuple[str, ...] = ()
    if isinstance(factors, Mapping):
        names = tuple(map(str, factors))
        factors = np.stack([np.asarray(column) for column in factors.values()], axis=1)
    array = np.asarray(factors, dtype=np.float32)
    if array.ndim != 2 or len(array) != count:
        raise UsageError(f"factors of shape {array.shape}: give N×F numbers for the {count} images")
    return array, names or tuple(f"factor {number}" for number in range(array.shape[1]))


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.startswith("torch") and hasattr(value, "detach")


def _as_array(value: Any) -> NDArray[Any]:
    if not _is_tensor(value):
        return np.asarray(value)
    tensor = value.detach().cpu()
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
