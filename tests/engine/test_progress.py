"""Progress: rates, counts, and the form for terminals, notebooks and files."""

import io
import subprocess
import sys
import threading
from collections.abc import Generator

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from verydeep.engine.progress import (
    CountColumn,
    LineProgress,
    RateColumn,
    progress_bar,
    run_with_progress,
    show_progress,
)


@pytest.mark.parametrize(
    ("images", "seconds", "rate"),
    [(1, 1, "1.0 images/s"), (1, 40, "40 s/image"), (32, 8, "4.0 images/s"), (256, 0.1, "2,560 images/s"), (0, 1, "")],
)
def test_a_bar_shows_its_rate(images: int, seconds: float, rate: str) -> None:
    now = 0.0
    progress = Progress(get_time=lambda: now, speed_estimate_period=300)
    task = progress.add_task("", total=10)
    progress.advance(task)
    now += seconds
    progress.advance(task)
    assert RateColumn(images).render(progress.tasks[0]).plain == rate


@pytest.mark.parametrize(("done", "count"), [(0, "  0/497"), (20, " 20/497"), (500, "497/497")])
def test_no_more_than_all_is_counted(done: int, count: str) -> None:
    """Of 497 images the main one of two processes has done 250."""
    progress = Progress()
    progress.add_task("Testing", total=497, completed=done)
    assert CountColumn().render(progress.tasks[0]).plain == count


def lines_of(seconds: int, *, rewrite: bool) -> str:
    """Return what is written of a job with one step a second."""
    now, stream = 0.0, io.StringIO()
    columns = (TextColumn("{task.description}"), CountColumn())
    with LineProgress(*columns, console=Console(file=stream), rewrite=rewrite, get_time=lambda: now) as progress:
        task = progress.add_task("Testing", total=seconds)
        for _ in range(seconds):
            now += 1
            progress.advance(task)
    return stream.getvalue()


def test_a_file_gets_a_line_every_minute_and_at_the_end_of_a_longer_job() -> None:
    assert lines_of(59, rewrite=False) == ""
    assert lines_of(150, rewrite=False).splitlines() == ["Testing   60/150", "Testing  120/150", "Testing  150/150"]


def test_a_notebook_gets_one_line_that_is_rewritten() -> None:
    text = lines_of(3, rewrite=True)
    assert text.split("\r") == ["", "Testing  1/3", "Testing  2/3", "Testing  3/3", "Testing  3/3\n"]


NOTEBOOK = """
import builtins, sys
class ZMQInteractiveShell: pass  # as IPython calls the shell of a notebook
if "notebook" in sys.argv:
    builtins.get_ipython = ZMQInteractiveShell
from verydeep.engine import progress
progress.NOTEBOOK_SECONDS = 0
with progress.progress_bar() as bar:
    task = bar.add_task("Testing", total=2, note="")
    bar.advance(task, 2)
"""


@pytest.mark.parametrize("notebook", [True, False])
def test_a_notebook_is_recognized(notebook: bool) -> None:
    """Without ipywidgets, and without a warning that they are missing."""
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK, *(["notebook"] if notebook else [])]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b""
    assert done.stderr.startswith(b"\rTesting  2/2") == notebook
    assert notebook or done.stderr == b""


def test_a_generator_runs_to_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> Generator[float, None, str]:
        yield 2
        yield 1
        return "result"

    assert run_with_progress(work(), "Working", 3) == "result"


def test_progress_is_switched_off_for_this_thread_alone() -> None:
    def is_shown() -> bool:
        with progress_bar() as bar:
            return isinstance(bar, LineProgress)

    shown = []
    with show_progress(False):
        shown.append(is_shown())
        with show_progress(True):  # what an outer call has switched off stays off
            shown.append(is_shown())
        thread = threading.Thread(target=lambda: shown.append(is_shown()))
        thread.start()
        thread.join()
    assert [*shown, is_shown()] == [False, False, True, True]
