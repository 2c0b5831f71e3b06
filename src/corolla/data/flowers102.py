"""Oxford Flowers 102: 8,189 flowers of 102 kinds (Nilsback & Zisserman 2008), from the official host or a mirror."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.io import loadmat

from corolla.data.archives import extract
from corolla.data.fetch import OfficialFile, mirror_folder, official_files
from corolla.data.sources import FileSource
from corolla.errors import DataError
from corolla.files import building, made_once, write_text, writing
from corolla.progress import OnProgress, megabytes_of

_LOG = logging.getLogger("corolla")

OFFICIAL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
ARCHIVE = "102flowers.tgz"
ARCHIVE_MD5 = "52808999861908f626f3c1f4e79d11fa"
ARCHIVE_BYTES = 344_862_509
LABELS, SPLITS = "imagelabels.mat", "setid.mat"

_TABLES = {LABELS: "e0620be6f572b9609742df49c70aed4d", SPLITS: "a5357ecc9cb78c4bef273ce3793fc85c"}  # by their MD5
_KEYS = tuple(f"jpg/image_{number:05d}.jpg" for number in range(1, 8190))
_COMPLETE = "complete.json"  # written last: without it, the folder is not whole


def open_flowers102(mirror: str | None, *, home: Path, progress: OnProgress | None = None) -> FileSource:
    """Open the flowers; download and unpack them below `home` the first time.

    The official splits are kept: train 1020, val 1020, test 6149. Labels are 0-based.

    Args:
        mirror: A folder or URL with `102flowers.tgz`, `imagelabels.mat` and `setid.mat`; None is the official host.
            The tables must be the official ones. The archive may hold other versions of the images, under the
            official names.
        home: Where downloads are kept.
        progress: Called while it is downloaded and unpacked; see `corolla.progress`.

    Raises UsageError if the mirror is no folder and no URL, DataError if a file cannot be had or is wrong; WriteError.
    """
    folder = home / "flowers102"
    origin = _origin(mirror)
    digest = hashlib.sha256(origin.encode(errors="surrogateescape")).hexdigest()[:16]
    note = folder / "origins" / f"{digest}.json"  # so that an archive is hashed once, and not at every start
    store = made_once(
        folder / "flowers102",
        lambda: _load(folder, note),
        lambda: _prepare(folder, mirror, folder / "downloads" / digest, note, progress),
    )
    labels, splits = _read_tables(store)
    names = resources.files("corolla.data").joinpath("flowers102_names.txt").read_text(encoding="utf-8").splitlines()
    fingerprint = json.loads((store / _COMPLETE).read_text(encoding="utf-8"))["fingerprint"]
    return FileSource("flowers102", _KEYS, splits, fingerprint, labels, names, root=store / "images")


def _origin(mirror: str | None) -> str:
    """What identifies where the files come from, and for a folder, its archive's version."""
    folder = mirror_folder(mirror)
    if folder is None:
        return (mirror or OFFICIAL).rstrip("/")
    if not (folder / ARCHIVE).is_file():
        return str(folder)
    status = (folder / ARCHIVE).stat()
    return f"{folder}|{status.st_size}|{status.st_mtime_ns}"


def _load(folder: Path, note: Path) -> Path | None:
    """The store that an origin has led to before, as its note says, if it is still whole."""
    try:
        store = folder / str(json.loads(note.read_text(encoding="utf-8"))["store"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return store if _is_whole(store) else None


def _is_whole(store: Path) -> bool:
    """Whether the store was finished and its images still have the names and sizes of then."""
    if not (store / _COMPLETE).exists():
        return False
    try:
        complete = json.loads((store / _COMPLETE).read_text(encoding="utf-8"))
        whole = bool(complete["listing"] == _listing(store / "images")) and all(
            _md5(store / name) == md5 for name, md5 in _TABLES.items()
        )
    except (OSError, ValueError, LookupError, TypeError):
        whole = False
    if not whole:
        _LOG.warning("%s: damaged since it was unpacked; unpacking again", store)
    return whole


def _md5(path: Path) -> str:
    return str(pooch.file_hash(str(path), alg="md5"))


def _listing(images: Path) -> str:
    """A digest of the names and sizes of all images."""
    with os.scandir(images / "jpg") as entries:
        lines = sorted(f"{entry.name} {entry.stat().st_size}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _prepare(folder: Path, mirror: str | None, downloads: Path, note: Path, progress: OnProgress | None) -> Path:
    """Get, verify and unpack the files; returns the store."""
    tables = [OfficialFile(f"{OFFICIAL}/{name}", f"md5:{md5}") for name, md5 in _TABLES.items()]
    archive = OfficialFile(f"{OFFICIAL}/{ARCHIVE}", f"md5:{ARCHIVE_MD5}", ARCHIVE_BYTES)
    if mirror is not None:  # it may hold the images in another size
        archive = OfficialFile(archive.url)
    paths = official_files([*tables, archive], downloads, mirror=mirror, progress=progress)
    path = paths.pop(ARCHIVE)
    md5 = _md5(path)
    store = folder / md5[:16]
    if not _is_whole(store):
        with building(store, remedy="make room, or set COROLLA_HOME to another folder") as unfinished:
            try:
                extract(
                    path,
                    unfinished / "images",
                    frozenset(_KEYS),
                    progress=megabytes_of(progress, f"unpacking {ARCHIVE}"),
                )
            except DataError:
                if path.parent == downloads and md5 != ARCHIVE_MD5:  # so that the next attempt asks the mirror again
                    path.unlink()
                raise
            for name, table in paths.items():
                with writing(folder):
                    shutil.copyfile(table, unfinished / name)
            fingerprint = hashlib.sha256(f"flowers102 {md5}".encode()).hexdigest()
            complete = {"archive_md5": md5, "fingerprint": fingerprint, "listing": _listing(unfinished / "images")}
            write_text(unfinished / _COMPLETE, json.dumps(complete, indent=2) + "\n")
    write_text(note, json.dumps({"store": store.name}, indent=2) + "\n")
    shutil.rmtree(downloads, ignore_errors=True)  # the unpacked images are all that is needed
    return store


def _read_tables(store: Path) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """0-based labels and splits from the official MATLAB files, whose image numbers and labels start at 1."""
    labels = loadmat(store / LABELS)["labels"].ravel().astype(np.int64) - 1
    tables = loadmat(store / SPLITS)
    names = {"train": "trnid", "val": "valid", "test": "tstid"}
    return labels, {name: np.sort(tables[key].ravel().astype(np.int64) - 1) for name, key in names.items()}
