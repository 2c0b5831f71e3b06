"""The documents: what they name exists, and what they tell people to type works.

Each document is a story: what its fences say is run in their order, in one folder that at first holds only a few drawn
flowers, as `photos/flower-01.jpg` and so on. Each line of a `sh` fence, and each other fence, is one test. A test that
is chosen alone first does what the document says before it.

- A `sh` fence is run line by line as it stands, through the function behind the command `corolla`. It must succeed, and
  a file named by `-o` must be there afterwards. So that it takes seconds, `_quickened` changes these commands only:
  `corolla demo` gets `--quick` and 200 florets. `corolla train`, `sweep`, `tune` and `compare --family` get
  `--max-steps 4` and, for drawn flowers, `--source florets:200`. `corolla evaluate` and `compare` draw 40 samples
  unless told otherwise, and few florets; `compare` looks at 40 images. `train` writes no report, since `demo` and
  `report` do.
  Where the real flowers are wanted, `--mirror` names the folder in COROLLA_FLOWERS_MIRROR; without that variable, and
  for the large images of the preset `notebook`, training takes `--source florets:200` instead, and `corolla data`
  commands about flowers102 are left out, and so are those with `--label`, which drawn flowers do not have.
- Commands that prepare a machine (`git`, `cd`, `pip`) are not run. Those of `dev.py` are only looked up.
- A `yaml` fence must be a valid configuration; if its first line is a comment with a file's name, it becomes that file.
- A `python` fence whose first line is a comment with a name of a file becomes that file. Another is executed; fences of
  one document share their names, and `corolla.fit` is as short as `train`.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import corolla
from corolla import cli
from corolla.cli.train import SETTINGS, build_config
from corolla.config import Config, registered
from corolla.config.choosing import CHOICES
from corolla.config.describing import SECTIONS, describe_setting
from corolla.config.registry import PLUGINS_VARIABLE
from corolla.data import FACTORS, render, sample_factors
from corolla.data.factor_sets import SETS
from corolla.metrics.names import KINDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if path.name != "CHANGELOG.md")
STEPS = 4
DRAWN = "florets:200"
NOT_RUN = {"git", "cd", "pip", "source"}


@dataclass(frozen=True)
class Fence:
    """A fenced block of a document."""

    language: str
    text: str
    line: int


def _fences(document: Path) -> list[Fence]:
    text = document.read_text(encoding="utf-8")
    return [
        Fence(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    ]


def _commands(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


# --- what the documents name exists -----------------------------------------------------------------------------------


def _table(document: str, heading: str) -> list[list[str]]:
    """The cells of the first table whose header begins with a text, without the backticks."""
    lines = (ROOT / "docs" / document).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return rows


def test_the_table_of_presets_names_each() -> None:
    assert sorted(row[0] for row in _table("guide.md", "preset")) == corolla.preset_names()


def test_the_table_of_presets_tells_their_settings() -> None:
    for name, images, objective, _ in _table("guide.md", "preset"):
        config = corolla.preset(name)
        assert config.data.source.split(":")[0] in images
        assert "{}×{}".format(*config.data.size) in images
        assert f"β = {config.flat()['objective.beta']:g}, {config.network.latent_dim} latents" in objective


def test_the_table_of_florets_is_that_of_the_factors() -> None:
    expected = [[f.name, f"{f.low:g}", f"{f.high:g}", str(len(f.grid)), f.unit] for f in FACTORS]
    assert _table("data.md", "factor") == expected


def test_the_table_of_sets_is_that_of_the_loaders() -> None:
    expected = [
        [
            name,
            f"{known.count:,}",
            f"{known.shape[0]}×{known.shape[1]} {'RGB' if known.shape[2:] else 'grey'}",
            ", ".join(f"{factor} {values}" for factor, values in known.factors.items()),
            f"{known.count * math.prod(known.shape) / 1e9:.1f} GB",
        ]
        for name, known in SETS.items()
    ]
    assert _table("data.md", "set") == expected


def test_the_table_of_recipes_names_each_with_its_largest_size() -> None:
    limits = {
        name: f"{r.largest_px}×{r.largest_px}" if r.largest_px else "none" for name, r in registered("recipe").items()
    }
    assert {row[0]: row[-1] for row in _table("data.md", "recipe")} == limits


def test_the_tests_that_scores_are_said_to_have_are_there() -> None:
    for _, named in _table("scores.md", "score | test in `tests/metrics`"):
        file, *tests = re.findall(r"`([\w.]+)", f"`{named}")
        text = (ROOT / "tests" / "metrics" / file).read_text(encoding="utf-8")
        assert tests
        for test in tests:
            assert f"def {test}(" in text, f"{file}::{test}"


def test_every_kind_of_score_is_in_the_document() -> None:
    text = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
    missing = [kind.label for kind in KINDS.values() if kind.label not in text]
    assert not missing


def test_every_command_has_its_section() -> None:
    headings = re.findall(r"^### corolla ([\w-]+)$", (ROOT / "docs" / "commands.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(name for name in cli.app if not name.startswith("-"))


def test_the_page_of_settings_is_that_of_the_command() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    # In a process of its own, as others may have registered something.
    command = [sys.executable, "-m", "corolla", "settings", "--markdown"]
    environment = {**os.environ, "PYTHONPATH": str(Path(corolla.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert page.endswith(done.stdout.decode().replace("\r\n", "\n"))


def test_the_table_of_flags_is_complete() -> None:
    flags = {flag for row in _table("commands.md", "flags") for flag in re.findall(r"--[\w-]+", row[0])}
    others = {"preset", "config", "run", "force", "resume", "dry_run", "set"}
    assert flags == {f"--{name.replace('_', '-')}" for name in SETTINGS.keys() | others}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_and_links_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    sections = "|".join((*SECTIONS, *CHOICES))
    for section, field in re.findall(rf"(?:`|--set |\")({sections})\.([a-z_]+)\b(?!\()", text):
        assert describe_setting(f"{section}.{field}"), f"{section}.{field}"
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (document.parent / target).exists(), target


# --- what they tell people to type works ------------------------------------------------------------------------------


def _without(words: list[str], *flags: str) -> list[str]:
    """A command line without some flags and the values that follow them."""
    kept = list(words)
    for flag in flags:
        while flag in kept:
            place = kept.index(flag)
            del kept[place : place + 2]
    return kept


def _given(words: list[str], flag: str) -> str | None:
    return words[words.index(flag) + 1] if flag in words else None


def _quickened(words: list[str]) -> list[str] | None:
    """The command as it is run here (see above), or None if it is left out."""
    mirror = os.environ.get("COROLLA_FLOWERS_MIRROR")
    if words[:1] == ["demo"]:
        return words if "--quick" in words else [*words, "--quick"]
    if words[:1] == ["data"] and "flowers102" in words:
        return [*_without(words, "--mirror"), "--mirror", mirror] if mirror else None
    if "--label" in words and not mirror:
        return None
    if words[0] == "evaluate" and "--samples" not in words:
        return [*words, "--samples", "40"]
    trains = words[0] in ("train", "sweep", "tune") or "--family" in words
    if not trains or "--resume" in words:
        return words
    file = _given(words, "--config")
    preset = _given(words, "--preset")
    source = (
        _given(words, "--source")
        or build_config(preset, Path(file) if file else None, cli.train.Flags(), ()).data.source
    )
    words = [*_without(words, "--mirror", "--max-steps"), "--max-steps", str(STEPS)]
    if words[0] == "train" and "--resume" not in words:
        words.append("--no-report")
    if source == "flowers102" and mirror and preset != "notebook":
        return [*words, "--mirror", mirror]
    return words if source.startswith("folder:") else [*_without(words, "--source"), "--source", DRAWN]


def _run_line(words: list[str], where: str) -> None:
    program = PurePosixPath(words[0]).name
    if program in NOT_RUN:
        return
    if words[:2] == ["python", "dev.py"]:
        _dev().steps(words[2], words[3:])  # exits for what it does not know
        return
    assert program == "corolla", f"{where}: nothing here knows how to run {words[0]}"
    quick = _quickened(words[1:])
    if quick is None:
        return
    assert cli.run(quick) == 0, where
    for flag in ("-o", "--output", "--npz"):
        if (name := _given(quick, flag)) is not None:
            assert Path(name).exists(), f"{where}: {name} was not written"


def _dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write_photos(folder: Path) -> None:
    folder.mkdir()
    for number, pixels in enumerate(render(sample_factors(24, np.random.default_rng(5)), 90, 120), start=1):
        Image.fromarray(pixels).save(folder / f"flower-{number:02d}.jpg")


def _shorten_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from corolla.training import fit

    def short_fit(config: Config, *arguments: Any, **keywords: Any) -> corolla.TrainedModel:
        return fit(config.updated({"training.max_steps": STEPS, "data.source": DRAWN}), *arguments, **keywords)

    monkeypatch.setattr(corolla, "fit", short_fit)


def _shorten_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    from corolla.config import preset

    def smaller(name: str) -> Config:  # the demo's is the one that is drawn
        return preset(name).updated({"data.source": DRAWN}) if name == "quick" else preset(name)

    monkeypatch.setattr("corolla.config.preset", smaller)


def _shorten_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corolla.evaluation.folders.SAMPLES", 40)
    monkeypatch.setattr("corolla.evaluation.folders.IMAGES", 40)
    monkeypatch.setattr("corolla.evaluation.material.MOST_FACTOR_ROWS", 400)


@dataclass(frozen=True)
class Step:
    """What a document says to do at once: a command, or a whole fence of another language."""

    language: str
    text: str
    where: str

    def do(self, names: dict[str, Any]) -> None:
        """Do it in the current folder, with the names that the document's Python has so far."""
        if self.language == "sh":
            _run_line(shlex.split(self.text), self.where)
        elif self.language == "yaml":
            Config.from_dict(yaml.safe_load(self.text), where=self.where)
            if match := re.match(r"# (\S+\.yaml)\n", self.text):
                Path(match[1]).write_text(self.text, encoding="utf-8")
        elif match := re.match(r"# (\S+\.py)\n", self.text):
            Path(match[1]).write_text(self.text, encoding="utf-8")
        elif self.language == "python":
            exec(compile(self.text, self.where, "exec"), names)


def _steps(document: Path) -> list[Step]:
    name = document.relative_to(ROOT).as_posix()
    steps = []
    for fence in _fences(document):
        if fence.language == "sh":
            lines = [shlex.join(words) for words in _commands(fence.text)]
            steps += [Step("sh", line, f"{name}:{fence.line}: {line}") for line in lines]
        else:
            steps.append(Step(fence.language, fence.text, f"{name}:{fence.line}"))
    return steps


class Story:
    """A document as it is followed: its steps, the folder that it fills, and how far it has come."""

    def __init__(self, document: Path, folder: Path) -> None:
        self.steps = _steps(document)
        self.folder = folder
        self.names: dict[str, Any] = {}
        self.done = 0
        _write_photos(folder / "photos")

    def follow(self, number: int) -> None:
        """Do the steps up to one of them that have not been done."""
        while self.done <= number:
            self.done += 1
            self.steps[self.done - 1].do(self.names)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Story]:
    """The one story of each document that all of its tests tell on."""
    return functools.cache(lambda document: Story(document, tmp_path_factory.mktemp(document.stem)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "number"),
    [
        pytest.param(document, number, id=step.where, marks=pytest.mark.xdist_group(document.name))
        for document in DOCUMENTS
        for number, step in enumerate(_steps(document))
    ],
)
def test_what_the_documents_tell_to_type_works(
    document: Path, number: int, stories: Callable[[Path], Story], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = stories(document)
    monkeypatch.chdir(story.folder)
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    _shorten_fit(monkeypatch)
    _shorten_demo(monkeypatch)
    _shorten_scores(monkeypatch)
    story.follow(number)
