"""Images -> a folder with a ranked table, a contact sheet of the most anomalous, and pictures of where they are odd."""

from __future__ import annotations

import csv
import heapq
import io
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.anomalies.calibration import Calibration
from corolla.apps.anomalies.scoring import ScoreName
from corolla.apps.anomalies.search import Anomalies, find_anomalies
from corolla.data.listing import count_images
from corolla.data.stream import OnError, none_usable
from corolla.errors import UsageError
from corolla.files import check_new_folder, replacing, writing
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, grid, sheet
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel

Maps: TypeAlias = Literal["flagged", "all", "none"]

TABLE_NAME = "anomalies.csv"
SHEET_NAME = "anomalies.png"
MAPS_NAME = "maps"
BRIGHTEST_STDDEVS = 3.0
"""The surprise that is drawn brightest."""

_COLUMNS = 8
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Written:
    """What was written: how many images were scored, how many of them flagged, and how many could not be read."""

    rows: int
    flagged: int
    left_out: int


def write_anomalies(
    model: TrainedModel,
    paths: Iterable[Path | str],
    folder: Path | str,
    calibration: Calibration,
    *,
    score: str = "combined",
    fpr: float = 0.05,
    count: int = 24,
    maps: Maps = "flagged",
    on_error: OnError = "skip",
    workers: int | None = None,
    progress: OnProgress | None = None,
) -> Written:
    """Write `anomalies.csv`, `anomalies.png` and `maps/` into a new or empty folder.

    The table has a row for each image, the least normal first: `path`, the scores by name, `p_value`, `flagged` (1 or
    0) and `map`, the file with the image beside its map. Images are held a few at a time, rows until they are sorted:
    about 150 MB for a million images.

    Args:
        model: As for `find_anomalies`, also paths, calibration, score, fpr, on_error and workers.
        paths: What to score.
        folder: Where to write.
        calibration: What is normal.
        score: What images are ranked by.
        fpr: Of normal images, at most this share is flagged on average.
        count: How many images the sheet shows, at most.
        maps: Of which images to draw the map.
        on_error: What to do with an image that cannot be read.
        workers: Threads that read and score.
        progress: Called with the images that are done; they are counted first.

    Raises:
        UsageError: the folder is not empty, or as `find_anomalies`.
        DataError: no image can be read, or one cannot and on_error is "refuse".
        WriteError: the folder cannot be written to.
        ModelError: as `find_anomalies`.
    """
    folder = Path(folder)
    check_new_folder(folder)
    check_count(count)
    paths = list(paths)
    told = steps_of(progress, "scoring", None if progress is None else count_images(paths))
    blocks = find_anomalies(model, paths, calibration, score=score, fpr=fpr, on_error=on_error, workers=workers)
    name: ScoreName = next(known for known in calibration.card.scores if known == score)
    made = not folder.exists()
    try:
        return _write(blocks, folder, calibration, name, count, maps, told)
    except BaseException:
        shutil.rmtree(folder / MAPS_NAME, ignore_errors=True)  # so that the same call can be made again
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _write(
    blocks: Iterable[Anomalies],
    folder: Path,
    calibration: Calibration,
    name: ScoreName,
    count: int,
    maps: Maps,
    told: Callable[[int], None],
) -> Written:
    most = _Most(count)
    done = flagged = left_out = 0
    lines: list[bytes] = []
    scores: list[NDArray[np.float64]] = []
    for block in blocks:
        for index, path in enumerate(block.paths):
            picture = ""
            if maps == "all" or (maps == "flagged" and block.flagged[index]):
                picture = f"{MAPS_NAME}/{done + index + 1:06d}-{_file_name(path)}.png"
                both = np.stack([block.images[index], heat(block.maps[index])])
                save_picture(folder / picture, grid(both, columns=2))
            lines.append(_line(block, index, picture))
        scores.append(block.scores[name])
        most.add(block, name, done)
        done += len(block.paths)
        flagged += int(block.flagged.sum())
        left_out += len(block.faults)
        told(done + left_out)
    if not done:
        raise none_usable(left_out)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    ranked = np.argsort(-np.concatenate(scores), kind="stable")
    with writing(folder), replacing(folder / TABLE_NAME) as temporary, temporary.open("wb") as file:
        file.write(_csv(["path", *calibration.card.scores, "p_value", "flagged", "map"]))
        file.writelines(lines[index] for index in ranked)
    save_picture(folder / SHEET_NAME, most.sheet())
    return Written(done, flagged, left_out)


def check_count(count: int) -> None:
    """Raise UsageError if a sheet cannot show so many images."""
    if count < 1:
        raise UsageError(f"{count} images on the sheet: ask for at least 1")


def heat(surprise: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps in colours, H×W or N×H×W to the same ×3.

    Black where the error is normal, by red to yellow where it is 3 standard deviations above, and by blue to light blue
    where it is as much below: too plain a place is odd too.
    """
    scaled = np.clip(np.abs(surprise) / BRIGHTEST_STDDEVS, 0, 1)
    warm: NDArray[np.uint8] = matplotlib.colormaps["inferno"](scaled, bytes=True)[..., :3]
    return np.where(surprise[..., None] < 0, warm[..., ::-1], warm)


@dataclass
class _Most:
    """The images with the largest scores so far, with what a sheet needs of them."""

    count: int
    kept: list[tuple[float, int, NDArray[np.uint8], NDArray[np.float32], float]] = field(default_factory=list)

    def add(self, block: Anomalies, name: ScoreName, first: int) -> None:
        for index in range(len(block.paths)):
            order = (float(block.scores[name][index]), -(first + index))  # of equal scores the earlier image
            if len(self.kept) == self.count and order < self.kept[0][:2]:
                continue
            one = (*order, block.images[index].copy(), block.maps[index].copy(), float(block.p_values[index]))
            (heapq.heappushpop if len(self.kept) == self.count else heapq.heappush)(self.kept, one)

    def sheet(self) -> Image.Image:
        """Rows of images, each above their maps, in the order of the table."""
        ranked = sorted(self.kept, key=lambda one: one[:2], reverse=True)
        rows = []
        for start in range(0, len(ranked), _COLUMNS):
            part = ranked[start : start + _COLUMNS]
            ranks = [f"{start + place + 1}: {one[0]:.3g}" for place, one in enumerate(part)]
            rows.append(Row(np.stack([one[2] for one in part]), "rank: score", ranks))
            rows.append(Row(heat(np.stack([one[3] for one in part])), "where", [f"p = {one[4]:.2g}" for one in part]))
        return sheet(rows)


def _line(block: Anomalies, index: int, picture: str) -> bytes:
    scores = [f"{values[index]:.6g}" for values in block.scores.values()]
    rare = f"{block.p_values[index]:.6g}"
    return _csv([block.paths[index], *scores, rare, str(int(block.flagged[index])), picture])


def _csv(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode(errors="surrogateescape")


def _file_name(path: str) -> str:
    """A path's stem with _ for whatever not every system allows in a name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)[:_NAME_LENGTH]
