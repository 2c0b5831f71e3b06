"""Waypoints in latent space -> a closed, smooth path through them, walked at an even pace.

Draws from N(0, I) lie near the sphere of radius √latent_dim, and hardly ever inside. So the path turns: its direction
is a periodic cubic spline through the waypoints' directions, brought back to length 1, and its length the exponential
of a periodic cubic spline through the logarithms of theirs. Both are twice continuously differentiable, also where the
end meets the beginning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from corolla.errors import UsageError, plural
from corolla.gallery.generation import Interpolation
from corolla.trained import TrainedModel

FEWEST_WAYPOINTS = 3
_FINE = 64  # points of the fine path for each one that is kept
_SMALL = 1e-6


def closed_path(waypoints: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """Points equally far apart along the path, count×latent_dim, from the first of the waypoints K×latent_dim on.

    The last point is as far from the first as from its own neighbour: the path is periodic. Raises UsageError for fewer
    than three waypoints or points, two neighbours in one direction, a waypoint at 0, or a path that would pass 0.
    """
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
    if lengths.min() < _SMALL:
        raise UsageError(f"waypoint {lengths.argmin() + 1} is 0, which has no direction; take another")
    closed = np.concatenate([ends / lengths[:, None], ends[:1] / lengths[0]])
    angles = np.arccos(np.clip((closed[1:] * closed[:-1]).sum(1), -1, 1))
    if angles.min() < _SMALL:
        first = int(angles.argmin())
        raise UsageError(f"waypoints {first + 1} and {(first + 1) % len(ends) + 1} lie in one direction; take others")
    knots = np.concatenate([[0.0], np.cumsum(angles)])
    directions = CubicSpline(knots, closed, bc_type="periodic")
    log_lengths = CubicSpline(knots, np.log(np.append(lengths, lengths[0])), bc_type="periodic")

    def at(time: NDArray[np.float64]) -> NDArray[np.float64]:
        turned = directions(time)
        norms = np.linalg.norm(turned, axis=1, keepdims=True)
        if norms.min() < _SMALL:
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
