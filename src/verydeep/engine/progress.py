"""Progress of everything that takes longer than two seconds: bars on a terminal, lines of text elsewhere."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from verydeep.wording import count_of

Item = TypeVar("Item")
Result = TypeVar("Result")

SPEED_SECONDS = 300
"""Speed is averaged over this time: a batch of a slow net may take longer than rich's 30 seconds."""
LINE_SECONDS = 60
NOTEBOOK_SECONDS = 0.5

_enabled: ContextVar[bool] = ContextVar("progress is shown", default=True)


@contextmanager
def show_progress(enabled: bool) -> Iterator[None]:
    """Show the progress of what is done within, or do not; holds for this thread alone."""
    token = _enabled.set(enabled and _enabled.get())
    try:
        yield
    finally:
        _enabled.reset(token)


class CountColumn(MofNCompleteColumn):
    """Count and total; never more than the total, as one of several processes counts its own work for all of them."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Return "12/100"."""
        limited = copy(task)
        limited.completed = task.completed if task.total is None else min(task.completed, task.total)
        return super().render(limited)


class RateColumn(ProgressColumn):
    """Images a second, or seconds an image."""

    def __init__(self, images: int) -> None:
        """``images`` is how many images one count stands for; 0 shows no rate."""
        super().__init__(table_column=Column(no_wrap=True))
        self.images = images

    def render(self, task: Task) -> Text:
        """Return the speed so far, or nothing while it is unknown."""
        rate = (task.finished_speed or task.speed or 0) * self.images
        if not rate:
            return Text("")
        rate_text = f"{1 / rate:,.0f} s/image" if rate < 0.5 else f"{rate:,.{int(rate < 10)}f} images/s"
        return Text(rate_text, style="cyan")


class LineProgress(Progress):
    """Progress as text, where no bar can be drawn: one line rewritten in a notebook, else a line every minute."""

    def __init__(
        self, *columns: ProgressColumn, console: Console, rewrite: bool, get_time: Callable[[], float] | None = None
    ) -> None:
        """``rewrite`` is for notebooks; ``get_time`` is a clock in seconds."""
        super().__init__(
            *columns, console=console, disable=True, speed_estimate_period=SPEED_SECONDS, get_time=get_time
        )
        self._rewrite = rewrite
        self._interval = NOTEBOOK_SECONDS if rewrite else LINE_SECONDS
        self._last_time = self.get_time()
        self._last_task: TaskID | None = None
        self._length = 0

    def update(self, task_id: TaskID, **values: Any) -> None:
        """Update a task, and write a line if it is time to."""
        super().update(task_id, **values)
        self._write_if_due(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a task, and write a line if it is time to."""
        super().advance(task_id, advance)
        self._write_if_due(task_id)

    def stop(self) -> None:
        """Write where the last task ended, if a line was written before."""
        if self._last_task is not None:
            self._write(self._last_task)
            if self._rewrite:
                self.console.file.write("\n")
            self._last_task = None  # a second stop writes nothing
        self.console.file.flush()

    def _write_if_due(self, task_id: TaskID) -> None:
        if self.get_time() - self._last_time >= self._interval:
            self._write(task_id)

    def _write(self, task_id: TaskID) -> None:
        task = next(task for task in self.tasks if task.id == task_id)
        cells = (column(task) for column in self.columns if isinstance(column, ProgressColumn))
        line = "  ".join(cell.plain for cell in cells if isinstance(cell, Text) and cell.plain.strip())
        self.console.file.write(f"\r{line:<{self._length}}" if self._rewrite else f"{line}\n")
        self.console.file.flush()
        self._last_time, self._last_task, self._length = self.get_time(), task_id, len(line)


def _open_progress(*columns: ProgressColumn, visible: bool) -> Progress:
    """Return a progress display on standard error in the form that it can show."""
    console = Console(stderr=True)
    if visible and _enabled.get() and (console.is_jupyter or not console.is_terminal):
        text_columns = [column for column in columns if not isinstance(column, BarColumn)]
        return LineProgress(*text_columns, console=console, rewrite=console.is_jupyter)
    hidden = not (visible and _enabled.get())
    return Progress(*columns, console=console, speed_estimate_period=SPEED_SECONDS, disable=hidden)


@contextmanager
def progress_bar(*, images: int = 1, visible: bool = True) -> Iterator[Progress]:
    """Show a description, a count, a rate, the time left and a free text (the field ``note``) for each task.

    Args:
        images: Number of images that one count stands for: the batch, where steps are counted; 0 shows no rate.
        visible: False for all processes but the main one.
    """
    with _open_progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        CountColumn(),
        RateColumn(images),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        visible=visible,
    ) as progress:
        yield progress


@contextmanager
def download_bar() -> Iterator[Progress]:
    """Show a description, bytes, speed and the time left for each task."""
    with _open_progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        visible=True,
    ) as progress:
        yield progress


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield each item and advance a bar of ``total`` steps."""
    with progress_bar(visible=total > 1) as progress:
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)


def duration_text(seconds: float) -> str:
    """Return a duration in rounded words, such as "about 5 minutes"."""
    if seconds < 120:
        return f"about {count_of(max(1, round(seconds)), 'second')}"
    return f"about {seconds / 60:.0f} minutes" if seconds < 7200 else f"about {seconds / 3600:.1f} hours"


def run_with_progress(
    steps: Generator[float, None, Result], title: str, total: int, *, is_main: bool = True, images: int = 1
) -> Result:
    """Run a generator with a progress bar, and return its result.

    Args:
        steps: Yields the number of images done since it last yielded: first, of those that need no computing.
        title: Text before the bar.
        total: Number of all images.
        is_main: Whether this is the main process; others show no bar.
        images: Number of images that one count stands for; 0 shows no rate.
    """
    done = next(steps)
    with progress_bar(images=images, visible=is_main and total - done > 1) as progress:
        task = progress.add_task(title, total=total, note="")
        while True:
            progress.advance(task, done)
            try:
                done = next(steps)
            except StopIteration as stop:
                result: Result = stop.value
                return result
