"""Generators that yield progress and return a result, run to their end."""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")


def finish(steps: Generator[float, None, Result]) -> tuple[list[float], Result]:
    """The numbers of images that were yielded, and the result."""
    counts = []
    while True:
        try:
            counts.append(next(steps))
        except StopIteration as stop:
            return counts, stop.value
