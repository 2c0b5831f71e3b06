"""dev.py: an environment that fits is used again, and what the developer tools are told agrees."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(dev: ModuleType, tmp_path: Path) -> Path:
    """A project whose environment is complete, with the group `dev`."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'corolla'\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")], check=True)
    dev.write_stamp(tmp_path, ["dev"])
    return tmp_path


def test_an_environment_that_fits_is_ready(dev: ModuleType, project: Path) -> None:
    assert dev.is_ready(project, ["dev"])
    assert dev.is_ready(project, [])
    assert not dev.is_ready(project, ["dev", "docs"])


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_package_list_installs_again(dev: ModuleType, project: Path, name: str) -> None:
    (project / name).write_text("# other\n")
    assert not dev.is_ready(project, ["dev"])


@pytest.mark.parametrize("text", ["", "{}", '{"groups": ["dev"]', "\x00"])
def test_an_unfinished_stamp_is_not_taken_for_a_finished_one(dev: ModuleType, project: Path, text: str) -> None:
    (project / ".venv" / dev.STAMP).write_text(text)
    assert not dev.is_ready(project, [])


def test_an_environment_that_was_moved_or_lost_its_python_is_not_ready(dev: ModuleType, project: Path) -> None:
    moved = project.rename(project.with_name("elsewhere"))
    assert not dev.is_ready(moved, ["dev"])
    moved.rename(project)
    assert dev.is_ready(project, ["dev"])
    (project / ".venv" / dev.PYTHON).unlink()
    assert not dev.is_ready(project, ["dev"])


def test_a_failed_installation_leaves_no_stamp_and_gives_its_code(dev: ModuleType, project: Path) -> None:
    (project / "constraints.txt").write_text("# other\n")
    with pytest.raises(SystemExit) as stopped:  # this environment has no pip
        dev.set_up(project, ["dev"], uv=None)
    assert stopped.value.code == 1
    assert not (project / ".venv" / dev.STAMP).exists()


@pytest.mark.parametrize(
    ("command", "expected"),
    [("test", "pytest"), ("demo", "corolla demo"), ("docs", "sphinx"), ("bench", "benchmarks")],
)
def test_arguments_reach_the_tool(dev: ModuleType, command: str, expected: str) -> None:
    [step] = dev.steps(command, ["--help", "-x"])
    assert step[-2:] == ["--help", "-x"]
    assert expected in " ".join(step)


def test_lint_runs_every_check_or_those_named(dev: ModuleType) -> None:
    assert dev.steps("lint", []) == list(dev.CHECKS.values())
    assert dev.steps("lint", ["mypy"]) == [["-m", "mypy"]]


def test_the_benchmarks_are_listed_and_run_by_name(dev: ModuleType) -> None:
    def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
        [step] = dev.steps("bench", arguments)
        return subprocess.run([sys.executable, *step], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")

    listed = [line.split()[0] for line in bench().stdout.splitlines()]
    assert {"digits", "throughput"} <= set(listed)
    assert not {"environment", "jobs"} & set(listed), "modules that only serve the others"
    unknown = bench("sped")
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("arguments", [("tset",), ("lint", "src"), ("setup", "now")])
def test_wrong_use_is_one_line_and_2(dev: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        dev.main(arguments)
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert repr(arguments[-1]) in line


@pytest.mark.skipif(os.name == "nt", reason="signals end processes differently on Windows")
@pytest.mark.parametrize(
    ("program", "code"), [("raise SystemExit(7)", 7), ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143)]
)
def test_a_failed_step_stops_with_the_code_that_a_shell_gives(dev: ModuleType, program: str, code: int) -> None:
    with pytest.raises(SystemExit) as stopped:
        dev.run([sys.executable, "-c", program], ROOT)
    assert stopped.value.code == code


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", "\n".join(lines), re.MULTILINE))


def test_every_package_asked_for_is_pinned() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [
        tables["project"]["dependencies"],
        *tables["project"]["optional-dependencies"].values(),
        *tables["dependency-groups"].values(),
    ]
    names = {re.split(r"[\[<>=~! ;]", text)[0].lower().replace("_", "-") for listed in lists for text in listed}
    assert names - _pins().keys() == set()


def test_hooks_run_the_versions_that_are_pinned() -> None:
    """pre-commit installs its own copies; a hook must not ask for another format than lint does."""
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    pins = _pins()
    for repo in repos:
        if repo["repo"] != "local":
            name = repo["repo"].rpartition("/")[2].removesuffix("-pre-commit")
            assert repo["rev"] == f"v{pins[name]}"
