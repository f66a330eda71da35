"""Shapes of images that are refused."""

from pathlib import Path

from verydeep.errors import DataError

MAX_ASPECT = 100
"""Largest ratio of the sides of an image. At Q=256 a line of 3000x2 pixels is as much work as 1,100 photographs."""


def check_shape(width: int, height: int, name: Path | str) -> None:
    """Refuse an image that is too elongated, before it is rescaled.

    Raises:
        DataError: it is, or it has no pixels.
    """
    if not width or not height:
        raise DataError(f"{name} has no pixels ({width}x{height}); remove it.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(
            f"{name} has {width}x{height} pixels, one side more than {MAX_ASPECT} times the other; crop or remove it."
        )
