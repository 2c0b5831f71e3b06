"""How one floret is painted: ground, stem, shadow, petals, disc, in vectorised float32 with analytic smooth edges.

Lengths are in units of the picture's shorter side, from its centre, x to the right and y downwards; light falls from
the upper left. Colours are sRGB on [0, 1]. Petals are chosen in OKLCh, where equal steps look equal
(Ottosson 2020, https://bottosson.github.io/posts/oklab/).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float32]
Number = float | np.floating[Any]

_BAND_PX = 1 << 16  # the most pixels worked on at once: keeps temporaries in the cache and memory bounded
_LIGHT = (-0.6, -0.8)  # direction towards the light, in the picture's plane
_DISC_RADIUS = 0.074
_ROOT_X = 0.035  # where every stem meets the lower edge
_TONES = 256  # entries of a petal's colour ramp


@dataclass(frozen=True)
class Bloom:
    """The seven factors of one flower, as `florets.FACTORS` describes them."""

    petal_count: int
    petal_hue: float
    petal_length: float
    petal_shape: float
    rotation: float
    position_x: float
    position_y: float


def paint(bloom: Bloom, height: int, width: int) -> NDArray[np.uint8]:
    """Paint one flower on the fixed ground: uint8, height×width×3."""
    canvas = _ground(height, width).copy()
    _paint_stem(canvas, bloom)
    _paint_shadow(canvas, bloom)
    _paint_petals(canvas, bloom)
    _paint_disc(canvas, bloom)
    np.clip(canvas, 0.0, 1.0, out=canvas)
    canvas *= 255.0
    return np.ascontiguousarray(np.rint(canvas).astype(np.uint8).transpose(1, 2, 0))


# ---- the frame ----


def _axes(height: int, width: int) -> tuple[Float, Float]:
    """Centres of the pixels: x of each column, y of each row."""
    short = min(height, width)
    x = (np.arange(width) + 0.5 - width / 2) / short
    y = (np.arange(height) + 0.5 - height / 2) / short
    return x.astype(np.float32), y.astype(np.float32)


def _bands(
    canvas: Float, left: Number, right: Number, top: Number, bottom: Number, most_px: int = _BAND_PX
) -> list[tuple[Float, Float, Float]]:
    """The part of the canvas inside a rectangle, as bands of rows: views of 3×h×w, with x as 1×w and y as h×1."""
    x, y = _axes(*canvas.shape[1:])
    first, last = np.searchsorted(x, np.asarray([left, right]))
    start, stop = np.searchsorted(y, np.asarray([top, bottom]))
    if first == last:
        return []
    rows = max(1, most_px // int(last - first))
    return [
        (canvas[:, row : min(row + rows, stop), first:last], x[None, first:last], y[row : min(row + rows, stop), None])
        for row in range(int(start), int(stop), rows)
    ]


def _pixel(canvas: Float) -> float:
    return 1.0 / float(min(canvas.shape[1:]))


def _smooth(low: float, high: float, value: Any) -> Any:
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) * (1.0 / (high - low)), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _blend(canvas: Float, color: ArrayLike, cover: Float) -> None:
    """Lay a colour (three numbers, or 3×h×w) over the canvas where `cover` (h×w) is 1."""
    planes = np.asarray(color, dtype=np.float32)
    for channel in range(3):
        plane = canvas[channel]
        plane += (planes[channel] - plane) * cover


def _oklch(lightness: ArrayLike, chroma: ArrayLike, hue_degrees: ArrayLike) -> Float:
    """OKLCh to sRGB, clipped to its gamut: the channels come first."""
    hue = np.deg2rad(np.asarray(hue_degrees, dtype=np.float64))
    tone, a, b = np.broadcast_arrays(lightness, np.cos(hue) * chroma, np.sin(hue) * chroma)
    long = (tone + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (tone - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (tone - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ]
    ).clip(0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


# ---- the ground: the same in every picture ----


@lru_cache(maxsize=4)
def _ground(height: int, width: int) -> Float:
    """Foliage out of focus, 3×height×width: a soft gradient, blurred leaves, and a few discs of light."""
    canvas = np.empty((3, height, width), dtype=np.float32)
    reach_x, reach_y = width / min(height, width) / 2, height / min(height, width) / 2
    glow, shade = np.asarray(_oklch(0.62, 0.075, 165)), np.asarray(_oklch(0.30, 0.055, 195))
    for part, x, y in _bands(canvas, -reach_x, reach_x, -reach_y, reach_y):
        u, v = x / reach_x, y / reach_y
        lit = _smooth(-1.35, 1.25, -0.45 * u - 0.75 * v - 0.18 * (u * u + v * v))
        part[:] = shade[:, None, None] + (glow - shade)[:, None, None] * lit
        for across, down, angle, length, breadth, blur, strength, lightness, hue in _LEAVES:
            c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            dx, dy = x - across * reach_x, y - down * reach_y
            along, aside = (dx * c + dy * s) / length, (dy * c - dx * s) / breadth
            edge = 1.0 - along * along - np.sqrt(aside * aside + 1e-4)  # a lens: two parabolas back to back
            _blend(part, _oklch(lightness, 0.075, hue), strength * _smooth(-blur, blur, edge))
        for across, down, radius, strength in _LIGHTS:
            distance = np.hypot(x - across * reach_x, y - down * reach_y) / radius
            disc = _smooth(1.12, 0.88, distance) * (0.72 + 0.28 * _smooth(0.4, 1.0, distance))
            _blend(part, _oklch(0.86, 0.06, 130), strength * disc)
    canvas.setflags(write=False)
    return canvas


# across, down (in half-widths and half-heights), angle, length, breadth, blur, strength, lightness, hue
_LEAVES = (
    (-0.80, 0.62, -38, 0.46, 0.17, 0.40, 0.60, 0.49, 148),
    (0.78, 0.70, -140, 0.44, 0.16, 0.40, 0.60, 0.44, 160),
    (0.92, -0.30, -75, 0.40, 0.14, 0.70, 0.40, 0.55, 150),
    (-0.98, -0.42, 70, 0.38, 0.13, 0.70, 0.30, 0.70, 140),
    (0.15, 1.02, -12, 0.42, 0.13, 0.60, 0.45, 0.36, 185),
)
# across, down, radius, strength
_LIGHTS = (
    (-0.62, -0.74, 0.085, 0.30),
    (-0.20, -0.90, 0.055, 0.22),
    (0.66, -0.80, 0.070, 0.20),
    (0.90, -0.48, 0.045, 0.16),
    (-0.90, -0.10, 0.050, 0.16),
    (0.84, 0.22, 0.035, 0.12),
)


# ---- the flower ----


def _paint_stem(canvas: Float, bloom: Bloom) -> None:
    bottom = canvas.shape[1] / min(canvas.shape[1:]) / 2
    reach = abs(_ROOT_X - bloom.position_x) + 0.06
    left, right = bloom.position_x - reach, bloom.position_x + reach
    for part, x, y in _bands(canvas, left, right, bloom.position_y, bottom):
        t = (y - bloom.position_y) / (bottom - bloom.position_y)
        bend = t * t * (3.0 - 2.0 * t)
        middle = bloom.position_x + (_ROOT_X - bloom.position_x) * bend
        slope = (_ROOT_X - bloom.position_x) * 6.0 * t * (1.0 - t) / (bottom - bloom.position_y)
        aside = (x - middle) / np.sqrt(1.0 + slope * slope)
        soft = max(0.006, 0.5 * _pixel(canvas))
        cover = np.clip((0.0115 - np.abs(aside)) * (0.5 / soft) + 0.5, 0.0, 1.0)
        round_ = np.clip(aside * (1 / 0.0115), -1.0, 1.0)
        light, dark = _oklch(0.66, 0.11, 135)[:, None, None], _oklch(0.40, 0.09, 150)[:, None, None]
        _blend(part, light + (dark - light) * _smooth(-0.9, 0.8, round_), cover)


def _paint_shadow(canvas: Float, bloom: Bloom) -> None:
    """A soft shadow that falls to the lower right, away from the light."""
    radius = bloom.petal_length
    x0, y0 = bloom.position_x - 0.05 * _LIGHT[0], bloom.position_y - 0.05 * _LIGHT[1]
    reach = 1.3 * radius
    for part, x, y in _bands(canvas, x0 - reach, x0 + reach, y0 - reach, y0 + reach):
        dx, dy = x - np.float32(x0), y - np.float32(y0)
        distance = np.sqrt(dx * dx + dy * dy)
        part *= 1.0 - 0.42 * _smooth(reach, 0.55 * radius, distance)


def _ramp(hue: float) -> Float:
    """A petal's colours from heart to tip, 3×_TONES: deep and warm at the heart, clear in the body, pale at the rim."""
    # Lightness and chroma of the clearest colour at a hue: yellow is light, violet dark.
    lightness = np.interp(hue, [-70, -35, 0, 28, 60, 95], [0.60, 0.63, 0.67, 0.64, 0.74, 0.86])
    chroma = np.interp(hue, [-70, -35, 0, 28, 60, 95], [0.19, 0.225, 0.20, 0.215, 0.17, 0.175])
    t = np.linspace(0.0, 1.0, _TONES)
    stops = [0.0, 0.22, 0.40, 0.72, 1.0]
    return _oklch(
        np.interp(t, stops, [lightness - 0.29, lightness - 0.17, lightness - 0.04, lightness + 0.04, lightness + 0.14]),
        np.interp(t, stops, [0.75 * chroma, chroma, chroma, 0.92 * chroma, 0.52 * chroma]),
        np.interp(t, stops, [hue - 16.0, hue - 9.0, hue, hue + 2.0, hue + 4.0]),
    )


def _paint_petals(canvas: Float, bloom: Bloom) -> None:
    """Petals in a pinwheel: each lies over its neighbour clockwise, so that all are alike and none is on top.

    A pixel finds the petal whose axis is nearest, and paints the next one, that one, and the one before, in this order.
    A petal is the set where F(u, v) = 1 - u - (|v| / (w u^a))^(1/b) > 0, with u along its axis in petal lengths and v
    aside: its half-width is w u^a (1-u)^b, round at the tip for b = 1/2 and pointed for b = 1. F / |grad F| is the
    distance to the edge, to first order, which is all that smooth edges and contact shadows need.
    """
    length = bloom.petal_length
    period = 2.0 * math.pi / bloom.petal_count
    a = 0.95 - 0.15 * bloom.petal_shape
    b = 0.42 + 0.58 * bloom.petal_shape
    widest = a / (a + b)
    opening = math.tan(period / 2)
    half_width = (0.98 - 0.20 * bloom.petal_shape) * length * opening / (1.0 + 0.9 * opening)
    w = half_width / (widest**a * (1.0 - widest) ** b)
    ramp = _ramp(bloom.petal_hue)
    pixel = _pixel(canvas)
    start = (bloom.rotation * period) - math.pi / 2
    axes = start + period * np.arange(bloom.petal_count)
    cosines, sines = np.cos(axes).astype(np.float32), np.sin(axes).astype(np.float32)
    reach = length + 0.05
    x0, y0 = np.float32(bloom.position_x), np.float32(bloom.position_y)
    for part, x, y in _bands(canvas, x0 - reach, x0 + reach, y0 - reach, y0 + reach):
        dx, dy = x - x0, y - y0
        nearest = np.rint((np.arctan2(dy, dx) - np.float32(start)) * np.float32(1 / period)).astype(np.intp)
        for turn in (1, 0, -1):
            petal = (nearest + turn) % bloom.petal_count
            c, s = cosines[petal], sines[petal]
            u = (dx * c + dy * s) * np.float32(1 / length)
            v = dy * c - dx * s
            _paint_petal(part, u, v, c, s, ramp, (length, w, a, b, pixel))


def _paint_petal(
    part: Float, u: Float, v: Float, c: Float, s: Float, ramp: Float, outline: tuple[float, float, float, float, float]
) -> None:
    length, w, a, b, pixel = outline
    inside = np.maximum(u, np.float32(0.03))
    side = np.abs(v) + np.float32(1e-6)
    half = w * inside**a  # the half-width, but for the taper
    q = (side / half) ** (1.0 / b)
    edge = 1.0 - u - q
    slope_u = (1.0 - (a / b) * np.minimum(q, 1.0) / inside) * (1.0 / length)  # beyond q = 1 the slope aside rules
    slope_v = q / (b * side)
    distance = edge / np.sqrt(slope_u * slope_u + slope_v * slope_v + 1e-6)
    # Behind the heart the first-order distance fails; that part lies under the disc.
    ahead = np.clip(u * (1 / 0.15), 0.0, 1.0)
    cover = np.clip(distance * (1.0 / pixel) + 0.5, 0.0, 1.0) * ahead

    across = np.clip(v / (half * np.sqrt(np.clip(1.0 - u, 0.02, 1.0))), -1.0, 1.0)
    # A petal is convex across and bends down at its tip; light is the slope towards the lamp.
    light_u, light_v = _LIGHT[0] * c + _LIGHT[1] * s, _LIGHT[1] * c - _LIGHT[0] * s
    shade = 1.0 + 0.13 * across * light_v + light_u * (0.20 * u - 0.06)
    shade -= 0.10 * np.exp(-((across * 7.0) ** 2)) * _smooth(1.0, 0.25, u)  # the midrib
    fade = min(1.0, 0.012 / pixel)  # fine veins only where pixels can hold them
    shade -= 0.07 * fade * (0.5 + 0.5 * np.cos(across * 21.0)) * _smooth(1.0, 0.2, u)
    shade += 0.10 * _smooth(0.022, 0.0, distance)  # the thin rim lets light through

    tone = np.clip(u + 0.10 * across * across - 0.03, 0.0, 1.0)
    index = (tone * (_TONES - 1)).astype(np.intp)
    near = np.clip(1.0 + distance * (1 / 0.035), 0.0, 1.0) * ahead
    contact = 1.0 - 0.42 * near * near
    for channel in range(3):
        plane = part[channel]
        plane *= contact
        plane += (ramp[channel][index] * shade - plane) * cover


@lru_cache(maxsize=1)
def _seeds() -> Float:
    """Florets of the disc, one row each (x, y, radius, red, green, blue), set by the golden angle (Vogel 1979)."""
    count = 46
    order = np.arange(count)
    radius = 0.94 * np.sqrt((order + 0.5) / count)
    angle = order * math.pi * (3.0 - math.sqrt(5.0))
    size = 0.105 + 0.035 * radius
    color = _oklch(0.55 + 0.32 * radius**2, 0.15, 82)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), size, *color], axis=1).astype(np.float32)


def _paint_disc(canvas: Float, bloom: Bloom) -> None:
    """A domed disc of golden florets on a dark bed, with a soft shadow on the petals."""
    x0, y0 = np.float32(bloom.position_x), np.float32(bloom.position_y)
    pixel = _pixel(canvas) / _DISC_RADIUS
    reach = 1.6 * _DISC_RADIUS
    for part, x, y in _bands(canvas, x0 - reach, x0 + reach, y0 - reach, y0 + reach):
        u, v = (x - x0) * np.float32(1 / _DISC_RADIUS), (y - y0) * np.float32(1 / _DISC_RADIUS)
        du, dv = u + 0.16 * np.float32(_LIGHT[0]), v + 0.16 * np.float32(_LIGHT[1])
        part *= 1.0 - 0.45 * _smooth(1.5, 0.8, np.sqrt(du * du + dv * dv))
        distance = np.sqrt(u * u + v * v)
        lit = 0.5 + 0.5 * np.clip(u * _LIGHT[0] + v * _LIGHT[1], -1.0, 1.0)
        bed, crest = _oklch(0.33, 0.075, 55)[:, None, None], _oklch(0.56, 0.115, 68)[:, None, None]
        _blend(part, bed + (crest - bed) * lit, np.clip((1.0 - distance) / pixel + 0.5, 0.0, 1.0))
    _paint_seeds(canvas, bloom)


def _paint_seeds(canvas: Float, bloom: Bloom) -> None:
    """Each pixel shows the floret of the disc that reaches furthest over it."""
    seeds = _seeds()
    x0, y0 = np.float32(bloom.position_x), np.float32(bloom.position_y)
    soft = max(_pixel(canvas) / _DISC_RADIUS, 0.05)
    reach = (1.1 + soft) * _DISC_RADIUS
    most_px = _BAND_PX // len(seeds)
    for part, x, y in _bands(canvas, x0 - reach, x0 + reach, y0 - reach, y0 + reach, most_px):
        u, v = (x - x0) * np.float32(1 / _DISC_RADIUS), (y - y0) * np.float32(1 / _DISC_RADIUS)
        du, dv = u - seeds[:, 0, None, None], v - seeds[:, 1, None, None]
        over = seeds[:, 2, None, None] - np.sqrt(du * du + dv * dv)
        nearest = over.argmax(axis=0)
        cover = np.clip(over.max(axis=0) * (1.0 / soft) + 0.5, 0.0, 1.0)
        _blend(part, np.moveaxis(seeds[nearest, 3:], -1, 0), cover)
