"""Whether images are of the kind that a model was trained on, by what its card keeps of its held-out images."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from corolla.pixels import to_float
from corolla.trained.model import TrainedModel

QUANTILES = (0.01, 0.5)
"""Of the held-out images, what the card keeps: 99% of them are above the first."""
SLACK = 0.5
"""How far below the first quantile images of the same kind may be, as a share of its distance from the median: the
quantile of few held-out images, and the median of few images, are uncertain."""
FLAT = 0.5
"""The share of the first quantile of the contrast below which images are nearly flat beside the model's own: a decoder
returns them well, whatever they show."""
LOOKED_AT = 16
"""Images that are looked at, evenly spread over those that are read together."""

_LOG = logging.getLogger("corolla")


def summarise(psnr_db: NDArray[np.floating], contrast: NDArray[np.floating]) -> dict[str, list[float]]:
    """What a card keeps of held-out images: quantiles of the PSNR of their reconstructions, and of their contrast.

    The contrast of an image is the standard deviation of its pixels over the places, its channels' root mean square.
    """
    from corolla.metrics.images import ROUNDING_DB

    values = {"psnr_db": np.minimum(psnr_db, ROUNDING_DB), "contrast": contrast}
    return {name: np.quantile(value, QUANTILES).round(4).tolist() for name, value in values.items()}


def unlike(model: TrainedModel, images: NDArray[np.generic]) -> str | None:
    """In one sentence, how images N×H×W×C, as the model sees them, differ from its own; None where they do not.

    They do where they come back much worse, or are much flatter, than nearly all held-out images. A model whose card
    keeps nothing of these, as that of an earlier version, is not judged.
    """
    own = model.card.data.get("held_out")
    if not isinstance(own, Mapping) or not len(images):
        return None
    from corolla.metrics.images import ROUNDING_DB, psnr  # all of scikit-learn comes with it

    chosen = images[np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int))]
    pixels = to_float(chosen, np.float32)
    returned = torch.cat(list(model.means(model.encode(chosen)))).permute(0, 2, 3, 1).float().cpu().numpy()
    of = "this image" if len(chosen) == 1 else f"these images ({len(chosen)} looked at)"
    share = f"{1 - QUANTILES[0]:.0%} of the held-out images of its training"
    usual, typical = own["psnr_db"]
    reached = float(np.median(np.minimum(psnr(pixels, returned), ROUNDING_DB)))
    if reached < usual - SLACK * (typical - usual):
        return (
            f"the model was trained on images unlike {of}: their reconstructions have a PSNR of {reached:.1f} dB, "
            f"where {share} have more than {usual:.1f} dB; train on images like these"
        )
    usual, _ = own["contrast"]
    reached = float(np.median(np.sqrt(pixels.var(axis=(1, 2)).mean(-1))))
    if reached < FLAT * usual:
        return (
            f"the model was trained on images unlike {of}, which are nearly flat: the standard deviation of their "
            f"pixels is {reached:.2%} of white, where that of {share} is above {usual:.2%}; train on images like these"
        )
    return None


def warn_if_unlike(model: TrainedModel, images: NDArray[np.generic]) -> None:
    """Warn where images, as the model sees them, are `unlike` its own."""
    if sentence := unlike(model, images):
        _LOG.warning("%s", sentence, extra={"once": True})
