"""Commands that keep images as codes of a trained model: compress, decompress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.inputs import counted, given_images
from corolla.cli.output import out
from corolla.errors import UsageError
from corolla.files import check_new_folder

Output = Annotated[Path, Parameter(name=["--output", "-o"])]

SUFFIX = ".corolla"


def compress(
    model: Path,
    /,
    *images: Path,
    output: Output,
    step: float = 1.0,
    names: bool = False,
    strict: bool = False,
) -> None:
    """Keep images as codes of a model: tens of bytes each. Needs the extra `codec`.

    Args:
        model: Run folder or model folder; `corolla decompress` will need it too.
        images: Files, folders, .tar files, globs in quotes, or lists of these: @FILE, one a line, or - for standard
            input. They come back at the model's size.
        output: The file to write; its name ends in .corolla.
        step: How coarsely codes are rounded, in standard deviations of the posterior: more is smaller and plainer.
        names: Keep the files' names too.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
    """
    from corolla.apps import compression
    from corolla.trained import load

    if output.suffix.lower() != SUFFIX:
        raise UsageError(f"{output}: compressed images are written as {SUFFIX}; end the name in that")
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
        output: The folder, new or empty: 000001.png and so on, with the images' names if the file
            has them.
    """
    from PIL import Image

    from corolla.apps import compression
    from corolla.data.folder import OUTPUT_MARK
    from corolla.files import write_file
    from corolla.pictures.files import save_picture
    from corolla.trained import load

    check_new_folder(output)
    number = 0
    for block in compression.decompress(load(model), file):
        for index, image in enumerate(block.images):
            number += 1
            name = f"-{block.names[index]}" if block.names and block.names[index] else ""
            write_file(output / OUTPUT_MARK, b"")
            save_picture(output / f"{number:06d}{name}.png", Image.fromarray(image))
    out.wrote(output, note=counted(number), images=number)
