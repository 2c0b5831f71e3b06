"""Commands that tell images that are unlike others: anomalies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from corolla.cli.inputs import Given, OwnMirror, OwnSource, Strict, Workers, counted, given_images
from corolla.cli.output import out


def anomalies(  # noqa: D417, the shared flags describe themselves
    model: Path,
    /,
    *images: Given,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    score: Literal["combined", "joint", "excess"] = "combined",
    fpr: float = 0.05,
    count: int = 24,
    maps: Literal["flagged", "all", "none"] = "flagged",
    recalibrate: bool = False,
    strict: Strict = False,
    workers: Workers = None,
    source: OwnSource = None,
    mirror: OwnMirror = None,
) -> None:
    """Rank images by how unlike they are to those a model was trained on, flag the odd ones, and show where.

    Args:
        model: Run folder or model folder of the model that knows what is normal.
        output: A new folder for anomalies.csv, anomalies.png and maps/.
        score: What to rank and flag by.
        fpr: Of images like the model's own, at most this share is flagged on average.
        count: Images on the contact sheet, at most.
        maps: Which images get a picture of where they are odd.
        recalibrate: Find out again what is normal, in place of what the model folder holds.
    """
    from corolla.apps.anomalies import write_anomalies
    from corolla.trained import load

    with given_images(images) as paths, out.progress() as progress:
        written = write_anomalies(
            load(model),
            paths,
            output,
            score=score,
            fpr=fpr,
            count=count,
            maps=maps,
            recalibrate=recalibrate,
            on_error="refuse" if strict else "skip",
            workers=workers,
            source=source,
            mirror=mirror,
            progress=progress,
        )
    if written.calibration_file is not None:
        card = written.calibration
        how = f"calibrated on {card.calibration_images:,} images, by what is normal in {card.reference_images:,} others"
        out.wrote(written.calibration_file, note=how)
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
