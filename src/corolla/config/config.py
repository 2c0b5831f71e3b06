"""A training run as a value: one frozen tree that the command line, YAML files and Python code all build."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, PlainSerializer, ValidationError, model_validator
from pydantic.functional_validators import BeforeValidator

from corolla.config.choosing import CHOICES, DEFAULTS, changed, choose, describe_faults, wrong_setting
from corolla.config.earlier import RETIRED, upgraded
from corolla.config.kinds import Likelihood, Network, Objective
from corolla.config.registry import find, needs_plugins, plugin_of
from corolla.config.settings import DataConfig, Settings, TrainingConfig
from corolla.errors import UsageError, suggestion

_LOG = logging.getLogger("corolla")


def _chosen(kind: str) -> tuple[Any, ...]:
    """An open union: a mapping with a `name` becomes the class of that name; `Config` shows all its settings."""
    return BeforeValidator(lambda value: choose(kind, value)), PlainSerializer(lambda value: value.dump())


class Config(Settings):
    """A whole run. The same value gives the same weights, bit for bit, on the same machine."""

    seed: int = Field(42, ge=0, lt=2**32, description="fixes everything random")
    data: DataConfig = DataConfig()
    network: Annotated[Network, *_chosen("network")] = Field(default_factory=lambda: choose("network", {}))
    likelihood: Annotated[Likelihood, *_chosen("likelihood")] = Field(default_factory=lambda: choose("likelihood", {}))
    objective: Annotated[Objective, *_chosen("objective")] = Field(default_factory=lambda: choose("objective", {}))
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        objective, training = self.objective, self.training
        if training.batch_size < objective.least_batch:
            remedy = f"set training.batch_size to {objective.least_batch} or more"
            raise ValueError(f"{objective.name} compares the images of a batch; {remedy}")
        if training.patience is not None and not objective.stationary:
            reason = "cannot be compared over time, as what it learns beside the model changes"
            raise ValueError(f"the losses of {objective.name} {reason}; leave training.patience out (null)")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """Build and check a configuration. Raises UsageError that names each wrong key and value."""
        return cls._checked(upgraded(values), where)

    @classmethod
    def _checked(cls, values: Any, where: str) -> Config:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"{where}: {describe_faults(error)}", setting=wrong_setting(error)) from None

    @classmethod
    def from_saved(cls, values: Any, plugins: Any, *, where: str) -> Config:
        """As `from_dict`, of what was saved with the `plugins` it was made with; messages name those not loaded.

        A recipe or source that is not there is a warning only, as some uses need none.
        """
        hint = needs_plugins(plugins)
        try:
            config = cls.from_dict(values, where=where)
        except UsageError as error:
            raise UsageError(f"{error}{hint}", setting=error.setting) from None
        for kind, name in config._names.items() if hint else ():
            try:
                find(kind, name)
            except UsageError as error:
                _LOG.warning("%s: %s%s", where, error, hint, extra={"once": True})
        return config

    @classmethod
    def from_yaml(cls, path: Path | str) -> Config:
        """Read a YAML file. Raises UsageError if it cannot be read or holds a wrong value."""
        values = read_yaml(path)
        values.pop("run", None)  # a run folder records there where its numbers came from
        return cls.from_dict(values, where=str(path))

    @classmethod
    def from_flat(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """The inverse of `flat`; what is missing has its default. Raises UsageError as `from_dict`."""
        tree: dict[str, Any] = {}
        for dotted, value in values.items():
            *parents, leaf = dotted.split(".")
            branch = tree
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[leaf] = value
        return cls.from_dict(tree, where=where)

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name, as YAML would have its value; `updated` takes these names."""
        return _flat(self, self.model_dump(mode="json"))

    @property
    def _names(self) -> dict[str, str]:
        """What is named of each open table."""
        names = {kind: getattr(self, kind).name for kind in CHOICES}
        return names | {"recipe": self.data.recipe, "source": self.data.source.partition(":")[0]}

    @property
    def plugins(self) -> list[str]:
        """The modules and files that what it names came from, as `corolla.load_plugin` takes them."""
        plugins = (plugin_of(kind, name) for kind, name in self._names.items())
        return list(dict.fromkeys(plugin for plugin in plugins if plugin))

    def differences(self) -> dict[str, Any]:
        """The settings that are not at their defaults, by their dotted names."""
        alike = Config().model_copy(update={kind: type(getattr(self, kind))() for kind in CHOICES})
        defaults = alike.flat() | {f"{kind}.name": DEFAULTS[kind] for kind in CHOICES}
        return {name: value for name, value in self.flat().items() if value != defaults.get(name)}

    def in_steps(self, total_steps: int) -> Config:
        """The configuration of a run of so many steps, with each setting that is a share of them as a number of steps.

        Raises UsageError where settings do not go together then.
        """
        changes = {
            f"{section}.{name}": max(1, round(value * total_steps))
            for section, settings in (("objective", self.objective), ("training", self.training))
            for name in settings.settings_in_steps()
            if 0 < (value := getattr(settings, name) or 0) < 1
        }
        return self.updated(changes) if changes else self

    def normalised_beta(self, beta: float | None) -> float | None:
        """β·latent_dim / (pixel values), so that sizes can be compared (Higgins et al. 2017, sec. 4.2)."""
        height, width = self.data.size
        return (
            None
            if beta is None
            else beta * self.network.latent_dim / (self.data.pixel_format.channels * height * width)
        )

    def to_yaml(self) -> str:
        """The whole tree, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def updated(self, changes: Mapping[str, Any]) -> Config:
        """A copy with dotted fields replaced, e.g. {"objective.beta": 2}. Raises UsageError on a wrong key or value."""
        for dotted in RETIRED.keys() & changes.keys():
            _LOG.warning("%s no longer has any effect; %s", dotted, RETIRED[dotted])
        changes = {dotted: value for dotted, value in changes.items() if dotted not in RETIRED}
        tree = self.model_dump(mode="json")
        touched = {dotted.partition(".")[0] for dotted in changes}
        for kind in CHOICES:
            name = changes.get(f"{kind}.name")
            if kind not in touched:
                tree[kind] = getattr(self, kind)
            elif isinstance(name, str) and name != tree[kind]["name"]:
                tree[kind] = changed(getattr(self, kind), name)
        for dotted, value in changes.items():
            section, _, leaf = dotted.rpartition(".")
            branch = tree.get(section) if section else tree
            # A setting that a choice does not have is refused where it is checked, with those that it has.
            if not isinstance(branch, dict) or not (leaf in branch or (section in CHOICES and leaf)):
                problem = f"{dotted}: no such setting{suggestion(dotted, self.flat())}; `corolla settings` lists them"
                raise UsageError(problem, setting=dotted)
            branch[leaf] = value
        return Config._checked(tree, "configuration")


def _flat(settings: Settings, values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of a section and of those in it by their dotted names; a setting that is a mapping stays one."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        section = getattr(settings, name)
        flat |= _flat(section, value, f"{above}{name}.") if isinstance(section, Settings) else {f"{above}{name}": value}
    return flat


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping. Raises UsageError that names the file and the line where it is wrong."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: should hold settings such as `seed: 42`, but holds {type(values).__name__}")
    return values


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    folder = resources.files("corolla") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def preset(name: str) -> Config:
    """A shipped preset by name. Raises UsageError that lists the names there are."""
    names = preset_names()
    if name not in names:
        raise UsageError(f"{name}: no such preset{suggestion(name, names)}; there are {', '.join(names)}")
    text = (resources.files("corolla") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return Config.from_dict(yaml.safe_load(text), where=f"preset {name}")
