"""The command `corolla`: functions are commands. What is slow to import is imported inside them.

A `CorollaError` becomes one line on standard error and an exit code: 2 for wrong use, 1 for a failure.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Group, Parameter

from corolla import __version__
from corolla.cli import (
    anomalies,
    compress,
    data,
    demo,
    directions,
    estimate,
    features,
    generate,
    info,
    priors,
    report,
    restore,
    scores,
    sweep,
    train,
    use,
)
from corolla.cli.inputs import STANDARD_INPUT
from corolla.errors import CorollaError, UsageError

BROKEN_PIPE = 128 + 13
INTERRUPTED = 128 + 2

_WARNINGS = logging.StreamHandler()
_WARNINGS.setFormatter(logging.Formatter("corolla: %(message)s"))

app = App(
    name="corolla",
    help="Train β-VAEs on image collections, and make the trained model useful. Begin with `corolla demo`.",
    version=__version__,
    help_format="plaintext",
    version_format="plaintext",
    default_parameter=Parameter(negative=""),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

_TRAIN = Group("Train", sort_key=1)
_USE = Group("Use a trained model", sort_key=2)
_LOOK = Group("Look", sort_key=3)
_COMMANDS: dict[Group, tuple[Callable[..., None], ...]] = {
    _TRAIN: (demo.demo, train.train, sweep.sweep, sweep.tune, info.presets),
    _USE: (
        use.sample,
        priors.fit_prior,
        use.reconstruct,
        use.traverse,
        use.interpolate,
        directions.direction,
        generate.loop,
        generate.poster,
        compress.compress,
        compress.decompress,
        features.embed,
        features.search,
        anomalies.anomalies,
        restore.denoise,
        restore.inpaint,
    ),
    _LOOK: (info.info, report.report, scores.evaluate, scores.compare, estimate.estimate),
}
for _group, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(_command, group=_group)
data.data.group = _LOOK
app.command(data.data)
app["--help"].group = app["--version"].group = Group("Help", sort_key=4)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    _show_warnings_of_corolla()
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
        if not _stdout_is_full():
            raise
        _leave_stdout()
        print(f"corolla: standard output: {error.strerror}; send it elsewhere", file=sys.stderr)
        return code or 1
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        app(arguments, print_error=False, exit_on_error=False)
    except (CorollaError, CycloptsError) as error:
        wrong_use = isinstance(error, UsageError | CycloptsError)
        text = " ".join(str(error).split())
        print(f"corolla: {text}{_pointer(error)}", file=sys.stderr)
        return int(getattr(error, "exit_code", 2 if wrong_use else 1))
    except KeyboardInterrupt:
        print("corolla: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _stdout_is_full() -> bool:
    """Whether an error was that of standard output, which then takes nothing more."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _leave_stdout() -> None:
    """Let what is still buffered go nowhere, or it would be tried again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _pointer(error: CorollaError | CycloptsError) -> str:
    if not isinstance(error, CycloptsError):
        return ""
    command = " ".join(["corolla", *(error.command_chain or ())])
    return f" See `{command} --help`."


def _show_warnings_of_corolla() -> None:
    _WARNINGS.stream = sys.stderr  # which may be another one than at the last call
    log = logging.getLogger("corolla")
    log.addHandler(_WARNINGS)
    log.propagate = False


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
