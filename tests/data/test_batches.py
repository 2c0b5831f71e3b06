"""Batches: cut, augmented and converted as a naive loop over images would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from corolla.data.batches import Batches, _take_on_device, _take_on_host, augment, corrupt, to_float
from corolla.errors import DataError, UsageError


def numbered(count: int, height: int = 2, width: int = 3) -> NDArray[np.uint8]:
    """Images whose every pixel is their own number."""
    return np.tile(np.arange(count, dtype=np.uint8)[:, None, None, None], (1, height, width, 3))


def noise(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return images


def seen(batches: Batches, epoch: int = 0) -> list[int]:
    return [int(image[0, 0, 0]) for batch in batches.epoch(epoch) for image in batch]


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_an_epoch_visits_each_row_once(count: int, batch_size: int, seed: int, epoch: int, shuffle: bool) -> None:
    rows = np.arange(60)[::-1][:count]
    batches = Batches(numbered(60), rows, batch_size, seed=seed, shuffle=shuffle)
    sizes = [len(batch) for batch in batches.epoch(epoch)]
    assert len(sizes) == batches.steps_per_epoch
    assert set(sizes[:-1]) <= {batch_size}
    assert 0 < sizes[-1] <= batch_size
    order = seen(batches, epoch)
    assert sorted(order) == sorted(rows)
    if not shuffle:
        assert order == list(rows)


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 12), world_size=st.integers(1, 5), shuffle=st.booleans())
def test_ranks_share_each_step_equally(count: int, batch_size: int, world_size: int, shuffle: bool) -> None:
    images, rows = numbered(count), np.arange(count)
    alone = Batches(images, rows, batch_size * world_size, shuffle=shuffle)
    ranks = [
        Batches(images, rows, batch_size, shuffle=shuffle, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {batches.steps_per_epoch for batches in ranks} == {alone.steps_per_epoch}
    for step in range(2 * alone.steps_per_epoch):
        shares = [batches.rows_at(step) for batches in ranks]
        assert len({share.size for share in shares}) == 1
        together = np.stack(shares, axis=1).ravel()
        expected = alone.rows_at(step)
        assert list(together[: expected.size]) == list(expected)
        assert together.size - expected.size < world_size


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    images, rows = noise(50, 4, 6), np.arange(50)
    first = Batches(images, rows, 8, seed=3)
    onward = list(first.stream(0, 21))
    again = Batches(images, rows, 8, seed=3)
    for step in (20, 3, 13, 0):
        assert torch.equal(again.batch(step), onward[step])
    assert [len(batch) for batch in first.stream(5, 8)] == [8, 2, 8]
    assert list(first.rows_at(0)) != list(Batches(images, rows, 8, seed=4).rows_at(0))
    assert list(first.rows_at(0)) != list(first.rows_at(first.steps_per_epoch))


def test_a_batch_is_the_images_of_its_rows_in_channels_last_memory() -> None:
    images = noise(30, 5, 7)
    batches = Batches(images, np.arange(30), 8, seed=1)
    batch = batches.batch(2)
    assert batch.dtype == torch.uint8
    assert batch.shape == (8, 3, 5, 7)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for image, row in zip(batch, batches.rows_at(2), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), images[row])


def test_a_read_only_memory_map_and_a_tensor_give_the_same(tmp_path: Path) -> None:
    images = noise(20, 4, 4)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = np.arange(3, 17)
    kinds: list[Any] = [images, mapped, torch.from_numpy(images)]
    streams = [list(Batches(kind, rows, 5, seed=9).stream(0, 7)) for kind in kinds]
    for batches in zip(*streams, strict=True):
        assert torch.equal(batches[0], batches[1])
        assert torch.equal(batches[0], batches[2])
    batch = Batches(mapped, rows, 5).batch(0)
    batch.zero_()  # a batch is the caller's own
    assert np.array_equal(mapped, images)


def test_images_held_on_a_device_keep_their_order() -> None:
    images, rows = noise(20, 4, 4), np.arange(3, 17)[::-1]
    batches = Batches(images, rows, 5, seed=9, rank=1, world_size=2)
    assert batches.to("cpu") is batches
    held = batches.to("meta")  # the one other device that every machine has: shapes without values
    assert isinstance(held.images, torch.Tensor)
    assert held.images.shape == (14, 4, 4, 3)
    assert held.nbytes == batches.nbytes == 14 * 48
    assert [rows[place] for place in held.rows_at(3)] == list(batches.rows_at(3))
    assert held.batch(0).shape == (5, 3, 4, 4)
    assert held.batch(0).device.type == "meta"


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_images_held_on_a_device_need_the_order_once_an_epoch(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Batches(numbered(20), np.arange(20), 3, seed=5, rank=rank, world_size=3)
    device = Batches(torch.from_numpy(numbered(20)), np.arange(20), 3, seed=5, rank=rank, world_size=3)
    uploads: list[int] = []
    from_numpy = torch.from_numpy

    def upload(array: NDArray[Any]) -> torch.Tensor:
        uploads.append(len(array))
        return from_numpy(array)

    monkeypatch.setattr(torch, "from_numpy", upload)
    for epoch in (0, 1):
        shown = [[int(image[0, 0, 0]) for image in batch] for batch in device.epoch(epoch)]
        steps = range(epoch * host.steps_per_epoch, (epoch + 1) * host.steps_per_epoch)
        assert shown == [list(host.rows_at(step)) for step in steps]
    assert len(uploads) == 2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 0}, UsageError, "a batch of 0 images"),
        ({"rank": 2, "world_size": 2}, UsageError, "no rank 2 of 2"),
        ({"rows": np.array([], dtype=np.int64)}, DataError, "no images"),
        ({"rows": np.array([1, 4])}, UsageError, "there are 4 images, but row 4"),
        ({"rows": np.array([-1, 2])}, UsageError, "there are 4 images, but row -1"),
        ({"images": numbered(4).astype(np.float32)}, UsageError, "should be uint8"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"images": numbered(4), "rows": np.arange(4), "batch_size": 2}
    with pytest.raises(error, match=message):
        Batches(**arguments | changes)


def test_to_float_divides_by_255() -> None:
    batch = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    x = to_float(batch)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(x[1, 2].numpy().ravel(), np.arange(256, dtype=np.float32) / np.float32(255))


def naive_augment(batch: NDArray[Any], seed: Any, *, flip: bool, shift_px: int) -> NDArray[Any]:
    """One image, one row and one column at a time, with the same draws."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    count, _, height, width = batch.shape
    mirrored = rng.random((count,)) < (0.5 if flip else 0.0)
    down = rng.integers(2 * shift_px + 1, size=(count,)) - shift_px
    right = rng.integers(2 * shift_px + 1, size=(count,)) - shift_px

    def bounce(place: int, size: int) -> int:
        while not 0 <= place < size:
            place = -place if place < 0 else 2 * (size - 1) - place
        return place

    result = np.empty_like(batch)
    for i in range(count):
        for y in range(height):
            for x in range(width):
                column = width - 1 - x if mirrored[i] else x
                source = bounce(y + down[i], height), bounce(column + right[i], width)
                result[i, :, y, x] = batch[i, :, source[0], source[1]]
    return result


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 20),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    seed=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3),
    flip=st.booleans(),
    shift_px=st.integers(0, 9),
    channels_last=st.booleans(),
)
def test_augment_is_the_naive_loop(
    count: int, height: int, width: int, seed: list[int], flip: bool, shift_px: int, channels_last: bool
) -> None:
    batch = torch.from_numpy(noise(count, height, width)).permute(0, 3, 1, 2)
    batch = batch if channels_last else batch.contiguous()
    before = batch.clone()
    result = augment(batch, seed, flip=flip, shift_px=shift_px)
    assert np.array_equal(result.numpy(), naive_augment(batch.numpy(), seed, flip=flip, shift_px=shift_px))
    assert torch.equal(batch, before)
    assert result.is_contiguous(memory_format=torch.channels_last) or not (flip or shift_px)


def test_augment_draws_every_flip_and_shift_about_equally() -> None:
    image = torch.arange(81, dtype=torch.uint8).reshape(1, 1, 9, 9)
    batch = image.expand(9000, 1, 9, 9)
    centre = augment(batch, 7, flip=False, shift_px=1)[:, 0, 4, 4]
    values, counts = np.unique(centre.numpy(), return_counts=True)
    assert list(values) == [30, 31, 32, 39, 40, 41, 48, 49, 50]
    assert counts.min() > 850
    mirrored = augment(batch, 7, flip=True, shift_px=0)[:, 0, 0, 0].numpy() == 8
    assert 4250 < int(mirrored.sum()) < 4750


def test_augment_repeats_by_seed_and_leaves_alone_what_it_need_not_touch() -> None:
    batch = torch.from_numpy(noise(16, 8, 8)).permute(0, 3, 1, 2)
    assert torch.equal(augment(batch, (1, 2), flip=True, shift_px=2), augment(batch, (1, 2), flip=True, shift_px=2))
    assert not torch.equal(augment(batch, (1, 2), flip=True, shift_px=2), augment(batch, (1, 3), flip=True, shift_px=2))
    assert augment(batch, 0, flip=False, shift_px=0) is batch


def test_augment_works_on_other_types_and_single_pixels() -> None:
    x = to_float(torch.from_numpy(noise(4, 6, 6)).permute(0, 3, 1, 2))
    assert augment(x, 5, flip=True, shift_px=2).dtype == torch.float32
    dots = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1)
    assert torch.equal(augment(dots, 5, flip=True, shift_px=3), dots)


def test_the_gather_for_accelerators_takes_the_same_pixels() -> None:
    pixels = torch.from_numpy(noise(4, 6, 5)).reshape(-1, 3)
    lines, columns = torch.tensor([[[0], [55]], [[5], [80]]]), torch.tensor([[[4, 3]], [[0, 1]]])
    taken = _take_on_device(pixels, lines, columns)
    assert torch.equal(taken, pixels[[4, 3, 59, 58, 5, 6, 80, 81]])
    assert torch.equal(taken.reshape(2, 2, 2, 3), _take_on_host(pixels, lines.numpy(), columns.numpy()))
    elsewhere = torch.empty((4, 3, 6, 5), dtype=torch.uint8, device="meta")  # shapes without values
    x = to_float(augment(elsewhere, 3, flip=True, shift_px=2))
    assert x.shape == elsewhere.shape
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_an_epochs_order_is_not_the_augmentations_stream() -> None:
    """(seed, epoch) and (seed, step) are the same numbers at first; what they fix must still be independent."""
    batch = torch.arange(2, dtype=torch.uint8).reshape(1, 1, 1, 2).expand(64, 1, 1, 2)
    flips = augment(batch, (11, 0), flip=True, shift_px=0)[:, 0, 0, 0].numpy() == 1
    for stream in ([11, 0], np.random.SeedSequence([11, 0], spawn_key=(0,))):
        assert not np.array_equal(flips, np.random.default_rng(stream).random(64) < 0.5)
    order = Batches(numbered(64), np.arange(64), 64, seed=11).rows_at(0)
    augmenting = np.random.default_rng(np.random.SeedSequence([11, 0], spawn_key=(1,)))
    assert not np.array_equal(order, augmenting.permutation(64))


def test_corruption_adds_noise_of_the_stated_size_and_stays_in_range() -> None:
    torch.manual_seed(0)
    x = torch.full((4, 3, 64, 64), 0.5)
    noisy = corrupt(x, 0.1, 0.0, 1)
    assert float((noisy - x).std()) == pytest.approx(0.1, rel=0.05)
    extreme = corrupt(x, 1.0, 0.0, 1)
    assert float(extreme.min()) == 0
    assert float(extreme.max()) == 1
    assert corrupt(x, 0.0, 0.0, 1) is x


@pytest.mark.parametrize("patch_px", [1, 5, 64])
def test_corruption_hides_whole_squares_in_all_channels(patch_px: int) -> None:
    torch.manual_seed(1)
    x = torch.rand(400 if patch_px == 64 else 30, 3, 20, 33) + 0.5
    hidden = corrupt(x, 0.0, 0.3, patch_px) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert torch.equal(hidden[:, 0], hidden[:, 2])
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.06)
    for top in range(0, 20, patch_px):
        for left in range(0, 33, patch_px):
            square = hidden[:, 0, top : top + patch_px, left : left + patch_px].flatten(1)
            assert torch.equal(square.all(1), square.any(1))
