"""The published data sets with known factors: dSprites, 3D Shapes, Cars3D, SmallNORB and MPI3D.

A set's files are downloaded once and verified by published checksums. Its images, or those of a subset, are then
written into one array that is mapped whenever it is read; nothing is held in memory as a whole.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corolla.data import factor_formats
from corolla.data.factors import FactorSource, is_full_grid, subset
from corolla.data.fetch import OfficialFile, mirror_folder, official_files
from corolla.data.npz import writing_rows
from corolla.errors import DataError, UsageError, missing_extra
from corolla.files import building, made_once, write_text, writing

if TYPE_CHECKING:
    from corolla.pixels import PixelFormat
from corolla.pixels import PixelFormat
from corolla.progress import OnProgress

_FORMAT = 1  # raise it when any pixel or factor of a prepared array changes
_COMPLETE = "complete.json"  # written last: without it, the folder is not whole


@dataclass(frozen=True)
class FactorSet:
    """A published data set.

    Attributes:
        files: What it consists of.
        factors: The number of values of each factor, by name; together they are a full grid.
        shape: Of one image: H×W if grey, H×W×3 otherwise.
        reader: What understands its files.
        label: The factor that also serves as label.
        categorical: The factors whose values have no order; angles and hues, which go round, are taken for ordered.
        label_names: What the label's values are called; empty: by their numbers.
        module: What the reader needs of the extra `factors`, if anything.
    """

    files: tuple[OfficialFile, ...]
    factors: Mapping[str, int]
    shape: tuple[int, ...]
    reader: factor_formats.Reader
    label: str
    categorical: tuple[str, ...]
    label_names: tuple[str, ...] = ()
    module: str = ""

    @property
    def count(self) -> int:
        """How many images there are: one for each combination of the factors."""
        return math.prod(self.factors.values())


_DSPRITES = (
    "https://raw.githubusercontent.com/google-deepmind/dsprites-dataset/master/dsprites_ndarray_co1sh3sc6or40x32y32"
)
_SHAPES3D = "https://storage.googleapis.com/3d-shapes/3dshapes.h5"
_CARS3D = "http://www.scottreed.info/files/nips2015-analogy-data.tar.gz"
_NORB = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/smallnorb-5x"
_MPI3D = "https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main/"
_SHAPES3D_SHA256 = "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785"
_NORB_FILES = tuple(
    OfficialFile(f"{_NORB}{instances}x9x18x6x2x96x96-{part}.mat.gz", f"sha256:{sha256}", size)
    for instances, part, sha256, size in (
        ("46789", "training-dat", "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873", 131_896_188),
        ("46789", "training-cat", "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa", 348),
        ("46789", "training-info", "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32", 71_052),
        ("01235", "testing-dat", "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474", 130_799_817),
        ("01235", "testing-cat", "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff", 347),
        ("01235", "testing-info", "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2", 10_428),
    )
)
_MPI3D_FACTORS = {"object_color": 6, "object_shape": 6, "object_size": 2, "camera_height": 3, "background_color": 3}
_MPI3D_FACTORS |= {"horizontal_axis": 40, "vertical_axis": 40}

# Checksums: dSprites by several public loaders (vaetc among them), 3D Shapes and SmallNORB by TensorFlow Datasets, with
# sizes, Cars3D by disent and latte. MPI3D's address is the authors' present one, and its checksums are those of the
# files of these names at their first one, as the library disent (nmichlo/disent) records them.
SETS: Mapping[str, FactorSet] = MappingProxyType(
    {
        "dsprites": FactorSet(
            (OfficialFile(f"{_DSPRITES}_64x64.npz", "md5:7da33b31b13a06f4b04a70402ce90c2e"),),
            {"shape": 3, "scale": 6, "orientation": 40, "position_x": 32, "position_y": 32},
            (64, 64),
            factor_formats.read_dsprites,
            label="shape",
            categorical=("shape",),
            label_names=("square", "ellipse", "heart"),
        ),
        "shapes3d": FactorSet(
            (OfficialFile(_SHAPES3D, f"sha256:{_SHAPES3D_SHA256}", 267_573_662),),
            {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15},
            (64, 64, 3),
            factor_formats.read_shapes3d,
            label="shape",
            categorical=("shape",),
            module="h5py",
        ),
        "cars3d": FactorSet(
            (OfficialFile(_CARS3D, "md5:4e866a7919c1beedf53964e6f7a23686"),),
            {"car": 183, "elevation": 4, "azimuth": 24},
            (128, 128, 3),
            factor_formats.read_cars3d,
            label="car",
            categorical=("car",),
        ),
        "smallnorb": FactorSet(
            _NORB_FILES,
            {"category": 5, "instance": 10, "elevation": 9, "azimuth": 18, "lighting": 6},
            (96, 96),
            factor_formats.read_smallnorb,
            label="category",
            categorical=("category", "instance", "lighting"),
            label_names=("animal", "human", "plane", "truck", "car"),
        ),
    }
    | {
        f"mpi3d:{kind}": FactorSet(
            (OfficialFile(f"{_MPI3D}mpi3d_{kind}.npz", f"md5:{md5}"),),
            _MPI3D_FACTORS,
            (64, 64, 3),
            factor_formats.read_mpi3d,
            label="object_shape",
            categorical=("object_color", "object_shape", "background_color"),
            label_names=("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"),
        )
        for kind, md5 in (
            ("toy", "55889cb7c7dfc655d6e0277beee88868"),
            ("realistic", "59a6225b88b635365f70c91b3e52f70f"),
            ("real", "0f33f609918fb5c97996692f91129802"),
        )
    }
)


def parse_factor_set(spec: str) -> tuple[str, int | None] | None:
    """The set that a specification names, and how many of its images; None if it names no set.

    NAME or NAME:COUNT; `mpi3d` alone is `mpi3d:toy`.
    """
    name, *rest = spec.split(":")
    if name == "mpi3d":
        name = f"mpi3d:{rest.pop(0) if rest and not rest[0].isdigit() else 'toy'}"
    if name not in SETS or len(rest) > 1 or not all(text.isascii() and text.isdigit() for text in rest):
        return None
    return name, int(rest[0]) if rest else None


def open_factor_set(
    name: str, count: int | None = None, *, mirror: str | None = None, home: Path, progress: OnProgress | None = None
) -> FactorSource:
    """Open a published set; download its files and prepare its images below `home` the first time.

    Of `count` images, fewer are among more, always the same. A mirror is a folder or URL that holds the official files,
    byte for byte.

    Raises UsageError if count is out of range, the mirror is no folder and no URL, or an extra is missing; DataError if
    a file cannot be had or is not the official one; WriteError.
    """
    spec = SETS[name]
    if count is not None and not 1 <= count <= spec.count:
        raise UsageError(f"{name}:{count}: ask for 1 to {spec.count:,} images; there are no more")
    mirror_folder(mirror)  # a wrong one is refused even where it is not needed
    rows = np.arange(spec.count, dtype=np.int64) if count is None else subset(spec.count, count)
    folder = home / "factors" / name.replace(":", "-")
    store = folder / ("all" if count is None else f"{count}")
    expected = {"format": _FORMAT, "count": len(rows), "files": {file.name: file.checksum for file in spec.files}}

    def prepare() -> NDArray[np.float32]:
        if spec.module and find_spec(spec.module) is None:  # said before anything is downloaded
            raise missing_extra("factors", name)
        files = official_files(spec.files, folder / "downloads", mirror=mirror, progress=progress)
        return _prepare(store, spec, rows, files, expected, progress)

    factors = made_once(store, lambda: _load(store, spec, expected), prepare)
    factors.setflags(write=False)
    column = factors[:, list(spec.factors).index(spec.label)].astype(np.int64)
    return FactorSource(
        name=name if count is None else f"{name}:{count}",
        path=store / "images.npy",
        indices=rows,
        size=(spec.shape[0], spec.shape[1]),
        factors=factors,
        factor_names=tuple(spec.factors),
        labels=column,
        label_names=spec.label_names or tuple(f"{spec.label} {value}" for value in range(spec.factors[spec.label])),
        fingerprint=hashlib.sha256(json.dumps([name, count, expected]).encode()).hexdigest(),
        categorical_factors=spec.categorical,
        formats={PixelFormat(3 if len(spec.shape) == 3 else 1): len(rows)},
    )


def _load(store: Path, spec: FactorSet, expected: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """The factors in a store that is whole and of these files; None otherwise."""
    try:
        if json.loads((store / _COMPLETE).read_text(encoding="utf-8")) != expected:
            return None
        images = np.load(store / "images.npy", mmap_mode="r", allow_pickle=False)
        factors = np.load(store / "factors.npy", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    whole = images.shape == (expected["count"], *spec.shape) and images.dtype == np.uint8
    return factors if whole and factors.shape == (expected["count"], len(spec.factors)) else None


def _prepare(
    store: Path,
    spec: FactorSet,
    rows: NDArray[np.int64],
    files: Mapping[str, Path],
    expected: Mapping[str, Any],
    progress: OnProgress | None,
) -> NDArray[np.float32]:
    """Write these rows' images and factors into the store, whose lock is held; returns the factors."""
    classes, blocks = spec.reader(files, tuple(spec.factors.values()))
    file = next(iter(files.values()))
    largest = np.array([size - 1 for size in spec.factors.values()])
    if classes.shape != (spec.count, len(largest)):
        raise DataError(f"{file}: has {' × '.join(map(str, classes.shape))} factors, not {spec.count} × {len(largest)}")
    if classes.min() != 0 or (classes.max(axis=0) != largest).any() or not is_full_grid(classes):
        raise DataError(f"{file}: the factors are not those of the set, every combination once")
    factors = classes[rows].astype(np.float32)
    size = len(rows) * math.prod(spec.shape)
    remedy = f"the images take {size:,} bytes: make room, or set COROLLA_HOME to another folder"
    with building(store, size=size, remedy=remedy) as unfinished:
        with writing_rows(unfinished / "images.npy", spec.shape, store.parent, remedy) as append:
            start = 0
            for block in blocks:
                if block.dtype != np.uint8 or block.shape[1:] != spec.shape or start + len(block) > spec.count:
                    raise DataError(
                        f"{file}: has images of {block.dtype} {'×'.join(map(str, block.shape[1:]))}, or more than "
                        f"{spec.count}; they should be uint8 {'×'.join(map(str, spec.shape))}"
                    )
                first, last = np.searchsorted(rows, [start, start + len(block)])
                append(block[rows[first:last] - start])
                start += len(block)
                if progress is not None:
                    progress("unpacking images", start, spec.count)
            if start != spec.count:
                raise DataError(f"{file}: has {start:,} images instead of {spec.count:,}")
        with writing(store.parent, remedy):
            np.save(unfinished / "factors.npy", factors)
        write_text(unfinished / _COMPLETE, json.dumps(expected, indent=2) + "\n")
    return factors
