"""Listing and removing caches."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from corolla.data import describe_source, open_cache, open_source, recipe_named
from corolla.data.caches import list_caches, prune_caches
from corolla.errors import UsageError
from corolla.files import building, locked


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for count in (4, 8):
        open_cache(open_source(f"florets:{count}"), recipe_named("fit"), 16, 16, home=tmp_path)
    return tmp_path


def unused(folder: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for file in folder.iterdir():
        os.utime(file, (then, then))


def test_caches_are_listed_by_size(home: Path) -> None:
    first, second = list_caches(home)
    assert (first.source, first.images, first.recipe, first.height) == ("florets:8", 8, "fit", 16)
    assert second.nbytes >= 4 * 16 * 16 * 3
    assert first.nbytes > second.nbytes
    assert first.unused_days < 1


def test_caches_are_removed_by_source_or_age(home: Path) -> None:
    large, small = list_caches(home)
    unused(large.path, 40)
    assert [cache.source for cache in prune_caches(unused_days=30, home=home)] == ["florets:8"]
    assert [cache.source for cache in list_caches(home)] == ["florets:4"]
    assert prune_caches(source="florets:9", home=home) == []
    assert [cache.path for cache in prune_caches(source="florets:4", home=home)] == [small.path]
    assert list_caches(home) == []
    with pytest.raises(UsageError, match="give the source, or unused_days"):
        prune_caches(home=home)


def test_a_cache_that_is_used_again_counts_as_used(home: Path) -> None:
    unused(list_caches(home)[0].path, 40)
    open_cache(open_source("florets:8"), recipe_named("fit"), 16, 16, home=home)
    assert prune_caches(unused_days=30, home=home) == []


def test_a_cache_that_is_being_built_stays(home: Path) -> None:
    folder = list_caches(home)[0].path
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        assert [cache.source for cache in prune_caches(unused_days=0, home=home)] == ["florets:4"]


def test_a_cache_that_is_being_built_is_left_alone_under_its_temporary_name(home: Path) -> None:
    new = home / "cache" / "new"
    with locked(new), building(new) as unfinished:
        (unfinished / "images.npy").write_bytes(b"half of it")
        assert unfinished not in [cache.path for cache in prune_caches(unused_days=0, home=home)]
    assert (new / "images.npy").read_bytes() == b"half of it"


def test_what_a_killed_build_left_is_removed(home: Path) -> None:
    left = home / "cache" / "new.building"
    left.mkdir()
    assert left in [cache.path for cache in prune_caches(unused_days=0, home=home)]
    assert not left.exists()


@pytest.mark.parametrize("manifest", ["{", "[]", '{"fingerprint": 1}'])
def test_a_damaged_cache_keeps_no_source_from_being_described(
    home: Path, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COROLLA_HOME", str(home))
    (list_caches(home)[0].path / "manifest.json").write_text(manifest)
    assert list_caches(home)[0].source == "?"
    assert describe_source("florets:8").decoded == []
    assert len(describe_source("florets:4").decoded) == 1
