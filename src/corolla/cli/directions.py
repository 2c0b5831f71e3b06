"""The command about directions in latent space: direction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from corolla.cli.output import out
from corolla.cli.use import (
    Output,
    Paths,
    check_outputs,
    image_pixels,
    load_model,
    refuse_without_label,
    save_arrays,
)
from corolla.errors import UsageError, plural


def direction(
    model: Path,
    /,
    *,
    label: str | None = None,
    others: Annotated[Paths, Parameter(name="--from")] = (),
    target: Annotated[Paths, Parameter(name="--to")] = (),
    use: Path | None = None,
    save: Path | None = None,
    output: Output = Path("direction.png"),
    images: Paths = (),
    count: int = 6,
    steps: int = 9,
    span: float = 3.0,
    seed: int = 0,
    temperature: float = 1.0,
    npz: Path | None = None,
    strict: bool = False,
    source: str | None = None,
    mirror: str | None = None,
) -> None:
    """Find the direction in latent space that leads to a kind of image, and move images along it.

    It says how well the direction tells images apart that it was not found with (AUROC: 0.5 is chance), and how far
    apart they lie.

    Args:
        model: Run folder or model folder.
        label: Lead to the training images that have this label, from all others.
        others: Lead away from these images, named as for `corolla reconstruct`; needs --to.
        target: Lead to these images, named as for `corolla reconstruct`; needs --from.
        use: A direction that --save wrote, in place of finding one.
        save: Write the direction to this file, .safetensors.
        output: The picture, a row for each image, a column for each step: .png, .jpg or .webp.
        images: Move these images, named as for `corolla reconstruct`; by default random ones.
        count: How many random images; of a folder, at most so many images, spread over it.
        steps: Positions along the direction.
        span: How far to go to either side, in standard deviations of the codes along the direction.
        seed: Fixes the random images.
        temperature: Scale of the prior's standard deviation that random images are drawn with.
        npz: Write the arrays `images`, `latents`, `shifts` and `axis` to this file as well.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
        source: With --label: where the training images are now, if they have moved.
        mirror: With --label: folder or URL that holds the files of a downloaded source.
    """
    from corolla.gallery.directions import (
        SUFFIX,
        image_direction,
        label_direction,
        load_direction,
        move,
        save_direction,
    )
    from corolla.gallery.sheets import direction_sheet
    from corolla.pictures.files import check_name, save_picture

    check_outputs(output, npz)
    if save is not None:
        check_name(save, [SUFFIX], "directions")
    _check_ways(label, others, target, use)
    if label is None:
        refuse_without_label(source, mirror)
    if count < 1:
        raise UsageError(f"--count {count}: give at least 1")
    trained = load_model(model)
    if images:
        starts = trained.encode(image_pixels(trained, images, strict, of_each=count))
    else:
        starts = trained.sample_latents(count, seed=seed, temperature=temperature)
    if use is not None:
        found = load_direction(use, trained)
    elif label is not None:
        with out.progress() as progress:
            found = label_direction(trained, label, source=source, mirror=mirror, progress=progress)
    else:
        name = target[0].stem if len(target) == 1 else "direction"
        sets = image_pixels(trained, others, strict), image_pixels(trained, target, strict)
        found = image_direction(trained, *sets, name=name)
    moved = move(trained, found, starts, steps=steps, span=span)
    card = found.card
    line = (
        f"{card.name}: {card.target_images} images against {card.other_images}; AUROC {card.auroc:.3f}, "
        f"{card.distance:.2f} sd apart ({card.held_out})"
    )
    out.lines([line], direction=asdict(card))
    if save is not None:
        save_direction(save, found)
        out.wrote(save, note="direction")
    save_picture(output, direction_sheet(moved))
    out.wrote(output, note=f"{plural(len(starts), 'image')}, {steps} steps", images=len(starts), steps=steps)
    save_arrays(npz, images=moved.images, latents=moved.latents, shifts=moved.shifts, axis=found.axis)


def _check_ways(label: str | None, others: tuple[Path, ...], target: tuple[Path, ...], use: Path | None) -> None:
    ways = [label is not None, bool(others or target), use is not None]
    if sum(ways) != 1:
        raise UsageError("what direction? give one of --label NAME, --from IMAGES with --to IMAGES, and --use FILE")
    if bool(others) != bool(target):
        raise UsageError(f"{'--from without --to' if others else '--to without --from'}: a direction needs both")
