"""How fast images become batches: `python benchmarks/data_pipeline.py [--mirror FOLDER] [--count N]`.

Measures batches from the cache, building the cache against decoding one by one with Pillow, what reduced-scale decoding
changes, and the peak memory of 1,000, 4,000 and 8,000 images. Needs about 1 GB of disk and five minutes for all 8,189.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from corolla.data import ImageCache, open_cache, open_image, open_source, recipe_named
from corolla.data.images import open_picture
from corolla.data.index import index_files
from corolla.data.stream import usable_workers
from environment import describe, markdown_table

_SIDE = 64
_PHOTO = (667, 500)  # width and height of most of the original photographs
_SHIFT_PX = 4


def main() -> None:
    """Run the measurements and print them."""
    parser = argparse.ArgumentParser(description="Measure the way from image files to batches.")
    parser.add_argument("--mirror", help="folder or URL with the files of flowers102; default: florets")
    parser.add_argument("--count", type=int, default=8189, help="photographs to decode (default 8189)")
    parser.add_argument("--files", type=Path, help="where the photographs are made, and kept (default: removed again)")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of is not None:
        _report_memory(options.files, options.memory_of)
        return
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        source = "flowers102" if options.mirror else f"florets:{options.count}"
        home = Path(scratch) / "home"
        small = open_cache(
            open_source(source, mirror=options.mirror, home=home), recipe_named("fit"), _SIDE, _SIDE, home=home
        )
        measure_batches(small)
        folder = options.files or Path(scratch) / "photographs"
        make_photographs(small, folder, options.count)
        measure_index(folder)
        measure_build(folder, home)
        measure_reduced_scale(folder)
        measure_memory(folder, options.count)


def measure_batches(cache: ImageCache) -> None:
    """Print the rates of batches from the cache, once its pages are in memory."""
    from corolla.data.batches import Batches, augment, to_float

    rows = np.arange(len(cache.images))
    table = []
    for size in (64, 256):
        batches = Batches(cache.images, rows, size, seed=0)
        kinds: dict[str, Callable[[int], object]] = {
            "uint8": batches.batch,
            "float": lambda step, b=batches: to_float(b.batch(step)),  # type: ignore[misc]
            "flip, shift, float": lambda step, b=batches: to_float(  # type: ignore[misc]
                augment(b.batch(step), (0, step), flip=True, shift_px=_SHIFT_PX)
            ),
        }
        for name, cut in kinds.items():
            steps = max(1, 20_000 // size)
            for step in range(batches.steps_per_epoch):
                batches.batch(step)
            seconds = min(_seconds(cut, steps) for _ in range(3))
            table.append([name, f"{size}", f"{steps / seconds:,.0f}", f"{steps * size / seconds:,.0f}"])
    print("\n" + markdown_table([f"batches from the cache, {_SIDE}x{_SIDE}", "size", "batches/s", "images/s"], table))


def _seconds(cut: Callable[[int], object], steps: int) -> float:
    start = time.perf_counter()
    for step in range(steps):
        cut(step)
    return time.perf_counter() - start


def make_photographs(cache: ImageCache, folder: Path, count: int) -> None:
    """Enlarge cached images to photographs with some grain, as JPEG files of about the originals' 42 kB."""
    folder.mkdir(parents=True, exist_ok=True)
    grain = np.random.default_rng(0).normal(0, 3, (_PHOTO[1] * 2, _PHOTO[0] * 2, 1)).astype(np.float32)

    def make(number: int) -> None:
        path = folder / f"{number:05d}.jpg"
        if path.exists():
            return
        image = Image.fromarray(cache.images[number % len(cache.images)]).resize(_PHOTO, Image.Resampling.BICUBIC)
        top, left = (7 * number) % _PHOTO[1], (13 * number) % _PHOTO[0]
        pixels = np.asarray(image, dtype=np.float32) + grain[top : top + _PHOTO[1], left : left + _PHOTO[0]]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, range(count)))


def measure_index(folder: Path) -> None:
    """Print what it costs to know files by their contents, at first and again, beside decoding them at full scale."""
    keys = sorted(path.name for path in folder.iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "index.json"
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            index_files(folder, keys, store, workers=usable_workers(None))
            seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    with ThreadPoolExecutor(usable_workers(None)) as pool:
        for _ in pool.map(lambda key: open_picture(folder / key).shape, keys):
            pass
    row = [f"{len(keys):,}", *(f"{value:.2f}" for value in (*seconds, time.perf_counter() - start))]
    print(markdown_table(["files", "by content, s", "again, s", "decoding, s"], [row]), "\n")


def measure_build(folder: Path, home: Path) -> None:
    """Print the time to build the cache, and to do the same one by one with Pillow."""
    paths = sorted(folder.glob("*.jpg"))
    kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
    recipe = recipe_named("fit")
    start = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            recipe.apply(image.convert("RGB"), _SIDE, _SIDE)
    one_by_one = time.perf_counter() - start
    table = [["one by one with Pillow", f"{one_by_one:.2f}", f"{len(paths) / one_by_one:,.0f}", "1.00"]]
    source = open_source(f"folder:{folder}")
    for workers in (1, None):
        with tempfile.TemporaryDirectory(dir=home) as fresh:
            start = time.perf_counter()
            open_cache(source, recipe, _SIDE, _SIDE, home=Path(fresh), workers=workers)
            seconds = time.perf_counter() - start
        name = "open_cache, 1 worker" if workers else "open_cache"
        table.append([name, f"{seconds:.2f}", f"{len(paths) / seconds:,.0f}", f"{one_by_one / seconds:.2f}"])
    photographs = f"{len(paths):,} JPEG files of {_PHOTO[0]}x{_PHOTO[1]}, {kilobytes:.0f} kB each"
    print("\n" + markdown_table([photographs, "seconds", "images/s", "times as fast"], table))


def measure_reduced_scale(folder: Path) -> None:
    """Print how far reduced-scale decoding is from full decoding, over up to 200 files."""
    table = []
    paths = sorted(folder.glob("*.jpg"))[:200]
    for name, side in (("fit", 64), ("fit", 128), ("crop", 136), ("enhance", 136)):
        recipe, decibels = recipe_named(name), []
        at_least_px = recipe.decode_at_least_px(side, side)
        for path in paths:
            reduced = recipe.apply(open_image(path, at_least_px=at_least_px), side, side)
            difference = recipe.apply(open_image(path), side, side).astype(float) - reduced
            decibels.append(10 * np.log10(255**2 / max(float((difference**2).mean()), 1e-3)))
        if open_image(paths[0], at_least_px=at_least_px).width == _PHOTO[0]:
            table.append([f"{name}, {side} px", "full", "same", "same"])
        else:
            table.append([f"{name}, {side} px", "reduced", f"{np.mean(decibels):.1f}", f"{min(decibels):.1f}"])
    print("\n" + markdown_table(["against full decoding", "decoded at scale", "mean PSNR, dB", "least, dB"], table))


def measure_memory(folder: Path, count: int) -> None:
    """Print the peak memory of fresh processes that build a cache and read it once."""
    if sys.platform == "win32":
        print("\nPeak memory is not measured on Windows.")
        return
    table = []
    for images in (1000, 4000, 8000):
        if images > count:
            continue
        command = [sys.executable, __file__, "--files", str(folder), "--memory-of", str(images)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        table.append([f"{images:,}", *(f"{result[name]:.0f}" for name in ("build", "epoch", "mapped"))])
    print("\n" + markdown_table(["images", "MB at most, build", "MB more, one epoch", "MB of cache, mapped"], table))


def _peak_megabytes() -> float:
    """The most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss counts what the parent had when it started us
        return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if "VmHWM" in line)
    if sys.platform == "win32":
        raise OSError("Windows does not tell how much memory a process has had")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _report_memory(folder: Path, count: int) -> None:
    """In a process of its own: build a cache of so many files, read it, and print what it took as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        photographs = Path(scratch) / "photographs"
        photographs.mkdir()
        for path in sorted(folder.glob("*.jpg"))[:count]:
            (photographs / path.name).symlink_to(path.absolute())
        cache = open_cache(open_source(f"folder:{photographs}"), recipe_named("fit"), _SIDE, _SIDE, home=Path(scratch))
        build = _peak_megabytes()
        from corolla.data.batches import Batches, to_float  # PyTorch, only now

        batches = Batches(cache.images, np.arange(len(cache.images)), 64)
        to_float(batches.batch(0))
        before = _peak_megabytes()
        for batch in batches.epoch():
            to_float(batch)
        epoch = _peak_megabytes() - before
        print(json.dumps({"build": build, "epoch": epoch, "mapped": cache.images.nbytes / 1e6}))


if __name__ == "__main__":
    main()
