"""A trained model and its images -> scores: of reconstructions, samples, codes and, where they are known, factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.config.registry import registered
from corolla.errors import UsageError
from corolla.evaluation.closest import closest_training
from corolla.evaluation.codec import Codec
from corolla.evaluation.codes import code_scores, label_scores, rate_scores
from corolla.evaluation.disentanglement import disentanglement
from corolla.evaluation.material import Material, gather
from corolla.evaluation.reconstructions import Returned, extremes, through_and_back
from corolla.evaluation.record import Score, Scores
from corolla.evaluation.samples import TRAINING, TrainingNeighbours, best_features, build_features, compare_with_real
from corolla.metrics import bootstrap
from corolla.metrics.names import GROUPS, KINDS, Group, ScoreKind
from corolla.models.priors import fitted_prior_names
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel
from corolla.trained.run_folder import versions

SAMPLES = 1024
"""Images drawn from each prior, and of real ones at most so many, as distances depend on the number."""
LABELLED = 2048
"""Training images from which labels are learnt: of pixels, a linear classifier takes minutes for many more."""
WITH_NEIGHBOURS, NEIGHBOURS = 8, 3
"""Samples whose closest training images are looked up, and how many of these."""
_LEAST_FOR_INTERVAL = 4


@dataclass(eq=False)
class Evaluated:
    """Scores, and the images behind them, for pictures; empty where a group was left out.

    `neighbours` are of the first samples of the first prior the training images closest to each, n×k×H×W×3.
    """

    scores: Scores
    returned: Returned | None = None
    samples: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    neighbours: NDArray[np.uint8] | None = None


def evaluate(
    model: TrainedModel,
    material: Material | None = None,
    *,
    groups: Sequence[Group] | None = None,
    priors: Sequence[str] | None = None,
    features: str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Evaluated:
    """Score a trained model.

    Args:
        model: what to score.
        material: the images; by default `gather(model)`.
        groups: which scores: images, generation, latent space, disentanglement. By default all that the images suffice
            for; `details["left out"]` says what they do not.
        priors: to draw from; by default the standard normal and those that are fitted already.
        features: in which samples are compared with images: lite0, pixels, or pca and a number of components; by
            default lite0 if its extra is installed, else pca64.
        samples: how many to draw from each prior.
        seed: fixes what is drawn.
        progress: called with the title of what is scored next, and while images are read.

    Raises:
        UsageError: no such group, prior or features; an extra is not installed; too few images for a group that was
            named, with how many it needs.
        DataError: the images are not there, or have changed.
        ModelError: a prior is not fitted yet.
    """
    if groups is not None and (not groups or set(groups) - set(GROUPS)):
        unknown = next((group for group in groups if group not in GROUPS), "none")
        raise UsageError(f"{unknown}: no such group of scores; there are {', '.join(GROUPS)}")
    if priors is None:
        priors = ["standard", *(name for name in fitted_prior_names() if model.has_prior(name))]
    if not priors:
        raise UsageError("no priors to draw from: give at least one, such as standard")
    for name in priors:
        model.prior(name)  # says what is missing before anything takes long
    material = material or gather(model, factors=groups is None or "disentanglement" in groups, progress=progress)
    found = evaluate_codec(
        model, material, groups=groups, priors=priors, features=features, samples=samples, seed=seed, progress=progress
    )
    if groups is not None and not {"images", "latent space"} & set(groups):
        return found
    _announce(progress, "rate and distortion")
    try:
        rates = rate_scores(model, material.evaluation, seed=seed)
    except UsageError as error:  # a single image
        if groups is not None:
            raise
        found.scores.details.setdefault("left out", {})["rate and distortion"] = str(error)
        return found
    for name, score in rates.items():
        if groups is None or KINDS[name].group in groups:
            found.scores.scores[name] = score
    return found


def evaluate_codec(
    codec: Codec,
    material: Material,
    *,
    groups: Sequence[Group] | None = None,
    priors: Sequence[str] = ("standard",),
    features: str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Evaluated:
    """Score anything with codes, such as `PrincipalComponents`, as `evaluate` does; without what only a VAE has."""
    scores: dict[str, Score] = {}
    details: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    found = Evaluated(
        Scores(
            scores,
            details,
            split=material.split,
            images=len(material.evaluation.images),
            samples=samples if groups is None or "generation" in groups else 0,
            seed=seed,
            data=material.data,
            weights_sha256=codec.card.weights_sha256 if isinstance(codec, TrainedModel) else "",
            versions=versions(),
        )
    )
    images, labels = material.evaluation.images, material.training.some(LABELLED)
    normal = not (isinstance(codec, TrainedModel) and codec.config.objective.auto_encoder)
    codes = codec.encode(images)
    chosen = build_features(features, material.training.images) if features is not None else None

    def reconstructions() -> None:
        found.returned = through_and_back(codec, images, perceptual=best_features() == "lite0")
        scores.update({name: _mean(values, seed) for name, values in found.returned.measures.items()})
        places = extremes(found.returned)
        details["images"] = {name: [material.evaluation.keys[place] for place in places[name]] for name in places}

    def generation() -> None:
        name, training = features or best_features(), material.training.images
        function = chosen or build_features(name, training)
        real = function(images[_some(len(images), samples, seed)])
        bound = function(training[_some(len(training), min(samples, len(real)), seed)])
        scores.update(compare_with_real(TRAINING, bound, real, features=name, seed=seed))
        copies = TrainingNeighbours(training, images)
        for prior in priors:
            _announce(progress, f"samples from {prior}")
            drawn = found.samples[prior] = codec.sample(samples, seed=seed, prior=prior)
            scores.update(compare_with_real(prior, function(drawn), real, features=name, seed=seed))
            scores.update(copies.copying(prior, drawn))
        first = found.samples[priors[0]][:WITH_NEIGHBOURS]
        found.neighbours = closest_training(first, training, np.arange(len(training)), NEIGHBOURS)

    def latents() -> None:
        values, details["latent space"] = code_scores(codes, images, seed=seed)
        if not normal:
            del values["active_units"]  # which are told by a variance beside that of the prior
        scores.update(values)

    def telling_labels() -> None:
        scores.update(label_scores((codec.encode(labels.images), codes), labels, material.evaluation, seed=seed))

    def factors() -> None:
        if material.too_few:
            raise UsageError(material.too_few)
        if material.factors is not None:
            taken_apart = disentanglement(codec, material.factors, normal=normal, seed=seed)
            details["disentanglement"] = taken_apart.details
            scores.update(taken_apart.scores)
            left_out.update(taken_apart.left_out)

    def own(kind: ScoreKind) -> Callable[[], None]:
        def measured() -> None:
            assert kind.measure is not None
            values = kind.measure(codec, images)
            scores[kind.name] = _mean(np.asarray(values), seed) if np.ndim(values) else Score(float(values))

        return measured

    plugins = [kind for kind in registered("score").values() if kind.measure is not None]
    parts: list[tuple[Group, str, Callable[[], None]]] = [
        ("images", "reconstructions", reconstructions),
        ("generation", "samples", generation),
        ("latent space", "codes", latents),
        ("latent space", "labels from codes", telling_labels),
        ("disentanglement", "disentanglement", factors),
        *((kind.group, kind.label, own(kind)) for kind in plugins),
    ]
    for group, what, part in parts:
        if groups is not None and group not in groups:
            continue
        _announce(progress, what)
        try:
            part()
        except UsageError as error:  # too few images, labels or factors: the other scores are no worse for it
            if groups is not None:
                raise
            left_out[what] = str(error)
    if left_out:
        details["left out"] = left_out
    return found


def _announce(progress: OnProgress | None, what: str) -> None:
    steps_of(progress, f"scoring: {what}")(0)


def _mean(values: NDArray[np.float64], seed: int) -> Score:
    if len(values) < _LEAST_FOR_INTERVAL:
        return Score(float(values.mean()))
    found = bootstrap(np.mean, values, seed=seed)
    return Score(found.value, found.low, found.high)


def _some(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Rows, at most so many, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
