"""The command that shows it all: trains on drawn flowers and leaves a page to open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.output import out
from corolla.errors import command


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
    from corolla.demo import write_demo

    made = write_demo(output, quick=quick, seed=seed, progress=out.training())
    page = made.page.resolve()
    lines = [f"the model is in {made.run}; `{command('info', made.run)}` describes it", f"open this page: {page}"]
    out.done(lines, run=made.run, page=page)
