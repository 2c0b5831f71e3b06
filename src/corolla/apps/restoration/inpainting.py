"""A trained model and images with gaps -> whole images, with the known pixels as they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corolla.apps.restoration.decoding import (
    decoded_means,
    decoder,
    latent_log_prior,
    observed_pixels,
    to_tensor,
)
from corolla.apps.restoration.latents import drawn_latents, log_posterior, map_latents
from corolla.apps.restoration.membrane import membrane
from corolla.config.registry import find
from corolla.distributions import sample_prior
from corolla.distributions.gaussians import GaussianPrior
from corolla.errors import UsageError
from corolla.pixels import to_uint8
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel, seeded_generator

Method = Literal["optimise", "gibbs"]

MOST_COMPLETIONS = 256
"""Of one image: they are all in memory at once."""
RESTARTS = 3
SWEEPS = 30
STEPS = 50
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
    """What came of images with gaps.

    Attributes:
        observed: at the model's size, uint8 N×H×W×3; missing pixels as they came in.
        known: N×H×W.
        images: the completions, uint8 N×K×H×W×3. Known pixels are those of `observed`.
        decoded: what the model alone makes of each, uint8 N×K×H×W×3.
    """

    observed: NDArray[np.uint8]
    known: NDArray[np.bool_]
    images: NDArray[np.uint8]
    decoded: NDArray[np.uint8]


def inpaint(
    model: TrainedModel,
    images: Images,
    missing: NDArray[np.bool_],
    *,
    method: Method = "optimise",
    completions: int = 1,
    prior: str = "standard",
    seed: int = 0,
    together: float = VALUES_THAT_GO_TOGETHER,
    progress: OnProgress | None = None,
) -> Inpainted:
    """Fill gaps.

    By `optimise`, the first completion is the one of largest posterior density that is found from several starts, given
    the known pixels and the prior; others are draws from that posterior (`drawn_latents`). By `gibbs`, each is the end
    of a chain of its own: encode the completed image, draw z, and fill in the missing pixels, again and again (Rezende
    et al. 2014, arXiv 1401.4082, appendix F; filled with the mean of p(x|z), not with a draw). Either way the model's
    picture is joined to the known pixels by a membrane of what it misses them by.

    Args:
        model: of any objective; an auto-encoder has no posterior to draw from, and so only one completion.
        images: with gaps, as `TrainedModel` takes images; of the model's size, or `missing` must be of it all the same.
        missing: where the gaps are, N×H×W at the model's size, or H×W for all images.
        method: optimise or gibbs.
        completions: how many for each image, K; at most MOST_COMPLETIONS.
        prior: of the latents, for optimise: standard, or one that is fitted to the model's codes. Further completions
            are drawn under standard and gaussian alone.
        seed: fixes all that is drawn.
        together: how many values count as one observation, for optimise; see VALUES_THAT_GO_TOGETHER.
        progress: called with the images that are done.

    Raises:
        UsageError: masks that do not match the images, with nothing missing or nothing known; a count that cannot be;
            more than one completion from an auto-encoder.
        DataError: a file is not a readable image.
    """
    if method not in get_args(Method):
        raise UsageError(f"method {method!r}: there are {', '.join(get_args(Method))}")
    if not 1 <= together < np.inf:
        raise UsageError(f"{together:g} values that count as one: give 1 or more")
    check_completions(model, completions)
    check_prior(prior, method, completions)
    observed = observed_pixels(model, images)
    known = ~np.broadcast_to(_checked(missing, observed), observed.shape[:3])
    generator = seeded_generator(seed)
    whole, decoded = [], []
    for index, (image, mask) in enumerate(zip(observed / 255.0, known, strict=True)):
        if method == "optimise":
            z = _optimised(model, image, mask, completions, prior, together, generator)
        else:
            z = _by_gibbs(model, image, mask, completions, generator)
        means = decoded_means(model, z)
        joined = np.stack([mean + membrane(image - mean, mask) for mean in means])
        whole.append(np.where(mask[..., None], observed[index], to_uint8(joined)))
        decoded.append(to_uint8(means))
        steps_of(progress, "inpainting", len(observed))(index + 1)
    return Inpainted(observed, np.array(known), np.stack(whole), np.stack(decoded))


def check_completions(model: TrainedModel, completions: int) -> None:
    """Raise UsageError if a model cannot give so many completions of an image."""
    if not 1 <= completions <= MOST_COMPLETIONS:
        raise UsageError(f"{completions} completions: give 1 to {MOST_COMPLETIONS}")
    if completions > 1 and model.config.objective.auto_encoder:
        raise UsageError(
            f"{completions} completions: an auto-encoder ({model.config.objective.name}) has no posterior to draw them "
            "from; ask for one, or take a VAE"
        )


def check_prior(prior: str, method: Method, completions: int) -> None:
    """Raise UsageError if a prior is none, or cannot be used by a method, or for so many completions."""
    if not find("prior", prior).fitted:
        return
    if method == "gibbs":
        raise UsageError(f"prior {prior}: gibbs takes latents from q(z|x) alone; leave the prior out, or take optimise")
    if completions > 1 and prior != "gaussian":
        raise UsageError(
            f"{completions} completions under the prior {prior}: draws are made under standard and gaussian; take one "
            "of these, or ask for one completion"
        )


def _checked(missing: NDArray[np.bool_], images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    count, height, width, _ = images.shape
    if missing.dtype != np.bool_ or missing.shape not in ((height, width), (count, height, width)):
        raise UsageError(
            f"a mask of shape {missing.shape} and type {missing.dtype} for {count} images of {height}x{width} pixels: "
            f"give booleans, {height}×{width} for all or one for each"
        )
    shares = missing.reshape(-1, height * width).mean(1)
    if shares.min() == 0:
        raise UsageError("a mask with no missing pixel; there is nothing to fill in")
    if shares.max() == 1:
        raise UsageError("a mask with no known pixel; for new images there is `sample`")
    return missing


def _optimised(
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
    first = _filled(image, known)
    others = model.decode(model.prior(prior).sample(count - 1, generator)) / 255.0
    fills = np.where(known[..., None], image, np.concatenate([first[None], others]))
    start = model.posterior(fills.astype(np.float32)).mean
    y = to_tensor(image[None])
    missed = (decoded_means(model, start[:1])[0] - image)[known]
    variance = max(float((missed**2).mean()), _SMALLEST_VARIANCE)
    precision = torch.from_numpy(known)[None, None].float() / (variance * together)
    log_prior = latent_log_prior(model, prior)
    decode = decoder(model)
    found = map_latents(decode, y, precision, start[:RESTARTS], log_prior=log_prior, steps=STEPS)
    with torch.no_grad():
        best = int(log_posterior(decode, log_prior, y, precision, found).argmax())
    if completions == 1:
        return found[best : best + 1]
    shape = completions - 1, 1, 1, 1
    gaussian = model.prior(prior)
    drawn = drawn_latents(
        decode,
        y.repeat(shape),
        precision.repeat(shape),
        start[1:completions],
        generator,
        prior=gaussian if isinstance(gaussian, GaussianPrior) else None,
        steps=STEPS,
    )
    return torch.cat([found[best : best + 1], drawn])


def _by_gibbs(
    model: TrainedModel,
    image: NDArray[np.float64],
    known: NDArray[np.bool_],
    completions: int,
    generator: torch.Generator,
) -> Tensor:
    """Latents K×latent_dim: where chains end."""
    draws = not model.config.objective.auto_encoder
    fills = np.repeat(_filled(image, known)[None], completions, axis=0)
    for _ in range(SWEEPS):
        q = model.posterior(fills.astype(np.float32))
        z = q.mean + q.stddev * sample_prior(completions, model.latent_dim, generator) if draws else q.mean
        fills = np.where(known[..., None], image, decoded_means(model, z))
    return z


def _filled(image: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The image with a membrane across its gaps: what to begin with."""
    return membrane(image, known).clip(0, 1)
