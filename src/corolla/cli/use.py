"""Commands that use a trained model: sample, reconstruct, traverse, interpolate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from corolla.cli.inputs import given_images, listed
from corolla.cli.output import out
from corolla.cli.priors import report_fitted
from corolla.gallery.options import (
    DirectionOptions,
    Draws,
    InterpolateOptions,
    ReconstructOptions,
    SampleOptions,
    TraverseOptions,
)

if TYPE_CHECKING:
    from corolla.gallery.commands import Written

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
FLAT = Parameter(name="*")
"""Each field of a value is a flag of its own."""
Drawn = Annotated[Draws | None, FLAT]
Named = TypeVar("Named", Draws, DirectionOptions)


def sample(
    model: Path,
    /,
    *,
    output: Output = Path("samples.png"),
    options: Annotated[SampleOptions | None, FLAT] = None,
    draws: Drawn = None,
) -> None:
    """Draw new images from a prior, or around a theme, and decode them.

    Args:
        model: Run folder or model folder.
        output: The picture: .png, .jpg or .webp.
        options: How they are shown.
        draws: What they are drawn from.
    """
    from corolla.gallery import commands

    with given(draws or Draws(), "like") as drawn, out.progress() as progress:
        written = commands.sample(model, output, options or SampleOptions(), drawn, progress=progress)
    say_written(written)


def reconstruct(
    model: Path,
    /,
    *images: Path,
    output: Output = Path("reconstructions.png"),
    options: Annotated[ReconstructOptions | None, FLAT] = None,
) -> None:
    """Pass images through the model and back, and put both side by side.

    Args:
        model: Run folder or model folder.
        images: Files, folders, .tar files, globs in quotes, or lists of these (@FILE, one a line, or - for standard
            input); by default images of the model's own evaluation split.
        output: The picture: .png, .jpg or .webp.
        options: How.
    """
    from corolla.gallery import commands

    with given_images(images, needed=False) as paths, out.progress() as progress:
        written = commands.reconstruct(model, paths, output, options or ReconstructOptions(), progress=progress)
    say_written(written)


def traverse(
    model: Path,
    /,
    *,
    output: Output = Path("traversal.png"),
    options: Annotated[TraverseOptions | None, FLAT] = None,
    latent: str | None = None,
) -> None:
    """Move one latent at a time: what does each of them mean?

    The latents that carry most information come first; dead ones are marked.

    Args:
        model: Run folder or model folder.
        output: A sheet (.png, .jpg), or an animation with a tile for each latent (.gif, .webp, .mp4).
        options: How they are moved.
        latent: Show these latents, joined by commas, in place of --latents.
    """
    from corolla.gallery import commands

    which = None if latent is None else listed(latent, "--latent", int)
    say_written(commands.traverse(model, output, options or TraverseOptions(), which))


def interpolate(
    model: Path,
    /,
    *images: Path,
    output: Output = Path("interpolation.png"),
    options: Annotated[InterpolateOptions | None, FLAT] = None,
    draws: Drawn = None,
) -> None:
    """Walk through latent space from image to image.

    Args:
        model: Run folder or model folder.
        images: Images to walk between, as for `corolla reconstruct`; by default random points.
        output: A sheet (.png, .jpg), or an animation (.gif, .webp, .mp4).
        options: How.
        draws: What random points are drawn from.
    """
    from corolla.gallery import commands

    chosen = options or InterpolateOptions()
    with (
        given_images(images, needed=False) as paths,
        given(draws or Draws(), "like") as drawn,
        out.progress() as progress,
    ):
        written = commands.interpolate(model, paths, output, chosen, drawn, progress=progress)
    say_written(written)


@contextmanager
def given(options: Named, *names: str) -> Iterator[Named]:
    """The same options, with fields that name images as `given_images` gives them."""
    with ExitStack() as stack:
        paths: dict[str, Any] = {
            name: tuple(stack.enter_context(given_images(getattr(options, name), needed=False))) for name in names
        }
        yield replace(options, **paths)


def say_written(written: Written) -> None:
    """Say what was written, and that a prior was fitted first."""
    if written.fitted is not None:
        report_fitted(written.fitted, "fitted first, with the defaults, ")
    for path, note in written.files.items():
        out.wrote(path, note=note)
    out.done((), **written.facts)
