"""Commands about the priors that a model's latents are drawn from: fit-prior."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from corolla.cli.inputs import split_setting
from corolla.cli.output import out

if TYPE_CHECKING:
    from corolla.trained import TrainedModel
    from corolla.trained.fitted_priors import FittedPrior


def fit_prior(
    model: Path,
    prior: str,
    /,
    *,
    components: int | None = None,
    covariance: Literal["full", "diagonal"] | None = None,
    flow: Literal["nsf", "maf"] | None = None,
    transforms: int | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    seed: int = 0,
    draws: int | None = None,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Fit a prior to the codes of the training images, and keep it in the model folder for `corolla sample --prior`.

    Args:
        model: Run folder or model folder.
        prior: gaussian, gmm (a mixture of Gaussians) or flow (a normalising flow; needs the extra `flows`).
        components: gmm: how many; by default 10.
        covariance: gmm: of each component; by default full.
        flow: flow: splines or affine maps; by default nsf, splines.
        transforms: flow: how many maps follow one another; by default 3.
        set_: Any setting of a prior, such as --set components=20; can be given several times.
        seed: The same seed gives the same prior.
        draws: Codes drawn for each training image; by default as many as give 10,000 in all, at most 10.
        source: Where the training images are now, if they have moved: florets[:COUNT], flowers102,
            folder:PATH, factors:FILE.npz or a set such as dsprites[:COUNT].
        mirror: Folder or URL that holds the files of a downloaded source.
    """
    from corolla.trained import load
    from corolla.trained.fitted_priors import fit_prior as fit

    settings = {"components": components, "covariance": covariance, "flow": flow, "transforms": transforms}
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    given |= dict(split_setting(change) for change in set_)
    with out.progress() as progress:
        fitted = fit(
            load(model),
            prior,
            seed=seed,
            draws=draws,
            source=source,
            mirror=mirror,
            progress=progress,
            **given,
        )
    report_fitted(fitted)


def fit_if_missing(trained: TrainedModel, prior: str, *, source: str | None = None, mirror: str | None = None) -> None:
    """Fit a prior with the defaults, and say so, if the model has none by that name."""
    if trained.has_prior(prior):
        return
    from corolla.trained.fitted_priors import fit_prior as fit

    with out.progress() as progress:
        fitted = fit(trained, prior, source=source, mirror=mirror, progress=progress)
    report_fitted(fitted, "fitted first, with the defaults, ")


def report_fitted(fitted: FittedPrior, how: str = "fitted ") -> None:
    """Say that a prior was fitted, and how well it does."""
    card = fitted.card
    scores = f"log p(z) of evaluation images {card.log_prob_nats:.2f} nats, standard {card.standard_log_prob_nats:.2f}"
    note = f"{how}to {card.codes:,} codes of {card.images:,} images; {scores}"
    assert fitted.file is not None  # it was kept in the model folder
    out.wrote(fitted.file, note=note, prior=asdict(card))
