"""A user's own folder of images, of any depth, as a source."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from corolla.data.images import EXTENSIONS
from corolla.data.index import index_files
from corolla.data.sources import FolderSource, corolla_home
from corolla.errors import DataError, UsageError
from corolla.progress import OnProgress

OUTPUT_MARK = ".corolla"
"""A file by this name marks a folder of pictures that Corolla made of others, such as restored ones."""

# Folders that systems and archivers keep for themselves. Names that begin with a dot are left out as well.
_SYSTEM_FOLDERS = {"@eadir", "$recycle.bin", "system volume information", "__macosx", "lost+found"}

# Files that say that a folder is Corolla's own, by what no other program writes into them.
_OWN_FILES = {
    "config.yaml": (b"\nobjective:", b"\nrun:"),
    "config.json": (b'"latent_kl_nats"', b'"weights_sha256"'),
    "sweep.yaml": (b"\nbase:", b"\nversions:"),
    "tune.yaml": (b"\nbase:", b"\nversions:"),
    "anomalies.csv": (b"path,", b",p_value,flagged,map\n"),
    "comparison.json": (b'"columns"', b'"remarks"'),
}
_BESIDE = {
    "config.yaml": {"metrics.csv", "checkpoints", "model", "samples"},  # else a copy of the configuration
    "config.json": {"model.safetensors"},
}
_READ_BYTES = 1 << 16

_LOG = logging.getLogger("corolla")


def open_folder(path: str | Path, *, home: Path | None = None, progress: OnProgress | None = None) -> FolderSource:
    """Open a folder of images. Symbolic links are followed, but not in circles.

    Hidden files, folders of the system, and what Corolla wrote (runs, models, sweeps, restored images) are left out;
    so are a folder that cannot be listed and a file that the system does not let be read now, with a warning. What the
    names mean is read by `corolla.data.layout.understood`. The fingerprint is that of names and contents.

    Args:
        path: The folder.
        home: Where facts about files are remembered; see `corolla_home`.
        progress: Called with the number of files looked at.

    Raises UsageError if there is no such folder, DataError if it cannot be listed, is Corolla's, or has no images.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise UsageError(f"folder:{path}: {'a file, not a folder' if root.exists() else 'no such folder'}")
    images: list[tuple[str, int, int]] = []
    own: list[Path] = []
    others: Counter[str] = Counter()
    for key, size, mtime_ns, fault in images_below(root, own, others):
        if fault:
            _LOG.warning("%s: %s; left out", root / key, fault)
        else:
            images.append((key, size, mtime_ns))
    say_own(own)
    if own:
        others["folders that Corolla wrote"] = len(own)
    if not images:
        raise DataError(f"{root}: {no_images(own)}", path=root)
    images.sort()
    earlier = hashlib.sha256()
    for key, size, mtime_ns in images:
        earlier.update(f"{key}\0{size}\0{mtime_ns}\n".encode(errors="surrogateescape"))
    keys = [key for key, _, _ in images]
    store = corolla_home(home) / "index" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
    facts = index_files(root, keys, store, progress=progress)
    for key, file in zip(keys, facts, strict=True):
        if not file.digest:
            _LOG.warning("%s: %s; left out", root / key, file.fault)
    readable = [(key, file) for key, file in zip(keys, facts, strict=True) if file.digest]
    if not readable:
        raise DataError(
            f"{root}: none of its {len(keys)} images can be read now; {keys[0]} {facts[0].fault}", path=root
        )
    return FolderSource.of(
        root, [key for key, _ in readable], [file for _, file in readable], others, earlier.hexdigest()
    )


def images_below(
    root: Path, own: list[Path], others: Counter[str] | None = None
) -> Iterator[tuple[str, int, int, str]]:
    """Key, size in bytes and time of change in ns of every image below root; of a folder that fails, key and reason.

    Each folder's images come in the order of their names, then those of the folders in it; what links lead to comes
    last. So each real folder comes once, and under its real place. Folders that Corolla wrote are added to
    `own`; files of other kinds are counted in `others`, by how their names end.
    """
    visited: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, str]] = [(root, "")]
    links: list[tuple[Path, str]] = []
    while waiting or links:
        folder, prefix = waiting.pop() if waiting else links.pop(0)
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not prefix:
                raise DataError(f"{root}: cannot be listed: {error.strerror}", path=root) from None
            yield prefix.rstrip("/"), 0, 0, f"cannot be listed: {error.strerror}"
            continue
        names = {entry.name for entry in entries}
        if is_own(folder, names, marked=bool(prefix)):
            if not prefix:
                raise DataError(f"{root}: a folder that Corolla wrote, and no source of images", path=root)
            own.append(folder)
            continue
        folders: list[tuple[Path, str]] = []
        while entries:
            entry = entries.pop()  # what has been given out need not be kept
            if is_system_name(entry.name):
                continue
            # A Path, other than a listing's entry, answers for a link that leads in a circle too.
            place = Path(entry.path) if entry.is_symlink() else entry
            if place.is_dir():
                (links if entry.is_symlink() else folders).append((Path(entry.path), f"{prefix}{entry.name}/"))
            elif not entry.name.lower().endswith(EXTENSIONS):
                if others is not None:
                    others[f"{os.path.splitext(entry.name)[1].lower() or 'other'} files"] += 1  # noqa: PTH122
            elif place.is_file():
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns, ""
            elif entry.is_symlink():  # it leads nowhere: reading will say so
                yield prefix + entry.name, 0, 0, ""
        waiting += reversed(folders)


def is_system_name(name: str) -> bool:
    """Whether a file or folder by that name is hidden, or kept by a system for itself."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def is_own(folder: Path, names: Set[str], *, marked: bool = True) -> bool:
    """Whether Corolla wrote a folder that holds these names: a run, a model, a sweep, a demo, a comparison, a ranking.

    With `marked`, pictures that it made of others count too.
    """
    if marked and OUTPUT_MARK in names:
        return True
    if names >= {"index.html", "run"} and _has_signs(folder / "run", "config.yaml"):  # a demo
        return True
    return any(name in names and _BESIDE.get(name, names) & names and _has_signs(folder, name) for name in _OWN_FILES)


def _has_signs(folder: Path, name: str) -> bool:
    try:
        with (folder / name).open("rb") as file:
            content = b"\n" + file.read(_READ_BYTES)
    except OSError:
        return False
    return all(sign in content for sign in _OWN_FILES[name])


def say_own(own: Sequence[Path]) -> None:
    """Say once which folders were left out, as Corolla wrote them."""
    if own:
        more = f" and {len(own) - 1} more, which" if len(own) > 1 else ", which"
        _LOG.warning("%s%s Corolla wrote: left out", own[0], more)


def no_images(own: Sequence[Path] = ()) -> str:
    """Why a folder gave none."""
    besides = f", but for {len(own)} that Corolla wrote," if own else ""
    return f"holds no images; looked in all its folders{besides} for {' '.join(EXTENSIONS)}"
