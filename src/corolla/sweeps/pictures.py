"""Results of a grid -> pictures: the rate-distortion curve with examples at its points, and a sheet to compare them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, OffsetImage, TextArea, VPacker
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
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
_EXAMPLE_PX = 40
# Where an example may stand, from its point: the curve falls, so above and to the right there is room.
_DIRECTIONS = (45, 20, 70, 0, 90, -20, 110, 200, 225, 250, 180, 270, 135, -45)
_DISTANCES_PX = (62, 90, 125, 170, 220, 280)


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

    Points that differ in β only (without β: in the first axis) are joined by a line. Where there are few, each has
    reconstructions beside it, of its first seed; their originals stand in the corner.
    """
    groups = grouped(results)
    lines = _lines(groups)
    figure = Figure(figsize=(10, 6.6), dpi=120, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        rates, distortions = zip(*sorted(map(_place, line)), strict=True)
        axes.plot(rates, distortions, color=colour, marker="o", markersize=7, linewidth=1.8, label=name)
        for group in line:
            for result in group if len(group) > 1 else ():
                axes.scatter(*_place([result]), color=colour, alpha=0.3, s=18, linewidths=0)
    _dress(axes, legend=len(lines) > 1)
    _annotate(axes, canvas, groups)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


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


def _annotate(axes: Axes, canvas: FigureCanvasAgg, groups: Sequence[Sequence[Result]]) -> None:
    """Name each point, with examples where there are few; no name stands on a point or another name."""
    with_examples = len(groups) <= MOST_POINTS_WITH_EXAMPLES
    if with_examples:
        originals, _ = examples(groups[0][0], SHOWN_AT_POINTS)
        _box(axes, "original", originals, (1, 1), "axes fraction", (-60, -34)).set_zorder(2)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure = canvas.figure
    figure.set_layout_engine("none")  # names are placed in what it has laid out
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer).padded(8)
    anchors = [axes.transData.transform(_place(group)) for group in groups]
    taken = [_extent(a, renderer) for a in axes.artists if isinstance(a, AnnotationBbox)]
    for group in groups:
        images = examples(group[0], SHOWN_AT_POINTS)[1] if with_examples else None
        label = group[0].point.label if len(groups) > 1 else _name(group[0])
        box = _box(axes, label, images, _place(group), "data", (0, 0))
        near = (14, 24, 40, 60) if images is None else _DISTANCES_PX
        costs: dict[tuple[float, float], float] = {}
        for distance, (order, angle) in product(near, enumerate(_DIRECTIONS)):
            box.xybox = (distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle)))
            extent = _extent(box, renderer)
            hits = sum(extent.overlaps(other) for other in taken)
            hits += sum(extent.padded(6).contains(*other) for other in anchors)
            outside = any(not frame.contains(*corner) for corner in extent.corners())
            costs[box.xybox] = 1000 * (hits + 2 * outside) + distance + 0.1 * order
        box.xybox = min(costs, key=lambda offset: costs[offset])
        taken.append(_extent(box, renderer))


def _extent(box: AnnotationBbox, renderer: Any) -> Bbox:
    """The frame of a name in pixels of the picture, without the line that it hangs on."""
    box.update_positions(renderer)
    return box.offsetbox.get_window_extent(renderer).padded(5)


def _box(
    axes: Axes, label: str, images: NDArray[np.uint8] | None, xy: Any, coordinates: str, offset: tuple[float, float]
) -> AnnotationBbox:
    """A label, with images above it, that hangs on a point by a thin line."""
    content: Any = TextArea(label, textprops={"color": _INK, "fontsize": 8.5})
    on_point = coordinates == "data"
    if images is not None:
        zoom = _EXAMPLE_PX / max(images.shape[1:3])
        tiles: list[Artist] = [OffsetImage(tile, zoom=zoom, interpolation="bicubic") for tile in images]
        content = VPacker(children=[HPacker(children=tiles, pad=0, sep=2), content], align="center", pad=0, sep=2)
    box = AnnotationBbox(
        content,
        xy,
        xybox=offset,
        xycoords=coordinates,
        boxcoords="offset points",
        frameon=images is not None and on_point,
        bboxprops={"edgecolor": "#d5d8dd", "boxstyle": "round,pad=0.15", "linewidth": 0.8},
        arrowprops={"arrowstyle": "-", "color": _FAINT, "linewidth": 0.8} if on_point else None,
        pad=0.2,
        annotation_clip=False,
    )
    axes.add_artist(box)
    return box
