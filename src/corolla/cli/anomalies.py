"""Commands that tell images that are unlike others: anomalies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corolla.cli.inputs import counted, given_images
from corolla.cli.output import out
from corolla.errors import ModelError, UsageError, WriteError
from corolla.files import check_new_folder

if TYPE_CHECKING:
    from corolla.apps.anomalies import Calibration
    from corolla.progress import OnProgress
    from corolla.trained import TrainedModel


def anomalies(
    model: Path,
    /,
    *images: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    score: Literal["combined", "joint", "excess"] = "combined",
    fpr: float = 0.05,
    count: int = 24,
    maps: Literal["flagged", "all", "none"] = "flagged",
    recalibrate: bool = False,
    strict: bool = False,
    workers: int | None = None,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Rank images by how unlike they are to those a model was trained on, flag the odd ones, and show where.

    Args:
        model: Run folder or model folder of the model that knows what is normal.
        images: Files, folders, .tar files, globs in quotes, and @FILE, a list of these, one a line; - is a list on
            standard input.
        output: A new folder for anomalies.csv, anomalies.png and maps/.
        score: What to rank and flag by.
        fpr: Of images like the model's own, at most this share is flagged on average.
        count: Images on the contact sheet, at most.
        maps: Which images get a picture of where they are odd.
        recalibrate: Find out again what is normal, in place of what the model folder holds.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
        workers: Threads that read and score images; by default one for each core.
        source: Where the model's own images are now, if they have moved, as for `corolla fit-prior`.
        mirror: Folder or URL that holds the files of a downloaded source.
    """
    from corolla.apps.anomalies import check_count, check_rate, check_score, write_anomalies
    from corolla.trained import load

    # All that can be wrong without the model first: calibration may take minutes.
    check_new_folder(output)
    check_rate(fpr)
    check_count(count)
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot score images; ask for 1 or more")
    with given_images(images) as paths, out.progress() as progress:
        trained = load(model)
        calibration = _calibration(trained, recalibrate, source, mirror, progress)
        check_score(score, calibration.card.scores)
        check_rate(fpr, calibration.card.calibration_images)
        written = write_anomalies(
            trained,
            paths,
            output,
            calibration,
            score=score,
            fpr=fpr,
            count=count,
            maps=maps,
            on_error="refuse" if strict else "skip",
            workers=workers,
            progress=progress,
        )
    number = counted(written.rows, written.left_out)
    out.wrote(
        output,
        note=f"{number}; {written.flagged} flagged by {score} at a false-positive rate of {fpr:g}",
        images=written.rows,
        left_out=written.left_out,
        flagged=written.flagged,
        score=score,
        fpr=fpr,
    )


def _calibration(
    trained: TrainedModel, recalibrate: bool, source: str | None, mirror: str | None, progress: OnProgress | None
) -> Calibration:
    """What the model folder holds; if there is none, or on demand, it is made and kept there."""
    from corolla.apps.anomalies import calibrate, calibration_file, load_calibration, save_calibration

    file = calibration_file(trained)
    if not recalibrate and file is not None and file.is_file():
        return load_calibration(trained)
    calibration = calibrate(trained, source=source, mirror=mirror, progress=progress)
    card = calibration.card
    how = f"calibrated on {card.calibration_images:,} images, by what is normal in {card.reference_images:,} others"
    try:
        out.wrote(save_calibration(trained, calibration), note=how)
    except (ModelError, WriteError) as error:
        out.note(f"{how}; not kept for the next time: {error}")
    return calibration
