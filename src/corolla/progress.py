"""How a long job says how far it is, and how that is shown: a live bar on a terminal, plain lines elsewhere.

Long work in the library takes `progress=`, an `OnProgress`: it is called from time to time with the title of the piece
of work, how much of it is done, and of how much, None where that is not known. The title ends in the unit where it is
not images. None, the default, keeps silent. Training, which has more to say, takes a `Progress`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_SECONDS = 10.0
PLAIN_LINES = 10
"""How many plain lines a job of any length leaves, about."""
LIVE_INTERVAL_SECONDS = 0.5

OnProgress: TypeAlias = Callable[[str, int, "int | None"], None]
"""Called with a title, how much is done, and of how much."""


class Progress:
    """Where a training says how far it is, entered while it lasts. This one shows nothing; a subclass does."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def begin(self, step: int, total: int) -> None:
        """Say where the job starts and ends."""

    def due(self) -> bool:
        """Whether it is time to show something."""
        return False

    def update(self, step: int, note: str = "") -> None:
        """Show that `step` steps are done."""

    def line(self, text: str) -> None:
        """Leave a line of text behind."""

    def pieces(self) -> AbstractContextManager[OnProgress | None]:
        """The `progress=` of what comes before the training, such as a download."""
        return nullcontext()


class ProgressDisplay(Progress):
    """Progress of a job of `total` steps, written to standard error.

    It can be entered several times, for one job after another.
    """

    def __init__(self, title: str, total: int = 0, *, console: Console | None = None) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = console or _standard_error()
        self.total = total
        self.live = self.console.is_terminal
        self._title = title
        self._start = 0
        self._began_at = self._shown_at = self._interval = 0.0
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            expand=True,
            disable=not self.live,
        )
        self._task = self._bar.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        self._began_at = self._shown_at = 0.0
        self._interval = LIVE_INTERVAL_SECONDS if self.live else PLAIN_INTERVAL_SECONDS
        self._bar.reset(self._task, total=self.total, completed=self._start, note="")
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def begin(self, step: int, total: int) -> None:
        """See `Progress`; the length of a job may become known late."""
        self._start, self.total = step, total
        self._bar.update(self._task, completed=step, total=total)

    def due(self) -> bool:
        """Whether enough time has passed to show progress again. The first call starts the clock."""
        if not self._began_at:
            self._began_at = self._shown_at = time.monotonic()
        return time.monotonic() - self._shown_at >= self._interval

    def update(self, step: int, note: str = "") -> None:
        """See `Progress`."""
        self._shown_at = time.monotonic()
        if self.live:
            self._bar.update(self._task, completed=step, note=note)
            return
        spent = self._shown_at - (self._began_at or self._shown_at)
        left = spent / max(1, step - self._start) * (self.total - step)
        self._interval = max(PLAIN_INTERVAL_SECONDS, (spent + left) / PLAIN_LINES)
        self.line(f"{self._title} {step}/{self.total}, {left / 60:.1f} min left{'; ' if note else ''}{note}")

    def line(self, text: str) -> None:
        """See `Progress`."""
        say(text, self.console)

    def pieces(self) -> AbstractContextManager[OnProgress | None]:
        """See `Progress`."""
        return shown_progress()


def _standard_error() -> Console:
    from rich.console import Console  # slow to import, and seldom needed

    return Console(stderr=True)


def say(text: str, console: Console | None = None) -> None:
    """Leave a line of text behind on standard error, above the bar if there is one."""
    (console or _standard_error()).print(text, highlight=False, markup=False, soft_wrap=True)


def steps_of(progress: OnProgress | None, title: str, total: int | None = None) -> Callable[[int], None]:
    """What to call with the steps that are done of one piece of work."""
    return lambda done: None if progress is None else progress(title, done, total)


def megabytes_of(progress: OnProgress | None, title: str) -> Callable[[int, int | None], None] | None:
    """What to call with the bytes of a piece of work that are done, and with all of them if that is known."""
    if progress is None:
        return None
    return lambda done, total: progress(f"{title}, MB", done // 10**6, None if total is None else total // 10**6)


@contextmanager
def shown_progress() -> Iterator[OnProgress]:
    """Progress on standard error, each piece of work under its own title; the next one takes the place of the last.

    Of what has no known extent there is one line.
    """
    with ExitStack() as current:
        displays: dict[str, ProgressDisplay | None] = {}

        def show(title: str, done: int, total: int | None) -> None:
            if title not in displays:
                current.close()
                displays.clear()
                displays[title] = None if total is None else current.enter_context(ProgressDisplay(title, total))
                if total is None:
                    say(title)
            display = displays[title]
            if display is not None and (display.due() or (display.live and done == total)):
                display.update(done)

        yield show
