"""Commands that make pictures to keep: loop, poster, direction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from corolla.cli.inputs import given_images
from corolla.cli.output import out
from corolla.cli.use import FLAT, Drawn, Output, given, say_written
from corolla.gallery.options import DirectionOptions, Draws, LoopOptions, PosterOptions


def loop(
    model: Path,
    /,
    *images: Path,
    output: Output = Path("loop.gif"),
    options: Annotated[LoopOptions | None, FLAT] = None,
    draws: Drawn = None,
) -> None:
    """Walk on a closed, smooth path through latent space, whose end meets its beginning, at an even pace.

    Unlike `corolla interpolate --loop`, it does not turn sharply at its points.

    Args:
        model: Run folder or model folder.
        images: Images to pass by, as for `corolla reconstruct`; by default random points.
        output: An animation (.gif, .webp, .mp4 with the extra `video`), or a sheet (.png, .jpg).
        options: How.
        draws: What random points are drawn from.
    """
    from corolla.gallery import commands

    chosen = options or LoopOptions()
    with (
        given_images(images, needed=False) as paths,
        given(draws or Draws(), "like") as drawn,
        out.progress() as progress,
    ):
        written = commands.loop(model, paths, output, chosen, drawn, progress=progress)
    say_written(written)


def poster(
    model: Path,
    /,
    *,
    output: Output = Path("poster.png"),
    options: Annotated[PosterOptions | None, FLAT] = None,
    draws: Drawn = None,
) -> None:
    """Fill a poster of any size with new images, edge to edge.

    Args:
        model: Run folder or model folder.
        output: The picture: .png, which takes little memory at any size, .jpg or .webp.
        options: How.
        draws: What images are drawn from.
    """
    from corolla.gallery import commands

    with given(draws or Draws(), "like") as drawn, out.progress() as progress:
        written = commands.poster(model, output, options or PosterOptions(), drawn, progress=progress)
    say_written(written)


def direction(
    model: Path,
    /,
    *,
    output: Output = Path("direction.png"),
    options: Annotated[DirectionOptions | None, FLAT] = None,
) -> None:
    """Find the direction in latent space that leads to a kind of image, and move images along it.

    It says how well the direction tells images apart that it was not found with (AUROC: 0.5 is chance), and how far
    apart they lie.

    Args:
        model: Run folder or model folder.
        output: The picture, a row for each image, a column for each step: .png, .jpg or .webp.
        options: Which direction, and how images are moved.
    """
    from corolla.gallery import commands

    with given(options or DirectionOptions(), "from_", "to", "images") as chosen, out.progress() as progress:
        written = commands.direction(model, output, chosen, progress=progress)
    card = written.facts["direction"]
    between = f"{card['name']}: {card['target_images']} images against {card['other_images']}"
    out.lines([f"{between}; AUROC {card['auroc']:.3f}, {card['distance']:.2f} sd apart ({card['held_out']})"])
    say_written(written)
