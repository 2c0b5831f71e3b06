"""Florets: the drawing shows each factor as published, and the source is the same on every machine and count."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from numpy.typing import NDArray
from PIL import Image
from scipy import special, stats

from corolla.data import floret_painting
from corolla.data.florets import FACTORS, Florets, render, sample_factors
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import Recipe
from corolla.errors import UsageError

NAMES = [factor.name for factor in FACTORS]
RED = 28.0


def one(**changes: float) -> NDArray[np.float32]:
    """A row of factors: a red flower in the middle, but for the changes."""
    row = {"petal_count": 6.0, "petal_hue": RED, "petal_length": 0.3, "petal_shape": 0.5, "rotation": 0.0}
    row |= {"position_x": 0.0, "position_y": 0.0} | changes
    return np.array([[row[name] for name in NAMES]], dtype=np.float32)


def petals(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where red petals are: the ground and the stem are greener than red."""
    red, green = pictures[..., 0].astype(int), pictures[..., 1].astype(int)
    return red > green + 40


@st.composite
def rows(draw: DrawFn) -> list[float]:
    values = [draw(st.floats(factor.low, factor.high, width=64)) for factor in FACTORS]
    values[0] = float(draw(st.sampled_from(FACTORS[0].grid)))
    return values


# ---- factors ----


def test_the_published_factors_are_intervals_with_grids_to_their_ends() -> None:
    expected = "petal_count petal_hue petal_length petal_shape rotation position_x position_y"
    assert expected.split() == NAMES
    for factor in FACTORS:
        assert factor.grid[0] == factor.low
        assert factor.grid[-1] == factor.high
        assert list(factor.grid) == sorted(set(factor.grid))
        assert factor.unit
        assert factor.description
    assert all(value == round(value) for value in FACTORS[0].grid)
    assert FACTORS[1].high - FACTORS[1].low < 270  # the hues' ends stay far apart on the circle
    assert FACTORS[4].high <= 0.5  # half a petal period: a whole one would be the same picture


@pytest.mark.parametrize("grid", [False, True])
def test_samples_are_uniform_and_independent(grid: bool) -> None:
    factors = sample_factors(20_000, np.random.default_rng(0), grid=grid)
    assert factors.dtype == np.float32
    assert factors.shape == (20_000, 7)
    for column, factor in enumerate(FACTORS):
        values = factors[:, column]
        if grid or factor.name == "petal_count":
            steps = np.asarray(factor.grid, dtype=np.float32)
            counts = (values[:, None] == steps).sum(axis=0)
            assert counts.sum() == len(values)
            assert stats.chisquare(counts).pvalue > 1e-4
        else:
            assert stats.kstest(values, "uniform", (factor.low, factor.high - factor.low)).pvalue > 1e-4
    correlations = np.corrcoef(factors, rowvar=False) - np.eye(7)
    assert np.abs(correlations).max() < 0.03


def test_fewer_samples_are_the_first_of_more() -> None:
    few, many = (sample_factors(n, np.random.default_rng(5)) for n in (7, 50))
    np.testing.assert_array_equal(few, many[:7])
    assert sample_factors(0, np.random.default_rng(5)).shape == (0, 7)
    with pytest.raises(UsageError, match="count = -1"):
        sample_factors(-1, np.random.default_rng(5))


# ---- what the drawing shows, measured from the pixels alone ----


@pytest.mark.parametrize("count", FACTORS[0].grid)
@pytest.mark.parametrize("rotation", [0.0, 0.2, 0.35, 0.5])
def test_count_and_rotation_can_be_read_from_a_circle_around_the_flower(count: float, rotation: float) -> None:
    picture = render(one(petal_count=count, rotation=rotation, petal_shape=1.0), 256, 256)[0]
    angle = np.arange(720) * 2 * np.pi / 720
    column = (127.5 + 0.88 * 0.3 * 256 * np.sin(angle)).round().astype(int)
    row = (127.5 - 0.88 * 0.3 * 256 * np.cos(angle)).round().astype(int)
    around = np.fft.rfft(petals(picture)[row, column])
    assert np.abs(around[1:20]).argmax() + 1 == count
    period = (-np.angle(around[int(count)]) / (2 * np.pi)) % 1.0  # the first petal's place, clockwise from the top
    assert abs((period - rotation + 0.5) % 1.0 - 0.5) < 0.02


def test_the_hue_is_the_one_asked_for() -> None:
    for hue in FACTORS[1].grid:
        picture = render(one(petal_hue=hue), 128, 128)[0]
        body = picture[64 - 28 : 64 - 22, 61:67].reshape(-1, 3).mean(axis=0) / 255  # in the petal that points up
        linear = np.where(body <= 0.04045, body / 12.92, ((body + 0.055) / 1.055) ** 2.4)
        to_lms = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
        lms = np.cbrt(np.array(to_lms) @ linear)
        a = np.array([1.97799850, -2.42859220, 0.45059370]) @ lms
        b = np.array([0.02590404, 0.78277177, -0.80867577]) @ lms
        seen = np.degrees(np.arctan2(b, a))
        assert abs((seen - hue + 180) % 360 - 180) < 12, hue
        assert np.hypot(a, b) > 0.1, hue  # colourful, not grey


def test_the_upright_petal_ends_at_the_petal_length() -> None:
    for length in FACTORS[2].grid:
        mask = petals(render(one(petal_length=length, petal_shape=0.0), 400, 400)[0])
        top = np.flatnonzero(mask.any(axis=1))[0] / 400
        assert top == pytest.approx(0.5 - length, abs=0.008)


def test_petals_lose_area_as_they_become_pointed() -> None:
    areas = [petals(render(one(petal_shape=shape), 128, 128)[0]).sum() for shape in FACTORS[3].grid]
    assert all(later < 0.98 * earlier for earlier, later in pairwise(areas))


@pytest.mark.parametrize(("name", "axis"), [("position_x", 1), ("position_y", 0)])
def test_the_flower_moves_by_its_position(name: str, axis: int) -> None:
    def centre(value: float) -> NDArray[np.float64]:
        mask = petals(render(one(**{name: value}), 200, 200)[0])
        return np.asarray(np.argwhere(mask).mean(axis=0))

    start = centre(0.0)
    for value in FACTORS[NAMES.index(name)].grid:
        moved = centre(value) - start
        assert moved[axis] == pytest.approx(200 * value, abs=1.0)
        assert moved[1 - axis] == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (96, 48)])
@pytest.mark.parametrize("shape", [0.0, 1.0])
def test_flowers_stay_inside_the_picture(height: int, width: int, shape: float) -> None:
    corners = [
        one(petal_length=0.36, position_x=x, position_y=y, petal_shape=shape, rotation=turn)
        for x in (-0.11, 0.11)
        for y in (-0.11, 0.11)
        for turn in (0.0, 0.25, 0.5)
    ]
    mask = petals(render(np.concatenate(corners), height, width))
    assert mask.any(axis=(1, 2)).all()
    assert not mask[:, [0, -1]].any()
    assert not mask[:, :, [0, -1]].any()


@pytest.mark.parametrize("column", range(7), ids=NAMES)
def test_every_step_of_every_grid_shows(column: int) -> None:
    """Neighbours on the grid differ clearly, and pictures drift away from the first as the factor grows."""
    contexts = sample_factors(6, np.random.default_rng(column), grid=True)
    for context in contexts:
        walk = np.repeat(context[None], len(FACTORS[column].grid), axis=0)
        walk[:, column] = FACTORS[column].grid
        pictures = render(walk).astype(int)
        steps = np.abs(np.diff(pictures, axis=0))
        assert (steps.mean(axis=(1, 2, 3)) > 0.5).all()
        assert (steps.max(axis=(1, 2, 3)) > 20).all()
        apart = np.abs(pictures[:, None] - pictures[None]).mean(axis=(2, 3, 4)) + 10 * np.eye(len(pictures))
        assert apart.min() > 0.5
        from_first = apart[0, 1:]
        assert from_first[-1] > 1.2 * from_first[0] or column == NAMES.index("petal_count")


def test_grid_points_give_distinct_pictures() -> None:
    factors = np.unique(sample_factors(400, np.random.default_rng(1), grid=True), axis=0)
    pictures = render(factors, 32, 32)
    assert len({picture.tobytes() for picture in pictures}) == len(factors)


# ---- how it is drawn ----


@settings(deadline=None, max_examples=15)
@given(st.lists(rows(), min_size=2, max_size=5), st.sampled_from([(16, 16), (24, 40), (33, 17)]))
def test_a_picture_does_not_depend_on_its_company(values: list[list[float]], size: tuple[int, int]) -> None:
    together = render(values, *size)
    assert together.shape == (len(values), *size, 3)
    assert together.dtype == np.uint8
    alone = np.concatenate([render([row], *size) for row in reversed(values)])[::-1]
    np.testing.assert_array_equal(together, alone)


def test_a_small_picture_is_a_large_one_seen_from_afar() -> None:
    """Edges are smooth: drawing at 64 is close to averaging 4×4 pixels of a drawing at 256."""
    factors = sample_factors(8, np.random.default_rng(2))
    small = render(factors, 64, 64).astype(float)
    averaged = render(factors, 256, 256).reshape(8, 64, 4, 64, 4, 3).mean(axis=(2, 4))
    errors = ((small - averaged) ** 2).mean(axis=(1, 2, 3))
    assert (10 * np.log10(255**2 / errors) > 29).all()


def test_bands_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = sample_factors(3, np.random.default_rng(3))
    whole = render(factors, 80, 80).astype(int)
    original = floret_painting._bands

    def narrow(
        canvas: NDArray[np.float32], left: float, right: float, top: float, bottom: float, most_px: int = 300
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        return original(canvas, left, right, top, bottom, min(most_px, 300))

    monkeypatch.setattr(floret_painting, "_bands", narrow)
    assert np.abs(render(factors, 80, 80).astype(int) - whole).max() <= 1


def test_the_ground_is_the_same_in_every_picture() -> None:
    pictures = render(sample_factors(20, np.random.default_rng(4)))
    corners = pictures[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == corners[0]).all()


def test_the_drawing_has_not_changed_without_a_new_format_version() -> None:
    """Means of 16×16 blocks of two pictures; if they change on purpose, raise FORMAT_VERSION and print them again."""
    pictures = render([[5, 60, 0.3, 0.2, 0.1, 0.05, -0.05], [8, -40, 0.35, 0.9, 0.4, -0.1, 0.1]])
    means = pictures.reshape(2, 4, 16, 4, 16, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(means, np.array(GOLDEN).reshape(means.shape), atol=1.0)


# fmt: off
GOLDEN = [
    92, 147, 121, 84, 135, 110, 111, 135, 100, 59, 113, 95,
    81, 134, 110, 207, 142, 54, 199, 118, 18, 98, 114, 81,
    62, 112, 88, 153, 123, 62, 177, 116, 41, 40, 81, 65,
    46, 95, 72, 22, 77, 68, 17, 73, 62, 20, 78, 64,
    92, 147, 121, 77, 135, 113, 63, 121, 103, 60, 114, 96,
    100, 125, 124, 149, 87, 173, 91, 93, 121, 49, 101, 84,
    126, 94, 147, 143, 60, 120, 123, 67, 144, 34, 85, 70,
    49, 86, 73, 93, 66, 121, 41, 65, 76, 20, 78, 63,
]
# fmt: on


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"petal_count": 10}, "petal_count = 10 in row 0: give an integer from 4 to 9"),
        ({"petal_count": 4.5}, "petal_count = 4.5 in row 0: give an integer from 4 to 9"),
        ({"petal_hue": 96}, "petal_hue = 96 in row 0: give a value from -70 to 95"),
        ({"position_x": float("nan")}, "position_x = nan in row 0"),
        ({"rotation": -0.01}, "rotation = -0.01 in row 0: give a value from 0 to 0.5"),
    ],
)
def test_factors_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        render(one(**changes))


def test_wrong_shapes_and_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(7,\).*N×7"):
        render(one()[0])
    with pytest.raises(UsageError, match="height = 7"):
        render(one(), 7, 64)
    with pytest.raises(UsageError, match="width = 4097"):
        render(one(), 64, 4097)
    assert render(np.empty((0, 7)), 16, 24).shape == (0, 16, 24, 3)


# ---- the source ----


@dataclass(frozen=True)
class Halve:
    """Stands in for a recipe that works on pictures."""

    name: str = "halve"

    def decode_at_least_px(self, height: int, width: int) -> None:
        """No matter: florets are drawn."""

    def apply(self, picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        assert picture.shape == (512, 512, 3)
        return np.asarray(Image.fromarray(picture).resize((width, height)))


def fit() -> Recipe:
    return cast("Recipe", Halve("fit"))


def test_the_source_describes_its_images() -> None:
    source = Florets(250)
    assert source.name == "florets:250"
    assert len(source.keys) == 250
    assert (source.keys[0], source.keys[-1]) == ("floret-000000", "floret-000249")
    assert {name: len(rows) for name, rows in source.splits.items()} == {"train": 200, "val": 25, "test": 25}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(source.splits.values()))), np.arange(250))
    assert source.label_names == ("4 petals", "5 petals", "6 petals", "7 petals", "8 petals", "9 petals")
    np.testing.assert_array_equal(source.labels + 4, source.factors[:, 0])
    assert not source.factors.flags.writeable


def test_fewer_florets_are_the_first_of_more() -> None:
    few, many = Florets(40), Florets(90)
    np.testing.assert_array_equal(few.factors, many.factors[:40])
    assert list(few.keys) == list(many.keys[:40])
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(few.splits[name], many.splits[name][: len(few.splits[name])])
    assert few.fingerprint != many.fingerprint
    assert few.fingerprint == Florets(40).fingerprint
    assert len(few.fingerprint) == 64


def test_reading_one_or_many_gives_the_drawing() -> None:
    source = Florets(20)
    expected = render(source.factors[[3, 17]], 24, 32)
    np.testing.assert_array_equal(source.read_many([3, 17], 24, 32), expected)
    np.testing.assert_array_equal(source.read(17, Preprocessing(fit(), 24, 32)), expected[1])
    np.testing.assert_array_equal(source.read_many(np.array([], dtype=np.int64), 24, 32), expected[:0])


def test_other_recipes_see_a_picture_of_512_pixels() -> None:
    source = Florets(20)
    picture = Image.fromarray(render(source.factors[[4]], 512, 512)[0])
    read = source.read(4, Preprocessing(cast("Recipe", Halve()), 256, 128))
    np.testing.assert_array_equal(read, np.asarray(picture.resize((128, 256))))


@pytest.mark.parametrize("index", [-1, 20])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(UsageError, match=f"index {index}: florets:20 holds images 0 to 19"):
        Florets(20).read_many([index], 16, 16)


@pytest.mark.parametrize("count", [0, -5, 1_000_001])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"florets:{count}: ask for 1 to 1000000"):
        Florets(count)


def test_petal_count_and_rotation_pay_only_together() -> None:
    """What it costs to guess the mean over unknown factors, in nats of a Bernoulli likelihood: see docs/scores.md."""
    rng = np.random.default_rng(0)
    flowers = np.stack([rng.choice(np.asarray(factor.grid, np.float32), size=60) for factor in FACTORS], axis=1)
    names = [factor.name for factor in FACTORS]

    def lost(*unknown: str) -> float:
        places = [names.index(name) for name in unknown]
        values = list(product(*(FACTORS[place].grid for place in places)))
        costs = []
        for flower in flowers:
            rows = np.tile(flower, (len(values), 1))
            rows[:, places] = values
            images = render(rows, 64, 64) / 255
            costs.append((entropy(images.mean(0)) - entropy(images).mean(0)).sum())
        return float(np.mean(costs))

    def entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(special.entr(p) + special.entr(1 - p))

    count, rotation, both = lost("petal_count"), lost("rotation"), lost("petal_count", "rotation")
    assert (count, rotation, both) == pytest.approx((180, 178, 211), rel=0.15)
    assert both - rotation < 50  # what the count is worth where the rotation is not known
    assert both - count < 50
