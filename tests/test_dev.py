"""dev.py: an environment that fits is used again, any other is mended, and a failed step stops the command."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _load(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev_in_a_test", folder / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Project:
    """A copy of dev.py in a folder of its own, whose steps are recorded, and played rather than run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        (folder / "pyproject.toml").write_text("[project]\nname = 'corolla'\n")
        (folder / "constraints.txt").write_text("torch==2.13.0\n")
        (folder / "dev.py").write_bytes((ROOT / "dev.py").read_bytes())
        self.dev = _load(folder)
        self.steps: list[list[str]] = []
        self.fails: Callable[[list[str]], int] = lambda _: 0
        self.healthy = True
        self.dev.run = self._run  # type: ignore[attr-defined]
        self.dev._succeeds = lambda _: self.healthy and self.dev.PYTHON.exists()  # type: ignore[attr-defined]

    def _run(self, arguments: Sequence[str | Path], **_: str) -> None:
        step = [str(argument) for argument in arguments]
        self.steps.append(step)
        if code := self.fails(step):
            raise self.dev.StepError(code)
        if step[1:3] == ["-m", "venv"]:
            self.dev.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            self.dev.PYTHON.touch()
            (self.dev.VENV / "pyvenv.cfg").write_text("version = 3.11.7\n")
            self.healthy = True

    def main(self, *arguments: str) -> int:
        """Run a command; its steps are in `steps` afterwards."""
        self.steps.clear()
        code = self.dev.main(arguments)
        assert isinstance(code, int)
        return code

    def kinds(self) -> list[str]:
        """What each step was: the module after -m, or the script's name."""
        return [step[2] if step[1:2] == ["-m"] else Path(step[0]).stem for step in self.steps]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_first_use_makes_the_environment_and_the_second_uses_it(project: Project) -> None:
    assert project.main("demo", "--quick") == 0
    assert project.kinds() == ["venv", "pip", "corolla"]
    assert project.steps[-1][1:] == ["demo", "--quick"]
    assert project.main("demo") == 0
    assert project.kinds() == ["corolla"]


def test_installation_keeps_to_the_constraints_and_the_extras(project: Project) -> None:
    project.main("test", "-x")
    install = project.steps[1]
    assert install[install.index("--constraint") + 1] == "constraints.txt"
    wanted = ".[codec,dev,factors,features,flows,maps,perceptual,scale,tensorboard,tune,video]"
    assert install[install.index("--editable") + 1] == wanted
    assert project.steps[-1][1:] == ["-m", "pytest", "-x"]


def test_extras_add_up_over_commands(project: Project) -> None:
    project.main("demo")
    project.main("docs")
    assert project.steps[0][-1] == ".[docs]"
    project.main("test")
    both = ".[codec,dev,docs,factors,features,flows,maps,perceptual,scale,tensorboard,tune,video]"
    assert project.steps[0][-1] == both
    project.main("docs")
    assert "pip" not in project.kinds()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_package_list_installs_again(project: Project, name: str) -> None:
    project.main("demo")
    (project.folder / name).write_text("# other\n")
    project.main("demo")
    assert project.kinds() == ["pip", "corolla"]


def test_an_interrupted_installation_is_not_taken_for_a_finished_one(project: Project) -> None:
    project.main("demo")
    (project.folder / "constraints.txt").write_text("# other\n")
    project.fails = lambda step: 130 if "pip" in step else 0
    assert project.main("demo") == 130
    assert project.kinds() == ["pip"]
    project.fails = lambda _: 0
    project.main("demo")
    assert project.kinds() == ["pip", "corolla"]


@pytest.mark.parametrize("text", ["", "[]", '{"extras": 3}', "\x00"])
def test_a_damaged_stamp_only_means_another_installation(project: Project, text: str) -> None:
    project.main("demo")
    project.dev.STAMP.write_text(text)
    assert project.main("demo") == 0
    assert project.kinds() == ["pip", "corolla"]


def test_an_environment_whose_python_is_gone_is_made_anew(project: Project) -> None:
    project.main("demo")
    project.healthy = False
    assert project.main("demo") == 0
    assert project.kinds() == ["venv", "pip", "corolla"]


def test_an_environment_that_was_moved_is_made_anew(project: Project, tmp_path: Path) -> None:
    project.main("demo")
    moved = project.folder.rename(tmp_path / "elsewhere")
    other = Project(moved)
    assert other.main("demo") == 0
    assert other.kinds() == ["venv", "pip", "corolla"]


def test_a_failed_step_stops_the_command_with_its_code(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.fails = lambda step: 3 if "ruff" in step else 0
    assert project.main("lint") == 3
    assert project.kinds() == ["venv", "pip", "ruff"]
    assert "dev.py lint: stopped" in capsys.readouterr().err


def test_venv_that_cannot_be_made_says_what_may_be_missing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.fails = lambda step: 1 if "venv" in step else 0
    assert project.main("demo") == 1
    assert "python3-venv" in capsys.readouterr().err


def test_lint_checks_everything_there_is(project: Project) -> None:
    (project.folder / "README.md").touch()
    (project.folder / "src").mkdir()
    assert project.main("lint") == 0
    assert project.kinds() == ["venv", "pip", "ruff", "ruff", "mypy", "codespell", "lint-imports"]
    assert project.steps[2][-2:] == ["src", "dev.py"]
    assert "README.md" in project.steps[5]


def test_a_notebook_must_match_its_text(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    notebooks = project.folder / "notebooks"
    notebooks.mkdir()
    (notebooks / "a.ipynb").touch()

    def write_text(step: list[str]) -> int:
        if "jupytext" in step:
            Path(step[step.index("--output") + 1]).write_text("print(1)\n")
        return 0

    project.fails = write_text
    assert project.main("lint") == 1
    assert "jupytext --sync" in capsys.readouterr().err
    (notebooks / "a.py").write_text("print(1)\n")
    assert project.main("lint") == 0
    (notebooks / "a.py").write_text("print(2)\n")
    assert project.main("lint") == 1


def test_bench_lists_and_runs_scripts(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.folder / "benchmarks"
    folder.mkdir()
    (folder / "speed.py").write_text('"""How fast.\n\nMore.\n"""\nif __name__ == "__main__":\n    pass\n')
    (folder / "machine.py").write_text('"""Only serves the others."""\n')
    assert project.main("bench") == 0
    assert "How fast." in (listed := capsys.readouterr().out)
    assert "machine" not in listed
    assert project.main("bench", "speed", "--count", "3") == 0
    assert project.steps[-1][1:] == [str(folder / "speed.py"), "--count", "3"]
    assert project.main("bench", "sped") == 2
    assert "'sped' is not a benchmark; there are speed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("tset",), ("lint", "src"), ("setup", "now")])
def test_wrong_use_explains_itself(
    project: Project, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.main(*arguments) == (0 if arguments == ("--help",) else 2)
    out, err = capsys.readouterr()
    assert out if len(arguments) == 0 or arguments == ("--help",) else err.startswith("dev.py")


def test_an_old_python_is_told_so(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    assert project.main("demo") == 2
    assert "needs Python 3.10 or later" in capsys.readouterr().err
    assert not project.steps


@pytest.fixture
def dev() -> ModuleType:
    """dev.py itself, whose steps are really run."""
    return _load(ROOT)


def test_a_real_step_shows_itself_and_gives_its_own_code(dev: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    dev.run([sys.executable, "-c", "import os; print(os.environ['PETALS'])"], PETALS="seven")
    shown = capfd.readouterr().out
    assert shown.startswith("$ ")
    assert shown.rstrip().endswith("seven")
    with pytest.raises(dev.StepError) as stopped:
        dev.run([sys.executable, "-c", "raise SystemExit(7)"])
    assert stopped.value.code == 7


@pytest.mark.skipif(os.name == "nt", reason="signals end processes differently on Windows")
def test_a_step_ended_by_a_signal_gives_the_code_a_shell_gives(dev: ModuleType) -> None:
    with pytest.raises(dev.StepError) as stopped:
        dev.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"])
    assert stopped.value.code == 128 + 15


def test_a_python_that_is_not_there_does_not_succeed(dev: ModuleType, tmp_path: Path) -> None:
    assert dev._succeeds([sys.executable, "-c", ""])
    assert not dev._succeeds([sys.executable, "-c", "raise SystemExit(1)"])
    assert not dev._succeeds([tmp_path / "python"])
