"""A first look: a small model of drawn flowers, trained, scored, and shown in pictures and on a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corolla.config import Config, preset
from corolla.data import select_rows
from corolla.evaluation import FILE_NAME, SCORES, evaluate
from corolla.evaluation.reconstructions import reconstruction
from corolla.files import write_file
from corolla.gallery.generation import interpolation, traversal
from corolla.gallery.sheets import interpolation_frames, reconstruction_sheet, traversal_sheet
from corolla.pictures.files import save_animation, save_picture
from corolla.pictures.grids import grid
from corolla.progress import Progress
from corolla.report import write_report
from corolla.sweeps.record import elsewhere
from corolla.trained.run_folder import RunFolder
from corolla.training import fit, prepare, resolve

QUICK_STEPS = 60
SHOWN = 16
WRITTEN = ("index.html", "flowers.png", "reconstructions.png", "samples.png", "traversal.png", "interpolation.gif")
_OWN = ("seed", "training.max_steps")
"""Settings that differ between demos."""


def write_demo(
    output: Path | str = "demo", *, quick: bool = False, seed: int | None = None, progress: Progress | None = None
) -> tuple[Path, Path]:
    """Train the preset `quick` on drawn flowers, score it, and show what it learnt; returns the run and the page.

    An earlier demo is replaced. With `quick` it is trained for a few seconds only and not scored, to see that it works;
    another seed than the preset's trains another model. `progress` is that of `training.fit`.

    Raises UsageError if the folder holds something else than a demo; else as `training.fit`, `evaluate` and
    `write_report`.
    """
    folder, progress = Path(output), progress or Progress()
    changes = {"seed": seed, "training.max_steps": QUICK_STEPS if quick else None}
    config = preset("quick").updated({name: value for name, value in changes.items() if value is not None})
    _refuse_other_contents(folder, config)
    run, page, *pictures = folder / "run", *(folder / name for name in WRITTEN)
    model = fit(config, run, force=True, progress=progress)
    cache = prepare(model.config)
    images = np.asarray(cache.images[select_rows(cache.splits, model.config.data.eval_split)[:SHOWN]])
    walk = interpolation(model, model.sample_latents(6, seed=0), steps=13, loop=True)
    stills = (
        grid(images),
        reconstruction_sheet(reconstruction(model, images)),
        grid(model.sample(64, seed=0)),
        traversal_sheet(traversal(model, latents=10)),
    )
    for path, still in zip(pictures, stills, strict=False):
        save_picture(path, still)
    save_animation(pictures[-1], interpolation_frames(walk))
    with progress.pieces() as pieces:
        if not quick:
            SCORES.write(run / FILE_NAME, evaluate(model, progress=pieces).scores)
        write_file(page, write_report(run, progress=pieces).read_bytes())
    return run, page


def _refuse_other_contents(folder: Path, config: Config) -> None:
    """Raise UsageError if something would be replaced that is not of a demo."""
    if folder.exists() and not folder.is_dir():
        raise elsewhere(f"{folder}: is a file")
    run = RunFolder(folder / "run")
    if run.exists:
        before, ours = run.config().flat(), resolve(config).flat()
        # What is left open, as the channels are, the run has filled in.
        if any(value not in ("auto", before.get(name)) for name, value in ours.items() if name not in _OWN):
            raise elsewhere(f"{run.path}: is a run that is not the demo's")
    elif mine := [name for name in WRITTEN if (folder / name).exists()]:
        raise elsewhere(f"{folder}: holds {mine[0]}, but no demo")
