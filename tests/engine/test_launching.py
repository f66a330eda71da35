"""How one of several processes ends."""

import subprocess
import sys


def test_a_process_ends_with_its_code_after_its_last_words() -> None:
    """Without the end of its interpreter, where PyTorch may abort: objects are not deleted."""
    script = """
import atexit
from verydeep.engine.launching import end_process

class Loud:
    def __del__(self):
        print("deleted")

loud = Loud()
atexit.register(print, "exit function", end="")
print("last words")
end_process(3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "last words\nexit function", "")
