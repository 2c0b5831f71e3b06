"""The caches that are there: what each holds, how large it is, when it was last used; and removing some."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from corolla.data.sources import corolla_home
from corolla.errors import UsageError
from corolla.files import UNFINISHED, writing

_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class CacheFacts:
    """One cache: its folder, the source and recipe, how many images, bytes on disk, and days since its last use."""

    path: Path
    source: str
    recipe: str
    height: int
    width: int
    images: int
    nbytes: int
    unused_days: float


def list_caches(home: Path | None = None) -> list[CacheFacts]:
    """All caches below `home` (see `corolla_home`), the largest first; what is damaged counts as 0 images of "?"."""
    found = []
    for folder in sorted(path for path in (corolla_home(home) / "cache").glob("*") if path.is_dir()):
        try:
            files = [file.stat() for file in folder.iterdir() if file.is_file()]
            used = max((status.st_mtime for status in files), default=folder.stat().st_mtime)
        except FileNotFoundError:  # another process removes it, or has just finished it
            continue
        manifest = read_manifest(folder)
        source, recipe = (str(manifest.get(name, "?")) for name in ("source", "recipe"))
        height, width, images = (int(manifest.get(name, 0)) for name in ("height", "width", "count"))
        size = sum(status.st_size for status in files)
        days = max(0.0, (time.time() - used) / _DAY_SECONDS)
        found.append(CacheFacts(folder, source, recipe, height, width, images, size, days))
    return sorted(found, key=lambda cache: -cache.nbytes)


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """What a cache was made from (see `ImageCache.manifest`); empty where it is missing or damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    needed = {"source", "fingerprint", "recipe", "height", "width", "count", "skipped"}
    return manifest if isinstance(manifest, dict) and needed <= manifest.keys() else {}


def prune_caches(
    *, source: str | None = None, unused_days: float | None = None, home: Path | None = None
) -> list[CacheFacts]:
    """Remove the caches of a source, or those not used for so many days; what is asked for again is decoded again.

    A cache that is being built is left alone. Returns what was removed. Raises UsageError if neither is given, and
    WriteError.
    """
    if source is None and unused_days is None:
        raise UsageError("which caches to remove: give the source, or unused_days (0 is all)")
    removed = []
    for cache in list_caches(home):
        if source not in (None, cache.source) or cache.unused_days < (unused_days or 0):
            continue
        lock = FileLock(cache.path.with_name(f"{cache.path.name.removesuffix(UNFINISHED)}.lock"))
        try:
            with lock.acquire(timeout=0), writing(cache.path):
                if not cache.path.exists():  # it was finished meanwhile, or removed
                    continue
                shutil.rmtree(cache.path)
        except Timeout:
            continue
        removed.append(cache)
    return removed
