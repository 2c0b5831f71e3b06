from __future__ import annotations

import base64
import io
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.chart import line_chart, ticks
from corolla.apps.page import write_page
from corolla.errors import CorollaError
from corolla.runs import RunFolder
from corolla.trained import TrainedModel

VOID = {"meta", "img", "source", "line", "polyline"}


class Outline(HTMLParser):
    """Checks that every element is closed in order, and gathers text and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attributes: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "a <run>")
    folder.path.mkdir()
    folder.write_rows(
        [
            {"step": step, "loss": 900 - step, "train_loss": 950 - step, "train_seconds": step / 2}
            for step in (10, 20, 30)
        ]
    )
    return folder


def read(path: Path) -> Outline:
    outline = Outline()
    outline.feed(path.read_text(encoding="utf-8"))
    outline.close()
    assert outline.open == []
    return outline


def test_the_page_stands_alone(model: TrainedModel, images: NDArray[np.uint8], run: RunFolder, tmp_path: Path) -> None:
    write_page(tmp_path / "index.html", run, model, images)
    outline = read(tmp_path / "index.html")
    assert len(outline.links) > 50
    moving = 0
    for link in outline.links:
        kind, _, content = link.partition(";base64,")
        assert kind == "data:image/webp"
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
            picture.load()
            moving += getattr(picture, "is_animated", False)
    assert moving == 1 + model.latent_dim
    text = " ".join(outline.text)
    assert "latent 1 · 3.00 nats" in text
    assert "latent 4 · dead" in text
    assert "a <run>" in text
    assert "took 15 seconds" in text


def test_the_page_is_the_same_for_the_same_seed(
    model: TrainedModel, images: NDArray[np.uint8], run: RunFolder, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_page(tmp_path / name, run, model, images, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_run_without_rows_has_a_page_without_a_curve(
    model: TrainedModel, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    write_page(tmp_path / "index.html", RunFolder(tmp_path), model, images)
    assert "How it learnt" not in read(tmp_path / "index.html").text


def test_a_page_that_cannot_be_written_is_one_clear_error(
    model: TrainedModel, images: NDArray[np.uint8], run: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorollaError, match="cannot be written"):
        write_page(tmp_path / "file" / "index.html", run, model, images)


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6))
def test_ticks_are_round_numbers_within_the_limits(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 11
    step = found[1] - found[0]
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-2
    assert found[0] >= low - 1e-6 * step - 1e-9
    assert found[-1] <= low + width + 1e-6 * step + 1e-9


def test_ticks_by_hand() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(6680, 6990) == [6700, 6750, 6800, 6850, 6900, 6950]
    assert ticks(3, 3) == [3]


def test_a_chart_puts_larger_values_higher_and_later_steps_to_the_right() -> None:
    chart = line_chart({"a<b": [(0, 5.0), (10, 1.0)], "flat": [(0, 3.0), (10, 3.0)]}, x_label="step", y_label="loss")
    root = ElementTree.fromstring(chart)
    first, second = (
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in root.iter("polyline")
    )
    assert first[0][0] < first[1][0]
    assert first[0][1] < second[0][1] < first[1][1]
    assert second[0][1] == second[1][1]
    assert "a<b" in {text.text for text in root.iter("text")}
    assert re.search(r'viewBox="0 0 \d+ \d+"', chart)


def test_a_chart_of_one_value_does_not_divide_by_zero() -> None:
    chart = line_chart({"a": [(1, 2.0), (1, 2.0)]}, x_label="x", y_label="y")
    assert ElementTree.fromstring(chart).tag.endswith("svg")
    assert "nan" not in chart
