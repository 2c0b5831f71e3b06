"""What the model's picture lacks of the 8-bit image, coded without loss.

Each value of a pixel is predicted from the model's picture about it, from the values above and to the left of it, and
from the channels of the same pixel that are known already: by a linear mix that is fitted to each block of images by
least squares, so that it decides how far to trust the model. What remains is coded by a two-sided geometric
distribution whose scale depends on how uneven the neighbourhood is (after the contexts of LOCO-I, Weinberger et al.
2000, IEEE TIP 9(8)). All is done in integers, but for the distributions, which are made as in `grid`.

Pixels are taken along slanted lines, x + 2y = t: all values on a line have their neighbours on earlier ones, so that a
line of a whole block is one step. A block's bytes: the weights (int16), the scales (one byte each), the coder's stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.apps.compression.coder import bytes_to_words, categorical, stream_coders, words_to_bytes
from corolla.apps.compression.grid import step_size
from corolla.errors import DataError

Ints = NDArray[np.int64]

_CHANNELS = (1, 0, 2)
"""Green first: it tells most of the others."""
_OWN = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1))
"""Known neighbours in the same channel, (dy, dx): left, above, both beside that, and three farther ones."""
_OTHERS = ((0, 0), (0, -1), (-1, 0), (-1, 1))
"""Known places in the channels before."""
_MODEL = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
"""Places in the model's picture."""
_BORDER = 2
"""Pixels about an image; none of the places above is farther away."""
_WEIGHT_BITS = 11
_LEVELS = 256
_UNEVEN = np.array((2, 4, 8, 14, 22, 34, 52, 80, 130))
"""Where one context ends and the next begins: sums of differences of neighbouring values."""
_CONTEXTS = len(_UNEVEN) + 1
_SCALES = 40
_TAIL = 2.0**-18

_COUNTS = tuple(len(_OWN) + len(_MODEL) + len(_OTHERS) * earlier for earlier in range(3))
_HEAD_BYTES = 2 * sum(_COUNTS) + 3 * _CONTEXTS


def encode_residual(images: NDArray[np.uint8], pictures: NDArray[np.uint8]) -> bytes:
    """What turns the model's pictures into the images; both N×H×W×3."""
    weights = _fit_weights(images, pictures)
    count = np.zeros((3, _CONTEXTS, _LEVELS), np.int64)
    lines: list[tuple[int, int, NDArray[np.int32]]] = []

    def note(channel: int, context: int, symbols: NDArray[np.int32]) -> None:
        count[channel, context] += np.bincount(symbols, minlength=_LEVELS)
        lines.append((channel, context, symbols))

    _walk_known(images, pictures, weights, note)
    scales = _best_scales(count)
    encoder = stream_coders().queue.RangeEncoder()
    for channel, context, symbols in lines:
        encoder.encode(symbols, _model(int(scales[channel, context])))
    head = b"".join(part.astype("<i2").tobytes() for part in weights) + scales.astype(np.uint8).tobytes()
    return head + words_to_bytes(encoder.get_compressed())


def decode_residual(content: bytes, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images N×H×W×3 again. Raises DataError if these bytes cannot be decoded."""
    if len(content) < _HEAD_BYTES:
        raise DataError("its residual is too short")
    flat = np.frombuffer(content[: 2 * sum(_COUNTS)], "<i2").astype(np.int64)
    weights = np.split(flat, np.cumsum(_COUNTS)[:-1])
    scales = np.frombuffer(content[2 * sum(_COUNTS) : _HEAD_BYTES], np.uint8).reshape(3, _CONTEXTS)
    if scales.max() >= _SCALES:
        raise DataError("its residual has a scale that cannot be")
    decoder = stream_coders().queue.RangeDecoder(bytes_to_words(content[_HEAD_BYTES:]))
    known, model = _padded(pictures), _padded(pictures)
    previous = np.zeros(pictures.shape[:3], np.int64)
    for ys, xs in _lines(*pictures.shape[1:3]):
        for place, channel in enumerate(_CHANNELS):
            predicted, contexts = _predict(known, model, previous, ys, xs, place, weights[place])
            symbols = np.empty(contexts.shape, np.int64)
            for context in np.unique(contexts):
                chosen = contexts == context
                try:
                    symbols[chosen] = decoder.decode(_model(int(scales[place, context])), int(chosen.sum()))
                except AssertionError:  # what constriction raises on bytes that no encoder makes
                    raise DataError("its residual cannot be decoded") from None
            error = symbols - _LEVELS // 2
            known[:, _BORDER + ys, _BORDER + xs, channel] = (predicted + error) % _LEVELS
            previous[:, ys, xs] = error
    return known[:, _BORDER:-_BORDER, _BORDER:-_BORDER].astype(np.uint8)


def _walk_known(
    images: NDArray[np.uint8],
    pictures: NDArray[np.uint8],
    weights: list[Ints],
    note: Callable[[int, int, NDArray[np.int32]], None],
) -> None:
    """Give the symbols to be coded, in the decoder's order."""
    known, model = _with_border_of(images, pictures), _padded(pictures)
    previous = np.zeros(images.shape[:3], np.int64)
    for ys, xs in _lines(*images.shape[1:3]):
        for place, channel in enumerate(_CHANNELS):
            predicted, contexts = _predict(known, model, previous, ys, xs, place, weights[place])
            wrapped = (known[:, _BORDER + ys, _BORDER + xs, channel] - predicted + _LEVELS // 2) % _LEVELS
            for context in np.unique(contexts):
                note(place, int(context), wrapped[contexts == context].astype(np.int32))
            previous[:, ys, xs] = wrapped - _LEVELS // 2


def _lines(height: int, width: int) -> Iterator[tuple[Ints, Ints]]:
    """Rows and columns of the pixels on each slanted line."""
    for t in range(width + 2 * (height - 1)):
        ys = np.arange(max(0, (t - width + 2) // 2), min(height - 1, t // 2) + 1)
        yield ys, t - 2 * ys


def _padded(images: NDArray[np.uint8]) -> Ints:
    """With a border, in which the outermost pixels go on."""
    return np.pad(images, ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="edge").astype(np.int64)


def _with_border_of(images: NDArray[np.uint8], pictures: NDArray[np.uint8]) -> Ints:
    """The images within the border that the decoder has: that of the model's pictures."""
    known = _padded(pictures)
    known[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = images
    return known


def _features(known: Ints, model: Ints, ys: Ints, xs: Ints, place: int) -> Ints:
    """What a channel is predicted from, each value less 128, N×pixels×features."""
    channel = _CHANNELS[place]
    parts = [known[:, _BORDER + ys + dy, _BORDER + xs + dx, channel] for dy, dx in _OWN]
    parts += [model[:, _BORDER + ys + dy, _BORDER + xs + dx, channel] for dy, dx in _MODEL]
    for earlier in _CHANNELS[:place]:
        parts += [known[:, _BORDER + ys + dy, _BORDER + xs + dx, earlier] for dy, dx in _OTHERS]
    return np.stack(parts, axis=-1) - _LEVELS // 2


def _predict(
    known: Ints, model: Ints, previous: Ints, ys: Ints, xs: Ints, place: int, weights: Ints
) -> tuple[Ints, Ints]:
    """The predicted values of a channel, N×pixels, and the context of each.

    `previous` holds the errors of the channel coded before, at the same pixels.
    """
    features = _features(known, model, ys, xs, place)
    mixed = (features @ weights + (1 << (_WEIGHT_BITS - 1))) >> _WEIGHT_BITS
    predicted = np.clip(mixed + _LEVELS // 2, 0, _LEVELS - 1)
    left, above, above_left, above_right = (features[..., index] for index in range(4))
    uneven = np.abs(left - above_left) + np.abs(above - above_left) + np.abs(above - above_right)
    if place:
        uneven = uneven + 3 * np.abs(previous[:, ys, xs])
    return predicted, np.searchsorted(_UNEVEN, uneven, side="right")


def _fit_weights(images: NDArray[np.uint8], pictures: NDArray[np.uint8]) -> list[Ints]:
    """The weights of each channel's features by least squares, times 2^_WEIGHT_BITS."""
    known, model = _with_border_of(images, pictures), _padded(pictures)
    weights = []
    for place, channel in enumerate(_CHANNELS):
        count = _COUNTS[place]
        square, product = np.zeros((count, count)), np.zeros(count)
        for ys, xs in _lines(*images.shape[1:3]):
            features = _features(known, model, ys, xs, place).reshape(-1, count).astype(np.float64)
            target = known[:, _BORDER + ys, _BORDER + xs, channel].reshape(-1) - _LEVELS // 2
            square += features.T @ features
            product += features.T @ target
        # A little towards 0, so that flat images have an answer too.
        solved = np.linalg.solve(square + np.eye(count) * (1 + 1e-6 * np.trace(square)), product)
        scaled = np.rint(solved * 2**_WEIGHT_BITS)
        weights.append(np.clip(scaled, -(2**15), 2**15 - 1).astype(np.int64))
    return weights


def _best_scales(count: Ints) -> NDArray[np.uint8]:
    """The scale of each channel and context that codes its symbols, counted 3×contexts×256, in the fewest bits."""
    bits = np.stack([-np.log2(_probabilities(scale)) for scale in range(_SCALES)])
    best: NDArray[np.uint8] = np.argmin(count @ bits.T, axis=-1).astype(np.uint8)
    return best


def _probabilities(scale: int) -> NDArray[np.float64]:
    """P(d) ∝ θ^|d| + a little, for d from -128 to 127, where 1 - θ = 2^(-scale/4 - 1/8)."""
    theta = 1 - step_size(-2 * scale - 1)
    powers = np.multiply.accumulate(np.concatenate([[1.0], np.full(_LEVELS // 2, theta)]))
    mass = np.concatenate([powers[:0:-1], powers[:-1]]) * ((1 - theta) / (1 + theta)) + _TAIL
    probabilities: NDArray[np.float64] = mass / np.add.accumulate(mass)[-1]
    return probabilities


@lru_cache(maxsize=_SCALES)
def _model(scale: int) -> Any:
    return categorical(_probabilities(scale))
