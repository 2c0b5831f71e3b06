"""Results of a grid -> pictures: the rate-distortion curve with examples beside it, and a sheet to compare them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from corolla.config import DataConfig
from corolla.data import select_rows
from corolla.metrics.names import TRAINING_SCORES
from corolla.pictures.grids import Row, sheet
from corolla.pixels import shown
from corolla.sweeps.grid import SEED, short_names
from corolla.sweeps.results import BETA, Result, grouped, middle
from corolla.trained import load
from corolla.trained.own_images import own_images

EXAMPLES = 8
SHOWN_AT_POINTS = 2
MOST_POINTS_WITH_EXAMPLES = 12
_INK, _FAINT = "#282c34", "#969aa0"
_COLOURS = ("#c2416b", "#2c7da0", "#5a8f29", "#b5761f", "#6d4aa8", "#3b8f86", "#8a5a44", "#777777")


def examples(result: Result, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first images of a run's evaluation split, and what its model makes of them; both uint8 N×H×W×3."""
    model = load(result.path)
    cache = own_images(model)
    originals = np.asarray(cache.images[select_rows(cache.splits, model.config.data.eval_split)[:count]])
    return originals, model.reconstruct(originals)


def reconstructions(results: Sequence[Result]) -> Image.Image:
    """The same images above, then a row of what each point makes of them, of its first seed, with its numbers."""
    rows: list[Row] = []
    shown: DataConfig | None = None
    size = results[0].point.config.data.size
    for group in grouped(results):
        result = group[0]
        originals, images = examples(result, EXAMPLES)
        data = result.point.config.data
        if data != shown:  # another grid of images, or of other sizes
            rows.append(Row(_resized(originals, size), "original"))
            shown = data
        rate, psnr = result.scores["kl"], result.scores["psnr_db"]
        rows.append(Row(_resized(images, size), f"{_name(result)}: rate {rate:.1f} nats, {psnr:.1f} dB"))
    return sheet(rows)


def _name(result: Result) -> str:
    return result.point.label or f"seed {result.point.values[SEED]}"


def _resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.stack(
        [np.asarray(Image.fromarray(shown(i)).resize(size[::-1], Image.Resampling.BICUBIC)) for i in images]
    )


def curve(results: Sequence[Result]) -> Image.Image:
    """Distortion against rate: a point for each setting, its median over seeds; the seeds themselves are faint.

    Points that differ in β only (without β: in the first axis) are joined by a line. Each has a number, and its name in
    the column beside them; where there are few, also reconstructions, of its first seed, below their originals.
    """
    groups = grouped(results)
    lines = _lines(groups)
    height = max(6.6, 0.22 * len(groups))  # so that the names of many points have room
    figure = Figure(figsize=(10, height), dpi=120, facecolor="white", layout="constrained")
    cells = figure.add_gridspec(len(groups) + 1, 2, width_ratios=(5, 1))
    axes = figure.add_subplot(cells[:, 0])
    for index, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        rates, distortions = zip(*sorted(map(_place, line)), strict=True)
        axes.plot(rates, distortions, color=colour, marker="o", markersize=7, linewidth=1.8, label=name)
        for group in line:
            for result in group if len(group) > 1 else ():
                axes.scatter(*_place([result]), color=colour, alpha=0.3, s=18, linewidths=0)
    _dress(axes, legend=len(lines) > 1)
    with_examples = len(groups) <= MOST_POINTS_WITH_EXAMPLES
    if with_examples:
        _beside(figure.add_subplot(cells[0, 1]), "original", examples(groups[0][0], SHOWN_AT_POINTS)[0])
    for number, group in enumerate(groups, start=1):
        axes.annotate(str(number), _place(group), (5, 5), textcoords="offset points", color=_INK, fontsize=9)
        images = examples(group[0], SHOWN_AT_POINTS)[1] if with_examples else None
        _beside(figure.add_subplot(cells[number, 1]), f"{number}  {_name(group[0])}", images)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def _beside(axes: Axes, name: str, images: NDArray[np.uint8] | None) -> None:
    """A name, with images below it, in the column beside the curve."""
    axes.set_title(name, loc="left", color=_INK, fontsize=8.5, pad=2)
    axes.set_axis_off()
    if images is not None:
        axes.imshow(np.hstack(list(images)), interpolation="bicubic")
        axes.set_anchor("W")


def _place(group: Sequence[Result]) -> tuple[float, float]:
    """Where a point stands: the medians of its rate and distortion over seeds."""
    return middle(group, "kl"), middle(group, "reconstruction")


def _lines(groups: Sequence[Sequence[Result]]) -> dict[str, list[Sequence[Result]]]:
    """The points that are joined, under the values of the other axes."""
    names = [name for name in groups[0][0].point.values if name != SEED]
    along = BETA if BETA in names else next(iter(names), None)
    shown = short_names(names)
    lines: dict[str, list[Sequence[Result]]] = {}
    for group in groups:
        others = ", ".join(f"{shown[name]} {text}" for name, text in group[0].point.group if name != along)
        lines.setdefault(others, []).append(group)
    return lines


def _dress(axes: Axes, *, legend: bool) -> None:
    rate, distortion = TRAINING_SCORES["kl"], TRAINING_SCORES["reconstruction"]
    axes.set_xlabel(f"{rate.label}: what the code says of an image, in {rate.unit}", color=_INK)
    axes.set_ylabel(f"{distortion.label}: what it leaves out, in {distortion.unit} per image", color=_INK)
    axes.set_title("Rate and distortion on images that were not trained on", loc="left", color=_INK, fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, length=3)
    axes.grid(color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.margins(x=0.16, y=0.16)
    if legend:
        axes.legend(frameon=False, labelcolor=_INK, loc="lower left")
