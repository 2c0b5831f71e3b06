"""Commands that make pictures with a trained model, and fit-prior, which fits what latents are drawn from.

Most flags of the former are the fields of `corolla.gallery.options`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from corolla.cli.inputs import Model, Output, OwnMirror, given_images, listed, split_setting
from corolla.cli.output import out
from corolla.gallery import options

if TYPE_CHECKING:
    from corolla.gallery.commands import Written
    from corolla.trained import TrainedModel
    from corolla.trained.fitted_priors import FittedPrior

Value = TypeVar("Value")

FITTED_FIRST = "fitted first, with the defaults, "
NAMED = "Files, folders, .tar files, globs in quotes, or lists of these: @FILE, one a line, or - for standard input."

Images = Annotated[Path, Parameter(help=f"{NAMED} By default the model's own evaluation split.")]
Points = Annotated[Path, Parameter(help=f"{NAMED} By default random points.")]
Still = Annotated[Output, Parameter(help="The picture: .png, .jpg or .webp.")]
Moving = Annotated[Output, Parameter(help="A sheet (.png, .jpg), or an animation (.gif, .webp, .mp4).")]
Flat = Annotated[Value | None, Parameter(name="*")]
"""Each field of a value is a flag."""
Drawn = Flat[options.Draws]


def sample(
    model: Model, /, *, output: Still = Path("samples.png"), how: Flat[options.Sample] = None, draws: Drawn = None
) -> None:
    """Draw new images from a prior, or around a theme, and decode them."""
    _make("sample", model, output, how or options.Sample(), draws=draws)


def reconstruct(
    model: Model, /, *images: Images, output: Still = Path("reconstructions.png"), how: Flat[options.Reconstruct] = None
) -> None:
    """Pass images through the model and back, and put both side by side."""
    _make("reconstruct", model, output, how or options.Reconstruct(), images)


def traverse(
    model: Model,
    /,
    *,
    output: Moving = Path("traversal.png"),
    how: Flat[options.Traverse] = None,
    latent: Annotated[str | None, Parameter(help="These latents, joined by commas, in place of --latents.")] = None,
) -> None:
    """Move one latent at a time: what does each of them mean?

    The latents that carry most information come first; dead ones are marked.
    """
    from corolla.gallery import commands

    which = None if latent is None else listed(latent, "--latent", int)
    say_written(commands.traverse(model, output, how or options.Traverse(), which))


def interpolate(
    model: Model,
    /,
    *images: Points,
    output: Moving = Path("interpolation.png"),
    how: Flat[options.Interpolate] = None,
    draws: Drawn = None,
) -> None:
    """Walk through latent space from image to image."""
    _make("interpolate", model, output, how or options.Interpolate(), images, draws)


def loop(
    model: Model,
    /,
    *images: Points,
    output: Moving = Path("loop.gif"),
    how: Flat[options.Loop] = None,
    draws: Drawn = None,
) -> None:
    """Walk on a closed, smooth path through latent space, whose end meets its beginning, at an even pace.

    Unlike `corolla interpolate --loop`, it does not turn sharply at its points.
    """
    _make("loop", model, output, how or options.Loop(), images, draws)


def poster(
    model: Model, /, *, output: Still = Path("poster.png"), how: Flat[options.Poster] = None, draws: Drawn = None
) -> None:
    """Fill a poster of any size with new images, edge to edge; a PNG takes little memory however large it is."""
    _make("poster", model, output, how or options.Poster(), draws=draws)


def direction(model: Model, /, *, output: Still = Path("direction.png"), how: Flat[options.Direction] = None) -> None:
    """Find the direction in latent space that leads to a kind of image, and move images along it, a row for each.

    It says how well the direction tells images apart that it was not found with (AUROC: 0.5 is chance), and how far
    apart they lie.
    """
    from corolla.gallery import commands

    how = how or options.Direction()
    with (
        given_images(how.from_, needed=False) as others,
        given_images(how.to, needed=False) as target,
        given_images(how.images, needed=False) as images,
        out.progress() as progress,
    ):
        how = replace(how, from_=others, to=target, images=images)
        written = commands.direction(model, output, how, progress=progress)
    card = written.facts["direction"]
    between = f"{card['name']}: {card['target_images']} images against {card['other_images']}"
    out.lines([f"{between}; AUROC {card['auroc']:.3f}, {card['distance']:.2f} sd apart ({card['held_out']})"])
    say_written(written)


def _make(
    name: str,
    model: Path,
    output: Path,
    how: object,
    images: Sequence[Path] | None = None,
    draws: options.Draws | None = None,
) -> None:
    """Let a function of `corolla.gallery.commands` make pictures, with the paths on standard input in a file."""
    from corolla.gallery import commands

    given: dict[str, object] = {}
    with (
        given_images(images or (), needed=False) as paths,
        given_images(draws.like if draws else (), needed=False) as like,
        out.progress() as progress,
    ):
        given |= {} if images is None else {"images": paths}
        given |= {} if draws is None else {"draws": replace(draws, like=like)}
        written = getattr(commands, name)(model=model, output=output, how=how, progress=progress, **given)
    say_written(written)


def say_written(written: Written) -> None:
    """Say what was written, and that a prior was fitted first."""
    if written.fitted is not None:
        report_fitted(written.fitted)
    for path, note in written.files.items():
        out.wrote(path, note=note)
    out.done((), **written.facts)


def fit_prior(  # noqa: D417, the shared flags describe themselves
    model: Model,
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
    mirror: OwnMirror = None,
) -> None:
    """Fit a prior to the codes of the training images, and keep it in the model folder for `corolla sample --prior`.

    Args:
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
    """
    from corolla.trained import load

    settings = {"components": components, "covariance": covariance, "flow": flow, "transforms": transforms}
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    given |= dict(split_setting(change) for change in set_)
    _fit(load(model), prior, "fitted ", seed=seed, draws=draws, source=source, mirror=mirror, **given)


def fit_if_missing(trained: TrainedModel, prior: str) -> None:
    """Fit a prior with the defaults, and say so, if the model has none by that name."""
    if not trained.has_prior(prior):
        _fit(trained, prior, FITTED_FIRST)


def _fit(trained: TrainedModel, prior: str, how: str, **settings: Any) -> None:
    from corolla.trained.fitted_priors import fit_prior

    with out.progress() as progress:
        fitted = fit_prior(trained, prior, progress=progress, **settings)
    report_fitted(fitted, how)


def report_fitted(fitted: FittedPrior, how: str = FITTED_FIRST) -> None:
    """Say that a prior was fitted, and how well it does."""
    card = fitted.card
    scores = f"log p(z) of evaluation images {card.log_prob_nats:.2f} nats, standard {card.standard_log_prob_nats:.2f}"
    note = f"{how}to {card.codes:,} codes of {card.images:,} images; {scores}"
    assert fitted.file is not None  # it was kept in the model folder
    out.wrote(fitted.file, note=note, prior=asdict(card))
