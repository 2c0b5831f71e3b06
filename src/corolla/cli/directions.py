"""The command about directions in latent space: direction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from corolla.cli.inputs import counted
from corolla.cli.use import (
    Output,
    Paths,
    check_outputs,
    image_pixels,
    load_model,
    refuse_without_label,
    report,
    save_arrays,
)
from corolla.errors import UsageError

if TYPE_CHECKING:
    from corolla.gallery.directions import Direction
    from corolla.trained import TrainedModel


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
    extent: float = 3.0,
    method: Literal["mean", "discriminant"] | None = None,
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
        extent: How far to go to either side, in standard deviations of the codes along the direction.
        method: mean, the difference of the two sets' mean codes, or discriminant, Fisher's, which tells sets apart
            better, and moves pictures less plainly; by default mean.
        seed: Fixes the random images.
        temperature: Scale of the prior's standard deviation that random images are drawn with.
        npz: Write the arrays `images`, `latents`, `shifts` and `axis` to this file as well.
        strict: Stop at an image that cannot be read; otherwise it is left out with a warning.
        source: With --label: where the training images are now, if they have moved.
        mirror: With --label: folder or URL that holds the files of a downloaded source.
    """
    from corolla.gallery.directions import check_direction_name, move, save_direction
    from corolla.gallery.sheets import direction_sheet
    from corolla.pictures.grids import save_picture

    check_outputs(output, npz)
    if save is not None:
        check_direction_name(save)
    _check_ways(label, others, target, use)
    if label is None:
        refuse_without_label(source, mirror)
    if use is not None and method is not None:
        raise UsageError(f"--method {method}: says how to find a direction, and --use gives one; leave one of them out")
    if count < 1:
        raise UsageError(f"--count {count}: give at least 1")
    trained = load_model(model)
    if images:
        starts = trained.encode(image_pixels(trained, images, strict, of_each=count))
    else:
        starts = trained.sample_latents(count, seed=seed, temperature=temperature)
    found = _find(trained, label, others, target, use, method or "mean", strict, source, mirror)
    moved = move(trained, found, starts, steps=steps, extent=extent)
    card = found.card
    print(
        f"{card.name}: {card.target_images} images against {card.other_images}; AUROC {card.auroc:.3f}, "
        f"{card.distance:.2f} sd apart ({card.held_out})"
    )
    if save is not None:
        save_direction(save, found)
        report(save, f"direction, {card.method}")
    save_picture(output, direction_sheet(moved))
    report(output, f"{counted(len(starts))}, {steps} steps")
    save_arrays(npz, images=moved.images, latents=moved.latents, shifts=moved.shifts, axis=found.axis)


def _check_ways(label: str | None, others: tuple[Path, ...], target: tuple[Path, ...], use: Path | None) -> None:
    ways = [label is not None, bool(others or target), use is not None]
    if sum(ways) != 1:
        raise UsageError("what direction? give one of --label NAME, --from IMAGES with --to IMAGES, and --use FILE")
    if bool(others) != bool(target):
        raise UsageError(f"{'--from without --to' if others else '--to without --from'}: a direction needs both")


def _find(
    trained: TrainedModel,
    label: str | None,
    others: tuple[Path, ...],
    target: tuple[Path, ...],
    use: Path | None,
    method: Literal["mean", "discriminant"],
    strict: bool,
    source: str | None,
    mirror: str | None,
) -> Direction:
    from corolla.gallery.directions import image_direction, label_direction, load_direction
    from corolla.progress import shown_progress

    if use is not None:
        return load_direction(use, trained)
    if label is not None:
        with shown_progress() as progress:
            return label_direction(trained, label, method=method, source=source, mirror=mirror, progress=progress)
    name = target[0].stem if len(target) == 1 else "direction"
    sets = image_pixels(trained, others, strict), image_pixels(trained, target, strict)
    return image_direction(trained, *sets, name=name, method=method)
