"""A trained model and its images -> a prior fitted to their codes, kept in the model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corolla.config.choosing import make
from corolla.config.registry import find
from corolla.data import select_rows
from corolla.distributions import LatentDistribution
from corolla.errors import UsageError
from corolla.models.priors import fitted_prior_names
from corolla.progress import OnProgress
from corolla.trained import TrainedModel, seeded_generator
from corolla.trained.encoding import stored_batches
from corolla.trained.own_images import own_images
from corolla.trained.prior_file import PriorCard, save_prior

ENOUGH_CODES = 10_000
MOST_DRAWS = 10


@dataclass(frozen=True, eq=False)
class FittedPrior:
    """A prior, what is known about it, and the file it was saved to, if it was."""

    prior: LatentDistribution
    card: PriorCard
    file: Path | None


def fit_prior(
    model: TrainedModel,
    name: str,
    *,
    seed: int = 0,
    draws: int | None = None,
    source: str | None = None,
    mirror: str | None = None,
    save: bool = True,
    progress: OnProgress | None = None,
    **settings: Any,
) -> FittedPrior:
    """Fit a prior to the aggregated posterior of the training images, and keep it with the model.

    What it is fitted to are draws z ~ q(z|x), not means: the decoder learnt on draws. The decoder of an auto-encoder
    learnt on means, so there they are means. The images are not augmented. The same seed gives the same prior, bit for
    bit, on the same machine.

    Args:
        model: The prior is for this model alone; what else is trained with its configuration has other codes.
        name: gaussian, gmm or flow.
        seed: Fixes all that is drawn.
        draws: Codes drawn for each training image; by default as many as give ENOUGH_CODES, at most MOST_DRAWS.
        source: Where the images are now, if they have moved.
        mirror: Folder or URL that holds the files of a downloaded source.
        save: Write `prior-NAME.safetensors` into the model folder, in place of an earlier one.
        progress: Called while images are read and encoded, and while the prior is fitted.
        settings: Those of the prior, such as `components=20`; `corolla settings prior` lists them.

    Raises UsageError for no such prior or option, more components than codes or a missing extra; DataError if the
    images are not there, or have changed; WriteError if the prior cannot be saved.
    """
    if not find("prior", name).fitted:
        raise UsageError(f"prior {name}: needs no fitting; those that are fitted are {', '.join(fitted_prior_names())}")
    choice = make("prior", name, **settings)
    choice.build(model.latent_dim)  # says what is not installed before anything takes long
    if draws is not None and draws < 1:
        raise UsageError(f"{draws} draws: give at least 1 for each image")
    generator = seeded_generator(seed)

    cache = own_images(model, source=source, mirror=mirror, progress=progress)
    data = model.config.data
    train_rows, eval_rows = (select_rows(cache.splits, split) for split in (data.train_split, data.eval_split))
    if model.config.objective.auto_encoder:
        draws = 1
    elif draws is None:
        draws = min(MOST_DRAWS, -(-ENOUGH_CODES // len(train_rows)))
    choice.check(draws * len(train_rows))
    codes = _codes(model, cache.images, train_rows, draws, generator, progress)
    fit_seed = int(torch.randint(2**32, (), generator=generator))
    title = f"fitting {name}, rounds"
    told = None if progress is None else lambda done, total, _note: progress(title, done, total)
    prior: LatentDistribution = choice.fit(codes, seed=fit_seed, progress=told)
    test = _codes(model, cache.images, eval_rows, 1, generator)[:, 0]
    with torch.no_grad():
        reached, standard = (float(p.log_prob(test).mean()) for p in (prior, model.prior("standard")))
    card = PriorCard(
        name=name,
        options=prior.options,
        weights_sha256=model.card.weights_sha256,
        codes=draws * len(train_rows),
        images=len(train_rows),
        seed=seed,
        source=source or data.source,
        log_prob_nats=reached,
        standard_log_prob_nats=standard,
    )
    file = save_prior(model.folder, prior, card) if save and model.folder is not None else None
    model.fitted_priors[name] = prior
    return FittedPrior(prior, card, file)


def _codes(
    model: TrainedModel,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    draws: int,
    generator: torch.Generator,
    progress: OnProgress | None = None,
) -> Tensor:
    """Codes of images, images×draws×latent_dim: draws from q(z|x), or its mean if the model is an auto-encoder."""
    parts = []
    for batch in stored_batches(images, rows, "encoding images", progress):
        q = model.posterior(batch)
        codes = q.mean[:, None]
        if not model.config.objective.auto_encoder:
            noise = torch.randn(len(batch), draws, model.latent_dim, generator=generator)
            codes = codes + q.stddev[:, None] * noise
        parts.append(codes)
    return torch.cat(parts)
