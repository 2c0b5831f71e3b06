"""A training run as a value, and the open tables of what it can name."""

from corolla.config.choosing import describe_faults
from corolla.config.config import Config, preset, preset_names, read_yaml
from corolla.config.kinds import Choice, Likelihood, Network, Objective, Prior
from corolla.config.registry import register, registered
from corolla.config.settings import DataConfig, Settings, TrainingConfig

__all__ = [
    "Choice",
    "Config",
    "DataConfig",
    "Likelihood",
    "Network",
    "Objective",
    "Prior",
    "Settings",
    "TrainingConfig",
    "describe_faults",
    "preset",
    "preset_names",
    "read_yaml",
    "register",
    "registered",
]
