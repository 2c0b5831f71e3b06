"""How well the scores of `corolla anomalies` tell other images from flowers, and flowers of unknown species.

Flowers are those of a run's evaluation split: one half, drawn with a seed, calibrates, the other half is scored beside
images of other kinds, all from packages or drawn here: patches of 128×128 pixels of scikit-image's and scikit-learn's
photographs (scikit-learn's flower is left out), micrographs, star fields, grey pictures and textures; shapes; and
florets. They go through the run's recipe. The small flowers of the 64-pixel mirror are JPEG files of quality 75, whose
grain would tell them from all else, so others are coded as such too (`--jpeg 0` leaves that out).

For unknown species, a small model is trained on four fifths of the species, some minutes on a CPU; what is done is
found again. Beside the scores stand the simpler ones that their parts would give (the negative ELBO, its distance from
the normal mean, the error, the largest surprise of a pixel, the distance of the code), the error of PCA's
reconstruction, an isolation forest on pixels, and how unusual an image's plain code lengths are, without any model.

    python dev.py bench anomalies runs/bench-flowers/vae --mirror FOLDER
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage import data as pictures
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_sample_images
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score, roc_curve
from threadpoolctl import threadpool_limits

import corolla
from corolla.apps.anomalies import Calibration, anomaly_scores, calibrate
from corolla.apps.anomalies.scoring import mahalanobis, measure
from corolla.data import ImageCache, render, sample_factors, select_rows
from corolla.evaluation.codec import PrincipalComponents
from corolla.metrics import complexity_nats, pixels
from corolla.trained import TrainedModel
from corolla.trained.own_images import open_images, own_images
from environment import describe, markdown_table
from jobs import train_all

Images = NDArray[np.uint8]
Scorer = Callable[[Images], NDArray[np.float64]]

SEED = 0
FPR = 0.05
PATCH_PX = 128
DRAWN = 100
MOST_TRAINING = 4000
PCA_DIMS = 64
TREES = 200
HELD_OUT_EACH = 5
"""Every so many species one is held out."""
SPECIES_STEPS = 1000

PICTURES = {
    "photographs": ("astronaut", "cat", "coffee", "rocket"),
    "micrographs": ("immunohistochemistry", "retina"),
    "stars": ("hubble_deep_field",),
    "grey": ("camera", "coins", "moon", "page", "text", "clock", "cell"),
    "textures": ("brick", "grass", "gravel"),
}


def patches(picture: NDArray[np.uint8]) -> Iterator[Images]:
    """Squares side by side, RGB."""
    colour = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture[..., :3]
    for top in range(0, colour.shape[0] - PATCH_PX + 1, PATCH_PX):
        for left in range(0, colour.shape[1] - PATCH_PX + 1, PATCH_PX):
            yield colour[top : top + PATCH_PX, left : left + PATCH_PX]


def shapes(generator: np.random.Generator) -> Images:
    """One to five rectangles, ellipses and triangles on a plain ground."""

    def colour() -> tuple[int, ...]:
        return tuple(int(value) for value in generator.integers(0, 256, 3))

    picture = Image.new("RGB", (PATCH_PX, PATCH_PX), colour())
    draw = ImageDraw.Draw(picture)
    for _ in range(generator.integers(1, 6)):
        left, top = (int(value) for value in generator.integers(-20, 100, 2))
        right, bottom = (
            first + int(side) for first, side in zip((left, top), generator.integers(15, 90, 2), strict=True)
        )
        kind = generator.integers(3)
        if kind == 0:
            draw.rectangle((left, top, right, bottom), fill=colour())
        elif kind == 1:
            draw.ellipse((left, top, right, bottom), fill=colour())
        else:
            draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=colour())
    return np.asarray(picture)


def other_kinds(model: TrainedModel, jpeg: int) -> dict[str, Images]:
    """Images that are no flowers, by kind, as the model sees them."""
    generator = np.random.default_rng(SEED)
    found = {
        kind: [patch for name in names for patch in patches(getattr(pictures, name)())]
        for kind, names in PICTURES.items()
    }
    samples = load_sample_images()
    china = next(
        image for image, name in zip(samples.images, samples.filenames, strict=True) if Path(name).name == "china.jpg"
    )
    found["photographs"] += patches(china)
    found["shapes"] = [shapes(generator) for _ in range(DRAWN)]
    found["florets"] = list(render(sample_factors(DRAWN, generator), model.height, model.width))
    return {kind: np.stack([_coded(_pixels(model, image), jpeg) for image in images]) for kind, images in found.items()}


def _pixels(model: TrainedModel, image: Images) -> Images:
    seen: Images = model.pixels(image)[0].astype(np.uint8)
    return seen


def _coded(image: Images, quality: int) -> Images:
    if not quality:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def baselines(training: Images, normal: Images) -> dict[str, Scorer]:
    """What one would reach for today, fitted to training images; and code lengths alone, from normal ones."""
    pca = PrincipalComponents(training, PCA_DIMS)
    forest = IsolationForest(n_estimators=TREES, random_state=SEED).fit(pixels(training))

    def error(images: Images) -> NDArray[np.float64]:
        away = pixels(images).astype(np.float64) - pixels(pca.decode(pca.encode(images)))
        squares: NDArray[np.float64] = np.square(away).mean(1)
        return squares

    def lengths(images: Images) -> NDArray[np.float64]:
        both = [complexity_nats(images), complexity_nats(images, differences=False)]
        logs: NDArray[np.float64] = np.log1p(both).T
        return logs

    usual = LedoitWolf().fit(lengths(normal))
    return {
        f"PCA, {PCA_DIMS}, error": error,
        "isolation forest": lambda images: -forest.score_samples(pixels(images)),
        "code lengths alone": lambda images: usual.mahalanobis(lengths(images)),
    }


def simple_scores(
    model: TrainedModel, calibration: Calibration, normal_elbo: float, images: Images
) -> dict[str, NDArray[np.float64]]:
    """What the command does not offer, as it does no better than chance."""
    measures, reference = measure(model, images), calibration.reference
    elbo = measures.elbo_nats
    return ({} if elbo is None else {"elbo": -elbo, "typicality": np.abs(elbo - normal_elbo)}) | {
        "reconstruction": measures.error,
        "local": reference.maps(measures).max((1, 2)).astype(np.float64),
        "latent": mahalanobis(measures.codes, reference.code_mean, reference.code_precision),
    }


def scored(
    model: TrainedModel, calibration: Calibration, normal_elbo: float, others: dict[str, Scorer], images: Images
) -> dict[str, NDArray[np.float64]]:
    """Every score of images, the model's first, by name; and whether `combined` flags them."""
    found = anomaly_scores(model, images, calibration, fpr=FPR)
    values: dict[str, NDArray[np.float64]] = {str(name): array for name, array in found.scores.items()}
    values |= simple_scores(model, calibration, normal_elbo, images)
    values |= {name: scorer(images) for name, scorer in others.items()}
    return values | {"flagged": found.flagged.astype(np.float64)}


def auroc(normal: NDArray[np.float64], odd: NDArray[np.float64]) -> float:
    """Area under the ROC curve of scores that should be larger where images are odd."""
    return float(roc_auc_score(np.r_[np.zeros(len(normal)), np.ones(len(odd))], np.r_[normal, odd]))


def fpr_at_95(normal: NDArray[np.float64], odd: NDArray[np.float64]) -> float:
    """The share of normal images that are flagged where 95% of odd ones are."""
    false, true, _ = roc_curve(np.r_[np.zeros(len(normal)), np.ones(len(odd))], np.r_[normal, odd])
    return float(false[np.searchsorted(true, 0.95)])


def table(
    model: TrainedModel, training: Images, evaluation: Images, kinds: dict[str, Images], mirror: str | None
) -> str:
    """A row for each score: AUROC by kind and over all, FPR at 95% TPR over all; then what is flagged at 5%."""
    order = np.random.default_rng(SEED).permutation(len(evaluation))
    half = len(order) // 2
    normal, test = evaluation[np.sort(order[:half])], evaluation[np.sort(order[half:])]
    calibration = calibrate(model, images=normal, mirror=mirror)
    few = np.sort(np.random.default_rng(SEED).permutation(len(training))[:MOST_TRAINING])
    others = baselines(training[few], normal)
    elbo = measure(model, normal).elbo_nats
    normal_elbo = 0.0 if elbo is None else float(elbo.mean())
    usual = scored(model, calibration, normal_elbo, others, test)
    odd = {kind: scored(model, calibration, normal_elbo, others, images) for kind, images in kinds.items()}
    several = len(kinds) > 1
    rows = []
    for name in usual:
        values = [part[name] for part in odd.values()]
        everything = np.concatenate(values)
        if name == "flagged":
            cells = [f"{part.mean():.1%}" for part in values]
            rows.append(
                ["flagged at 5%", *cells, *([f"{everything.mean():.1%}"] * several), f"{usual[name].mean():.1%}"]
            )
            continue
        cells = [f"{auroc(usual[name], part):.3f}" for part in values]
        whole = [f"{auroc(usual[name], everything):.3f}"] * several
        rows.append([name, *cells, *whole, f"{fpr_at_95(usual[name], everything):.3f}"])
    header = [f"{kind} ({len(images)})" for kind, images in kinds.items()] + ["all"] * several
    card = calibration.card
    heading = (
        f"{len(test)} flowers; {card.reference_images} others tell what is normal, {card.calibration_images} "
        "calibrate; the last cell of the last row is the share of flowers flagged\n\n"
    )
    return heading + markdown_table(["score", *header, "FPR at 95%"], rows)


def species_folder(cache: ImageCache, folder: Path) -> None:
    """The known species as a folder of images with splits, and the others beside it; what is there stays."""
    labels = cache.labels
    assert labels is not None
    held_out = labels % HELD_OUT_EACH == 0
    parts = {
        "known/train": np.concatenate([cache.splits["train"], cache.splits["test"]]),
        "known/val": cache.splits["val"],
    }
    for name, rows in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for row in rows[~held_out[rows]]:
            file = folder / name / f"{row:05d}.png"
            if not file.exists():
                Image.fromarray(np.asarray(cache.images[row])).save(file)


def species_table(cache: ImageCache, folder: Path, config: corolla.Config) -> str:
    """Train on the known species, and score the others' images of the official split val."""
    species_folder(cache, folder)
    wanted = config.updated(
        {
            "data.source": f"folder:{folder / 'known'}",
            "data.mirror": None,
            "data.train_split": "train",
            "data.eval_split": "val",
            "data.recipe": "fit",
            "training.max_steps": SPECIES_STEPS,
        }
    )
    run = folder / "run"
    train_all({run: wanted}, 1)
    model = corolla.load(run)
    own = own_images(model)
    labels = cache.labels
    assert labels is not None
    rows = cache.splits["val"]
    unknown = np.asarray(cache.images[np.sort(rows[labels[rows] % HELD_OUT_EACH == 0])])
    training, evaluation = (np.asarray(own.images[select_rows(own.splits, split)]) for split in ("train", "val"))
    return table(model, training, evaluation, {"unknown species": unknown}, None)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders that were trained on flowers")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: the run's own")
    parser.add_argument("--jpeg", type=int, default=75, help="quality at which other images are coded; default: 75")
    parser.add_argument("--count", type=int, default=2040, help="flowers of the evaluation split; default: 2040")
    parser.add_argument("--species", type=Path, metavar="FOLDER", help="train and measure the unknown species, here")
    arguments = parser.parse_args()

    print(describe())
    print(f"scikit-image {metadata.version('scikit-image')}, scikit-learn {metadata.version('scikit-learn')}")
    with threadpool_limits(1):
        for path in arguments.runs:
            model = corolla.load(path)
            data = model.config.data
            cache = own_images(model, mirror=arguments.mirror)
            rows = np.random.default_rng(SEED).permutation(select_rows(cache.splits, data.eval_split))
            evaluation = np.asarray(cache.images[np.sort(rows[: arguments.count])])
            training = np.asarray(cache.images[select_rows(cache.splits, data.train_split)])
            print(f"\n{path.name}: {data.source} {data.eval_split}, {model.height}x{model.width}", end=", ", flush=True)
            kinds = other_kinds(model, arguments.jpeg)
            print(table(model, training, evaluation, kinds, arguments.mirror), flush=True)
        if arguments.species is not None:
            config = corolla.preset("flowers").updated({"objective.beta": 1.0})
            everything = open_images(config.data.model_copy(update={"mirror": arguments.mirror}))
            print("\nspecies", end=": ")
            print(species_table(everything, arguments.species.resolve(), config), flush=True)


if __name__ == "__main__":
    main()
