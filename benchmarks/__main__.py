"""The list of benchmarks, or one of them by name: `python dev.py bench [name] [arguments of it]`."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path


def benchmarks() -> dict[str, Path]:
    """The scripts that can be run, by name. Modules that only serve them are left out."""
    scripts = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name != "__main__.py")
    return {path.stem: path for path in scripts if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [""]
    scripts = benchmarks()
    if name in scripts:
        sys.argv = [str(scripts[name]), *arguments]
        runpy.run_path(str(scripts[name]), run_name="__main__")
    elif name:
        print(f"bench: {name!r} is not a benchmark; there are {', '.join(scripts)}", file=sys.stderr)
        sys.exit(2)
    else:
        for name, path in scripts.items():
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"{name:16} {docstring.partition(chr(10))[0]}")
