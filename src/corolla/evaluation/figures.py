"""What was scored -> pictures and a table for each image, to look at beside `scores.json`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.evaluation.material import Material
from corolla.evaluation.reconstructions import Returned, extremes
from corolla.files import write_text
from corolla.pictures.files import save_picture
from corolla.pictures.grids import Row, sheet


def reconstruction_extremes(images: NDArray[np.uint8], returned: Returned) -> Image.Image:
    """The worst, the typical and the best reconstructions below their images, with their PSNR."""
    rows = []
    for name, places in extremes(returned).items():
        psnr_db = returned.measures["psnr_db"][places]
        rows.append(Row(images[places], name))
        rows.append(Row(returned.images[places], "through the model", [f"{value:.1f} dB" for value in psnr_db]))
    return sheet(rows)


def neighbour_sheet(samples: NDArray[np.uint8], neighbours: NDArray[np.uint8]) -> Image.Image:
    """Samples above the training images closest to each, n×k×H×W×3, the closest first: a copy would show."""
    rows = [Row(samples[: len(neighbours)], "sample")]
    rows += [Row(neighbours[:, k], "closest in training" if k == 0 else "next") for k in range(neighbours.shape[1])]
    return sheet(rows)


def image_table(material: Material, returned: Returned) -> str:
    """A CSV with a row for each image: its name in the source, and what its reconstruction scored."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *returned.measures])
    for place, name in enumerate(material.evaluation.keys):
        writer.writerow([name, *(f"{values[place]:.6g}" for values in returned.measures.values())])
    return text.getvalue()


def write_pictures(
    folder: Path,
    material: Material,
    returned: Returned | None,
    samples: NDArray[np.uint8] | None,
    neighbours: NDArray[np.uint8] | None,
) -> list[Path]:
    """Write what there is into a folder; returns the files. Raises WriteError if one cannot be written."""
    written = []
    if returned is not None:
        written += [folder / "reconstructions.png", folder / "images.csv"]
        save_picture(written[-2], reconstruction_extremes(material.evaluation.images, returned))
        write_text(written[-1], image_table(material, returned))
    if samples is not None and neighbours is not None:
        written.append(folder / "neighbours.png")
        save_picture(written[-1], neighbour_sheet(samples, neighbours))
    return written
