"""What was scored -> pictures and a table for each image, to look at beside `scores.json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.evaluation.material import Part
from corolla.evaluation.reconstructions import extremes
from corolla.evaluation.scoring import Evaluated
from corolla.files import write_text
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, sheet


def reconstruction_extremes(
    images: NDArray[np.uint8], returned: NDArray[np.uint8], psnr_db: NDArray[np.float64]
) -> Image.Image:
    """The worst, the typical and the best reconstructions below their images, with their PSNR."""
    rows = []
    for name, places in extremes(psnr_db).items():
        rows.append(Row(images[places], name))
        rows.append(Row(returned[places], "through the model", [f"{value:.1f} dB" for value in psnr_db[places]]))
    return sheet(rows)


def neighbour_sheet(samples: NDArray[np.uint8], neighbours: NDArray[np.uint8]) -> Image.Image:
    """Samples above the training images closest to each, n×k×H×W×3, the closest first: a copy would show."""
    rows = [Row(samples[: len(neighbours)], "sample")]
    rows += [Row(neighbours[:, k], "closest in training" if k == 0 else "next") for k in range(neighbours.shape[1])]
    return sheet(rows)


def image_table(keys: Sequence[str], measures: Mapping[str, NDArray[np.float64]]) -> str:
    """A CSV with a row for each image: its name in the source, and what its reconstruction scored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *measures])
    for name, *values in zip(keys, *measures.values(), strict=True):
        writer.writerow([name, *(f"{value:.6g}" for value in values)])
    return text.getvalue()


def write_pictures(folder: Path, images: Part, found: Evaluated) -> list[Path]:
    """Write what there is of the images that were scored; returns the files. Raises WriteError."""
    written = []
    if found.returned is not None:
        written += [folder / "reconstructions.png", folder / "images.csv"]
        save_picture(written[0], reconstruction_extremes(images.images, found.returned, found.measures["psnr_db"]))
        write_text(written[1], image_table(images.keys, found.measures))
    if found.neighbours is not None:
        written.append(folder / "neighbours.png")
        save_picture(written[-1], neighbour_sheet(next(iter(found.samples.values())), found.neighbours))
    return written
