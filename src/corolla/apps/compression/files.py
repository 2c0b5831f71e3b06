"""Images <-> a `.corolla` file, through a trained model.

What is stored of an image is the mean of q(z|x), rounded to a grid as coarse as the posterior is wide, and coded under
the prior. Where the decoder runs decides how its last bits round, which moves some values by one level in 255.

Earlier versions could write lossless files, with a residual from which the 8-bit pixels come back exactly. For these
the model's pictures are computed on the CPU in double precision, whose errors, about 1e-13, all but never tip a rounded
level; their checksum is in the file, and a machine on which they differ all the same refuses to go on.
"""

from __future__ import annotations

import copy
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from corolla.apps.compression.coder import (
    PER_OCTAVE,
    Grid,
    decode_points,
    decode_residual,
    encode_points,
    grid_of,
    reference_exponents,
    stream_coders,
)
from corolla.apps.compression.container import FINGERPRINT_BYTES, LARGEST_BLOCK, Header, Reader, Writer
from corolla.data.folder import OUTPUT_MARK
from corolla.data.given import is_file, items
from corolla.data.listing import count_images, list_images
from corolla.data.stream import OnError, leave_out, none_usable, read_images
from corolla.errors import DataError, ModelError, UsageError
from corolla.files import check_new_folder, replacing, safe_name, write_file, writing
from corolla.pictures.files import save_levels
from corolla.progress import OnProgress, steps_of
from corolla.trained import Images, TrainedModel
from corolla.trained.likeness import warn_if_unlike
from corolla.trained.model_folder import ModelCard

SMALLEST_STEP, LARGEST_STEP = 2.0**-8, 2.0**8
_BLOCK_PIXELS = 2**20
_CHECK_BYTES = 2
_CRC_BYTES = 4


@dataclass(frozen=True)
class Compressed:
    """What was written: how many images, how many bytes, and the files that were left out, each with the reason."""

    images: int
    bytes: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """Images that came out of a file: uint8 N×height×width×3, their codes N×latent_dim, and names if it has any."""

    images: NDArray[np.uint8]
    codes: NDArray[np.float32]
    names: tuple[str, ...] | None = None


def compress(
    model: TrainedModel,
    images: Images | Iterable[Images],
    output: Path | str | BinaryIO,
    *,
    step: float = 1.0,
    names: bool = False,
    on_error: OnError = "refuse",
    progress: OnProgress | None = None,
) -> Compressed:
    """Write images to a `.corolla` file; block by block, so that memory does not grow with their number.

    Images are paths as `list_images` takes them, and images as `TrainedModel` does, one after another; paths in a list
    are counted before progress is called with the images that are done. The output is an open binary file, or one that
    is there whole or not at all. The step is that of the grid in units of the posterior's standard deviation, rounded
    to a power of 2^(1/8): finer costs more bytes, coarser loses detail. With `names`, files' names are kept as
    `safe_name` has them, without suffixes.

    Raises UsageError if the step cannot be, or the extra is missing; ModelError as `fingerprint`; DataError if no image
    can be read; WriteError; also as `TrainedModel.pixels`.
    """
    stream_coders()  # refuses a missing extra before anything is read or written
    listed = images if progress is not None and isinstance(images, list) else None
    total = None if listed is None else count_images(image for image in listed if isinstance(image, str | Path))
    told = steps_of(progress, "compressing", total)
    header = Header(fingerprint(model.card), scale_of(step), named=names)
    grid = grid_of(reference_exponents(model.card.latent_kl_nats), header.scale)
    skipped: list[str] = []
    size = max(1, min(LARGEST_BLOCK, _BLOCK_PIXELS // (model.height * model.width)))
    with ExitStack() as stack:
        if isinstance(output, str | Path):
            output = Path(output)
            stack.enter_context(writing(output))
            output.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(stack.enter_context(replacing(output)).open("wb"))
        writer = Writer(output, header)
        named = _named_pixels(model, images, on_error, skipped, size)
        while block := list(islice(named, size)):
            pixels, stems = zip(*block, strict=True)
            codes = model.encode(np.stack(pixels))
            if not np.isfinite(codes).all():
                raise ModelError("the model's codes of these images are not finite; its weights are damaged")
            points = grid.quantise(codes)
            sections = [_check(points) + encode_points(points, grid)]
            if header.named:
                sections.append(zlib.compress("\0".join(stems).encode(), 9))
            writer.write(len(pixels), sections)
            told(writer.images + len(skipped))
        if not writer.images:
            raise none_usable(len(skipped))
        writer.close()
        return Compressed(writer.images, writer.bytes, tuple(skipped))


def decompress(model: TrainedModel, source: Path | str | BinaryIO) -> Iterator[Block]:
    """The images of a `.corolla` file, block by block as it is read; none before its block's checksum was found right.

    Raises ModelError if another model is needed, UsageError if the extra is missing, and DataError, with the place, if
    the file cannot be read, is not of this kind, cut short or altered, or a lossless one needs another machine's
    pictures; blocks before the place have come out.
    """
    stream_coders()  # refuses a missing extra before anything is read or written
    if isinstance(source, str | Path):
        try:
            with Path(source).open("rb") as file:
                yield from decompress(model, file)
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror}") from None
        return
    name = str(getattr(source, "name", "file"))
    reader, own = Reader(source, name), fingerprint(model.card)
    header, this = reader.header, f"{model.path or 'this one'} is {own.hex()}; give the model that it was made with"
    if header.fingerprint != own:
        raise ModelError(f"{name}: made with the model {header.fingerprint.hex()}, but {this}")
    grid = grid_of(reference_exponents(model.card.latent_kl_nats), header.scale)
    draw = exact_pictures(model) if header.lossless else model.decode
    for number, (count, sections) in enumerate(reader.blocks(), start=1):
        try:
            block = _read_block(count, sections, header, grid, draw)
        except DataError as error:
            raise DataError(f"{name}: block {number}: {error}") from None
        yield block


def decompress_files(model: TrainedModel, file: Path, folder: Path) -> int:
    """Write the images of a `.corolla` file into a new or empty folder, and return how many there are.

    They are called 000001.png and so on, with their names if the file has them. Raises as `decompress`; UsageError if
    the folder is not empty, and WriteError.
    """
    check_new_folder(folder)
    number = 0
    for block in decompress(model, file):
        write_file(folder / OUTPUT_MARK, b"")
        for name, image in zip(block.names or [""] * len(block.images), block.images, strict=True):
            number += 1
            save_levels(folder / f"{number:06d}{'-' if name else ''}{name}.png", image)
    return number


def fingerprint(card: ModelCard) -> bytes:
    """Eight bytes of a SHA-256 over what a file needs of its model: the weights, and the steps of its latents.

    Raises ModelError if the model cannot compress: it has no prior, no record of its KL, or was never saved.
    """
    objective = card.config.objective
    if objective.auto_encoder:
        raise ModelError(f"a model of the objective {objective.name} has no prior to code under; train a VAE for that")
    if not card.weights_sha256:
        raise ModelError("this model was never saved, so that a file could not say which one it needs; save it first")
    if not card.latent_kl_nats:
        raise ModelError("this model has no record of its latents' KL, which their steps follow; train it again")
    steps = ",".join("-" if one is None else str(one) for one in reference_exponents(card.latent_kl_nats))
    return hashlib.sha256(f"{card.weights_sha256} {steps}".encode()).digest()[:FINGERPRINT_BYTES]


def scale_of(step: float) -> int:
    """The step as a power of 2^(1/8), rounded. Raises UsageError if it is out of range."""
    if not SMALLEST_STEP < step < LARGEST_STEP:
        raise UsageError(f"step {step:g}: give a number above {SMALLEST_STEP:g} and below {LARGEST_STEP:g}, such as 1")
    return round(PER_OCTAVE * float(np.log2(step)))


def exact_pictures(model: TrainedModel) -> Callable[[NDArray[np.float32]], NDArray[np.uint8]]:
    """`model.decode` on the CPU in double precision: the same pictures on nearly any machine."""
    vae = copy.deepcopy(model.vae).double().cpu()

    def draw(codes: NDArray[np.float32]) -> NDArray[np.uint8]:
        with torch.inference_mode():
            mean = vae.likelihood(vae.decoder(torch.from_numpy(codes).double())).mean  # `decode` rounds to floats
        levels = (mean * 255).round().clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())

    return draw


def _named_pixels(
    model: TrainedModel, images: Images | Iterable[Images], on_error: OnError, skipped: list[str], size: int
) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Each image with its name; paths that follow one another are read ahead together."""
    one = is_file(images) or isinstance(images, Image.Image | np.ndarray | torch.Tensor)
    each: Iterable[Any] = [images] if one else items(images)
    for are_paths, run in groupby(each, lambda image: isinstance(image, str | Path)):
        if are_paths:
            entries = list_images(image for image in run if isinstance(image, str | Path))
            batches = read_images(entries, model.preprocessing, on_error=on_error, length=size)
            for number, batch in enumerate(batches):
                if number == 0:
                    warn_if_unlike(model, batch.pixels)
                skipped += batch.faults
                for entry, pixels in zip(batch.entries, batch.pixels, strict=True):
                    yield pixels, safe_name(PurePosixPath(entry.key).stem)
            continue
        for image in run:
            try:
                levels = model.levels(image)
            except DataError as error:
                leave_out([str(error)], on_error)
                skipped.append(str(error))
                continue
            for pixels in levels:
                yield pixels, ""


def _read_block(
    count: int,
    sections: list[bytes],
    header: Header,
    grid: Grid,
    draw: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
) -> Block:
    check, content = sections[0][:_CHECK_BYTES], sections[0][_CHECK_BYTES:]
    points = decode_points(content, count, grid)
    if check != _check(points):
        raise DataError("decodes to other codes than were stored; use the Corolla and constriction that wrote it")
    codes = grid.codes(points)
    images = draw(codes)
    if header.lossless:
        check, content = sections[1][:_CRC_BYTES], sections[1][_CRC_BYTES:]
        if check != zlib.crc32(images.tobytes()).to_bytes(_CRC_BYTES, "little"):
            problem = "this machine computes other pictures from its codes than the one that wrote it"
            raise DataError(f"{problem}, so that its exact pixels cannot be restored here; decompress it there")
        images = decode_residual(content, images)
    return Block(images, codes, _read_names(sections[-1], count) if header.named else None)


def _read_names(section: bytes, count: int) -> tuple[str, ...]:
    try:
        names = tuple(zlib.decompressobj().decompress(section, 2**20).decode().split("\0"))
    except (zlib.error, UnicodeDecodeError):
        raise DataError("its names cannot be read") from None
    if len(names) != count or any(name != safe_name(name) for name in names):
        raise DataError("its names are not those of files")
    return names


def _check(points: NDArray[np.int32]) -> bytes:
    """Two bytes by which a decoder whose tables are others than the encoder's is found out."""
    return zlib.crc32(points.astype("<i4").tobytes()).to_bytes(4, "little")[:_CHECK_BYTES]
