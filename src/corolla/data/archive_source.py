"""A `.zip` or `.tar` of images as a source, read without unpacking it."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from corolla.data.archives import ZIP_ERRORS, members
from corolla.data.folder import is_system_name
from corolla.data.images import EXTENSIONS, MomentaryError, open_picture
from corolla.data.index import Marked, index_files, mark_of
from corolla.data.levels import Levels, Reading
from corolla.data.sources import FolderSource, corolla_home
from corolla.errors import DataError, UsageError

if TYPE_CHECKING:
    from corolla.progress import OnProgress

KINDS = (".zip", ".tar")
_LARGEST_MEMBER_BYTES = 1 << 30


class ArchiveSource(FolderSource):
    """Images in an archive, which `root` is; the keys are the names of its members."""

    @staticmethod
    def meaningful(keys: Sequence[str]) -> Sequence[str]:
        """The keys without the one folder that many programs wrap all of an archive in."""
        tops = {key.partition("/")[0] if "/" in key else None for key in keys}
        return [key.partition("/")[2] for key in keys] if len(tops) == 1 and None not in tops else keys

    def picture(self, index: int, at_least_px: int | None = None, reading: Reading | None = None) -> Levels:
        """See `Source`."""
        file = io.BytesIO(read_member(self.root, self.keys[index]))
        file.name = str(self.root / self.keys[index])
        return open_picture(file, at_least_px=at_least_px, reading=reading)


def open_archive(path: str | Path, *, home: Path | None = None, progress: OnProgress | None = None) -> ArchiveSource:
    """Open a `.zip`, or a `.tar` without compression, of images; its folders mean what those of a folder would.

    Raises UsageError for another kind of file, DataError if it is damaged or has no images.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file() or file.suffix.lower() not in KINDS:
        what = (
            "no such file" if not file.exists() else f"not a {' or '.join(KINDS)}, which can be read without unpacking"
        )
        raise UsageError(f"folder:{path}: {what}")
    keys, others = [], Counter[str]()
    for name, size in sorted(_sizes(file).items()):
        parts = PurePosixPath(name).parts
        if any(is_system_name(part) for part in parts) or not parts:
            continue
        if name.lower().endswith(EXTENSIONS) and size <= _LARGEST_MEMBER_BYTES:
            keys.append(name)
        else:
            others[f"{PurePosixPath(name).suffix.lower() or 'other'} files"] += 1
    if not keys:
        raise DataError(f"{file}: holds no images; looked for {' '.join(EXTENSIONS)}", path=file)
    status = file.stat()

    def look(key: str) -> Marked:
        return f"{mark_of(status)}:{key}", max(status.st_mtime_ns, status.st_ctime_ns), lambda: read_member(file, key)

    store = corolla_home(home) / "index" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()[:32]}.json"
    # The members of one file come one after another.
    facts = index_files(file, keys, store, look=look, workers=1, progress=progress)
    return ArchiveSource.of(file, keys, facts, others)


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of a member. Raises DataError that names it, MomentaryError if the system does not let it be read."""
    try:
        if archive.suffix.lower() == ".zip":
            opened, names = _opened(archive, mark_of(archive.stat()))
            return opened.read(names[name])
        offset, size = _offsets(archive, mark_of(archive.stat()))[name]
        with archive.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        reason = error.strerror or error
        raise MomentaryError(f"{archive / name}: cannot be read: {reason}", path=archive / name) from None
    except (*ZIP_ERRORS, KeyError) as error:
        raise DataError(f"{archive / name}: cannot be read: {error}", path=archive / name) from None


def _sizes(archive: Path) -> dict[str, int]:
    """Bytes of each plain member, unpacked."""
    if archive.suffix.lower() == ".tar":
        return {name: size for name, (_, size) in _offsets(archive, mark_of(archive.stat())).items()}
    try:
        opened, names = _opened(archive, mark_of(archive.stat()))
        return {name: opened.getinfo(stored).file_size for name, stored in names.items()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: not a .zip archive, or damaged: {error}", path=archive) from None


# Listing an archive takes time with the number of its members, so it is done once, and not for each of them.
@lru_cache(maxsize=4)
def _opened(archive: Path, _mark: str) -> tuple[zipfile.ZipFile, dict[str, str]]:
    """A `.zip`, which threads can read together, and the name that each plain member has in it."""
    opened = zipfile.ZipFile(archive)
    return opened, {_plain(member.filename): member.filename for member in opened.infolist() if not member.is_dir()}


@lru_cache(maxsize=4)
def _offsets(archive: Path, _mark: str) -> dict[str, tuple[int, int]]:
    """Where each plain member of a `.tar` begins, and its bytes; of equal names the last counts, as in unpacking."""
    return {_plain(member.name): (member.offset, member.size) for member in members(archive)}


def _plain(name: str) -> str:
    """The name of a member without the ./ that `tar -C FOLDER .` puts before each."""
    return str(PurePosixPath(name))
