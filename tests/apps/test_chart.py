from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corolla.report import environment
from corolla.report.sections.curves import line_chart, ticks


def drawn(chart: dict[str, Any]) -> str:
    return str(environment().get_template("chart.svg.j2").module.svg(chart))  # type: ignore[attr-defined]


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
    chart = line_chart(
        {"a<b": [(0, 5.0), (10, 1.0)], "flat": [(0, 3.0), (10, 3.0)]}, title="loss", x_label="step", y_label="nats"
    )
    svg = drawn(chart)
    root = ElementTree.fromstring(svg)
    first, second = (
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in root.iter("polyline")
    )
    assert first[0][0] < first[1][0]
    assert first[0][1] < second[0][1] < first[1][1]
    assert second[0][1] == second[1][1]
    assert "a<b" in {text.text for text in root.iter("text")}
    assert re.search(r'viewBox="0 0 \d+ \d+"', svg)


def test_a_chart_of_one_value_does_not_divide_by_zero() -> None:
    chart = drawn(line_chart({"a": [(1, 2.0), (1, 2.0)]}, title="t", x_label="x", y_label="y"))
    assert ElementTree.fromstring(chart).tag.endswith("svg")
    assert "nan" not in chart
