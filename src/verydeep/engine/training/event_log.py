"""Event files of TensorBoard: the numbers of metrics.jsonl, for ``tensorboard --logdir runs``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verydeep.errors import require_extra


def check_tensorboard() -> None:
    """Check that event files can be written.

    Raises:
        ResourceError: a package is missing.
    """
    with require_extra("`tensorboard=True`", "TensorBoard", "tensorboard"):
        import tensorboard  # noqa: F401, PLC0415 - an extra


class EventLog:
    """Writes an event file; after a resumption TensorBoard shows nothing of earlier files beyond the checkpoint."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begin a file in a folder of event files, ``step`` steps after the start of the run."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, values: Mapping[str, Any]) -> None:
        """Append the numbers of a report, by name; ``step`` is among them."""
        for name, value in values.items():
            if name != "step" and isinstance(value, int | float):
                self.writer.add_scalar(name, float(value), values["step"])
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()
