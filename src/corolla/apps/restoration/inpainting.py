"""A trained model and images with gaps -> whole images, with the known pixels as they were.

The observation is y = decode(z) + e, where e is Gaussian with a precision (one over the variance) for each pixel: 0
where nothing is known. With z ~ N(0, I) the posterior's logarithm is, up to a constant,

    -½ Σ precision·(y - decode(z))² - ½ ‖z‖².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csgraph, csr_matrix
from scipy.sparse.linalg import splu
from sklearn.feature_extraction.image import grid_to_graph
from torch import Tensor

from corolla.config.registry import find
from corolla.distributions.priors import GaussianPrior
from corolla.errors import UsageError
from corolla.pixels import to_float, to_levels
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel, seeded_generator

Decoder = Callable[[Tensor], Tensor]
"""Latents N×latent_dim to the means of p(x|z), N×C×H×W."""
LogPrior = Callable[[Tensor], Tensor]
"""Latents N×latent_dim to their log-density, N; a constant may be left out."""

MOST_COMPLETIONS = 256
"""Of one image: they are all in memory at once."""
RESTARTS = 3
VALUES_THAT_GO_TOGETHER = 1000
"""What a model misses is alike over many pixels and three channels: so many values count as one observation.

Each for itself, they would outweigh the prior, and tear the gap to pieces for the sake of detail around it. Of 30, 100,
300, 1000 and 3000 the last two had the best mean PSNR over the gaps of `benchmarks/inpainting.py --together`, 17.64 dB;
the smaller of them keeps further completions closer to what is known.
"""
_SMALLEST_VARIANCE = 1e-4
STEPS = 50
LEARNING_RATE = 0.05


def decoder(model: TrainedModel) -> Decoder:
    """Latents on the CPU to the means of p(x|z) on the CPU; gradients pass."""
    return lambda z: model.vae.decode(z.to(model.device)).mean.cpu()


def decoded_means(model: TrainedModel, z: Tensor) -> NDArray[np.float64]:
    """The means of p(x|z) on the [0, 1] scale, N×H×W×3."""
    with torch.no_grad():
        return decoder(model)(z).permute(0, 2, 3, 1).double().numpy()


def latent_log_prior(model: TrainedModel, name: str = "standard") -> LogPrior:
    """The log-density of a model's latents, for `map_latents`; without a prior, of an auto-encoder, 0."""
    if name == "standard":
        return (lambda z: torch.zeros(len(z))) if model.config.objective.auto_encoder else standard_log_prior
    fitted = model.prior(name)
    return lambda z: fitted.log_prob(z).to(z.dtype)


def standard_log_prior(z: Tensor) -> Tensor:
    """-½ ‖z‖², N."""
    return -0.5 * (z**2).sum(1)


def log_posterior(decode: Decoder, log_prior: LogPrior, y: Tensor, precision: Tensor, z: Tensor) -> Tensor:
    """The logarithm of p(z|y) up to a constant, N; y is N×C×H×W, and so is precision or what spreads to it."""
    return log_prior(z) - 0.5 * (precision * (y - decode(z)) ** 2).flatten(1).sum(1)


def map_latents(
    decode: Decoder,
    y: Tensor,
    precision: Tensor,
    start: Tensor,
    *,
    log_prior: LogPrior = standard_log_prior,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
) -> Tensor:
    """The latents of largest `log_posterior` that Adam finds from a start, N×latent_dim; its rate falls linearly to 0.

    Each image keeps the best latents that were met on the way, so that none ends below its start.
    """
    z = start.detach().clone().requires_grad_()
    best, best_value = start.detach().clone(), torch.full((len(start),), -torch.inf)
    optimiser = torch.optim.Adam([z], learning_rate)
    for step in range(steps + 1):
        value = log_posterior(decode, log_prior, y, precision, z)
        better = value.detach() > best_value
        best[better], best_value[better] = z.detach()[better], value.detach()[better].to(best_value.dtype)
        if step == steps:
            break
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        (z.grad,) = torch.autograd.grad(-value.sum(), z)
        optimiser.step()
    return best


def drawn_latents(
    decode: Decoder,
    y: Tensor,
    precision: Tensor,
    start: Tensor,
    generator: torch.Generator,
    *,
    prior: GaussianPrior | None = None,
    steps: int = STEPS,
) -> Tensor:
    """Draws from p(z|y) under the standard prior, or another Gaussian, by randomised optimisation, N×latent_dim.

    The observation is moved by a draw of its own noise, the middle of the prior by a draw from the prior, and the
    maximum found again. For a linear decoder that is an exact draw, for others a good guess (Papandreou & Yuille 2010,
    "Gaussian sampling by local perturbations"; Bardsley et al. 2014, "Randomize-then-optimize").
    """
    noise = torch.randn(y.shape, generator=generator)
    moved = y + noise * torch.where(precision > 0, precision, 1.0).rsqrt() * (precision > 0)
    centre = torch.randn(start.shape, generator=generator) if prior is None else prior.sample(len(start), generator)

    def log_prior(z: Tensor) -> Tensor:
        if prior is None:
            return standard_log_prior(z - centre)
        return prior.log_prob(z - centre + prior.mean).to(z.dtype)

    return map_latents(decode, moved, precision, start, log_prior=log_prior, steps=steps)


def membrane(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill an array H×W×C where it is not known (H×W); what is known stays as it is. Raises UsageError if nothing is.

    Solves Laplace's equation Δv = 0, in five-point differences, with the known pixels as the boundary and no flow over
    the edge of the image, as in Pérez et al. (2003), "Poisson image editing".
    """
    if not known.any():
        raise UsageError("no pixel is known; leave some outside of the mask")
    result = np.array(values, dtype=np.float64)
    gap = ~known.ravel()
    if gap.any():
        equations = _laplacian(*known.shape)[gap]
        result[~known] = splu(equations[:, gap].tocsc()).solve(-(equations[:, ~gap] @ result[known]))
    return result


@lru_cache(maxsize=8)
def _laplacian(height: int, width: int) -> csr_matrix:
    """Of the graph in which each pixel is joined to its neighbours to the sides, above and below."""
    return csgraph.laplacian(grid_to_graph(height, width, dtype=float)).tocsr()


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
    """Fill gaps, which `missing` says: N×H×W at the model's size, or H×W for all images.

    The first of the completions is the one of largest posterior density that is found from several starts, given the
    known pixels and the prior, by its name; others are draws from that posterior (`drawn_latents`), which an
    auto-encoder does not have, and which are made under the priors standard and gaussian alone. The model's picture is
    joined to the known pixels by a membrane of what it misses them by. The seed fixes all that is drawn; `together`
    values count as one observation (see VALUES_THAT_GO_TOGETHER).

    Raises UsageError for masks that do not match the images, with nothing missing or nothing known, and for a count
    that cannot be; DataError for a file that is not a readable image.
    """
    check_completions(model, completions, prior)
    observed = model.levels(images)
    shape = observed.shape[:3]
    if missing.dtype != np.bool_ or missing.shape not in (shape, shape[1:]):
        problem = f"a mask of shape {missing.shape} and type {missing.dtype} for images of shape {shape}"
        raise UsageError(f"{problem}: give booleans of that shape, or without the first number for all images")
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
        problem = f"an auto-encoder ({model.config.objective.name}) has no posterior to draw them from"
        raise UsageError(f"{completions} completions: {problem}; ask for one, or take a VAE")
    if find("prior", prior).fitted and prior != "gaussian" and completions > 1:
        problem = f"{completions} completions under the prior {prior}: draws are made under standard and gaussian"
        raise UsageError(f"{problem}; take one of these, or ask for one completion")


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
