"""Commands that make pictures with a trained model: most of their flags are the fields of `corolla.gallery.options`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from corolla.cli.inputs import given_images, listed
from corolla.cli.output import out
from corolla.cli.priors import report_fitted
from corolla.gallery import options

if TYPE_CHECKING:
    from corolla.gallery.commands import Written
    from corolla.progress import OnProgress

Value = TypeVar("Value")

OUTPUT = Parameter(name=["--output", "-o"])
NAMED = "Files, folders, .tar files, globs in quotes, or lists of these: @FILE, one a line, or - for standard input."

Model = Annotated[Path, Parameter(help="Run folder or model folder.")]
Images = Annotated[Path, Parameter(help=f"{NAMED} By default the model's own evaluation split.")]
Points = Annotated[Path, Parameter(help=f"{NAMED} By default random points.")]
Output = Annotated[Path, OUTPUT]
Still = Annotated[Path, OUTPUT, Parameter(help="The picture: .png, .jpg or .webp.")]
Moving = Annotated[Path, OUTPUT, Parameter(help="A sheet (.png, .jpg), or an animation (.gif, .webp, .mp4).")]
Flat = Annotated[Value | None, Parameter(name="*")]
"""Each field of a value is a flag."""
Drawn = Flat[options.Draws]


def sample(
    model: Model, /, *, output: Still = Path("samples.png"), how: Flat[options.Sample] = None, draws: Drawn = None
) -> None:
    """Draw new images from a prior, or around a theme, and decode them."""
    from corolla.gallery import commands

    with ready((), draws) as (_, drawn, progress):
        written = commands.sample(model, output, how or options.Sample(), drawn, progress=progress)
    say_written(written)


def reconstruct(
    model: Model, /, *images: Images, output: Still = Path("reconstructions.png"), how: Flat[options.Reconstruct] = None
) -> None:
    """Pass images through the model and back, and put both side by side."""
    from corolla.gallery import commands

    with ready(images) as (paths, _, progress):
        written = commands.reconstruct(model, paths, output, how or options.Reconstruct(), progress=progress)
    say_written(written)


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
    from corolla.gallery import commands

    with ready(images, draws) as (paths, drawn, progress):
        written = commands.interpolate(model, paths, output, how or options.Interpolate(), drawn, progress=progress)
    say_written(written)


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
    from corolla.gallery import commands

    with ready(images, draws) as (paths, drawn, progress):
        written = commands.loop(model, paths, output, how or options.Loop(), drawn, progress=progress)
    say_written(written)


def poster(
    model: Model, /, *, output: Still = Path("poster.png"), how: Flat[options.Poster] = None, draws: Drawn = None
) -> None:
    """Fill a poster of any size with new images, edge to edge; a PNG takes little memory however large it is."""
    from corolla.gallery import commands

    with ready((), draws) as (_, drawn, progress):
        written = commands.poster(model, output, how or options.Poster(), drawn, progress=progress)
    say_written(written)


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
        ready(how.images) as (images, _, progress),
    ):
        how = replace(how, from_=others, to=target, images=images)
        written = commands.direction(model, output, how, progress=progress)
    card = written.facts["direction"]
    between = f"{card['name']}: {card['target_images']} images against {card['other_images']}"
    out.lines([f"{between}; AUROC {card['auroc']:.3f}, {card['distance']:.2f} sd apart ({card['held_out']})"])
    say_written(written)


@contextmanager
def ready(
    images: Sequence[Path], draws: options.Draws | None = None
) -> Iterator[tuple[list[Path], options.Draws, OnProgress | None]]:
    """Images and draws, with those images that are named on standard input; and what shows progress."""
    draws = draws or options.Draws()
    with (
        given_images(images, needed=False) as paths,
        given_images(draws.like, needed=False) as like,
        out.progress() as progress,
    ):
        yield paths, replace(draws, like=like), progress


def say_written(written: Written) -> None:
    """Say what was written, and that a prior was fitted first."""
    if written.fitted is not None:
        report_fitted(written.fitted, "fitted first, with the defaults, ")
    for path, note in written.files.items():
        out.wrote(path, note=note)
    out.done((), **written.facts)
