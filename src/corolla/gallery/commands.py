"""What each command that makes pictures does, in one call: `loop("runs/x", ["photos"], "a.gif", Loop(count=3))`.

A model is a loaded one, or its run folder or model folder. Images are named as `corolla.data.listing.list_images` takes
them: one that cannot be read is left out with a warning, but stops the work if it is the only one, or with `strict`.
Names that cannot be written and options that contradict each other are refused before the model is loaded. Raises
UsageError, DataError, ModelError, WriteError. What is slow to import is imported by the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corolla.distributions import LatentDistribution
from corolla.errors import UsageError, plural
from corolla.gallery import generation, options, sheets
from corolla.gallery.options import DRAWS, Draws
from corolla.pictures.files import check_name, check_outputs, save_animation, save_npz, save_picture
from corolla.pictures.grids import grid
from corolla.progress import OnProgress
from corolla.trained import TrainedModel, load
from corolla.trained.encoding import read_pixels
from corolla.trained.fitted_priors import FittedPrior, fit_prior
from corolla.trained.own_images import evaluation_images, own_images

STILL_STEPS, MOVING_STEPS, MOVING_STEPS_BETWEEN = 9, 48, 24

File: TypeAlias = Path | str
Model: TypeAlias = TrainedModel | File
Files: TypeAlias = Sequence[File]
Fitted: TypeAlias = FittedPrior | None
Progress: TypeAlias = OnProgress | None


@dataclass(frozen=True, eq=False)
class Written:
    """Each file with what it holds in words, the same in numbers, and the prior that was fitted first, if one was."""

    files: Mapping[Path, str]
    facts: Mapping[str, Any]
    fitted: Fitted = None


def sample(
    model: Model, output: File, how: options.Sample, draws: Draws = DRAWS, *, progress: Progress = None
) -> Written:
    """Draw new images, and write them as one picture."""
    check_outputs(output, how.npz)
    trained = _loaded(model)
    latents, fitted = _points(trained, (), how.count, draws, progress)
    images = trained.decode(latents)
    files = _write(output, grid(images, how.columns), plural(len(images), "image"))
    files |= _write_arrays(how.npz, images=images, latents=latents)
    return Written(files, {"images": len(images)}, fitted)


def reconstruct(
    model: Model, images: Files, output: File, how: options.Reconstruct, *, progress: Progress = None
) -> Written:
    """Write images, or without any some of the model's own evaluation split, beside what the model makes of them."""
    from corolla.evaluation.reconstructions import reconstruction

    check_outputs(output, how.npz)
    if (count := how.count) < 1:
        raise UsageError(f"count {count}: give at least 1")
    trained = _loaded(model)
    if images:
        given = _pixels(trained, images, how.strict, count=count)
    else:
        given = evaluation_images(trained, count, progress=progress)
    result = reconstruction(trained, given, seed=how.seed)
    psnr_db = float(result.psnr_db.mean())
    files = _write(output, sheets.reconstruction_sheet(result), f"{plural(len(given), 'image')}, PSNR {psnr_db:.2f} dB")
    if how.npz is not None:
        pairs, latents = {"originals": result.originals, "images": result.images}, trained.encode(result.originals)
        files |= _write_arrays(how.npz, **pairs, latents=latents, psnr_db=result.psnr_db)
    return Written(files, {"images": len(given), "psnr_db": psnr_db})


def traverse(model: Model, output: File, how: options.Traverse, latent: Sequence[int] | None = None) -> Written:
    """Move one latent at a time, in a sheet or an animation; `latent` says which, in place of how many."""
    moves = check_outputs(output, how.npz, may_move=True)
    steps = (MOVING_STEPS if moves else STILL_STEPS) if how.steps is None else how.steps
    result = generation.traversal(
        _loaded(model),
        image=how.image,
        latents=how.latents if latent is None else latent,
        steps=steps,
        span=how.span,
        values=generation.swing(how.span, steps) if moves and steps > 0 else None,
        seed=how.seed,
    )
    dead = int(result.dead.sum())
    note = f"{plural(len(result.latents), 'latent')}{f', {dead} dead' if dead else ''}, {steps} steps"
    files = _write(output, sheets.traversal_frames(result) if moves else sheets.traversal_sheet(result), note)
    names = ("images", "latents", "values", "base", "kl_nats")
    files |= _write_arrays(how.npz, **{name: getattr(result, name) for name in names})
    facts = {"shown": result.latents, "kl_nats": result.kl_nats, "dead": dead, "steps": steps}
    return Written(files, facts)


def interpolate(
    model: Model,
    images: Files,
    output: File,
    how: options.Interpolate,
    draws: Draws = DRAWS,
    *,
    progress: Progress = None,
) -> Written:
    """Walk from image to image, or without any from draw to draw, in a sheet or an animation."""
    moves = check_outputs(output, how.npz, may_move=True)
    trained = _loaded(model)
    ends, fitted = _points(trained, images, how.count, draws, progress)
    steps = (MOVING_STEPS_BETWEEN if moves else STILL_STEPS) if how.steps is None else how.steps
    walk = generation.interpolation(trained, ends, steps=steps, loop=how.loop, method=how.method)
    number = len(walk.images)
    content = sheets.interpolation_frames(walk) if moves else sheets.interpolation_sheet(walk)
    files = _write(output, content, f"{number} images between {len(ends)} points")
    files |= _write_arrays(how.npz, images=walk.images, latents=walk.latents)
    return Written(files, {"images": number, "points": len(ends)}, fitted)


def loop(
    model: Model, images: Files, output: File, how: options.Loop, draws: Draws = DRAWS, *, progress: Progress = None
) -> Written:
    """Walk on a closed, smooth path past images, or without any past draws, in an animation or a sheet."""
    moves = check_outputs(output, how.npz, may_move=True)
    trained = _loaded(model)
    ends, fitted = _points(trained, images, how.count, draws, progress)
    steps = (MOVING_STEPS_BETWEEN if moves else STILL_STEPS - 1) if how.steps is None else how.steps
    walk = generation.loop(trained, ends, steps=steps)
    number = len(walk.images)
    seconds = f", {number / how.fps:.1f} seconds" if moves else ""
    note = f"{number} images past {len(ends)} points{seconds}"
    content = sheets.interpolation_frames(walk) if moves else sheets.interpolation_sheet(walk)
    files = _write(output, content, note, fps=how.fps)
    files |= _write_arrays(how.npz, images=walk.images, latents=walk.latents)
    return Written(files, {"images": number, "points": len(ends)}, fitted)


def poster(
    model: Model, output: File, how: options.Poster, draws: Draws = DRAWS, *, progress: Progress = None
) -> Written:
    """Fill a picture of any size with new images, made and written a row at a time."""
    from corolla.gallery import poster as posters

    width, height = posters.parse_size(how.size)
    posters.check_poster(output, width, height)
    if how.span and draws.prior in ("gmm", "flow"):
        raise UsageError(f"span {how.span:g} with prior {draws.prior}: goes with standard, gaussian, a label or images")
    trained = _loaded(model)
    prior, fitted = _prior(trained, 1, draws, progress)
    layout = posters.plan(width, height, (trained.height, trained.width), how.columns)
    seed, temperature = draws.seed, draws.temperature
    latents = posters.poster_latents(trained, layout, span=how.span, seed=seed, temperature=temperature, prior=prior)
    posters.save_poster(output, layout, posters.strips(layout, latents, trained.decode, progress))
    number = layout.columns * layout.rows
    note = f"{width} pixels wide, {height} high; {plural(number, 'image')} in {plural(layout.columns, 'column')}"
    facts = {"images": number, "columns": layout.columns, "width": width, "height": height}
    return Written({Path(output): note}, facts, fitted)


def direction(model: Model, output: File, how: options.Direction, *, progress: Progress = None) -> Written:
    """Find a direction, or take one from a file, and move images or draws along it; the facts hold its card."""
    from corolla.gallery import directions

    check_outputs(output, how.npz)
    if how.save is not None:
        check_name(how.save, [directions.SUFFIX], "directions")
    trained, strict = _loaded(model), how.strict
    draws = Draws(seed=how.seed, temperature=how.temperature, strict=strict)
    starts, _ = _points(trained, how.images, how.count, draws, progress)
    if how.use is not None:
        axis = directions.load_direction(how.use, trained)
    elif how.label is not None:
        cache = own_images(trained, source=how.source, mirror=how.mirror, progress=progress)
        axis = directions.label_direction(trained, cache, how.label)
    else:
        sets = _pixels(trained, how.from_, strict), _pixels(trained, how.to, strict)
        name = Path(how.to[0]).stem if len(how.to) == 1 else "direction"
        axis = directions.image_direction(trained, *sets, name=name)
    moved = directions.move(trained, axis, starts, steps=how.steps, span=how.span)
    if how.save is not None:
        directions.save_direction(how.save, axis)
    files = {} if how.save is None else {how.save: "direction"}
    files |= _write(output, sheets.direction_sheet(moved), f"{plural(len(starts), 'image')}, {how.steps} steps")
    files |= _write_arrays(how.npz, images=moved.images, latents=moved.latents, shifts=moved.shifts, axis=axis.axis)
    return Written(files, {"direction": asdict(axis.card), "images": len(starts), "steps": how.steps})


def _loaded(model: Model) -> TrainedModel:
    return model if isinstance(model, TrainedModel) else load(model)


def _pixels(model: TrainedModel, images: Files, strict: bool, **most: int) -> NDArray[np.uint8]:
    return read_pixels(model, images, on_error="refuse" if strict else "skip", **most)


def _points(
    model: TrainedModel, images: Files, count: int, draws: Draws, progress: Progress
) -> tuple[NDArray[np.float32], Fitted]:
    """The codes of images, of each path at most `count`, or without images as many draws."""
    if images and draws.given:
        raise UsageError(f"images and {draws.given[0]}: each says where to go; give one of them")
    if images:
        return model.encode(_pixels(model, images, draws.strict, of_each=count)), None
    prior, fitted = _prior(model, count, draws, progress)
    return model.sample_latents(count, seed=draws.seed, temperature=draws.temperature, prior=prior), fitted


def _prior(
    model: TrainedModel, count: int, draws: Draws, progress: Progress
) -> tuple[str | LatentDistribution, Fitted]:
    """What to draw from; a prior is fitted if there is none yet. What cannot be drawn is refused before that."""
    model.sample_latents(count, seed=draws.seed, temperature=draws.temperature)
    if draws.label is None and not draws.like:
        return draws.prior, None if model.has_prior(draws.prior) else fit_prior(model, draws.prior, progress=progress)
    from corolla.gallery.themes import label_theme, theme

    if draws.label is None:
        return theme(model, _pixels(model, draws.like, draws.strict)), None
    cache = own_images(model, source=draws.source, mirror=draws.mirror, progress=progress)
    return label_theme(model, cache, draws.label), None


def _write(
    output: File, content: Image.Image | list[Image.Image], note: str, *, fps: float = options.Loop.fps
) -> dict[Path, str]:
    """Write a picture, or the frames of an animation."""
    if isinstance(content, list):
        save_animation(output, content, fps=fps)
    else:
        save_picture(output, content)
    return {Path(output): note}


def _write_arrays(npz: Path | None, **arrays: NDArray[Any]) -> dict[Path, str]:
    """Write arrays if a file is named for them."""
    if npz is None:
        return {}
    save_npz(npz, **arrays)
    return {npz: ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in arrays.items())}
