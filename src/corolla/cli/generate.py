"""Commands that make pictures to keep: loop, poster."""

from __future__ import annotations

from pathlib import Path

from corolla.cli.output import out
from corolla.cli.use import (
    FPS,
    MOVING_STEPS_BETWEEN,
    STILL_STEPS,
    Output,
    Paths,
    check_outputs,
    find_prior,
    image_pixels,
    load_model,
    save_arrays,
)
from corolla.errors import UsageError, plural


def loop(
    model: Path,
    /,
    *images: Path,
    output: Output = Path("loop.gif"),
    count: int = 5,
    steps: int | None = None,
    fps: float = FPS,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str = "standard",
    label: str | None = None,
    like: Paths = (),
    npz: Path | None = None,
    strict: bool = False,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Walk on a closed, smooth path through latent space, whose end meets its beginning, at an even pace.

    Unlike `corolla interpolate --loop`, it does not turn sharply at its points.

    Args:
        model: Run folder or model folder.
        images: Images to pass by, as for `corolla reconstruct`; by default random points.
        output: An animation (.gif, .webp, .mp4 with the extra `video`), or a sheet (.png, .jpg).
        count: How many random points, at least 3; of a folder, at most so many images, spread over it.
        steps: Images for each point; by default 24 in an animation, 8 in a sheet.
        fps: Images a second.
        seed: Fixes the random points.
        temperature: Scale of the standard deviation that random points are drawn with.
        prior: What to draw random points from: standard, gaussian, gmm or flow.
        label: A theme: draw points around the training images that have this label.
        like: A theme: draw points around these images, named as for `corolla reconstruct`.
        npz: Write the arrays `images` and `latents` to this file as well.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
        source: With --label: where the training images are now, if they have moved.
        mirror: With --label: folder or URL that holds the files of a downloaded source.
    """
    from corolla.gallery.loops import FEWEST_WAYPOINTS
    from corolla.gallery.loops import loop as walk
    from corolla.gallery.sheets import interpolation_frames, interpolation_sheet
    from corolla.pictures.files import save_animation, save_picture

    moves = check_outputs(output, npz, may_move=True)
    if count < FEWEST_WAYPOINTS:
        raise UsageError(f"--count {count}: give at least {FEWEST_WAYPOINTS} points, which a loop needs")
    if not 0.1 <= fps <= 50:
        raise UsageError(f"--fps {fps:g}: give 0.1 to 50 images a second")
    if temperature == 0 and not images:
        raise UsageError("--temperature 0: all points would be the same one; give more than 0")
    if images and (like or label is not None or prior != "standard"):
        raise UsageError("images to pass by and --prior, --label or --like: each says where to go; give one of them")
    trained = load_model(model)
    trained.sample_latents(1, seed=seed, temperature=temperature)  # wrong values are refused before a fit
    chosen = find_prior(trained, prior, label, like, strict, source=source, mirror=mirror)
    if images:
        waypoints = trained.encode(image_pixels(trained, images, strict, of_each=count))
        if len(waypoints) < FEWEST_WAYPOINTS:
            raise UsageError(
                f"{plural(len(waypoints), 'image')} to pass by: a loop needs at least {FEWEST_WAYPOINTS}; name more, "
                "or see `corolla interpolate`"
            )
    else:
        waypoints = trained.sample_latents(count, seed=seed, temperature=temperature, prior=chosen)
    between = (MOVING_STEPS_BETWEEN if moves else STILL_STEPS - 1) if steps is None else steps
    result = walk(trained, waypoints, steps=between)
    if moves:
        save_animation(output, interpolation_frames(result), fps=fps)
    else:
        save_picture(output, interpolation_sheet(result))
    seconds = f", {len(result.images) / fps:.1f} seconds" if moves else ""
    number = len(result.images)
    out.wrote(
        output, note=f"{number} images past {len(waypoints)} points{seconds}", images=number, points=len(waypoints)
    )
    save_arrays(npz, images=result.images, latents=result.latents)


def poster(
    model: Path,
    /,
    *,
    output: Output = Path("poster.png"),
    size: str = "3000x2000",
    columns: int | None = None,
    reach: float = 0.0,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str = "standard",
    label: str | None = None,
    like: Paths = (),
    strict: bool = False,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Fill a poster of any size with new images, edge to edge.

    Args:
        model: Run folder or model folder.
        output: The picture: .png, which takes little memory at any size, .jpg or .webp.
        size: Width and height in pixels, as screens and prints have it: 3000x2000.
        columns: Images side by side; by default as many as make them about 128 pixels wide.
        reach: How many tiles away images are still alike: 0 for independent images, 2 or 3 for a poster on which one
            flows into the next.
        seed: The same seed gives the same poster.
        temperature: Scale of the prior's standard deviation: below 1 plainer, above 1 wilder.
        prior: What to draw from: standard, gaussian, gmm or flow; with --reach, one of the first two.
        label: A theme: draw around the training images that have this label.
        like: A theme: draw around these images, named as for `corolla reconstruct`.
        strict: With --like: stop at an image that cannot be read; otherwise it is left out with a warning.
        source: With --label: where the training images are now, if they have moved.
        mirror: With --label: folder or URL that holds the files of a downloaded source.
    """
    from corolla.gallery.poster import check_poster, parse_size, write_poster

    width, height = parse_size(size)
    check_poster(output, width, height)
    if reach and prior in ("gmm", "flow"):
        raise UsageError(f"--reach {reach:g} with --prior {prior}: goes with standard, gaussian, --label or --like")
    trained = load_model(model)
    trained.sample_latents(1, seed=seed, temperature=temperature)  # wrong values are refused before a fit
    chosen = find_prior(trained, prior, label, like, strict, source=source, mirror=mirror)
    with out.progress() as progress:
        layout = write_poster(
            trained,
            output,
            (width, height),
            columns=columns,
            reach=reach,
            seed=seed,
            temperature=temperature,
            prior=chosen,
            progress=progress,
        )
    number = layout.columns * layout.rows
    note = f"{width} pixels wide, {height} high; {plural(number, 'image')} in {plural(layout.columns, 'column')}"
    out.wrote(output, note=note, images=number, columns=layout.columns, width=width, height=height)
