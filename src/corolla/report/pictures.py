"""What can be seen of a model: a walk, reconstructions, and samples beside what they resemble."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from corolla.distributions import FITTED_PRIORS
from corolla.evaluation.reconstructions import Returned, extremes
from corolla.gallery.generation import interpolation
from corolla.metrics import nearest
from corolla.report.elements import figure, image, moving, paragraph, section
from corolla.report.subject import Subject
from corolla.report.words import numbers

SHOWN = 6
SAMPLES, SAMPLES_OF_FITTED = 12, 6
NEIGHBOURS = 3
WALK_POINTS, WALK_STEPS, WALK_PX = 6, 13, 224
_COMPARED_PX = 16
_CHUNK = 1024
_STATES = {
    "best": "The best: plain or common images, of which the model needs to know little.",
    "typical": "Typical: about the median of all.",
    "worst": "The worst: what the code has no room for.",
}


def walk(subject: Subject) -> str:
    """A moving picture of a closed path through latent space."""
    model = subject.model
    ends = (
        subject.codes[np.linspace(0, len(subject.codes) - 1, WALK_POINTS).astype(int)]
        if subject.has_points
        else model.sample_latents(WALK_POINTS, seed=subject.seed)
    )
    frames = interpolation(model, ends, steps=WALK_STEPS, loop=True).images
    return figure(
        moving(frames, "A walk through latent space: one image turns into the next", shown_px=WALK_PX),
        "A walk through the space of codes. Every frame is decoded from one point.",
    )


def reconstructions(subject: Subject) -> str:
    """The best, typical and worst of the images that were not trained on, above what came back."""
    shown = subject.returned
    places = extremes(Returned(shown.images, {"psnr_db": shown.psnr_db}), SHOWN)
    parts = [
        paragraph(
            f"Above, one of {len(shown.images):,} images that were kept aside; below, what the decoder makes of its "
            "code. A short code cannot hold everything, and fine detail is the first thing to go. 6 dB more is half "
            "the error."
        )
    ]
    for state, text in _STATES.items():
        tiles = []
        for number, place in enumerate(places[state], 1):
            original = image(shown.originals[place], f"{state} {number}, the original")
            returned = image(shown.images[place], f"{state} {number}, through the model")
            tiles.append(figure(original + returned, f"{shown.psnr_db[place]:.1f} dB"))
        parts.append(f'<h3>{escape(text)}</h3>\n<div class="tiles">{"".join(tiles)}</div>\n')
    return section("reconstructions", "Through the model and back", *parts)


def samples(subject: Subject) -> str:
    """New images from each prior that there is, and the training images closest to them."""
    model = subject.model
    parts = [
        paragraph(
            f"Draw {numbers(model.latent_dim, 'random ')}, decode, and an image comes out that nobody has made. Below "
            "each are the training images closest to it: if one of them were the same, the model would have learnt "
            "that image by heart."
        )
    ]
    if subject.has_points:
        parts.append(
            paragraph(
                "An auto-encoder is not trained for this: nothing makes its codes follow the standard normal, so what "
                "comes out of it need not look like anything. `corolla fit-prior` fits a prior that does follow them."
            )
        )
    for prior in _priors(subject):
        count = SAMPLES if prior == "standard" else SAMPLES_OF_FITTED
        drawn = model.sample(count, seed=subject.seed, prior=prior)
        closest = closest_training(subject, drawn)
        tiles = []
        for number, (sample, near) in enumerate(zip(drawn, closest, strict=True), 1):
            below = "".join(image(other, f"training image close to sample {number}") for other in near)
            tiles.append(figure(f'{image(sample, f"sample {number}")}<div class="near">{below}</div>'))
        heading = "the standard normal" if prior == "standard" else f"the fitted prior {prior}"
        parts.append(f'<h3>From {heading}</h3>\n<div class="samples">{"".join(tiles)}</div>\n')
    return section("samples", "New images, and the closest it has seen", *parts)


def _priors(subject: Subject) -> Iterator[str]:
    yield "standard"
    for name in FITTED_PRIORS:
        if subject.model.has_prior(name) and (name != "flow" or find_spec("zuko") is not None):
            yield name


def closest_training(subject: Subject, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The training images closest to each in their shrunk pixels, n×k×H×W×3; some in memory at a time."""
    k = min(NEIGHBOURS, len(subject.training))
    parts = np.array_split(subject.training, -(-len(subject.training) // _CHUNK))
    queries = _shrunk(images)
    closest, distances = np.empty((len(images), 0), np.int64), np.empty((len(images), 0))
    for rows in parts:
        found = nearest(queries, _shrunk(subject.cache.images[rows]), min(k, len(rows)))
        closest = np.concatenate([closest, rows[found.indices]], axis=1)
        distances = np.concatenate([distances, found.distances], axis=1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :k]
        closest, distances = np.take_along_axis(closest, best, 1), np.take_along_axis(distances, best, 1)
    return np.asarray(subject.cache.images[closest.ravel()]).reshape(*closest.shape, *images.shape[1:])


def _shrunk(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images as rows of block averages, about _COMPARED_PX to a side."""
    count, height, width, _ = images.shape
    block = max(1, min(height, width) // _COMPARED_PX)
    rows, columns = height // block, width // block
    # One side after the other, so that the inner loop of the first runs over a whole line.
    lines = images[:, : rows * block, : columns * block].reshape(count, rows, block, -1).sum(axis=2, dtype=np.uint16)
    sums = lines.reshape(count, rows, columns, block, 3).sum(axis=3, dtype=np.float32)
    return np.asarray(sums.reshape(count, -1) / np.float32(255 * block**2))
