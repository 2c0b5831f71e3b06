"""The pictures of a grid: every point is named, and shown beside the curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from corolla.config import Config
from corolla.sweeps import pictures
from corolla.sweeps.grid import Point, value_text
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


@pytest.mark.parametrize("points", [2, 8, 14, 60])
def test_every_point_is_named_beside_the_curve_and_shown_where_there_are_few(
    points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: dict[str, bool] = {}
    beside = pictures._beside

    def record(axes: Axes, name: str, images: Any) -> None:
        named[name] = images is not None
        beside(axes, name, images)

    monkeypatch.setattr(pictures, "_beside", record)
    betas = [0.25 * 1.25**number for number in range(points)]
    pictures.curve([result(80 / (1 + beta) ** 2, 1800 + 8 * beta, objective__beta=beta) for beta in betas])
    few = points <= pictures.MOST_POINTS_WITH_EXAMPLES
    names = [f"{number}  beta {value_text(beta)}" for number, beta in enumerate(betas, start=1)]
    assert named == dict.fromkeys(["original"] * few + names, few)


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
