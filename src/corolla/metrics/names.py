"""What each score is: its group, its label and unit, which way is better, and one plain sentence on what it means.

The key of a score is its name, with `_FEATURES` where it is measured in features of images, and `/VARIANT` where there
are several of one kind: `psnr_db`, `kid_lite0/gmm`, `probe_accuracy/pixels`. What training measures goes by the columns
of `metrics.csv`: TRAINING_SCORES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from corolla.config.registry import registered
from corolla.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Group = Literal["images", "samples", "latents", "factors"]
GROUPS: tuple[Group, ...] = get_args(Group)


def check_groups(names: Sequence[str]) -> list[Group]:
    """Names as groups of scores. Raises UsageError where there are none, or one is no group."""
    unknown = next((name for name in names if name not in GROUPS), None if names else "nothing")
    if unknown is not None:
        raise UsageError(f"{unknown!r} is no group of scores; there are {', '.join(GROUPS)}")
    return [group for group in GROUPS if group in names]


@dataclass(frozen=True)
class ScoreKind:
    """One kind of score; a value is shown times `scale`, and `featured` ones name the features they are measured in.

    A score of one's own has its key as `name`, and `measure`: from a model and held-out images N×H×W×3 to a number, or
    to one for each image, whose mean has an interval.
    """

    kind: ClassVar[str] = "score"

    group: Group
    label: str
    better: Literal["higher", "lower", ""]
    digits: int
    text: str
    unit: str = ""
    scale: float = 1.0
    featured: bool = False
    name: str = ""
    measure: Callable[[Any, NDArray[np.uint8]], float | NDArray[np.floating[Any]]] | None = None

    def __post_init__(self) -> None:
        check_groups([self.group])


_SCALES = {"× 1000": 1000.0, "%": 100.0}

# Label, which way is better, digits, unit, and what it means.
# fmt: off
_TABLE: Mapping[Group, Mapping[str, tuple[str, Literal["higher", "lower", ""], int, str, str]]] = {
    "images": {
        "psnr_db": ("PSNR", "higher", 2, "dB",
            "How close reconstructions are pixel by pixel; 6 dB more is half the error."),
        "ssim": ("SSIM", "higher", 3, "",
            "How much local structure reconstructions keep; 1 is all of it."),
        "perceptual": ("perceptual distance", "lower", 3, "",
            "How far reconstructions are from the images in features that were trained to tell objects apart; 0 to "
            "12."),
        "distortion_nats": ("distortion", "lower", 1, "nats",
            "How surprised the decoder is by the true image, given a draw of its code."),
    },
    "samples": {
        "kid": ("kernel distance", "lower", 2, "× 1000",
            "How unlike photographs the images are as a whole; 0 is no difference. Without bias, so it may be below "
            "0."),
        "frechet": ("Fréchet distance", "lower", 1, "",
            "The same, by mean and covariance of the features alone; with few images it is too large."),
        "precision": ("precision", "higher", 3, "",
            "The share of the images that could pass for real ones."),
        "recall": ("recall", "higher", 3, "",
            "The share of real images that something like them comes out for."),
        "density": ("density", "higher", 3, "",
            "How deep the images lie among real ones; 1 is as deep as real ones do, and more is possible."),
        "coverage": ("coverage", "higher", 3, "",
            "The share of real images with a generated one close by: how complete the latent space is."),
        "data_copying": ("data copying", "", 1, "sd",
            "Below about -3, samples lie closer to training images than new images do: copies, or mere blur. Look "
            "at them."),
    },
    "latents": {
        "rate_nats": ("rate", "", 2, "nats",
            "How much a code says, not all of it about the image; 0.69 nats are a bit."),
        "active_units": ("active units", "", 0, "",
            "Latents whose mean moves with the image (variance above 0.01)."),
        "total_correlation_nats": ("total correlation", "lower", 2, "nats",
            "How much the latents know about each other; 0 is independent. Left out where the latents tell all images "
            "apart."),
        "total_correlation_bound_nats": ("total correlation, at least", "lower", 2, "nats",
            "The same by a density of the draws, which has no such limit; 0 is independent, as far as it can see."),
        "gaussian_total_correlation_nats": ("total correlation of the means", "lower", 2, "nats",
            "The same for the means of the codes, as if they were Gaussian: linear dependence only."),
        "mutual_information_score": ("mutual information of latents", "lower", 3, "nats",
            "How much two latents share, on average."),
        "correlation": ("correlation of latents", "lower", 3, "",
            "Mean absolute correlation of two latents; 0 to 1."),
        "trustworthiness": ("trustworthiness", "higher", 3, "",
            "Whether neighbours among codes are neighbours among images; 1 is always."),
        "continuity": ("continuity", "higher", 3, "",
            "Whether neighbours among images stay neighbours among codes; 1 is always."),
        "probe_accuracy": ("linear probe", "higher", 1, "%",
            "Labels that a linear classifier gets right."),
        "knn_accuracy": ("5 nearest neighbours", "higher", 1, "%",
            "Labels that the five nearest codes get right."),
    },
    "factors": {
        "mig": ("MIG", "higher", 3, "",
            "Whether each factor has one latent of its own, and no second one; 0 to 1."),
        "dci_disentanglement": ("DCI disentanglement", "higher", 3, "",
            "Whether each latent speaks of one factor only; 0 to 1."),
        "dci_completeness": ("DCI completeness", "higher", 3, "",
            "Whether each factor is spoken of by one latent only; 0 to 1."),
        "dci_informativeness": ("DCI informativeness", "higher", 3, "",
            "How well the factors can be read off the code at all; 0 to 1."),
        "sap": ("SAP", "higher", 3, "",
            "How much better the best latent predicts a factor than the second best."),
        "modularity": ("modularity", "higher", 3, "",
            "Whether each latent depends on one factor at most; 0 to 1."),
        "explicitness": ("explicitness", "higher", 3, "",
            "Whether factors can be read off the code by a linear rule; ½ is chance, 1 is always."),
        "irs": ("IRS", "higher", 3, "",
            "Whether a latent stays where it is as other factors change; up to 1, noise is not at 0."),
        "factor_vae_score": ("FactorVAE score", "higher", 3, "",
            "Whether the latent that varies least tells which factor was held."),
        "beta_vae_score": ("β-VAE score", "higher", 3, "",
            "Whether a linear rule tells which factor two images share."),
        "udr": ("UDR", "higher", 3, "",
            "Whether other seeds find the same latents, up to order and sign; 0 to 1."),
    },
}
# fmt: on

KINDS: Mapping[str, ScoreKind] = {
    name: ScoreKind(
        group, label, better, digits, text, unit, _SCALES.get(unit, 1.0), group == "samples" or name == "perceptual"
    )
    for group, kinds in _TABLE.items()
    for name, (label, better, digits, unit, text) in kinds.items()
}

TRAINING_SCORES: Mapping[str, ScoreKind] = {
    "loss": ScoreKind(
        "images", "loss", "lower", 1, "What training minimises: the distortion, plus the rate times its weight.", "nats"
    ),
    "reconstruction": KINDS["distortion_nats"],
    "kl": KINDS["rate_nats"],
    "psnr_db": KINDS["psnr_db"],
    "bits_per_dim": ScoreKind(
        "images",
        "bits per dimension",
        "lower",
        2,
        "Rate and distortion together, per pixel and channel; guessing costs 8.",
        "bits",
    ),
    "active_latents": ScoreKind("latents", "active latents", "", 0, "Latents that the decoder listens to."),
}
"""The scores in `metrics.csv` and in the `config.json` of a model, in the order in which they are shown."""


def training_words(scores: Mapping[str, Any]) -> str:
    """What training measured in one line, by the columns of `metrics.csv`; nats without their unit."""
    return ", ".join(
        f"{kind.label} {scores[name]:.{min(kind.digits, 1)}f}{f' {kind.unit}' if kind.unit == 'dB' else ''}"
        for name, kind in TRAINING_SCORES.items()
        if name in scores
    )


@dataclass(frozen=True)
class ScoreName:
    """A key taken apart."""

    name: str
    features: str
    variant: str

    @property
    def kind(self) -> ScoreKind:
        """What the score is."""
        return kinds()[self.name]

    @property
    def label(self) -> str:
        """For tables, e.g. "kernel distance (lite0)"; without the variant."""
        return f"{self.kind.label} ({self.features})" if self.features else self.kind.label


def kinds() -> dict[str, ScoreKind]:
    """All scores by name: Corolla's own, then those of plugins."""
    return {**KINDS, **registered("score")}


def key(name: str, *, features: str = "", variant: str = "") -> str:
    """The key of a score."""
    return name + (f"_{features}" if features else "") + (f"/{variant}" if variant else "")


def parse_key(text: str) -> ScoreName | None:
    """The parts of a key; None if it is of no kind that is in the table."""
    base, _, variant = text.partition("/")
    if base in kinds():
        return ScoreName(base, "", variant)
    name, _, features = base.rpartition("_")
    return ScoreName(name, features, variant) if name in KINDS and KINDS[name].featured else None
