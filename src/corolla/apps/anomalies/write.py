"""Images -> a folder with a ranked table, a contact sheet of the most anomalous, and pictures of where they are odd."""

from __future__ import annotations

import csv
import heapq
import io
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

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
    about 150 MB for a million images. The sheet shows `count` images at most; the rest is as for `find_anomalies`.

    Raises as `find_anomalies`; UsageError if the folder is not empty, DataError if no image can be read, and
    WriteError.
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
    kept: list[_Kept] = []
    done = flagged = left_out = 0
    lines: list[bytes] = []
    scores: list[NDArray[np.float64]] = []
    for block in blocks:
        for index, path in enumerate(block.paths):
            picture = ""
            if maps == "all" or (maps == "flagged" and block.flagged[index]):
                stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)  # what every system allows in a name
                picture = f"{MAPS_NAME}/{done + index + 1:06d}-{stem[:_NAME_LENGTH]}.png"
                both = np.stack([block.images[index], heat(block.maps[index])])
                save_picture(folder / picture, grid(both, columns=2))
            numbers = [f"{values[index]:.6g}" for values in (*block.scores.values(), block.p_values)]
            lines.append(_csv([block.paths[index], *numbers, str(int(block.flagged[index])), picture]))
        scores.append(block.scores[name])
        each = enumerate(zip(block.scores[name], block.images, block.maps, block.p_values, strict=True), done)
        kept += [_Kept(float(x), -index, image.copy(), map_.copy(), p) for index, (x, image, map_, p) in each]
        kept = heapq.nlargest(count, kept, key=lambda one: one[:2])
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
    save_picture(folder / SHEET_NAME, _sheet(kept))
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


class _Kept(NamedTuple):
    """What a sheet needs of an image; they are ranked by the first two, of equal scores the earlier first."""

    score: float
    minus_index: int
    image: NDArray[np.uint8]
    map: NDArray[np.float32]
    p_value: float


def _sheet(ranked: list[_Kept]) -> Image.Image:
    """Rows of images, each above their maps, in the order of the table."""
    rows = []
    for start in range(0, len(ranked), _COLUMNS):
        part = ranked[start : start + _COLUMNS]
        ranks = [f"{rank}: {one.score:.3g}" for rank, one in enumerate(part, start + 1)]
        rows.append(Row(np.stack([one.image for one in part]), "rank: score", ranks))
        rows.append(Row(heat(np.stack([one.map for one in part])), "where", [f"p = {one.p_value:.2g}" for one in part]))
    return sheet(rows)


def _csv(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode(errors="surrogateescape")
