"""A trained model -> images that show what it has learnt: traversals, walks and loops, as arrays; see `sheets`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from corolla.distributions.posterior import active_latents
from corolla.errors import UsageError, plural
from corolla.trained import Images, TrainedModel

_Point = NDArray[np.float32]

FEWEST_WAYPOINTS = 3
_FINE = 64  # points of the fine path of a loop for each one that is kept
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Traversal:
    """One latent moved at a time, the others held at the base point."""

    latents: NDArray[np.int64]  # which latents, k; those that carry most information first
    # KL of each, averaged over the evaluation images, k; NaN where the model has no record of it
    kl_nats: NDArray[np.float64]
    # whether each is dead, so that the decoder learnt to ignore it; none is where there is no record
    dead: NDArray[np.bool_]
    values: NDArray[np.float32]  # where the moved latent stands, in standard deviations of the prior; one value a step
    base: NDArray[np.float32]
    images: NDArray[np.uint8]  # uint8, k×steps×H×W×3


@dataclass(frozen=True, eq=False)
class Interpolation:
    """A path through latent space: the points M×latent_dim, and their images M×H×W×3.

    Neighbouring endpoints lie `steps` - 1 points apart. A loop leaves out its last point, which is its first.
    """

    latents: NDArray[np.float32]
    images: NDArray[np.uint8]
    steps: int
    loop: bool


def latents_by_kl(model: TrainedModel) -> NDArray[np.int64]:
    """All latents, those with the largest recorded KL first; in their own order if none is recorded."""
    return np.argsort(-_recorded_kl(model), kind="stable")


def _recorded_kl(model: TrainedModel) -> NDArray[np.float64]:
    recorded = np.asarray(model.card.latent_kl_nats, dtype=np.float64)
    return recorded if len(recorded) == model.latent_dim else np.full(model.latent_dim, np.nan)


def traversal(
    model: TrainedModel,
    *,
    image: Images | None = None,
    latents: int | Sequence[int] | None = None,
    steps: int = 9,
    span: float = 3.0,
    values: Sequence[float] | NDArray[np.float32] | None = None,
    seed: int | None = None,
) -> Traversal:
    """Move latents one at a time through the prior and decode.

    Args:
        model: What to look into.
        image: The base point is the mean of its q(z|x), with a seed a draw; without an image of the prior.
        latents: How many, those with the largest KL first; or which; or all. The order is by KL in every case.
        steps: How many positions, evenly spaced.
        span: The first and last position, in standard deviations of the prior.
        values: The positions themselves, in place of `steps` and `span`.
        seed: Fixes the draw of the base point.

    Raises UsageError if there is no such latent, or no step.
    """
    chosen = latents_by_kl(model)
    if isinstance(latents, int):
        if latents < 1:
            raise UsageError(f"{latents} latents: give at least 1")
        chosen = chosen[:latents]
    elif latents is not None:
        wrong = [index for index in latents if not 0 <= index < model.latent_dim]
        if wrong or not latents:
            raise UsageError(f"latent {wrong[0] if wrong else 'list is empty'}: give 0 to {model.latent_dim - 1}")
        chosen = chosen[np.isin(chosen, np.asarray(latents))]
    if steps < 1 or not 0 < span < float("inf"):
        raise UsageError(f"{steps} steps over a span of {span:g}: both need to be above 0")
    if values is None:
        values = np.linspace(-span, span, steps, dtype=np.float32) if steps > 1 else np.zeros(1, np.float32)
    positions = np.asarray(values, dtype=np.float32)

    base = _base_point(model, image, seed)
    points = np.tile(base, (len(chosen), len(positions), 1))
    for row, latent in enumerate(chosen):
        points[row, :, latent] = positions
    images = model.decode(points.reshape(-1, model.latent_dim))
    kl_nats = _recorded_kl(model)[chosen]
    dead = ~active_latents(kl_nats) & bool(model.card.latent_kl_nats)
    images = images.reshape(len(chosen), len(positions), *images.shape[1:])
    return Traversal(chosen, kl_nats, dead, positions, base, images)


def swing(span: float, steps: int) -> NDArray[np.float32]:
    """Positions out to one side and the other, and back, slower at the ends, beginning in the middle."""
    return (span * np.sin(2 * np.pi * np.arange(steps) / steps)).astype(np.float32)


def _base_point(model: TrainedModel, image: Images | None, seed: int | None) -> NDArray[np.float32]:
    if image is None:
        return np.zeros(model.latent_dim, np.float32) if seed is None else model.sample_latents(1, seed=seed)[0]
    q = model.posterior(image)
    if len(q.mean) != 1:
        raise UsageError(f"{len(q.mean)} images: a traversal starts from one")
    mean, stddev = q.mean.numpy()[0], q.stddev.numpy()[0]
    return np.asarray(mean if seed is None else mean + stddev * model.sample_latents(1, seed=seed)[0])


def interpolation(
    model: TrainedModel,
    endpoints: Images | NDArray[np.float32],
    *,
    steps: int = 9,
    loop: bool = False,
    method: Literal["spherical", "linear"] = "spherical",
) -> Interpolation:
    """Walk from each endpoint, an image or a latent of N×latent_dim, to the next, and decode on the way.

    `steps` counts the images from one endpoint to the next, both included; a loop walks back to the first at last. The
    spherical method turns the direction and changes the length evenly: a straight line between two draws from the prior
    passes much closer to 0 than draws ever come. Raises UsageError for fewer than two endpoints or steps, or an array
    that is neither latents nor images.
    """
    if steps < 2:
        raise UsageError(f"{steps} steps: give at least 2, the two ends")
    is_latents = isinstance(endpoints, np.ndarray) and endpoints.ndim == 2
    ends = np.asarray(endpoints, np.float32) if is_latents else model.encode(endpoints)
    if len(ends) < 2:
        raise UsageError(f"{plural(len(ends), 'endpoint')}: give at least 2 to walk between")
    if loop:
        ends = np.concatenate([ends, ends[:1]])
    shares = np.linspace(0, 1, steps)[:-1, None]
    walk = _spherical if method == "spherical" else _linear
    parts = [walk(start, stop, shares) for start, stop in pairwise(ends)]
    if not loop:
        parts.append(ends[-1:].astype(np.float64))
    latents = np.concatenate(parts).astype(np.float32)
    return Interpolation(latents, model.decode(latents), steps, loop)


def _linear(start: _Point, stop: _Point, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(start + shares * (stop.astype(np.float64) - start))


def _spherical(start: _Point, stop: _Point, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shoemake's slerp (1985) of the directions, times the evenly changing length."""
    lengths = np.linalg.norm(start), np.linalg.norm(stop)
    if min(lengths) < _TINY:
        return _linear(start, stop, shares)  # 0 has no direction
    first, last = start.astype(np.float64) / lengths[0], stop.astype(np.float64) / lengths[1]
    angle = np.arccos(np.clip(first @ last, -1, 1))
    if np.sin(angle) < _TINY:
        return _linear(start, stop, shares)  # the same direction, or opposite ones, which leave the plane open
    directions = (np.sin((1 - shares) * angle) * first + np.sin(shares * angle) * last) / np.sin(angle)
    return np.asarray(directions * (lengths[0] + shares * (lengths[1] - lengths[0])))


def closed_path(waypoints: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """Points equally far apart on a closed, smooth path, count×latent_dim, from the first waypoint of K×latent_dim on.

    Draws from N(0, I) lie near the sphere of radius √latent_dim, and hardly ever inside. So the path turns: its
    direction is a periodic cubic spline through the waypoints' directions, brought back to length 1, and its length the
    exponential of one through the logarithms of theirs. Raises UsageError for fewer than three waypoints or points, two
    neighbours in one direction, a waypoint at 0, or a path that would pass 0.
    """
    from scipy.interpolate import CubicSpline  # slow to import, and for loops alone

    ends = np.asarray(waypoints, np.float64)
    if ends.ndim != 2 or not np.isfinite(ends).all():
        raise UsageError(f"points of shape {ends.shape}: a loop needs K×latent_dim, all of them finite")
    if len(ends) < FEWEST_WAYPOINTS:
        raise UsageError(
            f"{plural(len(ends), 'point')}: a loop needs at least {FEWEST_WAYPOINTS}; give more, or interpolate"
        )
    if count < FEWEST_WAYPOINTS:
        raise UsageError(f"{count} images: a loop needs at least {FEWEST_WAYPOINTS}")
    lengths = np.linalg.norm(ends, axis=1)
    if lengths.min() < _TINY:
        raise UsageError(f"waypoint {lengths.argmin() + 1} is 0, which has no direction; take another")
    closed = np.concatenate([ends / lengths[:, None], ends[:1] / lengths[0]])
    angles = np.arccos(np.clip((closed[1:] * closed[:-1]).sum(1), -1, 1))
    if angles.min() < _TINY:
        first = int(angles.argmin())
        raise UsageError(f"waypoints {first + 1} and {(first + 1) % len(ends) + 1} lie in one direction; take others")
    knots = np.concatenate([[0.0], np.cumsum(angles)])
    directions = CubicSpline(knots, closed, bc_type="periodic")
    log_lengths = CubicSpline(knots, np.log(np.append(lengths, lengths[0])), bc_type="periodic")

    def at(time: NDArray[np.float64]) -> NDArray[np.float64]:
        turned = directions(time)
        norms = np.linalg.norm(turned, axis=1, keepdims=True)
        if norms.min() < _TINY:
            raise UsageError("the loop would pass through 0; take other waypoints")
        return np.asarray(turned / norms * np.exp(log_lengths(time))[:, None])

    times = np.linspace(0, knots[-1], _FINE * max(count, len(ends)) + 1)
    steps = np.linalg.norm(np.diff(at(times), axis=0), axis=1)
    walked = np.concatenate([[0.0], np.cumsum(steps)])
    return at(np.interp(np.linspace(0, walked[-1], count + 1)[:-1], walked, times))


def loop(model: TrainedModel, waypoints: NDArray[np.floating], *, steps: int = 24) -> Interpolation:
    """The images along a closed path through waypoints K×latent_dim: K·steps of them. Raises as `closed_path`."""
    if steps < 1:
        raise UsageError(f"{steps} steps: give at least 1 from one waypoint to the next")
    latents = closed_path(waypoints, len(waypoints) * steps).astype(np.float32)
    return Interpolation(latents, model.decode(latents), steps + 1, True)
