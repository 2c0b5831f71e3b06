"""What image files hold, by content: a digest and the facts of the header, remembered between runs.

A file is read as a whole once. Then its device, inode, size and times of change, in ns, say that it is still the same,
so that a second look takes a system call a file. The time of modification alone does not say so, as programs that copy
a file over another can set it. What a system error hides now is not remembered.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from corolla.data.images import DECODERS, read_facts
from corolla.errors import DataError, WriteError
from corolla.files import write_text
from corolla.progress import OnProgress, steps_of

_FORMAT = 1
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago may change again within the resolution of its time, and is not remembered."""
_BATCH = 256

_LOG = logging.getLogger("corolla")


@dataclass(frozen=True)
class FileFacts:
    """A file by its content.

    Attributes:
        digest: Hexadecimal SHA-256; empty where the system would not let it be read now.
        height: In pixels, upright; 0 where the header cannot be read. Likewise `width`, `channels` and `bits`.
        width: In pixels.
        channels: 1 is grey, 3 colour.
        bits: Of one channel of one pixel: 8 or 16.
        fault: Why the header, or the file, cannot be read, without its name; empty if it can.
    """

    digest: str
    height: int = 0
    width: int = 0
    channels: int = 0
    bits: int = 0
    fault: str = ""


Marked: TypeAlias = tuple[str, int, Callable[[], bytes]]
"""What says that a file is still the same, when it changed (ns since 1970), and what reads it."""


def index_files(
    root: Path,
    keys: Iterable[str],
    store: Path,
    *,
    look: Callable[[str], Marked] | None = None,
    workers: int = 4,
    progress: OnProgress | None = None,
) -> list[FileFacts]:
    """The facts of files below a folder, in the order of their keys, which are paths in it.

    Args:
        root: The folder.
        keys: Relative paths, with forward slashes.
        store: The file in which they are remembered. One that cannot be written is said in the log, and costs time.
        look: Finds a file by its key, where it is not below the folder.
        workers: Threads that read.
        progress: Called with the number of files looked at.
    """
    remembered, keep = _load(store), {}
    keys = list(keys)
    done = steps_of(progress, "looking at files", len(keys))
    facts: list[FileFacts] = []

    def below(key: str) -> Marked:
        status = (root / key).stat()
        return mark_of(status), max(status.st_mtime_ns, status.st_ctime_ns), (root / key).read_bytes

    def facts_of(key: str) -> tuple[str, FileFacts]:
        try:
            mark, changed_ns, read = (look or below)(key)
            if mark in remembered:
                return mark, FileFacts(**remembered[mark])
            settled = time.time_ns() - changed_ns > _SETTLED_NS
            return mark if settled else "", _facts(read())
        except OSError as error:
            return "", FileFacts("", fault=f"cannot be read: {error.strerror}")
        except MemoryError:
            return "", FileFacts("", fault="too large for this machine's memory")
        except DataError as error:
            return "", FileFacts("", fault=str(error))

    with ThreadPoolExecutor(workers, thread_name_prefix="corolla-index") as pool:
        for start in range(0, len(keys), _BATCH):
            for mark, one in pool.map(facts_of, keys[start : start + _BATCH]):
                facts.append(one)
                if mark:
                    keep[mark] = one
            done(len(facts))
    plain = {mark: asdict(one) for mark, one in keep.items()}
    if plain != remembered:
        try:
            write_text(store, json.dumps({**_rules(), "root": str(root), "files": plain}, ensure_ascii=True))
        except WriteError as error:
            _LOG.warning("%s; the files are read again next time", error)
    return facts


def mark_of(status: os.stat_result) -> str:
    """What says that a file is still the same."""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def digest_of(keys: Iterable[str], facts: Iterable[FileFacts]) -> str:
    """Hexadecimal SHA-256 over the names and the contents of the files that could be read."""
    digest = hashlib.sha256()
    for key, one in zip(keys, facts, strict=True):
        if one.digest:
            digest.update(f"{key}\0{one.digest}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _facts(content: bytes) -> FileFacts:
    digest = hashlib.sha256(content).hexdigest()
    try:
        header = read_facts(io.BytesIO(content))
    except DataError as error:
        return FileFacts(digest, fault=str(error).removeprefix("image: "))
    return FileFacts(digest, header.height, header.width, header.format.channels, header.format.bits)


def _rules() -> dict[str, Any]:
    """What the facts depend on besides the files: with another decoder, other files can be read."""
    return {"format": _FORMAT, "decoders": DECODERS}


def _load(store: Path) -> Mapping[str, dict[str, Any]]:
    """What is remembered; nothing where the file is missing, damaged, or of another format."""
    try:
        kept = json.loads(store.read_text(encoding="utf-8"))
        if kept.items() >= _rules().items() and all(FileFacts(**one) for one in kept["files"].values()):
            files: dict[str, dict[str, Any]] = kept["files"]
            return files
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}
