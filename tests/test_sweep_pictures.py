"""The pictures of a grid: every point is named, in its place, and no name hides another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox

from corolla.config import Config
from corolla.sweeps import pictures
from corolla.sweeps.grid import Point
from corolla.sweeps.results import Result


def result(kl: float, reconstruction: float, **values: Any) -> Result:
    given = {name.replace("__", "."): value for name, value in values.items()}
    scores = {"kl": kl, "reconstruction": reconstruction, "psnr_db": 20.0}
    return Result(Point(given, Config().updated(given)), Path("run"), scores, 1.0, 0.1, (), 1.0)


@pytest.fixture(autouse=True)
def _plain_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(result: Result, count: int) -> tuple[Any, Any]:
        height, width = result.point.config.data.size
        return np.full((count, height, width, 3), 90, np.uint8), np.full((count, height, width, 3), 180, np.uint8)

    monkeypatch.setattr(pictures, "examples", plain)


@pytest.mark.parametrize("points", [2, 5, 8, 14])
def test_no_name_stands_on_another_or_on_a_point_even_where_points_crowd(points: int) -> None:
    betas = np.geomspace(0.25, 32, points)
    groups = [[result(80 / (1 + beta) ** 2, 1800 + 8 * beta, objective__beta=float(beta))] for beta in betas]
    figure = Figure(figsize=(10, 6.6), dpi=120)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.plot(*zip(*[pictures._place(group) for group in groups], strict=True))
    axes.margins(0.16)
    pictures._annotate(axes, canvas, groups)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    frames = [pictures._extent(box, renderer) for box in boxes]
    assert len(frames) == points + (points <= pictures.MOST_POINTS_WITH_EXAMPLES)
    assert not [pair for pair in combinations(frames, 2) if pair[0].overlaps(pair[1])]
    places = axes.transData.transform([pictures._place(group) for group in groups])
    assert not [place for place in places for frame in frames if frame.contains(*place)]
    assert all(figure.bbox.contains(*corner) for frame in frames for corner in frame.corners())


def test_a_line_joins_what_differs_in_beta_only() -> None:
    groups = [
        [result(1, 2, network__latent_dim=dim, objective__beta=beta, seed=seed) for seed in (1, 2)]
        for dim in (2, 4)
        for beta in (1, 8)
    ]
    lines = pictures._lines(groups)
    assert {name: len(line) for name, line in lines.items()} == {"latent_dim 2": 2, "latent_dim 4": 2}


def test_a_curve_has_room_for_many_points_and_seeds() -> None:
    results = [
        result(beta + dim + seed, 100 - beta, network__latent_dim=dim, objective__beta=float(beta), seed=seed)
        for dim in (2, 4)
        for beta in range(1, 8)
        for seed in (1, 2)
    ]
    assert pictures.curve(results).size == (1200, 792)


def test_the_sheet_has_a_row_for_each_point_and_one_of_originals_for_each_kind_of_image() -> None:
    same = pictures.reconstructions([result(1, 2, objective__beta=beta, seed=s) for beta in (1, 4) for s in (1, 2)])
    sizes = pictures.reconstructions([result(1, 2, data__size=size, seed=1) for size in ([64, 64], [32, 32])])
    assert same.height == 4 + 3 * (128 + 4)
    assert sizes.height == 4 + 4 * (128 + 4)
