"""The one door for set-up: makes the virtual environment, installs what a command needs, and does the job.

    python dev.py demo  [arguments of corolla demo]     train a small model and show what it learnt
    python dev.py test  [arguments of pytest]           the tests, quick ones first
    python dev.py lint                                  formatting, rules, types, spelling, layers, notebooks
    python dev.py bench [name] [arguments of it]        one benchmark; without a name, the list of them
    python dev.py docs                                  the documentation, into site/
    python dev.py setup                                 only the environment, for work by hand

Works on Linux, macOS and Windows with nothing but Python 3.10 or later. The environment is `.venv` beside this file. It
is used again as long as it fits; it is brought up to date when `pyproject.toml` or `constraints.txt` changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "corolla-setup.json"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
OLDEST_PYTHON = (3, 10)
_TESTED = (
    "codec",
    "dev",
    "factors",
    "features",
    "flows",
    "maps",
    "perceptual",
    "scale",
    "tensorboard",
    "tune",
    "video",
)
# What each command needs beyond Corolla itself. An environment that holds more than that will do.
EXTRAS: dict[str, tuple[str, ...]] = {
    "demo": (),
    "test": _TESTED,
    "lint": ("dev", "tensorboard"),
    "bench": ("bench", "codec", "dev", "features", "flows", "perceptual", "tensorboard"),
    "docs": ("docs",),
    "setup": (*_TESTED, "docs"),
}
CHECKED = ("src", "tests", "benchmarks", "docs", "notebooks", "dev.py")


class StepError(Exception):
    """A step failed; the commands stop with its exit code."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


def run(arguments: Sequence[str | Path], **environment: str) -> None:
    """Show a step and run it from the project's folder. Raises StepError with its exit code if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"$ {' '.join(_short(word) for word in words)}", flush=True)
    with subprocess.Popen(words, cwd=ROOT, env={**os.environ, **environment}) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # the step has had the same signal: let it end in its own way
                continue
    if code:
        raise StepError(code if code > 0 else 128 - code)  # below zero: ended by that signal


def _short(word: str) -> str:
    try:
        return str(Path(word).relative_to(ROOT)) if Path(word).is_absolute() else word
    except ValueError:
        return word


# --- the environment --------------------------------------------------------------------------------------------------


def fingerprint() -> str:
    """What decides the environment: the two files that list packages, where it lies, and the Python it was made by."""
    digest = hashlib.sha256()
    for part in (ROOT / "pyproject.toml", ROOT / "constraints.txt", VENV / "pyvenv.cfg"):
        digest.update(part.read_bytes() if part.exists() else b"none")
        digest.update(b"\0")
    digest.update(str(ROOT).encode())
    return digest.hexdigest()


def read_stamp() -> dict[str, object]:
    """The note that a finished installation leaves; empty if there is none, or none that can be read."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def set_up(extras: Sequence[str]) -> None:
    """Make `.venv`, or use the one there is, so that it holds Corolla with these extras.

    The stamp is removed first and written last: an interrupted installation is never taken for a finished one.
    """
    stamp = read_stamp()
    listed = stamp.get("extras")
    present = {str(extra) for extra in listed} if isinstance(listed, list) else set()
    starts = PYTHON.exists() and _succeeds([PYTHON, "-c", f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"])
    if starts and stamp.get("fingerprint") == fingerprint() and present.issuperset(extras):
        return
    STAMP.unlink(missing_ok=True)
    moved = stamp.get("root", str(ROOT)) != str(ROOT)
    if not starts or moved or not _succeeds([PYTHON, "-m", "pip", "--version"]):
        try:
            run([sys.executable, "-m", "venv", "--clear", VENV])
        except StepError as error:
            hint = "on Debian and Ubuntu `apt install python3-venv` adds what Python may lack"
            raise StepError(error.code, f"dev.py: {VENV} could not be made; {hint}") from None
        present = set()
    wanted = sorted(present.union(extras))
    project = f".[{','.join(wanted)}]" if wanted else "."
    loudness = [] if sys.stdout.isatty() else ["--quiet"]
    print("Installing what Corolla needs; the first time takes some minutes", flush=True)
    run(
        [PYTHON, "-m", "pip", "install", *loudness, "--constraint", "constraints.txt", "--editable", project],
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
    )
    text = json.dumps({"fingerprint": fingerprint(), "root": str(ROOT), "extras": wanted})
    partial = STAMP.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(STAMP)


def _succeeds(arguments: Sequence[str | Path]) -> bool:
    try:
        finished = subprocess.run([str(argument) for argument in arguments], capture_output=True, check=False)
    except OSError:  # a Python that has been moved or removed since
        return False
    return finished.returncode == 0


# --- the commands -----------------------------------------------------------------------------------------------------


def demo(arguments: Sequence[str]) -> None:
    """Train a small model and show what it learnt."""
    run([SCRIPTS / ("corolla.exe" if os.name == "nt" else "corolla"), "demo", *arguments])


def test(arguments: Sequence[str]) -> None:
    """Run the tests; the slow ones come last."""
    run([PYTHON, "-m", "pytest", *arguments])


def lint(arguments: Sequence[str]) -> None:
    """Check everything that can be checked without running the code."""
    if arguments:
        raise StepError(2, f"dev.py lint takes no arguments, but was given {' '.join(arguments)}")
    checked = [name for name in CHECKED if (ROOT / name).exists()]
    run([PYTHON, "-m", "ruff", "format", "--check", *checked])
    run([PYTHON, "-m", "ruff", "check", *checked])
    run([PYTHON, "-m", "mypy"])
    prose = [*checked, *(path.name for path in sorted(ROOT.glob("*.md"))), "pyproject.toml"]
    run([SCRIPTS / "codespell", *prose])
    run([SCRIPTS / "lint-imports"])
    for notebook in sorted(ROOT.glob("notebooks/*.ipynb")):
        _compare_with_text(notebook)


def _compare_with_text(notebook: Path) -> None:
    """A notebook is kept as text too, its `.py` twin: the two must tell the same story."""
    twin = notebook.with_suffix(".py")
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / twin.name
        run([PYTHON, "-m", "jupytext", "--quiet", "--to", "py:percent", "--output", fresh, notebook])
        same = twin.exists() and twin.read_text(encoding="utf-8") == fresh.read_text(encoding="utf-8")
    if not same:
        pair = f"{_short(str(notebook))} and {twin.name}"
        raise StepError(1, f"dev.py: {pair} differ; `jupytext --sync {_short(str(twin))}` brings them together")


def benchmarks() -> dict[str, Path]:
    """The scripts in benchmarks/ that can be run, by name. Modules that only serve them are left out."""
    scripts = sorted((ROOT / "benchmarks").glob("*.py"))
    return {path.stem: path for path in scripts if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")}


def bench(arguments: Sequence[str]) -> None:
    """Run one benchmark, or list them."""
    known = benchmarks()
    if not arguments:
        for name, path in known.items():
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"{name:24} {text.partition(chr(10))[0]}")
        return
    name, *rest = arguments
    if name not in known:
        raise StepError(2, f"dev.py bench: {name!r} is not a benchmark; there are {', '.join(known) or 'none'}")
    run([PYTHON, known[name], *rest])


def docs(arguments: Sequence[str]) -> None:
    """Build the documentation; a warning is an error."""
    run([PYTHON, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", *arguments, "docs", "site"])
    print(f"open {ROOT / 'site' / 'index.html'}")


def setup(arguments: Sequence[str]) -> None:
    """Only make the environment."""
    if arguments:
        raise StepError(2, f"dev.py setup takes no arguments, but was given {' '.join(arguments)}")
    print(f"{SCRIPTS} is ready")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo,
    "test": test,
    "lint": lint,
    "bench": bench,
    "docs": docs,
    "setup": setup,
}


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0, that of the step that failed, or 2 for wrong use."""
    if sys.version_info < OLDEST_PYTHON:
        print(f"Corolla needs Python 3.10 or later; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"dev.py: {name!r} is not a command; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        set_up(EXTRAS[name])
        COMMANDS[name](rest)
    except StepError as error:
        print(error if str(error) else f"dev.py {name}: stopped, the last step failed ({error.code})", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
