"""The progress bar of every command that takes longer than two seconds."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

Item = TypeVar("Item")
Result = TypeVar("Result")


class CountColumn(MofNCompleteColumn):
    """How many of how many, never more than all: one of several processes counts for each what it has done itself."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """As rich renders it, of no more than all."""
        told = copy(task)
        told.completed = task.completed if task.total is None else min(task.completed, task.total)
        return super().render(told)


class RateColumn(ProgressColumn):
    """Images a second or seconds an image, where one count of the bar is that many images; nothing where it is none."""

    def __init__(self, images: int) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self.images = images

    def render(self, task: Task) -> Text:
        """The speed so far, or nothing while it is unknown."""
        rate = (task.finished_speed or task.speed or 0) * self.images
        if not rate:
            return Text("")
        told = f"{1 / rate:,.0f} s/image" if rate < 0.5 else f"{rate:,.{int(rate < 10)}f} images/s"
        return Text(told, style="cyan")


@contextmanager
def progress_bar(*, images: int = 1, visible: bool = True) -> Iterator[Progress]:
    """A bar on standard error with count, rate, time left and a free text (the field ``note``).

    Args:
        images: how many one count stands for: the batch, where steps are counted; 0 where no images are.
        visible: False for all processes but the main one.
    """
    with Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        CountColumn(),
        RateColumn(images),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=Console(stderr=True),
        speed_estimate_period=300,  # a batch of a slow net may take longer than rich's 30 seconds
        disable=not visible,
    ) as progress:
        yield progress


@contextmanager
def download_bar() -> Iterator[Progress]:
    """A bar on standard error that counts bytes."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    ) as progress:
        yield progress


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield each item and advance a bar of ``total`` steps."""
    with progress_bar() as progress:
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)


def run_with_progress(steps: Generator[float, None, Result], title: str, total: int, *, is_main: bool = True) -> Result:
    """Run a generator of numbers of images that are done behind a bar, and return its result.

    Args:
        steps: yields first the number of images that need no computing.
        title: of the bar.
        total: number of all images.
        is_main: whether this is the main process; others show no bar.
    """
    done = next(steps)
    with progress_bar(visible=is_main and total - done > 1) as progress:
        task = progress.add_task(title, total=total, note="")
        while True:
            progress.advance(task, done)
            try:
                done = next(steps)
            except StopIteration as stop:
                result: Result = stop.value
                return result
