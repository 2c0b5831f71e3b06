"""Corolla trains β-VAEs on image collections and makes the trained model useful.

The public names are listed in `__all__`. Each is loaded when it is first used, so `import corolla` costs next to
nothing: it brings in neither torch nor anything else that is slow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corolla.config import Config, Likelihood, Network, Objective, Prior, preset, preset_names, register
    from corolla.config.registry import load_plugin
    from corolla.data.recipes import Recipe
    from corolla.data.source_kinds import SourceKind
    from corolla.errors import CorollaError, DataError, ModelError, StaleError, TrainingError, UsageError, WriteError
    from corolla.estimator import BetaVAE
    from corolla.metrics.names import ScoreKind
    from corolla.sweeps import sweep
    from corolla.sweeps.tuning import tune
    from corolla.trained import TrainedModel, load
    from corolla.training import fit

__version__ = "0.1.0"

__all__ = [
    "BetaVAE",
    "Config",
    "CorollaError",
    "DataError",
    "Likelihood",
    "ModelError",
    "Network",
    "Objective",
    "Prior",
    "Recipe",
    "ScoreKind",
    "SourceKind",
    "StaleError",
    "TrainedModel",
    "TrainingError",
    "UsageError",
    "WriteError",
    "__version__",
    "fit",
    "load",
    "load_plugin",
    "preset",
    "preset_names",
    "register",
    "sweep",
    "tune",
]

_HOMES = {
    "config": ("Config", "Likelihood", "Network", "Objective", "Prior", "preset", "preset_names", "register"),
    "config.registry": ("load_plugin",),
    "data.recipes": ("Recipe",),
    "data.source_kinds": ("SourceKind",),
    "errors": ("CorollaError", "DataError", "ModelError", "StaleError", "TrainingError", "UsageError", "WriteError"),
    "estimator": ("BetaVAE",),
    "metrics.names": ("ScoreKind",),
    "sweeps": ("sweep",),
    "sweeps.tuning": ("tune",),
    "trained": ("TrainedModel", "load"),
    "training": ("fit",),
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"corolla.{home}"), name)  # the next use comes not here
            return value
    raise AttributeError(f"module 'corolla' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
