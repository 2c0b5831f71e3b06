"""The command that writes the report of a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.output import out
from corolla.errors import CorollaError, UsageError, command

_LOG = logging.getLogger("corolla")


def report(
    run: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    seed: int = 0,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Write one HTML page about a run: what it learnt, in pictures, numbers and plain words.

    Training writes it at its end. The page needs no network, and holds the scores if `corolla evaluate` has made them.

    Args:
        run: Run folder or model folder.
        output: The file; by default report.html in the folder.
        seed: Fixes the samples that are shown.
        source: Where the images are now, if they have moved.
        mirror: Folder or URL that holds the files of the source.
    """
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: the report is a page; end the name in .html")
    if output is not None and output.is_dir():
        raise UsageError(f"{output}: is a folder; give the name of a file")
    from corolla.report import write_report

    with out.progress() as progress:
        file = write_report(run, output=output, source=source, mirror=mirror, seed=seed, progress=progress)
    out.wrote(file)


def write_or_warn(run: Path, *, source: str | None = None, mirror: str | None = None) -> list[Path]:
    """Write the page about a run whose files are safe, so that a fault is a warning; the file, if it was written."""
    from corolla.report import write_report

    try:
        with out.progress() as progress:
            return [write_report(run, source=source, mirror=mirror, progress=progress)]
    except (CorollaError, MemoryError, RuntimeError) as error:  # the last is also PyTorch's for a full memory
        reason = error.message("--{}".format) if isinstance(error, CorollaError) else " ".join(str(error).split())
        _LOG.warning(
            "%s; no report was written, `%s` makes up for it", reason or type(error).__name__, command("report", run)
        )
        return []
