"""What Corolla gives, as one hash or number an item, so that a change of the code can prove that it changed no result.

python benchmarks/fingerprint.py record BEFORE.json --keep BEFORE            # with the code as it was
python benchmarks/fingerprint.py record AFTER.json --old BEFORE              # with the code as it is
python benchmarks/fingerprint.py compare BEFORE.json AFTER.json              # one line per difference

Only the command line and `corolla.load`, `fit`, `Config` and `BetaVAE` are used, so modules may move. Pixels, tensors
and numbers are hashed, not files, so a format may change. With `--old`, models, features and `.corolla` files of an
earlier record are used once more: what `old/NAME` gives must equal what NAME gave then. The same machine and versions
give the same values. Flowers 102 is left out unless COROLLA_FLOWERS_MIRROR names a folder with its files.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageSequence
from safetensors.numpy import load_file

import corolla

Items: TypeAlias = dict[str, str | int | float]
FOLDERS = ("runs", "out", "kept")


# {placeholders} are filled in. Flags: old, repeated with what an earlier record left; numbers, those on
# stdout count (with --json they do anyway); KILL and TERM, a signal that ends a training after a checkpoint.
COMMANDS = """
train quick         |             | train --preset quick --source florets:300 --max-steps 30 {each15} --run runs/quick
train flowers102    |             | train {flowers102} {small} --run runs/flowers102
train flowers       |             | train --source folder:flowers --recipe enhance {small} --run runs/flowers
train folder        |             | train --source folder:images --recipe crop {wide} --run runs/folder
train unbroken      |             | train {long} --run runs/main
train killed        | KILL        | train {long} --run runs/killed
resume killed       |             | train --resume runs/killed
train stopped       | TERM        | train {long} --run runs/stopped
repeat              | old         | train --config runs/main/config.yaml --dry-run
sample              |             | sample runs/main -o out/sample.png --npz out/sample.npz --count 9 --seed 3
sample label        | old         | sample runs/folder --label rose --count 4 -o out/label.png
reconstruct         | old         | reconstruct runs/main {roses} -o out/reconstruct.png --npz out/reconstruct.npz
traverse            |             | traverse runs/main -o out/traverse.png --npz out/traverse.npz --latents 3 --steps 5
interpolate         |             | interpolate runs/main {roses} -o out/walk.gif --npz out/walk.npz --steps 5
loop                |             | loop runs/main -o out/loop.png --npz out/loop.npz --count 3 --steps 4
poster              |             | poster runs/main -o out/poster.png --size 300x200 --columns 6 --span 2
evaluate            |             | evaluate runs/main --json {few}
evaluate some       | old         | evaluate runs/quick --json --only images,samples --features pixels {few} -o out/some
compare             | old         | compare runs/main runs/quick --json --only images,latents {few} --force -o out/table
estimate            |             | estimate runs/main --json --importance-samples 8 --count 16
fit-prior           |             | fit-prior runs/main gaussian --draws 2
sample gaussian     | old         | sample runs/main --prior gaussian -o out/gaussian.png
embed npz           |             | embed runs/main images --variance -o kept/codes.npz
embed parquet       |             | embed runs/main images -o kept/codes.parquet
search npz          | numbers old | search runs/main {rose} --in kept/codes.npz
search parquet      | numbers old | search runs/main {rose} --in kept/codes.parquet -k 3 -o out/search.png
anomalies           | old         | anomalies runs/main images --maps all -o out/anomalies
denoise             | numbers     | denoise runs/main {roses} --corrupt gaussian:25 --trust -o out/denoise
inpaint             |             | inpaint runs/main {roses} --box 8,8,16,12 --completions 2 -o out/inpaint
direction           | numbers     | direction runs/main {kinds} --save kept/daisy.safetensors -o out/direction.png
use direction       | old         | direction runs/main --use kept/daisy.safetensors -o out/moved.png --count 2
compress            |             | compress runs/main {roses} --names -o kept/rose.corolla
decompress          | old         | decompress runs/main kept/rose.corolla -o out/rose
data preview        |             | data preview folder:images/rose --recipe enhance -o out/preview.png
data info           |             | data info folder:images
info                | old         | info runs/main --json
"""
OLD_RESUME = ("resume killed", "", "train --resume runs/stopped")
MIRROR = os.environ.get("COROLLA_FLOWERS_MIRROR", "")
TINY = "--network resnet --latent-dim 6 --set network.width=16 --set network.patch=4 --batch-size 16 --threads 1"
PLACEHOLDERS = {
    "flowers102": f"--source flowers102 --mirror {shlex.quote(MIRROR)}",
    "each15": "--set training.evaluate_every=15 --threads 1",
    "small": f"--size 32 {TINY} --max-steps 20 --no-report",
    "wide": f"--size 24x32 {TINY} --max-steps 20 --no-report",
    "long": f"--source florets:300 --size 32 {TINY} --max-steps 300 --checkpoint-every 5 "
    "--set training.evaluate_every=100 --no-report",
    "rose": "images/rose/00.png",
    "roses": "images/rose/00.png images/rose/01.png images/rose/02.png",
    "kinds": "--from images/rose --to images/daisy",
    "few": "--samples 64 --images 64",
}

# Trainings in this process: what differs from FITTED, a whole section each.
FITTED = {
    "data": {"source": "florets:300", "size": [32, 32]},
    "network": {"name": "resnet", "latent_dim": 6, "width": 16, "patch": 4},
    "training": {"max_steps": 20, "batch_size": 16, "threads": 1},
}
OBJECTIVES = ["ae", "dae", "vae", "beta_vae", "capacity_vae", "free_bits", "control_vae", "beta_tcvae", "factor_vae"]
OBJECTIVES += ["dip_vae_i", "dip_vae_ii", "info_vae"]
LIKELIHOODS = ["bernoulli", "continuous_bernoulli", "gaussian", "laplace", "discretised_logistic"]
FITS: dict[str, dict[str, Any]] = {
    **{f"objective-{name}": {"objective": {"name": name}} for name in OBJECTIVES},
    **{f"likelihood-{name}": {"likelihood": {"name": name}} for name in LIKELIHOODS},
    "likelihood-gaussian-learned": {"likelihood": {"name": "gaussian", "sigma": "learned"}},
    "network-notebook": {"network": {"name": "notebook"}},
    "network-burgess": {"network": {"name": "burgess"}, "data": {"source": "florets:300", "size": [64, 64]}},
    "warm-up": {"objective": {"name": "beta_vae", "beta": 2.0, "warmup_steps": 5, "cycle_steps": 8}},
}

# --- values to items --------------------------------------------------------------------------------------------------


def digest(value: NDArray[Any] | bytes | list[Any]) -> str:
    """A short hash: of an array with its shape and type, of bytes, or of a list of strings and numbers."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        value = value.tolist()
    if isinstance(value, np.ndarray):
        value = f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif not isinstance(value, bytes):
        value = json.dumps(value).replace(str(Path.cwd()), ".").encode()
    return hashlib.sha256(value).hexdigest()[:16]


def numbers(value: Any, name: str) -> Items:
    """The numbers of a JSON value by their path; a list is one hash. Text, times and versions are no results."""
    if any(part in name for part in ("seconds", "versions", ".wrote")):
        return {}
    if isinstance(value, dict):
        return {key: item for part in value for key, item in numbers(value[part], f"{name}.{part}").items()}
    if isinstance(value, list):
        return {name: digest(value)}
    return {name: value} if isinstance(value, int | float) else {}


def describe(path: Path, name: str) -> Items:
    """What a file holds; of logs, checkpoints and configurations nothing, as they are no results."""
    match path.suffix:
        case ".png" | ".gif" | ".webp" | ".jpg":
            with Image.open(path) as image:
                frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
            return {name: digest(np.stack(frames))}
        case ".npz":
            with np.load(path) as arrays:
                return {f"{name}:{key}": digest(arrays[key]) for key in arrays.files}
        case ".safetensors":
            return {f"{name}:{key}": digest(tensor) for key, tensor in load_file(path).items()}
        case ".parquet":
            from pyarrow import parquet  # of the extra `features`, as the command that wrote the file

            table = parquet.read_table(path)
            return {f"{name}:{key}": digest(table[key].to_pylist()) for key in table.column_names}
        case ".csv":
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
            keys = [key for key in rows[0] if "seconds" not in key] if rows else []
            return {f"{name}:{key}": digest([_number(row[key]) for row in rows]) for key in keys}
        case ".json" if path.name != "config.json":
            return numbers(json.loads(path.read_text(encoding="utf-8")), name)
        case ".corolla":
            return {name: digest(path.read_bytes())}
        case ".html":
            return {name: "written"}
    return {}


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


# --- what is done -----------------------------------------------------------------------------------------------------


def state(folders: Iterable[str]) -> dict[Path, int]:
    """The files in some folders, with their ages."""
    files = (file for folder in folders for file in Path(folder).rglob("*") if file.is_file())
    return {file: file.stat().st_mtime_ns for file in sorted(files)}


def run(name: str, flags: str, line: str) -> Items:
    """Run a command in the working folder; how it ended, and what is in the files that it wrote."""
    words = shlex.split(line.format(**PLACEHOLDERS))
    resumes = "--resume" in words  # it goes on with what a signal ended at some step
    before = {} if resumes else state(FOLDERS)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        program = [sys.executable, "-m", "corolla", *words]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8")
        if ends := re.search("KILL|TERM", flags):
            while process.poll() is None and not Path(words[-1], "checkpoints", "last.ckpt").is_file():
                time.sleep(0.01)
            process.send_signal(signal.Signals[f"SIG{ends.group()}"])
        stdout, _ = process.communicate()
        errors.seek(0)
        messages = [line.strip() for line in errors if line.strip()]
    if ends:
        return {name: process.returncode}
    if process.returncode:
        return {
            name: f"exit code {process.returncode}: {messages[-1] if messages else stdout}".replace(
                str(Path.cwd()), "."
            )
        }
    items: Items = {name: 0}
    if "--json" in words:
        items |= numbers(json.loads(stdout), name)
    if "numbers" in flags:
        items[f"{name}:numbers"] = digest(re.findall(r"-?\d+\.\d+", stdout))
    for file, age in state(words[-1:] if resumes else FOLDERS).items():
        if before.get(file) != age:
            items |= describe(file, f"{name}:{file.as_posix().replace('stopped', 'killed')}")
    return items


def attempt(name: str, action: Callable[..., Items], *arguments: Any) -> Items:
    """What the action gives, or the error that ended it, which is a result to compare, too."""
    start = time.monotonic()
    try:
        return action(*arguments)
    except Exception as error:
        return {name: f"{type(error).__name__}: {error}".replace(str(Path.cwd()), ".")}
    finally:
        print(f"{name}: {time.monotonic() - start:.1f} seconds", file=sys.stderr)


def fit(name: str, changes: Mapping[str, Any]) -> Items:
    """Train for some steps in this process."""
    path = Path("runs", name)
    corolla.fit(corolla.Config.from_dict({**FITTED, **changes}), path)
    files = state([str(path)])
    return {key: item for file in files for key, item in describe(file, f"fit:{file.as_posix()}").items()}


def load(path: Path) -> Items:
    """Read the configuration and the model of a run, and use the model."""
    corolla.Config.from_yaml(path / "config.yaml")
    model = corolla.load(path)
    pixels = np.random.default_rng(1).integers(0, 256, (4, model.height, model.width, 3), dtype=np.uint8)
    q = model.posterior(pixels)
    values = {"mean": q.mean.numpy(), "logvar": q.logvar.numpy(), "decoded": model.reconstruct(pixels, seed=2)}
    values["sample"] = model.sample(4, seed=1)
    return {f"load {path.name}:{key}": digest(value) for key, value in values.items()}


def estimator() -> Items:
    """The scikit-learn face."""
    images = np.random.default_rng(2).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    model = corolla.BetaVAE(latent_dim=4, width=8, max_steps=20, random_state=0, threads=1).fit(images)
    codes = model.transform(images)
    values = {"codes": codes, "decoded": model.inverse_transform(codes), "scores": model.score_samples(images)}
    values["sample"] = model.sample(3, random_state=1)
    return {f"BetaVAE:{key}": digest(np.asarray(value)) for key, value in values.items()}


def draw_images(folder: Path) -> None:
    """Three kinds of small pictures, one of them grey, one a JPEG, and a broken file."""
    random = np.random.default_rng(0)
    for kind in ("daisy", "rose", "tulip"):
        (folder / kind).mkdir(parents=True)
        for index in range(16):
            image = Image.new("RGB", (48, 40), tuple(random.integers(0, 120, 3).tolist()))
            x, y = random.integers(4, 14, 2).tolist()
            end = {"daisy": 360, "rose": 240, "tulip": 120}[kind]
            colour = tuple(random.integers(120, 256, 3).tolist())
            ImageDraw.Draw(image).pieslice((x, y, x + 26, y + 22), 0, end, fill=colour)
            name = f"{index:02d}.jpg" if (kind, index) == ("tulip", 3) else f"{index:02d}.png"
            (image.convert("L") if (kind, index) == ("tulip", 4) else image).save(folder / kind / name)
    (folder / "tulip" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def take_flowers(folder: Path) -> None:
    """The first 160 of the Oxford flowers: to decode all of them with the recipe `enhance` takes minutes."""
    folder.mkdir()
    with tarfile.open(Path(MIRROR, "102flowers.tgz")) as archive:
        for number in range(1, 161):
            image = archive.extractfile(f"jpg/image_{number:05d}.jpg")
            assert image is not None
            (folder / f"{number:05d}.jpg").write_bytes(image.read())


def work(*, old: bool) -> Items:
    """Do everything in the current folder, or with what an earlier record left there; returns all items."""
    items: Items = {}
    commands = [tuple(part.strip() for part in line.split("|")) for line in COMMANDS.strip().splitlines()]
    if old:
        commands = [OLD_RESUME, *(command for command in commands if "old" in command[1])]
    else:
        draw_images(Path("images"))
        if MIRROR:
            take_flowers(Path("flowers"))
        for file in Path().rglob("*.*"):
            os.utime(file, (1_700_000_000, 1_700_000_000))  # it is part of a folder's fingerprint
        for name, changes in FITS.items():
            items |= attempt(f"fit {name}", fit, name, changes)
        items |= attempt("BetaVAE", estimator)
    for command in commands:
        if "flowers" in command[2] and not MIRROR:
            print(f"{command[0]}: skipped, as COROLLA_FLOWERS_MIRROR is not set", file=sys.stderr)
        else:
            items |= attempt(command[0], run, *command)
    for path in sorted(Path("runs").iterdir()):
        if path.name != "stopped":
            items |= attempt(f"load {path.name}", load, path)
    if not old:
        weights = [describe(Path("runs", name, "model", "model.safetensors"), "") for name in ("main", "killed")]
        items["resumed equals unbroken"] = int(weights[0] == weights[1])
    return items


def record(folder: Path, old: Path | None) -> Items:
    """All items; works in the folder, which is new or empty. The earlier record's folder is copied, not changed."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "1000"}
    os.environ["COROLLA_HOME"] = str(folder / "home")
    os.chdir(folder)
    items = work(old=False)
    if old is not None:
        copy = folder / "old"
        shutil.copytree(old, copy, ignore=lambda path, _: ["old", "out"] if Path(path) == old else [])
        for path in (copy, *copy.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
        os.environ["COROLLA_HOME"] = str(copy / "home")
        os.chdir(copy)
        items |= {f"old/{name}": item for name, item in work(old=True).items()}
    return items


def compare(before: Items, after: Items) -> list[str]:
    """A line for each item that differs; where there was no `old/NAME` before, it is NAME that it should equal."""
    lines = []
    for name in sorted(before | after):
        was = before.get(name, before.get(name.removeprefix("old/"), "absent"))
        now = after.get(name, "absent")
        if was != now:
            lines.append(f"{name}: before {was}, after {now}")
    return lines


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description="Record what commands give, and compare two records.")
    tasks = parser.add_subparsers(dest="task", required=True)
    recording = tasks.add_parser("record", help="run the commands and write what they give")
    recording.add_argument("file", type=Path, help="the JSON file to write")
    recording.add_argument("--keep", type=Path, help="a new folder to work in and to keep, for a later --old")
    recording.add_argument("--old", type=Path, help="the kept folder of an earlier record: does it still open?")
    comparing = tasks.add_parser("compare", help="print each item that differs; exit code 1 if there is one")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.task == "compare":
        lines = compare(*(json.loads(file.read_text()) for file in (arguments.before, arguments.after)))
        print("\n".join(lines) if lines else "no difference")
        raise SystemExit(bool(lines))
    file, old = arguments.file.resolve(), arguments.old and arguments.old.resolve()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        items = record(folder, old)
        os.chdir(file.parent)
    file.write_text(json.dumps(items, indent=1, sort_keys=True) + "\n")
    failed = sum(isinstance(item, str) and " " in item for item in items.values())
    print(f"{len(items)} items in {time.monotonic() - start:.0f} seconds; {failed} failed: {file}")


if __name__ == "__main__":
    main()
