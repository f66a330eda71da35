"""Decoders that crash, and machines without memory, for processes of their own."""

import os
from pathlib import Path

_HOOK = """
import os, signal, sys
from pathlib import Path

def end_child(event, arguments):
    if event == "open" and str(arguments[0]).endswith({name!r}) and Path({after!r}).exists():
        from multiprocessing import parent_process
        if (parent_process() is not None) == {in_child}:
            os.kill(os.getpid(), {signal})

sys.addaudithook(end_child)
"""


def crash_decoders(folder: Path, name: str, signal: int, after: Path, *, in_child: bool = True) -> dict[str, str]:
    """Return an environment in which a process of Python that opens a file of this name ends by a signal.

    Args:
        folder: gets a file that Python reads when it starts.
        name: the end of the path.
        signal: the number of the signal.
        after: nothing happens until this path exists.
        in_child: whether it is a child process, or the main one.
    """
    folder.mkdir()
    hook = _HOOK.format(name=name, after=str(after), signal=int(signal), in_child=in_child)
    (folder / "sitecustomize.py").write_text(hook)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
