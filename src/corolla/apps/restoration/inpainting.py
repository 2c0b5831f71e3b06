"""A trained model and images with gaps -> whole images, with the known pixels as they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corolla.apps.restoration.latents import (
    decoded_means,
    decoder,
    drawn_latents,
    latent_log_prior,
    log_posterior,
    map_latents,
)
from corolla.apps.restoration.membrane import membrane
from corolla.config.registry import find
from corolla.distributions.gaussians import GaussianPrior
from corolla.errors import UsageError
from corolla.pixels import to_float, to_levels
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel, seeded_generator

MOST_COMPLETIONS = 256
"""Of one image: they are all in memory at once."""
RESTARTS = 3
VALUES_THAT_GO_TOGETHER = 1000
"""What a model misses is alike over many pixels and three channels: so many values count as one observation.

Each for itself, they would outweigh the prior, and tear the gap to pieces for the sake of detail around it. Of 30, 100,
300, 1000 and 3000 the last two had the best mean PSNR over the gaps of `benchmarks/inpainting.py`, 17.64 dB, on 32
flowers of the split val (`--together`), for a model with β = 1 and 64 latents at 64×64 that was trained on the split
train; the smaller of them keeps further completions closer to what is known.
"""
_SMALLEST_VARIANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Inpainted:
    """What came of images with gaps."""

    observed: NDArray[np.uint8]  # at the model's size, uint8 N×H×W×3; missing pixels as they came in
    images: NDArray[np.uint8]  # the completions, uint8 N×K×H×W×3. Known pixels are those of `observed`


def inpaint(
    model: TrainedModel,
    images: Images,
    missing: NDArray[np.bool_],
    *,
    completions: int = 1,
    prior: str = "standard",
    seed: int = 0,
    together: float = VALUES_THAT_GO_TOGETHER,
    progress: OnProgress | None = None,
) -> Inpainted:
    """Fill gaps.

    The first completion is the one of largest posterior density that is found from several starts, given the known
    pixels and the prior; others are draws from that posterior (`drawn_latents`). The model's picture is joined to the
    known pixels by a membrane of what it misses them by.

    Args:
        model: Of any objective; an auto-encoder has no posterior to draw from, and so only one completion.
        images: With gaps, as `TrainedModel` takes images; of the model's size, or `missing` must be of it all the same.
        missing: Where the gaps are, N×H×W at the model's size, or H×W for all images.
        completions: How many for each image, K; at most MOST_COMPLETIONS.
        prior: Of the latents: standard, or one that is fitted to the model's codes. Further completions are drawn under
            standard and gaussian alone.
        seed: Fixes all that is drawn.
        together: How many values count as one observation; see VALUES_THAT_GO_TOGETHER.
        progress: Called with the images that are done.

    Raises UsageError for masks that do not match the images, with nothing missing or nothing known, and for a count
    that cannot be; DataError for a file that is not a readable image.
    """
    if not 1 <= together < np.inf:
        raise UsageError(f"{together:g} values that count as one: give 1 or more")
    check_completions(model, completions, prior)
    observed = model.levels(images)
    shape = observed.shape[:3]
    if missing.dtype != np.bool_ or missing.shape not in (shape, shape[1:]):
        raise UsageError(
            f"a mask of shape {missing.shape} and type {missing.dtype} for images of shape {shape}: give booleans of "
            "that shape, or without the first number for all images"
        )
    known = ~np.broadcast_to(missing, shape)
    if known.all((1, 2)).any():
        raise UsageError("a mask with no missing pixel; there is nothing to fill in")
    if not known.any((1, 2)).all():
        raise UsageError("a mask with no known pixel; for new images there is `sample`")
    generator = seeded_generator(seed)
    whole = []
    for index, (image, mask) in enumerate(zip(to_float(observed), known, strict=True)):
        means = decoded_means(model, _latents(model, image, mask, completions, prior, together, generator))
        joined = np.stack([mean + membrane(image - mean, mask) for mean in means])
        whole.append(np.where(mask[..., None], observed[index], to_levels(joined, model.preprocessing.pixels.bits)))
        steps_of(progress, "inpainting", len(observed))(index + 1)
    return Inpainted(observed, np.stack(whole))


def check_completions(model: TrainedModel, completions: int, prior: str = "standard") -> None:
    """Raise UsageError if a model cannot give so many completions of an image under a prior, or there is none such."""
    if not 1 <= completions <= MOST_COMPLETIONS:
        raise UsageError(f"{completions} completions: give 1 to {MOST_COMPLETIONS}")
    if completions > 1 and model.config.objective.auto_encoder:
        raise UsageError(
            f"{completions} completions: an auto-encoder ({model.config.objective.name}) has no posterior to draw them "
            "from; ask for one, or take a VAE"
        )
    if find("prior", prior).fitted and prior != "gaussian" and completions > 1:
        raise UsageError(
            f"{completions} completions under the prior {prior}: draws are made under standard and gaussian; take one "
            "of these, or ask for one completion"
        )


def _latents(
    model: TrainedModel,
    image: NDArray[np.float64],
    known: NDArray[np.bool_],
    completions: int,
    prior: str,
    together: float,
    generator: torch.Generator,
) -> Tensor:
    """Latents K×latent_dim: the best that several starts lead to, then draws."""
    count = max(RESTARTS, completions)
    first = membrane(image, known).clip(0, 1)
    others = to_float(model.decode(model.prior(prior).sample(count - 1, generator)))
    fills = np.where(known[..., None], image, np.concatenate([first[None], others]))
    start = model.posterior(fills.astype(np.float32)).mean
    y = torch.from_numpy(image[None]).float().permute(0, 3, 1, 2)
    missed = (decoded_means(model, start[:1])[0] - image)[known]
    variance = max(float((missed**2).mean()), _SMALLEST_VARIANCE)
    precision = torch.from_numpy(known)[None, None].float() / (variance * together)
    log_prior = latent_log_prior(model, prior)
    decode = decoder(model)
    found = map_latents(decode, y, precision, start[:RESTARTS], log_prior=log_prior)
    with torch.no_grad():
        best = int(log_posterior(decode, log_prior, y, precision, found).argmax())
    if completions == 1:
        return found[best : best + 1]
    shape = completions - 1, 1, 1, 1
    fitted = model.prior(prior)
    gaussian = fitted if isinstance(fitted, GaussianPrior) else None
    drawn = drawn_latents(
        decode, y.repeat(shape), precision.repeat(shape), start[1:completions], generator, prior=gaussian
    )
    return torch.cat([found[best : best + 1], drawn])
