"""The published factor data sets, from small files that the tests write in the published formats."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import json
import math
import re
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from corolla.cli import run
from corolla.data import factor_sets, list_sources, open_cache, open_source, recipe_named
from corolla.data.factor_sets import SETS, FactorSet, parse_factor_set
from corolla.data.factors import FactorSource, is_full_grid, subset
from corolla.data.fetch import OfficialFile
from corolla.data.preprocessing import Preprocessing
from corolla.errors import DataError, UsageError, WriteError
from corolla.pixels import PixelFormat

h5py = pytest.importorskip("h5py")

FIT = recipe_named("fit")
Pixels = NDArray[np.uint8]

# As many values of each factor as keep the files small.
SIZES: Mapping[str, tuple[int, ...]] = {
    "dsprites": (3, 2, 4, 3, 2),
    "shapes3d": (2, 3, 2, 2, 4, 3),
    "cars3d": (3, 4, 5),
    "smallnorb": (5, 4, 2, 3, 2),
    "mpi3d:toy": (2, 6, 2, 3, 2, 2, 2),
}


class Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def grid(sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Every combination, by counting like an odometer."""
    rows = []
    for number in range(math.prod(sizes)):
        digits = []
        for size in reversed(sizes):
            number, digit = divmod(number, size)
            digits.append(digit)
        rows.append(digits[::-1])
    return np.array(rows)


def noise(shape: tuple[int, ...], high: int = 256) -> Pixels:
    return np.random.default_rng(5).integers(0, high, shape, dtype=np.uint8)


def write_dsprites(folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    factors = grid(SIZES["dsprites"])
    bits = noise((len(factors), 64, 64), 2)
    np.savez_compressed(
        folder / SETS["dsprites"].files[0].name,
        imgs=bits,
        latents_classes=np.asfortranarray(np.column_stack([np.zeros(len(factors), np.int64), factors])),
        latents_values=np.column_stack([np.ones(len(factors)), factors / 2]),
        metadata=np.array(Trap(folder / "mark"), dtype=object),
    )
    return bits * np.uint8(255), factors


def write_shapes3d(folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    factors = grid(SIZES["shapes3d"])
    images = noise((len(factors), 64, 64, 3))
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(7, 32, 32, 3), compression="gzip")
        file["labels"] = factors * np.array([0.1, 0.1, 0.1, 0.07, 1, 4.3]) - [0, 0, 0, 0, 0, 30]
    return images, factors


def write_cars3d(folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    cars, elevations, azimuths = SIZES["cars3d"]
    images = noise((cars, 128, 128, 3, azimuths, elevations))
    with tarfile.open(folder / "nips2015-analogy-data.tar.gz", "w:gz") as tar:

        def add(name: str, contents: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))

        add("data/shapes48.mat", b"something else")
        add("data/cars/list.txt", b"car_001_mesh\n")
        for car, image in enumerate(images):
            file = io.BytesIO()
            savemat(file, {"im": image, "mask": np.zeros((2, 2), np.uint8)}, do_compression=True)
            add(f"data/cars/car_{car:03d}_mesh.mat", file.getvalue())
        add("data/sprites/sprites_1.mat", b"something else")
    factors = grid((cars, elevations, azimuths))
    return np.stack([images[c, :, :, :, a, e] for c, e, a in factors]), factors


def norb_matrix(array: NDArray[Any], magic: int) -> bytes:
    """The format that the page of SmallNORB describes: magic number, axes, at least three lengths, numbers."""
    lengths = [*array.shape, 1, 1][: max(3, array.ndim)]
    head = b"".join(int(number).to_bytes(4, "little") for number in (magic, array.ndim, *lengths))
    return gzip.compress(head + array.tobytes())


def write_smallnorb(folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    factors = grid(SIZES["smallnorb"])
    pairs = noise((len(factors), 2, 96, 96))
    order = np.random.default_rng(1).permutation(len(factors))  # the official files are in no order either
    train = order[np.isin(factors[order, 1], (1, 3))]
    test = order[np.isin(factors[order, 1], (0, 2))]
    for rows, part in ((train, "46789x9x18x6x2x96x96-training"), (test, "01235x9x18x6x2x96x96-testing")):
        start = folder / f"smallnorb-5x{part}"
        info = factors[rows, 1:] * [1, 1, 2, 1]
        Path(f"{start}-dat.mat.gz").write_bytes(norb_matrix(pairs[rows], 0x1E3D4C55))
        Path(f"{start}-cat.mat.gz").write_bytes(norb_matrix(factors[rows, 0].astype("<i4"), 0x1E3D4C54))
        Path(f"{start}-info.mat.gz").write_bytes(norb_matrix(info.astype("<i4"), 0x1E3D4C54))
    rows = np.concatenate([train, test])
    return pairs[rows, 0], factors[rows]


def write_mpi3d(folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    factors = grid(SIZES["mpi3d:toy"])
    images = noise((len(factors), 64, 64, 3))
    np.savez(folder / "mpi3d_toy.npz", images=images)
    return images, factors


WRITERS: Mapping[str, Callable[[Path], tuple[Pixels, NDArray[np.int64]]]] = {
    "dsprites": write_dsprites,
    "shapes3d": write_shapes3d,
    "cars3d": write_cars3d,
    "smallnorb": write_smallnorb,
    "mpi3d:toy": write_mpi3d,
}


def official(file: OfficialFile, contents: bytes) -> OfficialFile:
    """The file as if these were its published contents; the kind of checksum stays."""
    algorithm = str(file.checksum).partition(":")[0]
    checksum = f"{algorithm}:{hashlib.new(algorithm, contents).hexdigest()}"
    return dataclasses.replace(file, checksum=checksum, size=len(contents) if file.size else None)


def publish(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> FactorSet:
    """Take the files in a folder for the official ones of a small set."""
    known = SETS[name]
    small = dataclasses.replace(
        known,
        files=tuple(official(file, (folder / file.name).read_bytes()) for file in known.files),
        factors=dict(zip(known.factors, SIZES[name], strict=True)),
    )
    monkeypatch.setattr(factor_sets, "SETS", {**factor_sets.SETS, name: small})
    return small


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def open_set(spec: str, mirror: Path | str, home: Path) -> FactorSource:
    source = open_source(spec, mirror=str(mirror), home=home)
    assert isinstance(source, FactorSource)
    return source


# ---- what is in them ----

UNORDERED = {"shape", "car", "category", "instance", "lighting", "object_color", "object_shape", "background_color"}


@pytest.mark.parametrize("name", WRITERS)
def test_the_images_and_factors_of_each_set(
    name: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, factors = WRITERS[name](mirror)
    known = publish(name, mirror, monkeypatch)
    source = open_set(name, mirror, tmp_path / "home")
    assert source.name == name
    assert source.factor_names == tuple(known.factors)
    assert np.array_equal(source.factors, factors)
    assert source.categorical_factors == tuple(factor for factor in known.factors if factor in UNORDERED)
    assert is_full_grid(source.factors)
    expected = images if images.ndim == 4 else images[..., None]  # grey is one channel
    pixels = PixelFormat(expected.shape[3])
    assert source.formats == {pixels: len(images)}
    height, width = known.shape[:2]
    assert np.array_equal(source.read_many(range(len(images)), height, width), expected)
    assert np.array_equal(source.read(3, Preprocessing(FIT, height, width, pixels)), expected[3])
    assert source.labels is not None
    assert source.labels.tolist() == factors[:, list(known.factors).index(known.label)].tolist()
    assert len(source.label_names) == known.factors[known.label] or known.label_names
    assert sorted(np.concatenate(list(source.splits.values())).tolist()) == list(range(len(images)))
    assert not (mirror / "mark").exists()


@pytest.mark.parametrize("name", WRITERS)
def test_some_of_the_images(name: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corolla.data.npz._BLOCK_BYTES", 5 * 4096)  # blocks end within a subset
    monkeypatch.setattr("corolla.data.factor_formats._BLOCK_IMAGES", 5)
    WRITERS[name](mirror)
    known = publish(name, mirror, monkeypatch)
    home = tmp_path / "home"
    whole = open_set(name, mirror, home)
    height, width = known.shape[:2]
    fingerprints = {whole.fingerprint}
    for count in (1, 9, known.count):
        part = open_set(f"{name}:{count}", mirror, home)
        rows = subset(known.count, count)
        assert part.name == f"{name}:{count}"
        assert np.array_equal(part.indices, rows)
        assert np.array_equal(part.factors, whole.factors[rows])
        assert np.array_equal(part.read_many(range(count), height, width), whole.read_many(rows, height, width))
        assert [part.keys[0], part.keys[-1]] == [whole.keys[rows[0]], whole.keys[rows[-1]]]
        fingerprints.add(part.fingerprint)
    assert len(fingerprints) == 4
    for count in (0, known.count + 1):
        with pytest.raises(UsageError, match=f"{name}:{count}: ask for 1 to {known.count} images"):
            open_set(f"{name}:{count}", mirror, home)


def test_what_is_published_multiplies_out() -> None:
    """The numbers of images that the authors state."""
    counts = {name: known.count for name, known in SETS.items()}
    assert counts == {
        "dsprites": 737_280,
        "shapes3d": 480_000,
        "cars3d": 17_568,
        "smallnorb": 48_600,
        "mpi3d:toy": 1_036_800,
        "mpi3d:realistic": 1_036_800,
        "mpi3d:real": 1_036_800,
    }
    sources = {usage.partition("[")[0]: about for usage, about in list_sources().items()}
    for name, spec in SETS.items():
        about = sources[name.partition(":")[0]]
        assert about.startswith(f"{spec.count:,} images ")
        assert f"with {len(spec.factors)} known factors" in about
    for known in SETS.values():
        assert known.label in known.factors
        assert len(known.label_names) in (0, known.factors[known.label])
        for file in known.files:
            algorithm, _, digest = str(file.checksum).partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64}[algorithm]
            assert file.url.endswith(file.name)


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("dsprites", ("dsprites", None)),
        ("dsprites:10000", ("dsprites", 10000)),
        ("mpi3d", ("mpi3d:toy", None)),
        ("mpi3d:50", ("mpi3d:toy", 50)),
        ("mpi3d:real", ("mpi3d:real", None)),
        ("mpi3d:realistic:7", ("mpi3d:realistic", 7)),
        ("mpi3d:complex", None),
        ("mpi3d:", None),
        ("dsprites:", None),
        ("dsprites:many", None),
        ("dsprites:-1", None),
        ("dsprites:1:2", None),
        ("cars", None),
    ],
)
def test_names_of_sets(spec: str, parsed: tuple[str, int | None] | None) -> None:
    assert parse_factor_set(spec) == parsed
    if parsed is None:
        with pytest.raises(UsageError, match=r"no such source.*\[:COUNT\]"):
            open_source(spec)


# ---- where they come from ----


@pytest.fixture
def site(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The mirror's address, and what has been asked for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.rpartition("/")[2])
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(mirror)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_downloaded_once_and_serve_every_subset(
    site: tuple[str, list[str]], mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = site
    write_smallnorb(mirror)
    known = publish("smallnorb", mirror, monkeypatch)
    calls: list[tuple[str, int, int | None]] = []
    home = tmp_path / "home"
    source = open_source("smallnorb", mirror=f"{url}/", home=home, progress=lambda *call: calls.append(call))
    assert sorted(asked) == sorted(file.name for file in known.files)
    assert calls[0][0] == f"downloading {known.files[0].name}, MB"
    assert calls[-1] == ("unpacking images", known.count, known.count)
    assert open_set("smallnorb", url, home).fingerprint == source.fingerprint
    open_set("smallnorb:7", url, home)
    assert len(asked) == 6


def test_without_a_mirror_the_official_address_is_asked(
    site: tuple[str, list[str]], mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mpi3d(mirror)
    known = publish("mpi3d:toy", mirror, monkeypatch)
    file = dataclasses.replace(known.files[0], url=f"{site[0]}/mpi3d_toy.npz")
    monkeypatch.setattr(factor_sets, "SETS", {"mpi3d:toy": dataclasses.replace(known, files=(file,))})
    assert len(open_source("mpi3d", home=tmp_path / "home").keys) == known.count
    assert site[1] == ["mpi3d_toy.npz"]


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_any_other_file_is_refused(
    name: str, remote: bool, site: tuple[str, list[str]], mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](mirror)
    known = publish(name, mirror, monkeypatch)
    path = mirror / known.files[-1].name
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    algorithm = str(known.files[0].checksum).partition(":")[0].upper()
    with pytest.raises(DataError, match=rf"{algorithm} is [0-9a-f]+ instead of [0-9a-f]+") as caught:
        open_set(name, site[0] if remote else mirror, tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "home").rglob("complete.json"))


def test_mirrors_that_are_none(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mirror nowhere: no such folder"):
        open_set("dsprites", "nowhere", tmp_path)
    with pytest.raises(DataError, match=r"holds no 3dshapes\.h5; a mirror of this set holds 3dshapes\.h5"):
        open_set("shapes3d", mirror, tmp_path)


@pytest.mark.parametrize("spoil", ["complete", "cut", "missing", "factors", "older"])
def test_a_damaged_store_is_made_again(
    spoil: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, factors = write_dsprites(mirror)
    publish("dsprites", mirror, monkeypatch)
    home = tmp_path / "home"
    source = open_set("dsprites", mirror, home)
    store = source.path.parent
    if spoil == "cut":
        source.path.write_bytes(source.path.read_bytes()[:-5])
    elif spoil == "missing":
        source.path.unlink()
    elif spoil == "factors":
        np.save(store / "factors.npy", factors[1:])
    elif spoil == "older":
        complete = json.loads((store / "complete.json").read_text())
        (store / "complete.json").write_text(json.dumps({**complete, "format": 0}))
    else:
        (store / "complete.json").write_text("{")
    again = open_set("dsprites", mirror, home)
    assert again.fingerprint == source.fingerprint
    assert np.array_equal(again.read_many(range(len(images)), 64, 64)[..., 0], images)
    assert np.array_equal(again.factors, factors)


def test_a_full_disk_leaves_nothing(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dsprites(mirror)
    publish("dsprites", mirror, monkeypatch)
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(WriteError, match="No space left on device; the images take 589,824 bytes"):
            open_set("dsprites", mirror, tmp_path / "home")
    assert not list((tmp_path / "home").rglob("*.npy"))
    assert len(open_set("dsprites", mirror, tmp_path / "home").keys) == 144


# ---- files that are official, as it were, and wrong ----


def refused(name: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of the files in the mirror, although their checksums are right."""
    publish(name, mirror, monkeypatch)
    with pytest.raises(DataError) as caught:
        open_set(name, mirror, tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "home").rglob("*.npy"))
    return str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", ["empty", "text", "cut"])
def test_files_of_another_kind_or_cut(
    name: str, kind: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](mirror)
    path = mirror / SETS[name].files[0].name
    contents = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"<html>not found</html>", "cut": contents[: len(contents) // 2]}[kind])
    message = refused(name, mirror, tmp_path, monkeypatch)
    assert path.name in message
    assert "or damaged" in message


def test_a_set_that_is_another_size(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mirror / "mpi3d_toy.npz"
    for shape, message in (
        ((575, 64, 64, 3), "has 575 images instead of 576"),
        ((577, 64, 64, 3), "or more than 576"),
        ((576, 32, 32, 3), "has images of uint8 32×32×3, or more than 576; they should be uint8 64×64×3"),
    ):
        np.savez(path, images=np.zeros(shape, np.uint8))
        assert message in refused("mpi3d:toy", mirror, tmp_path, monkeypatch)
    np.savez(path, images=np.zeros((576, 64, 64, 3), np.float32))
    assert "has images of float32" in refused("mpi3d:toy", mirror, tmp_path, monkeypatch)
    np.savez(path, images=np.asfortranarray(np.zeros((576, 64, 64, 3), np.uint8)))
    assert "lies in Fortran's order" in refused("mpi3d:toy", mirror, tmp_path, monkeypatch)
    np.savez(path, pictures=np.zeros(3))
    assert "holds no array `images`; it holds pictures" in refused("mpi3d:toy", mirror, tmp_path, monkeypatch)


def test_dsprites_that_are_not(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mirror / SETS["dsprites"].files[0].name
    factors = grid(SIZES["dsprites"])
    classes = np.column_stack([np.zeros(len(factors), np.int64), factors])
    bits = np.zeros((len(factors), 64, 64), np.uint8)
    np.savez(path, imgs=bits + 7, latents_classes=classes)
    assert "`imgs` are not of zeros and ones" in refused("dsprites", mirror, tmp_path, monkeypatch)
    np.savez(path, imgs=bits, latents_classes=factors)
    assert "are not those of dSprites" in refused("dsprites", mirror, tmp_path, monkeypatch)
    classes[0, 1] = 1
    np.savez(path, imgs=bits, latents_classes=classes)
    assert "every combination once" in refused("dsprites", mirror, tmp_path, monkeypatch)
    trap = np.array([Trap(mirror / "mark")], dtype=object)
    np.savez(path, imgs=trap, latents_classes=trap)
    assert "holds Python objects, which are not read" in refused("dsprites", mirror, tmp_path, monkeypatch)
    assert not (mirror / "mark").exists()


def test_cars_of_another_make(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mirror / "nips2015-analogy-data.tar.gz"
    for variables, message in (
        ({"im": np.zeros((128, 128, 3), np.uint8)}, r"has shape (128, 128, 3), not H×W×3"),
        ({"mask": np.zeros(3)}, "or damaged: 'im'"),
    ):
        file = io.BytesIO()
        savemat(file, variables)
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("data/cars/car_001_mesh.mat")
            info.size = len(file.getvalue())
            tar.addfile(info, io.BytesIO(file.getvalue()))
        assert message in refused("cars3d", mirror, tmp_path, monkeypatch)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("data/readme"))
    assert "has 0 images instead of 60" in refused("cars3d", mirror, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("dat", lambda raw: b"\x54" + raw[1:], "begins with 1E3D4C54 and 4 axes, not with 1E3D4C55 and 4"),
        ("dat", lambda raw: b"\x00\x00\x00\x00" + raw[4:], "begins with 0 and 4 axes"),
        ("cat", lambda raw: raw[:4] + b"\x02" + raw[5:], "begins with 1E3D4C54 and 2 axes, not with 1E3D4C54 and 1"),
        ("cat", lambda raw: raw[:-4], "or damaged: "),
        ("cat", lambda raw: raw + b"1234", "holds more than the 120 rows"),
        ("cat", lambda raw: raw[:8] + b"\x00\x00\x00\x00" + raw[12:], "has shape 0"),
        ("info", lambda raw: raw[:12] + b"\x03" + raw[13 : 20 + 120 * 3 * 4], "has shape 120×3 instead of 120×4"),
        ("info", lambda raw: raw[:28] + b"\x01" + raw[29:], "holds odd azimuths"),
        ("info", lambda raw: raw[:20] + b"\x09" + raw[21:], "the factors are not those of the set"),
    ],
)
def test_matrices_of_another_shape(
    kind: str,
    change: Callable[[bytes], bytes],
    message: str,
    mirror: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_smallnorb(mirror)
    path = mirror / f"smallnorb-5x46789x9x18x6x2x96x96-training-{kind}.mat.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    with monkeypatch.context() as patched:
        said = refused("smallnorb", mirror, tmp_path, patched)
    assert re.search(message, said), said


def test_the_extra_is_named_where_it_is_missing(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes3d(mirror)
    publish("shapes3d", mirror, monkeypatch)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        UsageError, match=r"shapes3d needs the extra `factors`; in a clone, add it with: pip install -e '.\[factors\]'"
    ):
        open_set("shapes3d", mirror, tmp_path / "home")


# ---- through the house ----


def test_the_cache_and_the_command_line(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, factors = write_shapes3d(mirror)
    publish("shapes3d", mirror, monkeypatch)
    home = tmp_path / "home"
    cache = open_cache(open_set("shapes3d", mirror, home), FIT, 64, 64, home=home)
    assert np.array_equal(cache.images, images)
    assert cache.factors is not None
    assert np.array_equal(cache.factors, factors)
    assert cache.factor_names[0] == "floor_hue"

    monkeypatch.setenv("COROLLA_HOME", str(home))
    assert run(["data", "info", "shapes3d"]) == 0  # no mirror: it is prepared
    said = capsys.readouterr().out
    assert "shapes3d: 288 images" in said
    assert "floor_hue 2, wall_hue 3, object_hue 2, scale 2, shape 4, orientation 3" in said
    assert "grid        every combination of these values once" in said
    assert "288 images, `fit`, 64x64" in said
    assert run(["data", "info", "shapes3d:50", "--mirror", str(mirror)]) == 0
    assert "grid        no" in capsys.readouterr().out
    assert run(["data", "get", "shapes3d"]) == 0
    assert "shapes3d: 288 images in " in capsys.readouterr().out
    assert run(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert f"480,000 images with 6 known factors; in {home / 'factors' / 'shapes3d'}" in listed
    assert "737,280 images with 5 known factors; downloaded at first use" in listed
    sheet = tmp_path / "sheet.png"
    assert run(["data", "preview", "shapes3d", "--output", str(sheet)]) == 0
    assert sheet.exists()
