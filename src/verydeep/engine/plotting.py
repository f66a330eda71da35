"""Matplotlib, as every picture is drawn with it."""

import sys
from typing import Any


def pyplot() -> Any:
    """Matplotlib without a window; imported only where a picture is drawn, as it takes a second."""
    import matplotlib  # noqa: PLC0415

    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    return plt
