"""Batches: cut from an array of images without a Python loop over images.

The batch of a step is a pure function of (seed, step): nothing has to be saved or replayed to go on from any step.
Batches stay uint8 until they are on the device where they are used; `augment` and `to_float` work there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from corolla.errors import DataError, UsageError

# Which stream of random numbers is drawn from a seed; streams of one seed are independent of each other.
_ORDER_STREAM, _AUGMENT_STREAM = 0, 1

# Images that are augmented at a time on the CPU.
_TAKE_IMAGES = 16

# Images that are copied to a device at a time.
_UPLOAD_ROWS = 2048


def _generator(seed: int | Sequence[int], stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


@dataclass(eq=False)
class Batches:
    """The batches of some rows of an image array, epoch after epoch.

    Every epoch visits each row once, in an order drawn from (seed, epoch) if `shuffle`, else as given. With several
    ranks, a step takes world_size·batch_size rows, of which each rank gets every world_size-th; all ranks get
    equally many, for which up to world_size - 1 rows of the last step of an epoch are visited twice. The last batch of
    an epoch may be smaller.

    Args:
        images: N×H×W×C uint8 or uint16, contiguous; a memory map will do. A tensor on a device is cut there.
        rows: Which images, in order.
        batch_size: Images per step on each rank.
        seed: Fixes the order, together with the epoch.
        shuffle: Whether to visit the rows in random order.
        rank: Which of the equal shares of each step is ours.
        world_size: How many shares there are.

    Attributes:
        steps_per_epoch: Batches in an epoch, the smaller last one included.
    """

    images: NDArray[np.uint8] | Tensor
    rows: NDArray[np.int64]
    batch_size: int
    seed: int = field(default=0, kw_only=True)
    shuffle: bool = field(default=True, kw_only=True)
    rank: int = field(default=0, kw_only=True)
    world_size: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        images, rows = self.images, np.asarray(self.rows, dtype=np.int64)
        if images.ndim != 4 or str(images.dtype).removeprefix("torch.") not in ("uint8", "uint16", "int16"):
            raise UsageError(
                f"images should be uint8 or uint16, NxHxWxC, but are {images.dtype} of shape {tuple(images.shape)}"
            )
        if self.batch_size < 1:
            raise UsageError(f"a batch of {self.batch_size} images cannot be made; the batch size is at least 1")
        if not 0 <= self.rank < self.world_size:
            raise UsageError(f"there is no rank {self.rank} of {self.world_size}")
        if rows.size == 0:
            raise DataError("there are no images to make batches of; choose other splits, or more images")
        if rows.min() < 0 or rows.max() >= len(images):
            raise UsageError(f"there are {len(images)} images, but row {rows.min() if rows.min() < 0 else rows.max()}")
        self.rows = rows
        self.steps_per_epoch = -(-rows.size // (self.batch_size * self.world_size))
        self._epoch_order: tuple[int, NDArray[np.int64]] | None = None
        self._device_order: tuple[int, Tensor] | None = None
        # A plain flat view: numpy's take copies whole images with it, and a memmap's subclass costs at every call.
        self._flat = None if isinstance(images, Tensor) else np.asarray(images).reshape(len(images), -1)

    @property
    def nbytes(self) -> int:
        """Bytes that the images of the rows take."""
        return int(self.rows.size * np.prod(self.images.shape[1:]) * self.images.dtype.itemsize)

    def rows_at(self, step: int) -> NDArray[np.int64]:
        """The rows of the batch at a step, counted from 0 over all epochs."""
        epoch, share = self._share(step)
        return np.asarray(self._order(epoch)[share].copy())

    def batch(self, step: int) -> Tensor:
        """The batch at a step: uint8, B×C×H×W in channels-last memory, where the images are."""
        if isinstance(self.images, Tensor):
            epoch, share = self._share(step)
            batch = self.images.index_select(0, self._order_on_device(epoch, self.images.device)[share])
        else:
            rows = self.rows_at(step)
            assert self._flat is not None
            # The rows were checked once; "clip" spares numpy a second, buffered pass.
            pixels = np.take(self._flat, rows, axis=0, mode="clip")
            batch = torch.from_numpy(pixels.reshape(rows.size, *self.images.shape[1:]))
        return batch.permute(0, 3, 1, 2)

    def stream(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[Tensor]:
        """The batches from start_step up to but not including stop_step, or without end."""
        step = start_step
        while stop_step is None or step < stop_step:
            yield self.batch(step)
            step += 1

    def epoch(self, epoch: int = 0) -> Iterator[Tensor]:
        """The batches of one epoch."""
        return self.stream(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)

    def to(self, device: torch.device | str) -> Batches:
        """The same batches, with the images of the rows held on a device."""
        if torch.device(device) == torch.device("cpu"):
            return self
        # Devices have few kernels for uint16; its bits travel as int16, which `to_float` knows.
        deep = self.images.dtype == np.uint16
        held = torch.empty(
            (self.rows.size, *self.images.shape[1:]), dtype=torch.int16 if deep else torch.uint8, device=device
        )
        for start in range(0, self.rows.size, _UPLOAD_ROWS):
            chunk = slice(start, min(start + _UPLOAD_ROWS, self.rows.size))
            some = self.images[self.rows[chunk]]
            held[chunk] = torch.as_tensor(np.asarray(some).view(np.int16) if deep else some, device=device)
        return replace(self, images=held, rows=np.arange(self.rows.size))

    def _share(self, step: int) -> tuple[int, slice]:
        """The epoch of a step, and which part of its order is ours."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size * self.world_size
        stop = min(start + self.batch_size * self.world_size, self.rows.size)
        stop += -(stop - start) % self.world_size
        return epoch, slice(start + self.rank, stop, self.world_size)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The rows in the order of an epoch, the first ones again at its end for equal shares; the latest is kept."""
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            order = self.rows
            if self.shuffle:
                order = _generator([self.seed, epoch], _ORDER_STREAM).permutation(order)
            self._epoch_order = epoch, np.resize(order, order.size + self.world_size - 1)
        return self._epoch_order[1]

    def _order_on_device(self, epoch: int, device: torch.device) -> Tensor:
        """The same on a device, so that nothing travels at a step but at the first of an epoch."""
        if self._device_order is None or self._device_order[0] != epoch:
            self._device_order = epoch, torch.from_numpy(self._order(epoch)).to(device)
        return self._device_order[1]


def to_float(batch: Tensor) -> Tensor:
    """Pixels as numbers: uint8 or uint16 B×C×H×W to float32 in [0, 1], channels-last, on the same device."""
    if batch.device.type == "cpu":
        # One pass in NumPy takes less than waking PyTorch's threads for so little work.
        pixels = batch.permute(0, 2, 3, 1).numpy()
        pixels = pixels.view(np.uint16) if pixels.dtype == np.int16 else pixels
        largest = np.float32(np.iinfo(pixels.dtype).max)
        return torch.from_numpy(np.divide(pixels, largest, dtype=np.float32, order="C")).permute(0, 3, 1, 2)
    if batch.dtype == torch.int16:
        levels = batch.to(torch.int32).bitwise_and_(0xFFFF)
        return levels.to(torch.float32, memory_format=torch.channels_last).div_(65535)
    return batch.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_batch(images: NDArray[np.uint8] | NDArray[np.float32], device: torch.device | str = "cpu") -> Tensor:
    """Images N×H×W×C, levels or float32, as networks take them: float32 N×C×H×W in [0, 1], on a device."""
    levels = images.dtype.kind == "u"
    held = np.array(images.view(np.int16) if images.dtype == np.uint16 else images)
    batch = torch.from_numpy(held).to(device).permute(0, 3, 1, 2)
    return to_float(batch) if levels else batch


def corrupt(x: Tensor, noise: float, mask: float, mask_patch_px: int) -> Tensor:
    """Damage images as the encoder of a denoising auto-encoder sees them (Vincent et al. 2008 and 2010).

    Gaussian noise of standard deviation `noise` is added to x, floats in [0, 1], and kept there; then a share `mask` of
    the squares of mask_patch_px is set to 0, in all channels. Draws from torch's global generator.
    """
    if noise > 0:
        x = (x + noise * torch.randn_like(x)).clamp(0, 1)
    if mask > 0:
        count, _, height, width = x.shape
        rows, columns = -(-height // mask_patch_px), -(-width // mask_patch_px)
        kept = (torch.rand(count, 1, rows, columns, device=x.device) >= mask).to(x.dtype)
        kept = kept.repeat_interleave(mask_patch_px, 2).repeat_interleave(mask_patch_px, 3)
        x = x * kept[:, :, :height, :width]
    return x


def augment(batch: Tensor, seed: int | Sequence[int], *, flip: bool, shift_px: int) -> Tensor:
    """Mirror and shift each image of a batch at random.

    Args:
        batch: B×C×H×W of any type, on any device; channels-last memory is fastest.
        seed: Fixes what is drawn; (seed, step) gives each step of a run its own, and the same on every device.
        flip: Whether each image is mirrored left to right with probability 1/2.
        shift_px: Each image is shifted by up to so many whole pixels, up or down and left or right, all shifts being
            equally likely. What comes in at the border is the image, reflected about its outermost pixels.

    Returns:
        A new batch like the given one, or the given one itself if there is nothing to do.
    """
    if not flip and shift_px == 0:
        return batch
    count, channels, height, width = batch.shape
    rng = _generator(seed, _AUGMENT_STREAM)
    # Row i of a table is what an image shifted by i - shift_px pixels shows, from the first pixel to the last.
    shown_y = sliding_window_view(np.pad(np.arange(height), shift_px, mode="reflect"), height)
    shown_x = sliding_window_view(np.pad(np.arange(width), shift_px, mode="reflect"), width)
    mirrored = rng.random(count) < (0.5 if flip else 0.0)
    y = shown_y[rng.integers(2 * shift_px + 1, size=count)]
    x = shown_x[rng.integers(2 * shift_px + 1, size=count)]
    x = np.where(mirrored[:, None], x[:, ::-1], x)
    # One gather of whole pixels, from (image·height + y)·width + x. Only lines and columns travel to a device.
    lines = (np.arange(count)[:, None, None] * height + y[:, :, None]) * width
    columns = x[:, None, :]
    pixels = batch.permute(0, 2, 3, 1).reshape(-1, channels)
    if batch.device.type == "cpu":
        shown = _take_on_host(pixels, lines, columns)
    else:
        shown = _take_on_device(pixels, torch.from_numpy(lines), torch.from_numpy(columns))
    return shown.reshape(count, height, width, channels).permute(0, 3, 1, 2)


def _take_on_host(pixels: Tensor, lines: NDArray[np.int64], columns: NDArray[np.int64]) -> Tensor:
    """The pixels at each line plus column, of some images at a time: the indices stay in the processor's cache."""
    source = pixels.numpy()
    shown = np.empty((lines.shape[0], lines.shape[1], columns.shape[2], source.shape[1]), dtype=source.dtype)
    for start in range(0, len(shown), _TAKE_IMAGES):
        block = slice(start, start + _TAKE_IMAGES)
        # The indices are right, and "clip" spares numpy a check of them and a buffer.
        np.take(source, lines[block] + columns[block], axis=0, mode="clip", out=shown[block])
    return torch.from_numpy(shown)


def _take_on_device(pixels: Tensor, lines: Tensor, columns: Tensor) -> Tensor:
    """The pixels of which each index is a line's plus a column's."""
    index = lines.to(pixels.device, non_blocking=True) + columns.to(pixels.device, non_blocking=True)
    return pixels.index_select(0, index.flatten())
