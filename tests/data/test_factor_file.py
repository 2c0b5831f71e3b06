"""Images with known factors in a user's `.npz`: what is read, what is refused, and which split an image is in."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import corolla
from corolla.data import open_cache, open_source, recipe_named
from corolla.data.factors import FactorSource, _scrambled, is_full_grid, subset
from corolla.data.preprocessing import Preprocessing
from corolla.errors import DataError, UsageError
from corolla.pixels import PixelFormat

FIT = recipe_named("fit")
RNG = np.random.default_rng(7)


def arrays(**changes: Any) -> dict[str, Any]:
    """Twelve RGB images of 9×10 pixels over a grid of 3×4 factors."""
    grid = np.array(list(itertools.product(range(3), range(4))))
    whole = {
        "images": np.random.default_rng(3).integers(0, 256, (12, 9, 10, 3), dtype=np.uint8),
        "factors": grid,
        "factor_names": np.array(["hue", "turn"]),
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def opened(path: Path, *, compressed: bool = False, **changes: Any) -> FactorSource:
    (np.savez_compressed if compressed else np.savez)(path / "set.npz", **arrays(**changes))
    source = open_source(f"factors:{path / 'set.npz'}")
    assert isinstance(source, FactorSource)
    return source


@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_saved_is_what_is_read(tmp_path: Path, compressed: bool) -> None:
    source = opened(tmp_path, compressed=compressed)
    expected = arrays()
    assert source.name == "factors:set.npz"
    assert source.factors.tolist() == expected["factors"].tolist()
    assert source.factors.dtype == np.float32
    assert source.factor_names == ("hue", "turn")
    assert source.categorical_factors == ()
    assert source.labels is None
    assert source.label_names == ()
    assert source.fingerprint == hashlib.sha256((tmp_path / "set.npz").read_bytes()).hexdigest()
    assert np.array_equal(source.read_many(range(12), 9, 10), expected["images"])
    for index in (0, 11):
        assert np.array_equal(source.read(index, Preprocessing(FIT, 9, 10)), expected["images"][index])
        picture = Image.fromarray(expected["images"][index])
        assert np.array_equal(source.read(index, Preprocessing(FIT, 16, 12)), FIT.apply(picture, 16, 12))
        assert np.array_equal(source.read_many([index], 16, 12)[0], FIT.apply(picture, 16, 12))
    with pytest.raises(UsageError, match=r"index 12: factors:set\.npz holds images 0 to 11"):
        source.read(12, Preprocessing(FIT, 9, 10))


@pytest.mark.parametrize(
    ("dtype", "shape", "white"),
    [
        (np.bool_, (12, 8, 8), 255),
        (np.uint8, (12, 8, 8), 255),
        (np.uint8, (12, 8, 8, 1), 255),
        (np.uint8, (12, 8, 8, 3), 255),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_zeros_and_ones_are_black_and_white(
    tmp_path: Path, dtype: type, shape: tuple[int, ...], white: int, compressed: bool
) -> None:
    bits: NDArray[Any] = RNG.integers(0, 2, shape).astype(dtype)
    pixels = opened(tmp_path, compressed=compressed, images=bits).read_many(range(12), 8, 8)
    expected = bits.reshape(12, 8, 8, -1).astype(np.uint8) * np.uint8(white)
    np.testing.assert_array_equal(pixels, expected, strict=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_and_depth_stay_as_they_are(tmp_path: Path, dtype: type, channels: int) -> None:
    shape = (12, 8, 8) if channels == 1 else (12, 8, 8, channels)
    images: NDArray[Any] = RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    source = opened(tmp_path, images=images)
    assert source.formats == {PixelFormat(channels, 8 * images.itemsize): 12}
    np.testing.assert_array_equal(
        source.read_many([5, 2], 8, 8), images.reshape(12, 8, 8, channels)[[5, 2]], strict=True
    )


def test_grey_becomes_rgb_where_it_is_asked_for(tmp_path: Path) -> None:
    grey = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    pixels = opened(tmp_path, images=grey).read(5, Preprocessing(FIT, 8, 8))
    np.testing.assert_array_equal(pixels, np.repeat(grey[5, ..., None], 3, axis=2), strict=True)


def test_names_and_labels(tmp_path: Path) -> None:
    source = opened(tmp_path, factor_names=None, labels=np.arange(12, dtype=np.uint8) % 3)
    assert source.factor_names == ("factor_0", "factor_1")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2] * 4
    assert source.label_names == ("0", "1", "2")
    named = opened(tmp_path, labels=np.zeros(12, int), label_names=["rose", "tulip"])
    assert named.label_names == ("rose", "tulip")


@pytest.mark.parametrize("compressed", [False, True])
def test_the_order_in_memory_does_not_matter(tmp_path: Path, compressed: bool) -> None:
    """`np.indices(...).reshape(F, -1).T`, for one, is in Fortran's order."""
    grid = np.indices((3, 4)).reshape(2, -1).T
    images = np.asfortranarray(arrays()["images"])
    assert images.flags.f_contiguous
    assert grid.flags.f_contiguous
    source = opened(tmp_path, compressed=compressed, images=images, factors=grid)
    assert source.factors.tolist() == grid.tolist()
    assert np.array_equal(source.read_many(range(12), 9, 10), images)


def test_one_changed_pixel_is_another_fingerprint(tmp_path: Path) -> None:
    first = opened(tmp_path).fingerprint
    images = arrays()["images"]
    images[3, 4, 5, 0] ^= 1
    assert opened(tmp_path, images=images).fingerprint != first


def test_a_file_that_has_changed_is_told(tmp_path: Path) -> None:
    source = opened(tmp_path)
    source.read(0, Preprocessing(FIT, 9, 10))
    np.savez(tmp_path / "set.npz", images=np.zeros((3, 9, 10), np.uint8))
    with pytest.raises(DataError, match="has changed since it was opened"):
        source.read(0, Preprocessing(FIT, 9, 10))
    (tmp_path / "set.npz").unlink()
    with pytest.raises(DataError, match=r"set\.npz: cannot be read: No such file"):
        source.read(0, Preprocessing(FIT, 9, 10))


# ---- what is refused ----

NAN = np.full((12, 2), 0.5)
NAN[7, 1] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "holds no array `images`; it holds factors, factor_names"),
        ({"factors": None, "x": np.zeros(3)}, "holds no array `factors`; it holds images, factor_names, x"),
        ({"images": np.zeros((12, 9), np.uint8)}, r"`images` have shape \(12, 9\); give N×H×W"),
        ({"images": np.zeros((12, 9, 9, 4, 2), np.uint8)}, r"`images` have shape \(12, 9, 9, 4, 2\)"),
        ({"images": np.zeros((0, 9, 9), np.uint8)}, r"`images` have shape \(0, 9, 9\)"),
        ({"images": np.zeros((12, 9, 9))}, "`images` are float64; give uint8, uint16 or bool"),
        ({"images": np.zeros((11, 9, 9), np.uint8)}, r"`factors` have shape \(12, 2\); give 11×F"),
        ({"factors": np.zeros(12)}, r"`factors` have shape \(12,\)"),
        ({"factors": np.zeros((12, 0))}, r"`factors` have shape \(12, 0\)"),
        ({"factors": np.full((12, 2), "red")}, "`factors` are <U3; give integers or floating-point numbers"),
        ({"factors": NAN}, "factor 1 of image 7 is nan; every factor must be a finite float32"),
        ({"factors": np.full((12, 2), 1e300)}, "factor 0 of image 0 is inf"),
        ({"categorical_factors": np.array(["size"])}, "`categorical_factors` hold size; the factors are hue, turn"),
        ({"categorical_factors": np.array([1])}, "`categorical_factors` are int64 of shape .* give a list of strings"),
        ({"factor_names": np.array(["hue"])}, "`factor_names` are hue; give 2 different names"),
        ({"factor_names": np.array(["hue", "hue"])}, "give 2 different names"),
        ({"factor_names": np.array([1, 2])}, "`factor_names` are int64 of shape .* give a list of strings"),
        ({"factor_names": np.array("hue")}, "`factor_names` is a single value"),
        ({"labels": np.zeros(11, int)}, r"`labels` are int64 of shape \(11,\); give 12 integers"),
        ({"labels": np.zeros(12)}, "`labels` are float64"),
        ({"labels": np.full(12, -1)}, "go down to -1"),
        ({"labels": np.full(12, 1 << 40)}, "go up to 1099511627776 for 12 images"),
        ({"labels": np.full(12, 2), "label_names": np.array(["a", "b"])}, "go up to 2, but there are 2"),
    ],
)
def test_wrong_arrays_are_told_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert "set.npz" in str(caught.value)


class _Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["images", "factors", "factor_names", "labels"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    trap = np.array([_Trap(mark)] * 12, dtype=object)
    with pytest.raises(DataError, match=f"`{name}` holds Python objects, which are not read"):
        opened(tmp_path, **dict[str, Any]({name: trap}))
    source = opened(tmp_path, metadata=trap)  # what is not asked for is left alone
    source.read(0, Preprocessing(FIT, 9, 10))
    assert not mark.exists()


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"factors:nowhere\.npz: no such file"):
        open_source("factors:nowhere.npz")
    with pytest.raises(UsageError, match=r"a folder, not an? \.npz file"):
        open_source(f"factors:{tmp_path}")
    path = tmp_path / "set.npz"
    for contents in (b"", b"PNG", pickle.dumps({"images": 1})):
        path.write_bytes(contents)
        with pytest.raises(DataError, match=r"set\.npz: not an \.npz file, or damaged"):
            open_source(f"factors:{path}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match="it holds no arrays"):
        open_source(f"factors:{path}")
    for text in (b"no header", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff\xff"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", text)
            archive.writestr("factors.npy", text)
        with pytest.raises(DataError, match=r"set\.npz"):
            open_source(f"factors:{path}")
    with pytest.raises(UsageError, match=r"did you mean array:.*set\.npz"):
        open_source(str(path))
    with pytest.raises(UsageError, match="only what is downloaded has mirrors"):
        open_source(f"factors:{path}", mirror="https://example.org")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_was_cut_or_flipped_is_told(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "set.npz"
    opened(tmp_path, compressed=compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"not an \.npz file, or damaged"):
        open_source(f"factors:{path}")
    if compressed:  # the sum of a compressed array is checked as it is read
        path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 255]) + whole[1001:])
        with pytest.raises(DataError, match="damaged"):
            open_source(f"factors:{path}").read(0, Preprocessing(FIT, 9, 10))


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays())
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 4096, 4096, 3), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n")
        archive.writestr("factors.npy", b"")
    with pytest.raises(DataError, match=r"`images` has .* bytes instead of"):
        open_source(f"factors:{path}")


# ---- splits, subsets, grids ----


def source_of(indices: np.ndarray[Any, np.dtype[np.int64]]) -> FactorSource:
    none = np.zeros((len(indices), 1), np.float32)
    return FactorSource("factors:x", Path("x.npz"), indices, (8, 8), fingerprint="0", factors=none, factor_names=("f",))


def test_splits_are_what_they_have_always_been() -> None:
    """Written down once: who trained yesterday must find the same images in the test split tomorrow."""
    splits = source_of(np.arange(40)).splits
    assert {name: rows.tolist() for name, rows in splits.items() if name != "train"} == {
        "val": [2, 10, 39],
        "test": [7, 8, 12, 38],
    }
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(40))
    assert subset(1000, 8).tolist() == [90, 207, 305, 321, 362, 509, 560, 921]


def splitmix64(state: int) -> int:
    """One number of SplitMix64, by its published definition, in integers without end."""
    last = 2**64 - 1
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & last
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & last
    return state ^ (state >> 31)


@given(st.integers(0, 2_000_000), st.integers(1, 2))
def test_the_hash_is_splitmix64(index: int, salt: int) -> None:
    (hashed,) = _scrambled(np.array([index]), salt).tolist()
    assert hashed == splitmix64((index + (salt << 48)) * 0x9E3779B97F4A7C15 % 2**64)


@given(st.integers(1, 300), st.integers(0, 300))
def test_more_rows_move_none(few: int, more: int) -> None:
    small, large = source_of(np.arange(few)), source_of(np.arange(few + more))
    for name, rows in small.splits.items():
        assert rows.tolist() == [row for row in large.splits[name].tolist() if row < few]
    assert small.keys == large.keys[:few]


@given(st.integers(1, 400), st.data())
def test_a_subset_lies_in_every_larger_one_and_keeps_its_splits(total: int, data: st.DataObject) -> None:
    more = data.draw(st.integers(1, total))
    few = data.draw(st.integers(1, more))
    small, large = subset(total, few), subset(total, more)
    assert len(small) == len(set(small.tolist())) == few
    assert set(small.tolist()) <= set(large.tolist()) <= set(range(total))
    assert np.array_equal(small, np.sort(small))
    assert subset(total, total).tolist() == list(range(total))
    whole, part = source_of(np.arange(total)), source_of(small)
    for name, rows in part.splits.items():
        assert set(small[rows].tolist()) <= set(whole.splits[name].tolist())
        assert {part.keys[row] for row in rows} <= {whole.keys[row] for row in whole.splits[name]}


def test_splits_have_their_shares_and_know_no_factor() -> None:
    """On a grid whose last factor has ten values, every value occurs in every split, in like shares."""
    splits = source_of(np.arange(100_000)).splits
    assert [round(len(rows) / 100_000, 2) for rows in splits.values()] == [0.8, 0.1, 0.1]
    for rows in splits.values():
        counts = np.array(sorted(Counter((rows % 10).tolist()).values()))
        assert len(counts) == 10
        assert counts.max() < 1.15 * counts.min()
    taken = subset(100_000, 10_000)
    for tenths in (taken % 10, taken // 10_000):
        counts = np.bincount(tenths)
        assert len(counts) == 10
        assert counts.max() < 1.2 * counts.min()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_grid_is_known_in_any_order_and_with_any_values(sizes: list[int], random: Any) -> None:
    rows = list(itertools.product(*(range(size) for size in sizes)))
    random.shuffle(rows)
    factors = np.array(rows, dtype=np.float32) * 2.5 - 1
    assert is_full_grid(factors)
    assert not is_full_grid(np.concatenate([factors, factors[:1]]))
    if len(rows) > 1 and min(sizes) > 1 and len(sizes) > 1:
        assert not is_full_grid(factors[1:])
    assert not is_full_grid(np.where(np.arange(len(rows))[:, None] == 0, factors[-1:], factors)) or len(rows) == 1


# ---- through the house ----


def test_the_cache_keeps_factors_and_their_names(tmp_path: Path) -> None:
    source = opened(tmp_path)
    cache = open_cache(source, FIT, 9, 10, home=tmp_path)
    assert np.array_equal(cache.images, arrays()["images"])
    assert cache.factor_names == ("hue", "turn")
    assert cache.categorical_factors == ()
    assert cache.factors is not None
    assert np.array_equal(cache.factors, source.factors)
    assert open_cache(open_source("florets:3"), FIT, 8, 8, home=tmp_path).factor_names[0] == "petal_count"
    enhanced = open_cache(source, recipe_named("enhance"), 16, 16, home=tmp_path)
    assert enhanced.images.shape == (12, 16, 16, 3)


@pytest.mark.slow
def test_a_model_trains_on_them(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (60, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "tiny.npz", images=images, factors=RNG.random((60, 2)))
    config = corolla.Config().updated(
        {
            "data.source": f"factors:{tmp_path / 'tiny.npz'}",
            "data.size": 16,
            "data.flip": False,
            "data.shift_px": 0,
            "network.width": 8,
            "network.latent_dim": 3,
            "training.max_steps": 2,
            "training.batch_size": 8,
        }
    )
    model = corolla.fit(config, tmp_path / "run")
    assert model.encode(np.repeat(images[:4, ..., None], 3, axis=3)).shape == (4, 3)


def test_factors_without_an_order_are_named_in_source_and_cache(tmp_path: Path) -> None:
    source = opened(tmp_path, categorical_factors=np.array(["turn"]))
    assert source.categorical_factors == ("turn",)
    assert open_cache(source, FIT, 9, 10, home=tmp_path).categorical_factors == ("turn",)
    assert opened(tmp_path, categorical_factors=np.array([])).categorical_factors == ()
    assert opened(tmp_path, factor_names=None, categorical_factors=["factor_1"]).categorical_factors == ("factor_1",)


def test_an_npz_file_under_another_name_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "images.npz").rename(tmp_path / "images.npy")
    with pytest.raises(DataError, match=r"an \.npz file by its content"):
        open_source(f"array:{tmp_path / 'images.npy'}")
