"""Commands that use a trained model: sample, reconstruct, traverse, interpolate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from corolla.cli.inputs import counted, given_images, listed
from corolla.cli.output import out
from corolla.cli.priors import fit_if_missing
from corolla.errors import UsageError, plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from corolla.distributions import LatentDistribution
    from corolla.trained import TrainedModel

Paths = tuple[Path, ...]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]

STILL_STEPS = 9
MOVING_STEPS = 48
MOVING_STEPS_BETWEEN = 24
FPS = 16.0


def sample(
    model: Path,
    /,
    *,
    output: Output = Path("samples.png"),
    count: int = 64,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str = "standard",
    label: str | None = None,
    like: Paths = (),
    columns: int | None = None,
    npz: Path | None = None,
    strict: bool = False,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Draw new images from a prior, or around a theme, and decode them.

    Args:
        model: Run folder or model folder.
        output: The picture: .png, .jpg or .webp.
        count: How many.
        seed: The same seed gives the same images.
        temperature: Scale of the prior's standard deviation: below 1 plainer, above 1 wilder.
        prior: standard, or one that is fitted to the model's codes: gaussian, gmm or flow; see `corolla fit-prior`.
        label: A theme: draw around the training images that have this label.
        like: A theme: draw around these images, named as for `corolla reconstruct`.
        columns: Images side by side; by default the picture is about square.
        npz: Write the arrays `images` and `latents` to this file as well.
        strict: With --like: stop at an image that cannot be read; otherwise it is left out with a warning.
        source: With --label: where the training images are now, if they have moved.
        mirror: With --label: folder or URL that holds the files of a downloaded source.
    """
    from corolla.pictures.files import save_picture
    from corolla.pictures.grids import grid

    check_outputs(output, npz)
    trained = load_model(model)
    trained.sample_latents(count, seed=seed, temperature=temperature)  # wrong values are refused before a fit
    chosen = find_prior(trained, prior, label, like, strict, source=source, mirror=mirror)
    latents = trained.sample_latents(count, seed=seed, temperature=temperature, prior=chosen)
    images = trained.decode(latents)
    save_picture(output, grid(images, columns))
    out.wrote(output, note=counted(count), images=count)
    save_arrays(npz, images=images, latents=latents)


def reconstruct(
    model: Path,
    /,
    *images: Path,
    output: Output = Path("reconstructions.png"),
    count: int = 16,
    seed: int | None = None,
    npz: Path | None = None,
    strict: bool = False,
) -> None:
    """Pass images through the model and back, and put both side by side.

    Args:
        model: Run folder or model folder.
        images: Files, folders, .tar files, globs in quotes, or lists of these (@FILE, one a line, or - for standard
            input); by default images of the model's own evaluation split.
        output: The picture: .png, .jpg or .webp.
        count: At most so many images, spread over all.
        seed: Decode a draw from q(z|x), in place of its mean.
        npz: Write the arrays `originals`, `images`, `latents` and `psnr_db` to this file as well.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
    """
    from corolla.evaluation.reconstructions import reconstruction
    from corolla.gallery.sheets import reconstruction_sheet
    from corolla.pictures.files import save_picture
    from corolla.trained.own_images import evaluation_images

    check_outputs(output, npz)
    if count < 1:
        raise UsageError(f"--count {count}: give at least 1")
    trained = load_model(model)
    if images:
        chosen = image_pixels(trained, images, strict, count=count)
    else:
        with out.progress() as progress:
            chosen = evaluation_images(trained, count, progress=progress)
    result = reconstruction(trained, chosen, seed=seed)
    save_picture(output, reconstruction_sheet(result))
    psnr_db = float(result.psnr_db.mean())
    out.wrote(
        output, note=f"{counted(len(result.images))}, PSNR {psnr_db:.2f} dB", images=len(result.images), psnr_db=psnr_db
    )
    if npz is not None:
        latents = trained.encode(result.originals)
        save_arrays(npz, originals=result.originals, images=result.images, latents=latents, psnr_db=result.psnr_db)


def traverse(
    model: Path,
    /,
    *,
    output: Output = Path("traversal.png"),
    image: Path | None = None,
    latents: int = 10,
    latent: str | None = None,
    steps: int | None = None,
    span: float = 3.0,
    seed: int | None = None,
    npz: Path | None = None,
) -> None:
    """Move one latent at a time: what does each of them mean?

    The latents that carry most information come first; dead ones are marked.

    Args:
        model: Run folder or model folder.
        output: A sheet (.png, .jpg), or an animation with a tile for each latent (.gif, .webp, .mp4).
        image: Start from this image; by default from the middle of latent space.
        latents: How many latents, those with the largest KL first.
        latent: Show these latents, joined by commas, in place of --latents.
        steps: Positions along each latent; by default 9 in a sheet, 48 in an animation.
        span: How far to go to either side, in standard deviations of the prior.
        seed: Start from a random point: a draw from q(z|x) of the image, or from the prior.
        npz: Write the arrays `images`, `latents`, `values`, `base` and `kl_nats` to this file as well.
    """
    import numpy as np

    from corolla.gallery.generation import traversal
    from corolla.gallery.sheets import traversal_frames, traversal_sheet
    from corolla.pictures.files import save_animation, save_picture

    moves = check_outputs(output, npz, may_move=True)
    trained = load_model(model)
    count = (MOVING_STEPS if moves else STILL_STEPS) if steps is None else steps
    values = None
    if moves and count > 0:  # out to one side and the other, and back, slower at the ends
        values = (span * np.sin(2 * np.pi * np.arange(count) / count)).astype(np.float32)
    result = traversal(
        trained,
        image=image,
        latents=latents if latent is None else listed(latent, "--latent", int),
        steps=count,
        span=span,
        values=values,
        seed=seed,
    )
    if moves:
        save_animation(output, traversal_frames(result), fps=FPS)
    else:
        save_picture(output, traversal_sheet(result))
    dead = int(result.dead.sum())
    note = f"{plural(len(result.latents), 'latent')}{f', {dead} dead' if dead else ''}, {count} steps"
    out.wrote(output, note=note, shown=result.latents, kl_nats=result.kl_nats, dead=dead, steps=count)
    fields = {name: getattr(result, name) for name in ("images", "latents", "values", "base", "kl_nats")}
    save_arrays(npz, **fields)


def interpolate(
    model: Path,
    /,
    *images: Path,
    output: Output = Path("interpolation.png"),
    count: int = 6,
    steps: int | None = None,
    loop: bool = False,
    method: Literal["spherical", "linear"] = "spherical",
    seed: int = 0,
    npz: Path | None = None,
    strict: bool = False,
) -> None:
    """Walk through latent space from image to image.

    Args:
        model: Run folder or model folder.
        images: Images to walk between, as for `corolla reconstruct`; by default random points of the prior.
        output: A sheet (.png, .jpg), or an animation (.gif, .webp, .mp4).
        count: How many random points; of a folder, at most so many images, spread over it.
        steps: Images from one point to the next, both included; by default 9 in a sheet, 24 in an animation.
        loop: Walk back to the first point at last.
        method: Turn from point to point, or go straight.
        seed: Fixes the random points.
        npz: Write the arrays `images` and `latents` to this file as well.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
    """
    from corolla.gallery.generation import interpolation
    from corolla.gallery.sheets import interpolation_frames, interpolation_sheet
    from corolla.pictures.files import save_animation, save_picture

    moves = check_outputs(output, npz, may_move=True)
    if not images and count < 2:
        raise UsageError(f"--count {count}: give at least 2 points to walk between")
    trained = load_model(model)
    if images:
        endpoints = trained.encode(image_pixels(trained, images, strict, of_each=count))
    else:
        endpoints = trained.sample_latents(count, seed=seed)
    between = (MOVING_STEPS_BETWEEN if moves else STILL_STEPS) if steps is None else steps
    result = interpolation(trained, endpoints, steps=between, loop=loop, method=method)
    if moves:
        save_animation(output, interpolation_frames(result), fps=FPS)
    else:
        save_picture(output, interpolation_sheet(result))
    number = len(result.images)
    out.wrote(output, note=f"{number} images between {len(endpoints)} points", images=number, points=len(endpoints))
    save_arrays(npz, images=result.images, latents=result.latents)


def check_outputs(output: Path, npz: Path | None = None, *, may_move: bool = False) -> bool:
    """Refuse bad names before any work is done. Returns whether the output is an animation."""
    from corolla.pictures.files import MOVING_SUFFIXES, STILL_SUFFIXES, check_name, video_library

    if npz is not None:
        check_name(npz, [".npz"], "arrays")
    suffix = check_name(output, [*STILL_SUFFIXES, ".gif", ".mp4"] if may_move else list(STILL_SUFFIXES))
    if suffix == ".mp4":
        video_library()  # now, not after the work
    return may_move and suffix in MOVING_SUFFIXES


def load_model(path: Path) -> TrainedModel:
    """The model of a run folder or model folder."""
    from corolla.trained import load

    return load(path)


def find_prior(
    trained: TrainedModel,
    prior: str,
    label: str | None,
    like: tuple[Path, ...],
    strict: bool,
    *,
    source: str | None = None,
    mirror: str | None = None,
) -> str | LatentDistribution:
    """What to draw from: a theme by label or images, or a prior, which is fitted first if there is none yet."""
    given = [flag for flag, is_given in (("--label", label is not None), ("--like", bool(like))) if is_given]
    given += ["--prior"] if prior != "standard" else []
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: each says what to draw from; give one of them")
    if label is None:
        refuse_without_label(source, mirror)
    if label is not None:
        from corolla.gallery.themes import label_theme

        with out.progress() as progress:
            return label_theme(trained, label, source=source, mirror=mirror, progress=progress)
    if like:
        from corolla.gallery.themes import theme

        return theme(trained, image_pixels(trained, like, strict))
    fit_if_missing(trained, prior)
    return prior


def refuse_without_label(source: str | None, mirror: str | None) -> None:
    """Where images have moved matters only if they are needed. Raises UsageError."""
    if source is not None or mirror is not None:
        raise UsageError(f"{'--source' if source is not None else '--mirror'}: goes with --label; leave it out")


def image_pixels(
    trained: TrainedModel,
    images: tuple[Path, ...],
    strict: bool,
    *,
    count: int | None = None,
    of_each: int | None = None,
) -> NDArray[np.uint8]:
    """The images that a command line names, as the model sees them; see `read_pixels`."""
    from corolla.trained.encoding import read_pixels

    with given_images(images) as paths:
        return read_pixels(trained, paths, count=count, of_each=of_each, on_error="refuse" if strict else "skip")


def save_arrays(npz: Path | None, **arrays: NDArray[Any]) -> None:
    """Write arrays if a file is named for them, and say so."""
    from corolla.pictures.files import save_npz

    if npz is None:
        return
    save_npz(npz, **arrays)
    out.wrote(npz, note=", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in arrays.items()))
