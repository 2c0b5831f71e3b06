"""The command that shows it all: trains on drawn flowers and leaves a page to open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from corolla.cli.output import out
from corolla.errors import UsageError, command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from corolla.config import Config
    from corolla.trained import TrainedModel

QUICK_STEPS = 60
SHOWN = 16
WRITTEN = ("index.html", "flowers.png", "reconstructions.png", "samples.png", "traversal.png", "interpolation.gif")
_OWN = ("seed", "training.max_steps")
"""Settings that differ between demos."""


def demo(
    *,
    quick: bool = False,
    seed: int | None = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo"),
) -> None:
    """Train a small model on drawn flowers, score it, and write a page that shows what it learnt.

    Needs no download; takes a few minutes on two cores. Run again, it replaces what it wrote.

    Args:
        quick: Train for a few seconds only, to see that everything works.
        seed: Another seed trains another model; by default the preset's.
        output: The folder to write.
    """
    from corolla.trained.run_folder import RunFolder

    run = output / "run"
    page = output / "index.html"
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file; choose another folder with --output")
    there = [name for name in WRITTEN if (output / name).exists()]
    if there and not RunFolder(run).exists:
        raise UsageError(f"{output}: holds {there[0]}, but no demo; choose another folder with --output")
    from corolla.config import preset
    from corolla.files import write_file
    from corolla.report import write_report
    from corolla.training import fit

    config = preset("quick")
    if seed is not None:
        config = config.updated({"seed": seed})
    if quick:
        config = config.updated({"training.max_steps": QUICK_STEPS})
    _refuse_other_run(run, config)
    model = fit(config, run, force=True, progress=out.training())
    images = _held_out(config)
    _write_pictures(output, model, images)
    if not quick:
        _score(run, model)
    write_file(page, write_report(run).read_bytes())
    lines = [f"the model is in {run}; `{command('info', run)}` describes it", f"open this page: {page.resolve()}"]
    out.done(lines, run=run, page=page.resolve())


def _refuse_other_run(run: Path, config: Config) -> None:
    """Raise UsageError if the run that would be replaced is not one of a demo."""
    from corolla.trained.run_folder import RunFolder
    from corolla.training import resolve

    if not RunFolder(run).exists:
        return
    before, ours = RunFolder(run).config().flat(), resolve(config).flat()
    if any(before.get(name) != value for name, value in ours.items() if name not in _OWN):
        raise UsageError(f"{run}: is a run that is not the demo's; choose another folder with --output, or remove it")


def _score(run: Path, model: TrainedModel) -> None:
    from corolla.evaluation import FILE_NAME, SCORES, evaluate

    with out.progress() as progress:
        SCORES.write(run / FILE_NAME, evaluate(model, progress=progress).scores)


def _held_out(config: Config) -> NDArray[np.uint8]:
    import numpy as np

    from corolla.data import select_rows
    from corolla.training import prepare

    cache = prepare(config)
    return np.asarray(cache.images[select_rows(cache.splits, config.data.eval_split)[:SHOWN]])


def _write_pictures(folder: Path, model: TrainedModel, images: NDArray[np.uint8]) -> None:
    from corolla.evaluation.reconstructions import reconstruction
    from corolla.gallery.generation import interpolation, traversal
    from corolla.gallery.sheets import interpolation_frames, reconstruction_sheet, traversal_sheet
    from corolla.pictures.files import save_animation, save_picture
    from corolla.pictures.grids import grid

    save_picture(folder / "flowers.png", grid(images))
    save_picture(folder / "reconstructions.png", reconstruction_sheet(reconstruction(model, images)))
    save_picture(folder / "samples.png", grid(model.sample(64, seed=0)))
    save_picture(folder / "traversal.png", traversal_sheet(traversal(model, latents=10)))
    walk = interpolation(model, model.sample_latents(6, seed=0), steps=13, loop=True)
    save_animation(folder / "interpolation.gif", interpolation_frames(walk))
