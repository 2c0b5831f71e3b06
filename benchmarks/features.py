"""What codes are worth as features: species told from them by a linear probe and by 5 nearest neighbours.

Both classifiers learn on the features of one split and are scored on those of another; by default the official train
and test split of the 102 species. Beside the means of q(z|x) of each run stand principal components in the same number,
fitted to the split that is learnt on, the pixels, and histograms of colours: of each channel in RGB and HSV, and of
RGB in boxes. The probe standardises features and chooses its penalty by a fifth of what it learns on; neighbours are
the nearest by the Euclidean distance of the features as they are. The interval is that of a share of so many images.
Where a run was trained on images that are scored here, though never on their labels, the table says so.

    python dev.py bench features runs/bench-flowers/vae runs/bench-flowers/flowers --mirror FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import corolla
from corolla.data import select_rows
from corolla.errors import DataError, UsageError
from corolla.metrics import knn_accuracy, linear_probe, normal_interval, pca, pixels
from corolla.trained import TrainedModel
from corolla.trained.own_images import own_images
from environment import describe, markdown_table

Images = NDArray[np.uint8]
Space = Callable[[Images], NDArray[np.floating]]

HISTOGRAM_BINS = 32
"""Of each channel."""
BOXES_A_SIDE = 4
"""Of the cube of RGB, which is cut into 4×4×4 boxes."""
NEIGHBOURS = 5


def channel_histograms(images: Images, mode: str = "RGB") -> NDArray[np.floating]:
    """How many of an image's pixels lie in each of 32 bins of each channel, as shares; N×96."""
    bins = _in_mode(images, mode).reshape(len(images), -1, 3) * HISTOGRAM_BINS // 256
    places = bins + HISTOGRAM_BINS * np.arange(3)
    return _shares(places.reshape(len(images), -1), 3 * HISTOGRAM_BINS)


def box_histograms(images: Images) -> NDArray[np.floating]:
    """How many of an image's pixels lie in each box of the cube of RGB, as shares; N×64."""
    boxes = images.reshape(len(images), -1, 3).astype(np.int64) * BOXES_A_SIDE // 256
    return _shares(boxes @ np.array([BOXES_A_SIDE**2, BOXES_A_SIDE, 1]), BOXES_A_SIDE**3)


def _in_mode(images: Images, mode: str) -> NDArray[np.int64]:
    converted = [np.asarray(Image.fromarray(image).convert(mode)) for image in images]
    return np.stack(converted).astype(np.int64)


def _shares(places: NDArray[np.int64], count: int) -> NDArray[np.floating]:
    counts = np.stack([np.bincount(row, minlength=count) for row in places])
    shares: NDArray[np.floating] = counts / places.shape[1]
    return shares


def spaces(models: dict[str, TrainedModel], known: Images) -> dict[str, Space]:
    """What makes features of images, by the names of the table's rows."""
    found: dict[str, Space] = {f"codes of `{name}`": model.encode for name, model in models.items()}
    for dim in sorted({model.latent_dim for model in models.values()}):
        found[f"PCA, {dim}"] = pca(known, dim)
    found["pixels"] = pixels
    found["histogram, RGB"] = channel_histograms
    found["histogram, HSV"] = lambda images: channel_histograms(images, "HSV")
    found["histogram, RGB in boxes"] = box_histograms
    return found


def percent(accuracy: float, count: int) -> str:
    """A share of so many images with the reach of its 95% interval."""
    interval = normal_interval(accuracy, float(np.sqrt(accuracy * (1 - accuracy) / count)))
    return f"{100 * accuracy:.1f} ± {100 * (interval.high - accuracy):.1f}"


def main() -> None:
    """Measure each kind of features, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of one source, recipe and size")
    parser.add_argument("--source", help="where the images are, if they have moved")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the run's own")
    parser.add_argument("--train-split", default="train", help="what classifiers learn on; default: train")
    parser.add_argument("--test-split", default="test", help="what they are scored on; default: test")
    arguments = parser.parse_args()

    models = {path.name: corolla.load(path) for path in arguments.runs}
    if len(models) < len(arguments.runs):
        raise UsageError("two runs have one name; give folders of different names")
    first = next(iter(models.values()))
    data = first.config.data
    for name, model in models.items():
        other = model.config.data
        if (other.source, other.recipe, other.size) != (data.source, data.recipe, data.size):
            raise UsageError(
                f"{name}: has another source, recipe or size than the first run; give runs that share them"
            )
    cache = own_images(first, source=arguments.source, mirror=arguments.mirror)
    if cache.labels is None:
        raise DataError(f"{data.source}: its images have no labels, which are what features are judged by here")
    rows = {split: select_rows(cache.splits, split) for split in (arguments.train_split, arguments.test_split)}
    known, asked = (np.asarray(cache.images[chosen]) for chosen in rows.values())
    labels, answers = (np.asarray(cache.labels)[chosen] for chosen in rows.values())

    print(describe())
    print(f"scikit-learn {metadata.version('scikit-learn')}")
    print(
        f"{data.source}, {data.size[0]}x{data.size[1]}, {len(np.unique(labels))} labels: "
        f"learnt on {len(known)} images ({arguments.train_split}), scored on {len(asked)} ({arguments.test_split})"
    )
    for name, model in models.items():
        seen = np.isin(rows[arguments.test_split], select_rows(cache.splits, model.config.data.train_split)).sum()
        print(f"{name}: was trained, without labels, on {seen} of the images scored")
    print(flush=True)
    table = []
    for name, space in spaces(models, known).items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        x, x_asked = space(known), space(asked)
        probe = linear_probe(x, labels, x_asked, answers)
        near = knn_accuracy(x, labels, x_asked, answers, k=NEIGHBOURS)
        table.append([name, str(x.shape[1]), percent(probe, len(asked)), percent(near, len(asked))])
    print(markdown_table(["features", "numbers", "linear probe, %", f"{NEIGHBOURS} neighbours, %"], table))


if __name__ == "__main__":
    try:
        main()
    except corolla.CorollaError as error:
        sys.exit(f"bench features: {error}")
