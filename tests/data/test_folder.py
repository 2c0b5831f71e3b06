from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corolla.data.cache import open_cache
from corolla.data.folder import open_folder
from corolla.data.layout import split_of
from corolla.data.listing import list_images
from corolla.data.preprocessing import Preprocessing
from corolla.data.recipes import recipe_named
from corolla.errors import DataError, UsageError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def keys_of(path: Path, split: str) -> list[str]:
    source = open_folder(path)
    return [source.keys[row] for row in source.splits[split]]


def test_all_extensions_in_any_case_at_any_depth_sorted(tmp_path: Path) -> None:
    names = ["b.jpg", "a.JPEG", "c/d/e.PnG", "c/f.webp", "g.bmp", "h.gif", "i.tif", "j.TIFF"]
    touch(tmp_path, *names, "notes.txt", "jpg", "k.jpg.bak", ".hidden.jpg", ".git/l.jpg", "c/.thumbs/m.png")
    assert open_folder(tmp_path).keys == tuple(sorted(names))


def test_reads_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 40, 90)).save(tmp_path / "a.png")
    source = open_folder(tmp_path)
    pixels = source.read(0, Preprocessing(recipe_named("fit"), 8, 12))
    assert pixels.shape == (8, 12, 3)
    assert (pixels == (200, 40, 90)).all()
    assert source.name == f"folder:{tmp_path.name}"
    assert source.factors is None


def test_an_unusable_image_is_named(tmp_path: Path) -> None:
    source = open_folder(touch(tmp_path, "rose/bad.jpg"))
    with pytest.raises(DataError, match=r"bad\.jpg: not a JPEG"):
        source.read(0, Preprocessing(recipe_named("fit"), 8, 8))


def test_a_recipe_that_cannot_use_an_image_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (1, 40_000)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png: .*elongated"):
        open_folder(tmp_path).read(0, Preprocessing(recipe_named("crop"), 8, 8))


def test_survives_pickle_and_a_change_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "photos/a.png")
    monkeypatch.chdir(tmp_path)
    source = pickle.loads(pickle.dumps(open_folder("photos")))
    monkeypatch.chdir("/")
    assert source.read(0, Preprocessing(recipe_named("fit"), 8, 8))[0, 0].tolist() == [1, 2, 3]


@pytest.fixture
def _links(tmp_path: Path) -> None:
    """Skip where links cannot be made: Windows lets only some users."""
    try:
        (tmp_path / "link").symlink_to(tmp_path)
    except OSError:
        pytest.skip("no links here")
    (tmp_path / "link").unlink()


@pytest.mark.usefixtures("_links")
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "real/a.jpg", "real/deep/b.jpg")
    other = touch(tmp_path / "other", "c.jpg")
    (root / "real/circle").symlink_to(root)
    (root / "aaa").symlink_to(root / "real")  # sorts before what it leads to
    (root / "out").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "one.jpg").symlink_to(other / "c.jpg")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    assert open_folder(root).keys == ("one.jpg", "out/c.jpg", "real/a.jpg", "real/deep/b.jpg")


@pytest.mark.usefixtures("_links")
def test_a_link_to_nowhere_is_said_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "later")
    reason = "cannot be read: No such file or directory"
    with pytest.raises(DataError, match=f"none of its 1 images can be read now; gone.jpg {reason}"):
        open_folder(tmp_path)
    touch(tmp_path, "here.jpg")
    caplog.clear()
    first = open_folder(tmp_path)
    assert first.keys == ("here.jpg",)
    assert caplog.messages == [f"{tmp_path / 'gone.jpg'}: {reason}; left out"]
    (tmp_path / "later").write_bytes(b"y")  # what was a fault of the moment is none for ever
    second = open_folder(tmp_path)
    assert second.keys == ("gone.jpg", "here.jpg")
    assert second.fingerprint != first.fingerprint


def test_pipes_are_no_images(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="no images"):
        open_folder(tmp_path)


def test_subfolders_are_labels(tmp_path: Path) -> None:
    source = open_folder(touch(tmp_path, "rose/1.jpg", "aster/2.jpg", "rose/old/3.jpg", "iris/4.jpg"))
    assert source.label_names == ("aster", "iris", "rose")
    assert source.labels is not None
    assert source.labels.dtype == np.int64
    assert dict(zip(source.keys, source.labels.tolist(), strict=True)) == {
        "aster/2.jpg": 0,
        "iris/4.jpg": 1,
        "rose/1.jpg": 2,
        "rose/old/3.jpg": 2,
    }


@pytest.mark.parametrize(
    "names", [("1.jpg", "2.jpg"), ("rose/1.jpg", "rose/2.jpg"), ("rose/1.jpg", "iris/2.jpg", "3.jpg")]
)
def test_what_does_not_look_like_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = open_folder(touch(tmp_path, *names))
    assert source.labels is None
    assert source.label_names == ()


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_folders_named_like_splits_are_splits(tmp_path: Path, val: str) -> None:
    touch(tmp_path, "train/rose/1.jpg", "train/iris/2.jpg", f"{val}/rose/3.jpg", "test/iris/4.jpg")
    source = open_folder(tmp_path)
    assert list(source.splits) == ["train", "val", "test"]
    assert keys_of(tmp_path, "train") == ["train/iris/2.jpg", "train/rose/1.jpg"]
    assert keys_of(tmp_path, "val") == [f"{val}/rose/3.jpg"]
    assert keys_of(tmp_path, "test") == ["test/iris/4.jpg"]
    assert source.label_names == ("iris", "rose")
    assert source.labels is not None
    assert [source.label_names[label] for label in source.labels] == [key.split("/")[1] for key in source.keys]


def test_splits_without_labels(tmp_path: Path) -> None:
    source = open_folder(touch(tmp_path, "train/1.jpg", "test/2.jpg"))
    assert list(source.splits) == ["train", "test"]
    assert source.labels is None


@pytest.mark.parametrize("names", [("train/1.jpg", "rose/2.jpg"), ("train/1.jpg",), ("test/1.jpg", "val/2.jpg")])
def test_without_a_train_folder_and_nothing_else_names_are_no_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = open_folder(touch(tmp_path, *names))
    assert list(source.splits) == ["train", "val", "test"]
    assert all(keys_of(tmp_path, split_of(name)).count(name) == 1 for name in names)


def test_adding_a_file_moves_no_other(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(200)]
    touch(tmp_path, *names[:150])
    before = {split: set(keys_of(tmp_path, split)) for split in ("train", "val", "test")}
    touch(tmp_path, *names[150:])
    for split, keys in before.items():
        assert keys <= set(keys_of(tmp_path, split))


@given(st.text())
def test_split_depends_on_the_path_alone(key: str) -> None:
    assert split_of(key) == split_of(key)
    assert split_of(key) in {"train", "val", "test"}


def test_split_is_the_published_hash() -> None:
    # Frozen: a change would silently mix the training and test images of everybody's folders.
    for key, split in {"rose/1.jpg": "val", "rose/2.jpg": "train", "rose/6.jpg": "test"}.items():
        tenth = int(hashlib.sha256(f"corolla:{key}".encode()).hexdigest()[:16], 16) % 10
        assert split_of(key) == {8: "val", 9: "test"}.get(tenth, "train") == split


def test_split_is_the_same_for_both_ways_to_write_an_accent() -> None:
    assert all(split_of(f"ros\u00e9{i}.jpg") == split_of(f"rose\u0301{i}.jpg") for i in range(50))


def test_split_shares() -> None:
    shares = Counter(split_of(f"photos/{i}.jpg") for i in range(20_000))
    for split, share in {"train": 0.8, "val": 0.1, "test": 0.1}.items():
        # Five standard deviations of a binomial count.
        assert abs(shares[split] - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5


def test_splits_cover_every_image_once(tmp_path: Path) -> None:
    source = open_folder(touch(tmp_path, *(f"{i}.png" for i in range(60))))
    assert sorted(np.concatenate(list(source.splits.values())).tolist()) == list(range(60))
    assert all(rows.dtype == np.int64 for rows in source.splits.values())


def test_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    root = touch(tmp_path / "a", "1.jpg", "2.jpg")
    first = open_folder(root).fingerprint
    content = hashlib.sha256(b"x").hexdigest()
    assert first == hashlib.sha256(f"1.jpg\0{content}\n2.jpg\0{content}\n".encode()).hexdigest()
    os.utime(root / "1.jpg", ns=(10, 11))
    assert open_folder(root).fingerprint == first
    shutil.copytree(root, tmp_path / "copy")
    root = root.rename(tmp_path / "b")
    assert open_folder(root).fingerprint == open_folder(tmp_path / "copy").fingerprint == first
    seen = {first}
    (root / "2.jpg").write_bytes(b"y")
    seen.add(open_folder(root).fingerprint)
    (root / "2.jpg").rename(root / "4.jpg")
    seen.add(open_folder(root).fingerprint)
    touch(root, "3.jpg")
    seen.add(open_folder(root).fingerprint)
    assert len(seen) == 4


def test_equal_names_sizes_and_times_share_no_cache(tmp_path: Path) -> None:
    """Two folders that a listing cannot tell apart hold different pictures."""
    shades = (10, 200)
    for shade in shades:
        root = tmp_path / str(shade) / "photos"
        root.mkdir(parents=True)
        Image.new("L", (8, 8), shade).save(root / "a.bmp")
        os.utime(root / "a.bmp", ns=(10**18, 10**18))
    sources = [open_folder(tmp_path / str(shade) / "photos", home=tmp_path / "home") for shade in shades]
    assert len({source.earlier_fingerprint for source in sources}) == 1
    assert len({source.fingerprint for source in sources}) == 2
    caches = [open_cache(source, recipe_named("fit"), 8, 8, home=tmp_path / "home") for source in sources]
    assert [int(cache.images[0, 0, 0, 0]) for cache in caches] == list(shades)
    assert not caches[0].is_of(sources[1].fingerprint)


def test_a_file_that_is_put_in_the_place_of_another_is_read_again(tmp_path: Path) -> None:
    """Of the same size and time, as `cp -p` or a restored backup leaves it: its inode or time of change differs."""
    (tmp_path / "photos").mkdir()
    file, other = tmp_path / "photos" / "a.bmp", tmp_path / "b.bmp"
    for path, shade in ((file, 10), (other, 200)):
        Image.new("L", (8, 8), shade).save(path)
        os.utime(path, ns=(10**18, 10**18))
    first = open_folder(file.parent, home=tmp_path / "home").fingerprint
    other.replace(file)
    assert open_folder(file.parent, home=tmp_path / "home").fingerprint != first


def test_no_folder_a_file_no_images(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none: no such folder"):
        open_folder(tmp_path / "none")
    touch(tmp_path, "rose.jpg", "notes/text.txt")
    with pytest.raises(UsageError, match=r"rose\.jpg: a file, not a folder"):
        open_folder(tmp_path / "rose.jpg")
    with pytest.raises(DataError, match=r"notes: holds no images; looked in all its folders for \.jpg"):
        open_folder(tmp_path / "notes")


@pytest.fixture
def _closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders named `closed` cannot be listed, even by an administrator."""
    scandir = os.scandir

    def guarded(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


@pytest.mark.usefixtures("_closed")
def test_a_folder_that_cannot_be_listed_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "open/1.jpg", "closed/2.jpg")
    assert open_folder(tmp_path).keys == ("open/1.jpg",)
    assert caplog.messages == [f"{tmp_path / 'closed'}: cannot be listed: Permission denied; left out"]
    listed, fault = sorted(list_images([tmp_path]), key=lambda entry: entry.fault)
    assert (listed.place, fault.fault) == (
        tmp_path / "open/1.jpg",
        f"{tmp_path / 'closed'}: cannot be listed: Permission denied",
    )
    with pytest.raises(DataError, match="closed: cannot be listed: Permission denied"):
        open_folder(tmp_path / "closed")


def test_folders_of_systems_are_left_out(tmp_path: Path) -> None:
    names = ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found", ".thumbnails"]
    touch(tmp_path, "rose.jpg", "deep/__macosx/x.jpg", *(f"{name}/x.jpg" for name in names))
    assert open_folder(tmp_path).keys == ("rose.jpg",)


_CONFIG = "data: {}\nobjective:\n  name: vae\nrun:\n  versions: {}\n"


@pytest.mark.parametrize(
    "files",
    [
        {"config.yaml": _CONFIG, "metrics.csv": "", "samples/x.jpg": ""},
        {"config.yaml": _CONFIG, "checkpoints/last.ckpt": "", "x.jpg": ""},
        {"config.json": '{"weights_sha256": "", "latent_kl_nats": []}', "model.safetensors": "", "scores/x.jpg": ""},
        {"sweep.yaml": "axes: {}\nbase: {}\nversions: {}\n", "x.jpg": ""},
        {"tune.yaml": "base: {}\nversions: {}\n", "x.jpg": ""},
        {"index.html": "", "run/config.yaml": _CONFIG, "flowers.jpg": ""},
        {"anomalies.csv": "path,elbo,p_value,flagged,map\n", "maps/x.jpg": ""},
        {".corolla": "", "x.jpg": ""},
    ],
)
def test_what_corolla_wrote_is_no_source(
    tmp_path: Path, files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "rose.jpg")
    before = open_folder(tmp_path)
    for name, content in files.items():
        for folder in ("deep/one", "two"):
            touch(tmp_path, f"{folder}/{name}")
            (tmp_path / folder / name).write_text(content)
    after = open_folder(tmp_path)
    assert (after.keys, after.fingerprint) == (before.keys, before.fingerprint)
    line = f"{tmp_path / 'deep/one'} and 1 more, which Corolla wrote: left out"
    assert caplog.messages == [line]
    caplog.clear()
    for path in (tmp_path, f"{tmp_path}/**/*.jpg"):
        assert [entry.place for entry in list_images([path])] == [tmp_path / "rose.jpg"]
    assert caplog.messages == [line, line]
    if ".corolla" in files:  # named by itself, it is meant
        assert open_folder(tmp_path / "two").keys == ("x.jpg",)
    else:
        with pytest.raises(DataError, match="two: a folder that Corolla wrote, and no source of images"):
            open_folder(tmp_path / "two")


@pytest.mark.parametrize(
    "files",
    [
        {"config.yaml": _CONFIG},
        {"config.yaml": "train: images\n", "model/x.txt": ""},
        {"config.json": '{"model_type": "vit"}', "model.safetensors": ""},
        {"index.html": "", "run/x.txt": ""},
        {"comparison.json": "{}"},
    ],
)
def test_what_others_wrote_is_a_source(tmp_path: Path, files: dict[str, str]) -> None:
    touch(tmp_path, "rose/1.jpg")
    for name, content in files.items():
        touch(tmp_path, f"rose/{name}")
        (tmp_path / "rose" / name).write_text(content)
    assert open_folder(tmp_path).keys == ("rose/1.jpg",)
