"""The public surface: a name that comes or goes is a decision, and this list is where it is taken."""

from __future__ import annotations

import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import corolla
from corolla import errors

PUBLIC = [
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
ROOT = Path(__file__).resolve().parents[1]


def _python(code: str) -> str:
    """What a fresh interpreter prints for this code."""
    path = str(Path(corolla.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_exactly_these() -> None:
    assert corolla.__all__ == PUBLIC


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_every_public_name_resolves_and_explains_itself(name: str) -> None:
    value = getattr(corolla, name)
    assert inspect.isclass(value) or inspect.isfunction(value)
    assert value.__name__ == name
    assert value.__doc__, f"{name} has no docstring"
    assert name in dir(corolla)


@pytest.mark.parametrize("name", ["BetaVAE", "Config", "TrainedModel"])
def test_every_public_class_explains_its_methods(name: str) -> None:
    own = {key: member for key, member in vars(getattr(corolla, name)).items() if not key.startswith(("_", "model_"))}
    methods = [key for key, member in own.items() if callable(member) or isinstance(member, classmethod)]
    assert methods
    assert not [key for key in methods if not inspect.getdoc(own[key])]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'corolla' has no attribute 'petal'"):
        _ = corolla.petal


def test_every_error_is_a_corolla_error() -> None:
    raised = [
        value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert {value.__name__ for value in raised} == {name for name in PUBLIC if name.endswith("Error")}
    assert all(issubclass(value, corolla.CorollaError) for value in raised)


def test_the_version_is_a_release_number() -> None:
    assert [part.isdigit() for part in corolla.__version__.split(".")] == [True] * 3


@pytest.mark.parametrize("use", ["corolla.__version__", "corolla.CorollaError", "dir(corolla)"])
def test_importing_corolla_brings_in_nothing_slow(use: str) -> None:
    loaded = _python(f"import corolla; {use}\nprint(*sys.modules)").split()
    assert not {"torch", "numpy", "lightning", "PIL", "sklearn", "matplotlib"}.intersection(loaded)


def test_the_configuration_is_there_without_torch() -> None:
    assert _python("import corolla\ncorolla.Config()\nprint('torch' in sys.modules)") == "False"


@pytest.mark.slow
def test_the_wheel_holds_what_the_package_reads(tmp_path: Path) -> None:
    build = f"import os; os.chdir({str(ROOT)!r}); from hatchling.build import build_wheel"
    wheel = tmp_path / _python(f"{build}; print(build_wheel({str(tmp_path)!r}))").splitlines()[-1]
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("corolla/")}
    package = Path(corolla.__file__).parent
    there = {
        f"corolla/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == there
    assert "corolla/py.typed" in packed
