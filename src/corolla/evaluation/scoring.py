"""A trained model and its images -> scores: of reconstructions, samples, codes and, where they are known, factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.config.registry import registered
from corolla.errors import UsageError
from corolla.evaluation.closest import closest_training
from corolla.evaluation.codec import Codec, encode_live
from corolla.evaluation.codes import code_scores, label_scores, rate_scores
from corolla.evaluation.disentanglement import disentanglement
from corolla.evaluation.material import Material, gather
from corolla.evaluation.reconstructions import extremes, through_and_back
from corolla.evaluation.record import Score, Scores
from corolla.evaluation.samples import TRAINING, best_features, build_features, compare_with_real, copying_features
from corolla.metrics import bootstrap, data_copying
from corolla.metrics.names import GROUPS, KINDS, Group, ScoreKind, check_groups, key
from corolla.models.priors import fitted_prior_names
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel
from corolla.trained.run_folder import versions

SAMPLES = 1024
"""Images drawn from each prior, and of real ones at most this many, as distances depend on the number."""
LABELLED = 2048
"""Training images from which labels are learnt: of pixels, a linear classifier takes minutes for many more."""
WITH_NEIGHBOURS, NEIGHBOURS = 8, 3
"""Samples whose closest training images are looked up, and how many of these."""
_LEAST_FOR_INTERVAL = 4


@dataclass(eq=False)
class Evaluated:
    """Scores, and the images behind them, for pictures; empty where a group was left out.

    `returned` are the reconstructions N×H×W×3, and `measures` how close each came: N values by the key of the score.
    `neighbours` are of the first samples of the first prior the training images closest to each, n×k×H×W×3.
    """

    scores: Scores
    returned: NDArray[np.uint8] | None = None
    measures: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    samples: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    neighbours: NDArray[np.uint8] | None = None


def evaluate(
    codec: Codec,
    material: Material | None = None,
    *,
    groups: Sequence[Group] | None = None,
    priors: Sequence[str] | None = None,
    features: str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Evaluated:
    """Score a trained model, or anything with codes, such as `PrincipalComponents`.

    Args:
        codec: What to score.
        material: The images; by default `gather(codec)`, for a trained model.
        groups: Which scores: images, samples, latents, factors. By default all that the images suffice for;
            `details["left out"]` says what they do not.
        priors: To draw from; by default the standard normal and those that are fitted already.
        features: In which samples are compared with images: lite0, pixels, or pca and a number of components; by
            default lite0 if its extra is installed, else pca64.
        samples: How many to draw from each prior.
        seed: Fixes what is drawn.
        progress: Called with the title of what is scored next, and while images are read.

    Raises UsageError for groups, priors or features that there are not, an extra that is not installed, and too few
    images for a group that was named; DataError and ModelError as `gather` and `TrainedModel.prior`.
    """
    chosen = list(GROUPS) if groups is None else check_groups(groups)
    model = codec if isinstance(codec, TrainedModel) else None
    if priors is None:
        fitted = [name for name in fitted_prior_names() if model.has_prior(name)] if model else []
        priors = ["standard", *fitted]
    if not priors:
        raise UsageError("no priors to draw from: give at least one, such as standard")
    if model is not None:
        for name in priors:
            model.prior(name)  # says what is missing before anything takes long
    if material is None:
        if model is None:
            raise UsageError("no material to score on: only a trained model knows its images")
        material = gather(model, factors="factors" in chosen, progress=progress)
    scores: dict[str, Score] = {}
    details: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    found = Evaluated(
        Scores(
            scores,
            details,
            split=material.split,
            images=len(material.evaluation.images),
            samples=samples if "samples" in chosen else 0,
            seed=seed,
            data=material.data,
            weights_sha256=model.card.weights_sha256 if model else "",
            versions=versions(),
        )
    )
    evaluation, images, training = material.evaluation, material.evaluation.images, material.training.images
    normal = not (model and model.config.objective.auto_encoder)
    codes, live = encode_live(codec, images)
    given = None if features is None else build_features(features, training)

    def reconstructions() -> None:
        found.returned, found.measures = through_and_back(codec, images, perceptual=best_features() == "lite0")
        scores.update({name: _mean(values, seed) for name, values in found.measures.items()})
        places = extremes(found.measures["psnr_db"])
        details["images"] = {name: [evaluation.keys[place] for place in places[name]] for name in places}

    def generation() -> None:
        name = features or best_features()
        function = given or build_features(name, training)
        real = function(images[_some(len(images), samples, seed)])
        bound = function(training[_some(len(training), min(samples, len(real)), seed)])
        scores.update(compare_with_real(TRAINING, bound, real, features=name, seed=seed))
        components, place = copying_features(training)
        known, held_out = place(training), place(images)
        for prior in priors:
            steps_of(progress, f"scoring: samples from {prior}")(0)
            drawn = found.samples[prior] = codec.sample(samples, seed=seed, prior=prior)
            scores.update(compare_with_real(prior, function(drawn), real, features=name, seed=seed))
            copied = data_copying(place(drawn), held_out, known)
            scores[key("data_copying", features=components, variant=prior)] = Score(copied)
        first = found.samples[priors[0]][:WITH_NEIGHBOURS]
        found.neighbours = closest_training(first, training, np.arange(len(training)), NEIGHBOURS)

    def latents() -> None:
        values, details["latent space"] = code_scores(codes, live, images, seed=seed)
        if not normal:
            del values["active_units"]  # which are told by a variance beside that of the prior
        scores.update(values)

    def labels() -> None:
        some = material.training.some(LABELLED)
        scores.update(label_scores((codec.encode(some.images), codes), some, evaluation, seed=seed))

    def factors() -> None:
        if material.too_few:
            raise UsageError(material.too_few)
        if material.factors is not None:
            values, details["disentanglement"], missing = disentanglement(codec, material.factors, seed=seed)
            scores.update(values)
            left_out.update(missing)

    def own(kind: ScoreKind) -> None:
        assert kind.measure is not None
        values = kind.measure(codec, images)
        scores[kind.name] = _mean(np.asarray(values), seed) if np.ndim(values) else Score(float(values))

    def rates() -> None:
        if model:
            values, missing = rate_scores(model, evaluation, seed=seed)
            left_out.update(missing if "latents" in chosen else {})
            scores.update({name: score for name, score in values.items() if KINDS[name].group in chosen})

    parts: list[tuple[set[Group], str, Callable[[], None]]] = [
        ({"images"}, "reconstructions", reconstructions),
        ({"samples"}, "samples", generation),
        ({"latents"}, "codes", latents),
        ({"latents"}, "labels from codes", labels),
        ({"factors"}, "disentanglement", factors),
        *(({kind.group}, kind.label, partial(own, kind)) for kind in registered("score").values() if kind.measure),
        ({"images", "latents"}, "rate and distortion", rates),
    ]
    for of_groups, what, part in parts:
        if not of_groups.intersection(chosen):
            continue
        steps_of(progress, f"scoring: {what}")(0)
        try:
            part()
        except UsageError as error:  # too few images, labels or factors: the other scores are no worse for it
            if groups is not None:
                raise
            left_out[what] = str(error)
    if left_out:
        details["left out"] = left_out
    return found


def _mean(values: NDArray[np.float64], seed: int) -> Score:
    if len(values) < _LEAST_FOR_INTERVAL:
        return Score(float(values.mean()))
    return Score.of(bootstrap(np.mean, values, seed=seed))


def _some(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Rows, at most this many, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
