"""Images -> their scores and maps, block by block, and a folder with a ranked table, a contact sheet and pictures."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.anomalies.calibration import Calibration, CalibrationCard, own_calibration
from corolla.apps.anomalies.scoring import Scores, check_rate, check_score, measure, p_values
from corolla.data.listing import count_images, list_images
from corolla.data.stream import Batch, OnError, none_usable, usable_workers
from corolla.errors import UsageError
from corolla.files import check_new_folder, replacing, safe_name, writing
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, grid, sheet
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel
from corolla.trained.artefacts import check_weights
from corolla.trained.encoding import made_of_batches

Maps: TypeAlias = Literal["flagged", "all", "none"]

TABLE_NAME = "anomalies.csv"
SHEET_NAME = "anomalies.png"
MAPS_NAME = "maps"
BRIGHTEST_STDDEVS = 3.0
"""The surprise that is drawn brightest."""

_COLUMNS = 8


@dataclass(frozen=True, eq=False)
class Anomalies:
    """Some images and how far they are from normal, in their order."""

    paths: tuple[str, ...]  # name of each image; empty where images were given without
    images: NDArray[np.uint8]  # uint8, N×H×W×3, as the model sees them
    scores: Scores  # each score by name, N; the larger, the less normal
    p_values: NDArray[np.float64]  # of the score that was asked for: the share of normal images with one as large, N
    flagged: NDArray[np.bool_]  # whether that is at most the false-positive rate, N
    maps: NDArray[np.float32]  # the surprise at each pixel, in standard deviations of normal images, N×H×W
    faults: tuple[str, ...] = ()  # of the images that cannot be read, and so are not among these: a line about each


def anomaly_scores(
    model: TrainedModel, images: Images, calibration: Calibration, *, score: str = "combined", fpr: float = 0.05
) -> Anomalies:
    """Score images that fit into memory, as `TrainedModel` takes them; floats are rounded to 8 bits as normal ones are.

    P-values are of the `score` (see `Reference.score`). Of normal images at most the share `fpr` is flagged on average.

    Raises UsageError for no such score, or a rate that the calibration cannot hold; StaleError if the calibration was
    made for another model; also as `TrainedModel.pixels` and `measure`.
    """
    return _scorer(model, calibration, score, fpr)(Batch((), model.levels(images)))


def find_anomalies(
    model: TrainedModel,
    paths: Iterable[Path | str],
    calibration: Calibration,
    *,
    score: str = "combined",
    fpr: float = 0.05,
    on_error: OnError = "skip",
    workers: int | None = None,
) -> Iterator[Anomalies]:
    """As `anomaly_scores`, of any number of images, at most 256 at a time; memory does not grow with their number.

    They are read and scored in threads, one for each core unless `workers` says otherwise. An image that cannot be read
    is left out with a warning, or is a DataError.
    """
    return made_of_batches(model, list_images(paths), _scorer(model, calibration, score, fpr), on_error, workers)


def _scorer(model: TrainedModel, calibration: Calibration, score: str, fpr: float) -> Callable[[Batch], Anomalies]:
    """What scores images at the model's size, any number of them. Raises as `anomaly_scores`."""
    remedy = "make one for this model with `calibrate`"
    check_weights("the calibration", calibration.card.weights_sha256, model.card.weights_sha256, remedy)
    name = check_score(score, calibration.card.scores)
    check_rate(fpr, calibration.card.calibration_images)

    def scored(batch: Batch) -> Anomalies:
        scores: Scores = dict.fromkeys(calibration.card.scores, np.zeros(0))
        maps = np.zeros((0, model.height, model.width), np.float32)
        if len(batch.pixels):
            measures = measure(model, batch.pixels)
            scores, maps = calibration.reference.score(measures), calibration.reference.maps(measures)
        rare = p_values(calibration.normal[name], scores[name])
        paths = tuple(entry.key for entry in batch.entries)
        return Anomalies(paths, batch.pixels, scores, rare, rare <= fpr, maps, batch.faults)

    return scored


@dataclass(frozen=True)
class Written:
    """What was written: how many images were scored, how many of them flagged, and how many could not be read."""

    rows: int
    flagged: int
    left_out: int
    calibration: CalibrationCard
    calibration_file: Path | None = None
    """Where the calibration was kept, if it was made now."""


def write_anomalies(
    model: TrainedModel,
    paths: Iterable[Path | str],
    folder: Path | str,
    calibration: Calibration | None = None,
    *,
    score: str = "combined",
    fpr: float = 0.05,
    count: int = 24,
    maps: Maps = "flagged",
    recalibrate: bool = False,
    on_error: OnError = "skip",
    workers: int | None = None,
    source: str | None = None,
    mirror: str | None = None,
    progress: OnProgress | None = None,
) -> Written:
    """Write `anomalies.csv`, `anomalies.png` and `maps/` into a new or empty folder.

    The table has a row for each image, the least normal first: `path`, the scores by name, `p_value`, `flagged` (1 or
    0) and `map`, the file with the image beside its map. Images are held a few at a time, rows until they are sorted:
    about 150 MB for a million images. The sheet shows `count` images at most. Without a calibration, it is as
    `own_calibration` gives it; the rest is as for `find_anomalies`.

    Raises as these; UsageError if the folder is not empty, DataError if no image can be read, and WriteError.
    """
    folder = Path(folder)
    check_new_folder(folder)
    check_rate(fpr)
    if count < 1:
        raise UsageError(f"{count} images on the sheet: ask for at least 1")
    workers, paths, file = usable_workers(workers), list(paths), None
    if calibration is None:
        calibration, file = own_calibration(model, again=recalibrate, source=source, mirror=mirror, progress=progress)
    told = steps_of(progress, "scoring", None if progress is None else count_images(paths))
    blocks = find_anomalies(model, paths, calibration, score=score, fpr=fpr, on_error=on_error, workers=workers)
    name = check_score(score, calibration.card.scores)
    made, done, flagged, left_out = not folder.exists(), 0, 0, 0
    lines: list[bytes] = []
    ranks: list[NDArray[np.float64]] = []
    oddest: list[NDArray[Any]] = []  # scores, images, maps and p-values of the oddest so far
    try:
        for block in blocks:
            new: list[NDArray[Any]] = [block.scores[name], block.images, block.maps, block.p_values]
            for index, path in enumerate(block.paths):
                picture = ""
                if maps == "all" or (maps == "flagged" and block.flagged[index]):
                    picture = f"{MAPS_NAME}/{done + index + 1:06d}-{safe_name(PurePosixPath(path).stem)}.png"
                    both = np.stack([block.images[index], heat(block.maps[index])])
                    save_picture(folder / picture, grid(both, columns=2))
                numbers = [f"{values[index]:.6g}" for values in (*block.scores.values(), block.p_values)]
                lines.append(_csv([path, *numbers, str(int(block.flagged[index])), picture]))
            ranks.append(new[0])
            oddest = [np.concatenate(parts) for parts in zip(oddest, new, strict=True)] if oddest else new
            order = np.argsort(-oddest[0], kind="stable")[:count]
            oddest = [values[order] for values in oddest]
            done, flagged = done + len(block.paths), flagged + int(block.flagged.sum())
            left_out += len(block.faults)
            told(done + left_out)
        if not done:
            raise none_usable(left_out)
        ranked = np.argsort(-np.concatenate(ranks), kind="stable")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / TABLE_NAME) as temporary, temporary.open("wb") as table:
                table.write(_csv(["path", *calibration.card.scores, "p_value", "flagged", "map"]))
                table.writelines(lines[index] for index in ranked)
        save_picture(folder / SHEET_NAME, _sheet(*oddest))
    except BaseException:
        shutil.rmtree(folder / MAPS_NAME, ignore_errors=True)  # so that the same call can be made again
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    return Written(done, flagged, left_out, calibration.card, file)


def heat(surprise: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps in colours, H×W or N×H×W to the same ×3.

    Black where the error is normal, by red to yellow where it is 3 standard deviations above, and by blue to light blue
    where it is as much below: too plain a place is odd too.
    """
    scaled = np.clip(np.abs(surprise) / BRIGHTEST_STDDEVS, 0, 1)
    warm: NDArray[np.uint8] = matplotlib.colormaps["inferno"](scaled, bytes=True)[..., :3]
    return np.where(surprise[..., None] < 0, warm[..., ::-1], warm)


def _sheet(
    scores: NDArray[np.float64], images: NDArray[np.uint8], maps: NDArray[np.float32], p_values: NDArray[np.float64]
) -> Image.Image:
    """Rows of images, each above their maps, in the order of the table."""
    rows = []
    for start in range(0, len(scores), _COLUMNS):
        part = slice(start, start + _COLUMNS)
        ranks = [f"{rank}: {score:.3g}" for rank, score in enumerate(scores[part], start + 1)]
        rows.append(Row(images[part], "rank: score", ranks))
        rows.append(Row(heat(maps[part]), "where", [f"p = {p:.2g}" for p in p_values[part]]))
    return sheet(rows)


def _csv(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode(errors="surrogateescape")
