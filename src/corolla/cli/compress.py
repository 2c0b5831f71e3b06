"""Commands that keep images as codes of a trained model: compress, decompress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.inputs import Given, Strict, counted, given_images
from corolla.cli.output import out

Output = Annotated[Path, Parameter(name=["--output", "-o"])]


def compress(  # noqa: D417, the shared flags describe themselves
    model: Path,
    /,
    *images: Given,
    output: Output,
    step: float = 1.0,
    names: bool = False,
    strict: Strict = False,
) -> None:
    """Keep images as codes of a model: tens of bytes each. They come back at its size. Needs the extra `codec`.

    Args:
        model: Run folder or model folder; `corolla decompress` will need it too.
        output: The file to write; its name ends in .corolla.
        step: How coarsely codes are rounded, in standard deviations of the posterior: more is smaller and plainer.
        names: Keep the files' names too.
    """
    from corolla.apps import compression
    from corolla.pictures.files import check_name
    from corolla.trained import load

    check_name(output, [".corolla"], "compressed images")
    with given_images(images) as paths, out.progress() as progress:
        trained = load(model)
        result = compression.compress(
            trained,
            paths,
            output,
            step=step,
            names=names,
            on_error="refuse" if strict else "skip",
            progress=progress,
        )
    each = result.bytes / result.images
    bits = 8 * each / (trained.height * trained.width)
    number = counted(result.images, len(result.skipped))
    out.wrote(
        output,
        note=f"{number}, {result.bytes} bytes: {each:.1f} an image, {bits:.3f} bits a pixel",
        images=result.images,
        left_out=len(result.skipped),
        bytes=result.bytes,
        bits_per_pixel=bits,
    )


def decompress(model: Path, file: Path, /, *, output: Output) -> None:
    """Get images back from a .corolla file, as PNG files in a folder. Needs the extra `codec`.

    Args:
        model: Run folder or model folder of the model that the file was written with; any other is refused.
        file: What `corolla compress` wrote.
        output: The folder, new or empty: 000001.png and so on, with the images' names if the file has them.
    """
    from corolla.apps.compression import decompress_files
    from corolla.trained import load

    number = decompress_files(load(model), file, output)
    out.wrote(output, note=counted(number), images=number)
