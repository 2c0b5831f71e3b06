"""The command that writes a trained model in other people's formats, and checks what it wrote."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.inputs import MaybeOutput
from corolla.cli.output import out
from corolla.errors import UsageError


def export(  # noqa: D417, the shared flags describe themselves
    model: Annotated[Path | None, Parameter(help="Run folder or model folder.")] = None,
    /,
    *,
    output: MaybeOutput = None,
    half: bool = False,
    check: Path | None = None,
    against: Path | None = None,
) -> None:
    """Write a model as ONNX: encoder, decoder, the samplers of its fitted priors, its recipe, and what is known of it.

    What is written is run in ONNX Runtime and compared with the model; where it differs too much, nothing is left.

    Args:
        output: A new folder.
        half: Keep weights in float16: half the size, and small differences.
        check: Compare a folder that was exported before with what its model gave then.
        against: With --check: compare it with this run or model, on its evaluation images.
    """
    from corolla.export import check_export, export_model
    from corolla.trained import load

    if check is not None:
        if model is not None or output is not None or half:
            raise UsageError("--check looks at a folder that is there; it takes no model, --output and --half")
        trained = None if against is None else load(against)
        with out.progress() as progress:
            exported = check_export(check, against=trained, progress=progress)
    elif model is None or output is None:
        raise UsageError("give a run and a new folder, as in: corolla export RUN -o FOLDER; or --check FOLDER")
    elif against is not None:
        raise UsageError(f"--against {against}: goes with --check; an export is always compared with its model")
    else:
        with out.progress() as progress:
            exported = export_model(load(model), output, half=half, progress=progress)
        out.wrote(output, note=", ".join(exported.files))
    largest, most = exported.differences, exported.tolerance
    lines = [
        f"largest differences from PyTorch, on {exported.images}: latents {largest.latents:.1e} (at most "
        f"{most.latents:g}), pixels {largest.pixels:.2g} of 255 levels (at most {most.pixels:g})",
        *exported.left_out,
    ]
    out.lines(
        lines,
        images=exported.images,
        differences=asdict(largest),
        tolerance=asdict(most),
        left_out=exported.left_out,
    )
