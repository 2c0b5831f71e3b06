"""The command `corolla`: functions are commands. What is slow to import is imported inside them.

A `CorollaError` becomes one line on standard error and an exit code: 2 for wrong use, 1 for a failure.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter

from corolla import __version__
from corolla.cli.inputs import STANDARD_INPUT
from corolla.cli.output import out
from corolla.cli.spelling import in_todays_spelling
from corolla.errors import CorollaError, UsageError

TRAIN, USE, LOOK = "Train", "Use a trained model", "Look"
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "demo": (TRAIN, "train:demo", "Train a small model on drawn flowers, score it, and show what it learnt."),
    "train": (TRAIN, "train:train", "Train a model, and leave a run folder."),
    "sweep": (TRAIN, "sweep:sweep", "Train a grid of settings, and compare the runs."),
    "tune": (TRAIN, "sweep:tune", "Search for good settings; needs the extra `tune`."),
    "presets": (TRAIN, "info:presets", "List the presets that `corolla train --preset` takes."),
    "settings": (TRAIN, "info:settings", "List the settings of a run, with their defaults."),
    "sample": (USE, "use:sample", "Draw new images from a prior, or around a theme."),
    "fit-prior": (USE, "use:fit_prior", "Fit a prior to the codes of the training images."),
    "reconstruct": (USE, "use:reconstruct", "Pass images through the model and back."),
    "traverse": (USE, "use:traverse", "Move one latent at a time: what does each of them mean?"),
    "interpolate": (USE, "use:interpolate", "Walk through latent space from image to image."),
    "direction": (USE, "use:direction", "Find the direction that leads to a kind of image, and move along it."),
    "loop": (USE, "use:loop", "Walk on a closed, smooth path through latent space."),
    "poster": (USE, "use:poster", "Fill a poster of any size with new images."),
    "compress": (USE, "apps:compress", "Keep images as codes: tens of bytes each; needs the extra `codec`."),
    "decompress": (USE, "apps:decompress", "Get images back from a .corolla file."),
    "embed": (USE, "apps:embed", "Write the codes of images as a table."),
    "search": (USE, "apps:search", "Find the embedded images that are nearest to an image."),
    "anomalies": (USE, "apps:anomalies", "Rank images by how unlike they are to the training images."),
    "denoise": (USE, "apps:denoise", "Take noise off images."),
    "inpaint": (USE, "apps:inpaint", "Fill gaps in images."),
    "export": (USE, "export:export", "Write a model as ONNX, for use without Python; needs the extra `export`."),
    "info": (LOOK, "info:info", "Show a run or model: configuration, size, data, scores, latents."),
    "report": (LOOK, "info:report", "Write one HTML page about a run."),
    "evaluate": (LOOK, "scores:evaluate", "Score a model: reconstructions, samples, codes, disentanglement."),
    "compare": (LOOK, "scores:compare", "Put scored models side by side."),
    "estimate": (LOOK, "scores:estimate", "Estimate the likelihood of images, and what the latents hold."),
    "data": (LOOK, "data:data", "Look at the images to train on: list, get, preview, info."),
}
"""Group, function and one line of help of each."""

BROKEN_PIPE = 128 + 13
INTERRUPTED = 128 + 2


class _Warnings(logging.Handler):
    """Writes to what is standard error now: another one than at import, or the lines above a live bar.

    What is marked `once` comes once in a command, however often the model is loaded that it is about.
    """

    said: ClassVar[set[str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self.said or not getattr(record, "once", False):
            print(text, file=sys.stderr)
        self.said.add(text)


_WARNINGS = _Warnings()
_WARNINGS.setFormatter(logging.Formatter("corolla: %(message)s"))

app = App(
    name="corolla",
    help="Train β-VAEs on image collections, and make the trained model useful. Begin with `corolla demo`.",
    help_epilogue=(
        "Every command also takes --json (print one JSON object in place of text), --quiet (no progress, no notes, "
        "no lines about what was written) and --plugin MODULE or FILE.py (your own objectives, networks and so on)."
    ),
    version=__version__,
    help_format="plaintext",
    version_format="plaintext",
    default_parameter=Parameter(negative="", show_default=lambda value: None if value in ((), False) else value),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

_GROUPS = {title: Group(title, sort_key=number) for number, title in enumerate((TRAIN, USE, LOOK), start=1)}
for _name, (_title, _path, _summary) in COMMANDS.items():
    app.command(f"corolla.cli.{_path}", name=_name, group=_GROUPS[_title], help=_summary)
app["--help"].group = app["--version"].group = Group("Help", sort_key=4)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    _WARNINGS.said.clear()
    log = logging.getLogger("corolla")
    log.addHandler(_WARNINGS)
    log.propagate = False
    # A lone hyphen would be taken for a flag that there is not.
    arguments = [STANDARD_INPUT if word == "-" else word for word in (sys.argv[1:] if arguments is None else arguments)]
    code = 0
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `corolla info RUN | head -1`
        _leave_stdout()
        return code or BROKEN_PIPE
    except OSError as error:
        try:
            print(flush=True)
        except OSError:  # so it was standard output, which takes nothing more
            _leave_stdout()
        else:
            raise
        print(f"corolla: standard output: {error.strerror}; send it elsewhere", file=sys.stderr)
        return code or 1
    return code


def _run(arguments: list[str]) -> int:
    try:
        rest = _take_global_options(arguments)
        try:
            words = in_todays_spelling(rest, out.note)
            if {"--help", "-h"} & set(words):
                from corolla.cli.help import show_docstrings

                show_docstrings(app, words[0] if words[0] in COMMANDS else None)
            app(words, print_error=False, exit_on_error=False)
        finally:
            out.end()
    except (CorollaError, CycloptsError) as error:
        wrong_use = isinstance(error, UsageError | CycloptsError)
        if isinstance(error, CorollaError):
            text = error.message(lambda argument: f"--{argument.replace('_', '-')}")
        else:
            text = f"{error} See `{' '.join(['corolla', *(error.command_chain or ())])} --help`."
        print("corolla:", *text.split(), file=sys.stderr)
        return int(getattr(error, "exit_code", 2 if wrong_use else 1))
    except KeyboardInterrupt:
        print("corolla: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _take_global_options(arguments: list[str]) -> list[str]:
    """Heed --json, --quiet and each `--plugin MODULE` or `--plugin FILE.py`; returns the other arguments."""
    rest: list[str] = []
    plugins: list[str] = []
    flags: set[str] = set()
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *waiting]
        elif argument in ("--json", "--quiet"):
            flags.add(argument)
        elif name == "--plugin":
            plugins.append(value if equals else next(waiting, ""))
        else:
            rest.append(argument)
    out.begin(json_="--json" in flags, quiet="--quiet" in flags)
    if "" in plugins:
        raise UsageError("--plugin: name a module, or a Python file")
    if plugins:
        from corolla.config.registry import PLUGINS_VARIABLE, load_plugin

        for name in plugins:
            load_plugin(name)
        before = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
        os.environ[PLUGINS_VARIABLE] = os.pathsep.join(dict.fromkeys(filter(None, [*before, *plugins])))
    return rest


def _leave_stdout() -> None:
    """Let what is still buffered go nowhere, or it would be tried again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """A name's bytes that are no letters as they are; ? for what a console of few letters lacks, such as β."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    try:
        return text.encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return "?" * len(text), error.end


def main() -> NoReturn:
    """The console script."""
    codecs.register_error("corolla", _printable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="corolla")
    sys.exit(run())
