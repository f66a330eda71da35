"""Decoders that crash, and machines without memory, for processes of their own."""

import os
from pathlib import Path

_HOOK = """
import os, signal, sys
from pathlib import Path

def end_child(event, arguments):
    if event == "open" and str(arguments[0]).endswith({name!r}) and Path({after!r}).exists():
        from multiprocessing import parent_process
        if parent_process() is not None:
            os.kill(os.getpid(), {signal})

sys.addaudithook(end_child)
"""


def crash_decoders(folder: Path, name: str, signal: int, after: Path) -> dict[str, str]:
    """Return an environment in which a child process of Python that opens a file of this name ends by a signal.

    Args:
        folder: gets a file that Python reads when it starts.
        name: the end of the path.
        signal: the number of the signal.
        after: nothing happens until this path exists.
    """
    folder.mkdir()
    hook = _HOOK.format(name=name, after=str(after), signal=int(signal))
    (folder / "sitecustomize.py").write_text(hook)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
