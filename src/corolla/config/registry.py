"""Open tables: everything that can be named in a configuration is a class, registered under its name.

Corolla's own classes, those of an entry point `corolla.plugins`, and those of a module or file that a user names are
registered in the same way, with `register`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from corolla.errors import UsageError, suggestion

PLUGINS_VARIABLE = "COROLLA_PLUGINS"
"""Modules or files to load, separated as in PATH; child processes inherit it."""

HOMES: Mapping[str, str] = {
    "objective": "corolla.objectives",
    "network": "corolla.models.networks",
    "likelihood": "corolla.models.likelihoods",
    "prior": "corolla.models.priors",
    "source": "corolla.data.source_kinds",
    "recipe": "corolla.data.recipes",
    "score": "corolla.metrics.names",
}
"""The module that registers Corolla's own classes of each kind."""

_TABLES: dict[str, dict[str, Any]] = {kind: {} for kind in HOMES}
_ORIGINS: dict[tuple[str, str], tuple[str, str]] = {}
"""File and module that registered a name of a kind; of a plugin, what `load_plugin` takes in place of the module."""
_loaded: set[str] = set()

Registered = TypeVar("Registered")


def register(entry: Registered) -> Registered:
    """Add something to the table of its kind, under its name; use as a decorator of classes.

    It is a class derived from `corolla.Objective`, `Network`, `Likelihood` or `Prior`, or a value of the classes
    `corolla.SourceKind`, `Recipe` or `ScoreKind`. Raises UsageError if it lacks a name or kind, or another has it.
    """
    caller = sys._getframe(1).f_globals
    if isinstance(entry, type) and entry.__module__ in sys.modules:  # which somebody else may register
        caller = vars(sys.modules[entry.__module__])
    module = caller.get("__name__", "?")
    file = caller.get("__file__") or module
    kind, name = getattr(entry, "kind", ""), name_of(entry)
    if kind not in _TABLES or not name:
        remedy = f"derive it from one of corolla's classes ({', '.join(_TABLES)}), and give it a name"
        raise UsageError(f"{file}: {entry!r} cannot be registered; {remedy}")
    before, _ = _ORIGINS.setdefault((kind, name), (file, caller.get("__corolla_plugin__", module)))
    if before != file:
        raise UsageError(f"{kind} {name!r} is registered twice: in {before} and in {file}; rename one")
    _TABLES[kind][name] = entry
    return entry


def name_of(entry: Any) -> str:
    """The name that something has in a configuration; empty if it has none."""
    field = getattr(entry, "model_fields", {}).get("name") if isinstance(entry, type) else None
    name = getattr(entry, "name", "") if field is None else field.default
    return name if isinstance(name, str) else ""


def find(kind: str, name: str) -> Any:
    """The class of a kind that has a name. Raises UsageError that lists the names there are."""
    _load("corolla", HOMES[kind])
    if name not in _TABLES[kind]:
        load_plugins()
    if name not in _TABLES[kind]:
        names = list(_TABLES[kind])
        raise UsageError(
            f"no such {kind} as {name!r}{suggestion(name, names)}; there are {', '.join(names)}",
            setting=f"data.{kind}" if kind in ("recipe", "source") else f"{kind}.name",
        )
    return _TABLES[kind][name]


def registered(kind: str) -> dict[str, Any]:
    """All classes of a kind, by name: Corolla's own first, in their order, then those of plugins."""
    _load("corolla", HOMES[kind])
    load_plugins()
    return dict(_TABLES[kind])


def plugin_of(kind: str, name: str) -> str | None:
    """The module or file that registered a name, as `load_plugin` takes it; None if that is Corolla or unknown."""
    _, plugin = _ORIGINS.get((kind, name), ("", "corolla"))
    return None if plugin.partition(".")[0] == "corolla" else plugin


def needs_plugins(plugins: Any) -> str:
    """What to append to a message about something that was made with plugins that are not loaded; or nothing."""
    names = plugins if isinstance(plugins, list | tuple) else ()
    missing = [name for name in names if isinstance(name, str) and name not in _loaded | sys.modules.keys()]
    if not missing:
        return ""
    flags = " ".join(f"--plugin {name}" for name in missing)
    return f"; it was made with {', '.join(missing)}: load that first ({flags}, or corolla.load_plugin in Python)"


def load_plugins() -> None:
    """Load the entry points `corolla.plugins` of installed packages, and what the environment variable names.

    Raises UsageError, which names it, if one is missing or broken.
    """
    for point in entry_points(group="corolla.plugins"):
        _load(f"entry point {point.name}", point.value.partition(":")[0])
    for name in filter(None, os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)):
        load_plugin(name)


def load_plugin(name: str) -> None:
    """Import a module, or a Python file, so that the classes in it are registered; at most once.

    Raises UsageError, which names it and the line, if it is missing or broken.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UsageError(f"plugin {name}: no such file; give a module's name, or the path of a Python file")
        name = str(Path(name).absolute())
    _load("plugin", name)


def _load(what: str, name: str) -> None:
    if name in _loaded:
        return
    try:
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            importlib.import_module(name)
    except UsageError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        if what == "corolla":
            raise
        raise UsageError(f"{what} {name}: cannot be loaded: {_reason(error)}") from error
    _loaded.add(name)


def _import_file(path: Path) -> None:
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    module_name = f"corolla_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__corolla_plugin__"] = str(path)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def _reason(error: Exception) -> str:
    """What was raised, and where in the plugin."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    line = f", line {own[-1].lineno} of {own[-1].filename}" if own else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{line}"
