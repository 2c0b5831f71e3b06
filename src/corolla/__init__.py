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
    "BetaVAE": "corolla.estimator",
    "Config": "corolla.config",
    "CorollaError": "corolla.errors",
    "DataError": "corolla.errors",
    "Likelihood": "corolla.config",
    "ModelError": "corolla.errors",
    "Network": "corolla.config",
    "Objective": "corolla.config",
    "Prior": "corolla.config",
    "Recipe": "corolla.data.recipes",
    "ScoreKind": "corolla.metrics.names",
    "SourceKind": "corolla.data.source_kinds",
    "StaleError": "corolla.errors",
    "TrainedModel": "corolla.trained",
    "TrainingError": "corolla.errors",
    "UsageError": "corolla.errors",
    "WriteError": "corolla.errors",
    "fit": "corolla.training",
    "load": "corolla.trained",
    "load_plugin": "corolla.config.registry",
    "preset": "corolla.config",
    "preset_names": "corolla.config",
    "register": "corolla.config",
    "sweep": "corolla.sweeps",
    "tune": "corolla.sweeps.tuning",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'corolla' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next use does not come here again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
