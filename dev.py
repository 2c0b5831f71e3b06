"""The front door: makes the virtual environment, installs what a command needs, and runs it.

    python dev.py demo  [arguments of corolla demo]     train a small model and show what it learnt
    python dev.py test  [arguments of pytest]           the tests, quick ones first
    python dev.py lint  [names of checks]               format, rules, types, spelling, layers, dependencies, notebook
    python dev.py bench [name] [arguments of it]        one benchmark; without a name, the list of them
    python dev.py docs                                  the documentation, into site/
    python dev.py setup                                 only the environment, for work by hand

Works on Linux, macOS and Windows with nothing but Python 3.11 or later, and sooner with uv. The environment is `.venv`
beside this file. It is used again until `pyproject.toml` or `constraints.txt` changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent
PYTHON = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")  # in the environment
STAMP = "corolla-setup.json"  # in the environment too, once that is complete
OLDEST_PYTHON = (3, 11)
# The dependency groups that each command needs, and what it runs, as arguments of the environment's Python. `demo`
# installs Corolla alone, the others every extra too.
COMMANDS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "demo": ((), ["-m", "corolla", "demo"]),
    "test": (("dev",), ["-m", "pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "loadgroup"]),
    "lint": (("dev",), []),
    "bench": (("bench", "dev"), ["benchmarks"]),
    "docs": (("docs",), ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", "site"]),
    "setup": (("dev", "docs"), []),
}
CHECKS: dict[str, list[str]] = {
    "ruff-format": ["-m", "ruff", "format", "--check"],
    "ruff": ["-m", "ruff", "check"],
    "mypy": ["-m", "mypy"],
    "codespell": ["-m", "codespell_lib"],
    "import-linter": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    "deptry": ["-m", "deptry", "src"],
    "notebook": ["-m", "pytest", "-q", "-m", "not slow", "tests/test_notebook.py"],
}


def run(words: Sequence[str], root: Path) -> None:
    """Show a command and run it in a folder. Exits with its code if it fails."""
    print("$", *(word.removeprefix(f"{root}{os.sep}") for word in words), flush=True)
    process = subprocess.Popen(words, cwd=root)
    while process.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):  # the command got the same signal: let it end in its own way
            process.wait()
    if code := process.returncode:
        raise SystemExit(code if code > 0 else 128 - code)  # below zero: ended by that signal


def describe(root: Path, groups: Sequence[str]) -> dict[str, Any]:
    """The stamp of an environment that holds these groups in the versions that the project asks for now."""
    listed = (root / "pyproject.toml").read_bytes() + b"\0" + (root / "constraints.txt").read_bytes()
    return {"root": str(root), "groups": sorted(groups), "packages": hashlib.sha256(listed).hexdigest()}


def write_stamp(root: Path, groups: Sequence[str]) -> None:
    """Note in the environment that its installation is finished."""
    (root / ".venv" / STAMP).write_text(json.dumps(describe(root, groups)), encoding="utf-8")


def read_stamp(venv: Path) -> dict[str, Any]:
    """The stamp of an environment; empty if there is none, or its Python does not start."""
    try:
        stamp: dict[str, Any] = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return stamp if subprocess.run([str(venv / PYTHON), "-c", ""], check=False).returncode == 0 else {}
    except (OSError, ValueError):
        return {}


def is_ready(root: Path, groups: Sequence[str]) -> bool:
    """Whether the environment holds these groups, and neither the project's packages nor its folder have changed."""
    stamp = read_stamp(root / ".venv")
    return bool(stamp) and set(groups) <= set(stamp.get("groups", ())) and stamp == describe(root, stamp["groups"])


def set_up(root: Path, groups: Sequence[str], uv: str | None) -> None:
    """Make `.venv` hold Corolla and these groups, unless it does: by uv if its path is given, else by pip.

    The stamp is removed first and written last. An environment without one is made again from nothing, so that an
    interrupted installation is never taken for a finished one.
    """
    import tomllib  # not in Pythons that are too old, which main refuses in a line

    venv = root / ".venv"
    if is_ready(root, groups):
        return
    stamp = read_stamp(venv)
    if stamp.get("root") != str(root):
        stamp = {}
        made_by = [uv, "venv", "--seed", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        run([*made_by, "--clear", str(venv)], root)
    (venv / STAMP).unlink(missing_ok=True)
    groups = sorted({*groups, *stamp.get("groups", ())})
    python = str(venv / PYTHON)
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    if not uv:
        run([*install, "--quiet", "pip>=25.1"], root)  # the first that knows dependency groups
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = f"[{','.join(project['optional-dependencies'])}]" if groups else ""
    print("Installing what Corolla needs; the first time takes some minutes", flush=True)
    options = [*([] if sys.stdout.isatty() else ["--quiet"]), *(f"--group={group}" for group in groups)]
    run([*install, *options, "--constraint", "constraints.txt", "--editable", f".{extras}"], root)
    write_stamp(root, groups)


def refuse(message: str) -> NoReturn:
    """Wrong use: one line, and exit code 2."""
    print(f"dev.py: {message}", file=sys.stderr)
    raise SystemExit(2)


def steps(command: str, arguments: Sequence[str]) -> list[list[str]]:
    """What a command runs, one after the other, as arguments of the environment's Python."""
    if command not in COMMANDS:
        refuse(f"{command!r} is not a command; there are {', '.join(COMMANDS)}")
    if step := COMMANDS[command][1]:
        return [[*step, *arguments]]
    choices = CHECKS if command == "lint" else {}
    if unknown := [name for name in arguments if name not in choices]:
        refuse(f"{command} takes no {unknown[0]!r}; there is {', '.join(choices) or 'nothing to choose'}")
    return [choices[name] for name in arguments or choices]


def main(arguments: Sequence[str]) -> None:
    """Run one command. Exits with the code of what failed, or with 2 for wrong use."""
    if sys.version_info < OLDEST_PYTHON:
        refuse(f"Corolla needs Python 3.11 or later; this is {sys.version.split()[0]}")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        raise SystemExit(0 if arguments else 2)
    todo = steps(arguments[0], arguments[1:])
    set_up(ROOT, COMMANDS[arguments[0]][0], shutil.which("uv"))
    for step in todo:
        run([str(ROOT / ".venv" / PYTHON), *step], ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
