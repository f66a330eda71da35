"""Mutated files of every format do no harm, nor do those that once did (docs/security.md)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux does")


@pytest.mark.slow
def test_mutated_files_do_no_harm() -> None:
    """A dozen mutations of each format, in a process of its own, which forks for each."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzzing", "--count", "12", "--corpus"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count("12 mutations, 0 findings") >= 20


def test_harm_is_found(tmp_path: Path) -> None:
    """Code that runs, a file elsewhere, a process, a message of two lines, another error, a crash, memory, a hang."""
    script = f"""
import os, sys
from pathlib import Path
from tests.fuzzing import attempts, formats
from verydeep.errors import DataError

def read(folder):
    kind = (folder / "file").read_text()
    if kind == "code": os.system("true")
    if kind == "elsewhere": open(folder.parent / "outside", "w").close()
    if kind == "inside": (folder / "new").touch()
    if kind == "lines":
        error = DataError("x"); error.args = (f"{{folder}}\\n.",); raise error
    if kind == "nameless": raise DataError("It is damaged.")
    if kind == "other": raise KeyError("x")
    if kind == "crash": os.abort()
    if kind == "memory": return len(b"1" * 200_000_000)
    if kind == "hidden":
        try: bytearray(2**40)
        except MemoryError: raise DataError(f"{{folder}} is damaged.") from None
    if kind == "hang":
        while True: pass
    if kind == "refused": raise DataError(f"{{folder}} is damaged.")

formats.FORMATS["test"] = formats.Format(lambda folder: (folder / "file").write_text(""), {{"file": ""}}, read)
attempts.SECONDS = 1
bench = attempts.Bench("test", Path({str(tmp_path)!r}))
for kind in sys.argv[1:]:
    print(kind, bool(bench.try_content("file", kind.encode()).harm))
"""
    harmful = ["code", "elsewhere", "inside", "lines", "nameless", "other", "crash", "memory", "hidden", "hang"]
    command = [sys.executable, "-W", "ignore", "-c", script, *harmful, "refused", "read"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*(f"{kind} True" for kind in harmful), "refused False", "read False"]
