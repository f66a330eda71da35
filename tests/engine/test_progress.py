"""How fast the bars say that it goes."""

import pytest
from rich.progress import Progress

from verydeep.engine.progress import CountColumn, RateColumn


@pytest.mark.parametrize(
    ("images", "seconds", "told"),
    [(1, 1, "1.0 images/s"), (1, 40, "40 s/image"), (32, 8, "4.0 images/s"), (256, 0.1, "2,560 images/s"), (0, 1, "")],
)
def test_a_bar_tells_its_rate(images: int, seconds: float, told: str) -> None:
    now = 0.0
    progress = Progress(get_time=lambda: now, speed_estimate_period=300)
    task = progress.add_task("", total=10)
    progress.advance(task)
    now += seconds
    progress.advance(task)
    assert RateColumn(images).render(progress.tasks[0]).plain == told


@pytest.mark.parametrize(("done", "told"), [(0, "  0/497"), (20, " 20/497"), (500, "497/497")])
def test_no_more_than_all_is_counted(done: int, told: str) -> None:
    """Of 497 images the main one of two processes has done 250."""
    progress = Progress()
    progress.add_task("Testing", total=497, completed=done)
    assert CountColumn().render(progress.tasks[0]).plain == told
