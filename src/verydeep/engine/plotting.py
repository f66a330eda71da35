"""Matplotlib figures without a window.

``pyplot`` is not used: it holds the figures of a whole process, and its user's choice of a window system.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(**options: Any) -> "Figure":
    """Return an empty figure; ``options`` are those of ``matplotlib.figure.Figure``."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes half a second

    return Figure(**options)


def subplots(
    rows: int = 1, columns: int = 1, *, sharey: bool = False, squeeze: bool = True, **options: Any
) -> "tuple[Figure, Any]":
    """Return a figure and its axes, as ``pyplot.subplots`` does."""
    figure = new_figure(**options)
    return figure, figure.subplots(rows, columns, sharey=sharey, squeeze=squeeze)
