"""Files that are complete or absent, whatever kills the process that writes them; locks that no kill leaves behind."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from verydeep.errors import VerydeepError
from verydeep.files import cache_folder, locking, read_json, write_json, writing


def test_json_comes_back(tmp_path: Path) -> None:
    values = {"words": ["Bär", "猫"], "nothing": None, "share": 0.1, "n": [1, 2]}
    write_json(tmp_path / "new" / "folder" / "values.json", values)
    assert read_json(tmp_path / "new" / "folder" / "values.json") == values
    assert (tmp_path / "new" / "folder" / "values.json").read_bytes().decode("utf-8").count("猫") == 1
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["values.json"]


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe\x00", b"{} {}"])
def test_damaged_json_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "values.json").write_bytes(content)
    with pytest.raises(VerydeepError, match=r"values\.json"):
        read_json(tmp_path / "values.json")


def test_missing_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match=r"absent\.json"):
        read_json(tmp_path / "absent.json")


def test_the_new_file_appears_whole_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with writing(path) as beside:
        beside.write_text("new, half")
        assert path.read_text() == "old"
        beside.write_text("new, whole")
    assert path.read_text() == "new, whole"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), writing(path) as beside:
        beside.write_text("new, half")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("moment", ["while writing", "before the rename"])
def test_sigkill_leaves_the_old_file(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    script = f"""
import os, signal
from pathlib import Path
from verydeep.files import writing
path = Path({str(path)!r})
if {moment == "before the rename"}:
    Path.replace = os.replace = os.rename = lambda *_: {kill}
with writing(path) as beside:
    beside.write_text("new")
    if {moment == "while writing"}:
        {kill}
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    with writing(path) as beside:  # what the killed process left behind is in nobody's way
        beside.write_text("newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_the_cache_moves_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VERYDEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "verydeep"
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "verydeep"


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """Safetensors makes files of mode 0600 whatever the umask, and shared weights could not be read."""
    before = os.umask(0o027)
    try:
        with writing(tmp_path / "weights") as beside:
            beside.write_bytes(b"0")
            beside.chmod(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o640


HOLDER = """
import os, sys, time
from pathlib import Path
from verydeep.files import locking

with locking(Path(sys.argv[1])) as free:
    if os.fork() == 0:  # as a worker that decodes
        os.setsid()
        os.write(1, f"child {os.getpid()}\\n".encode())  # at once: two processes write here
        time.sleep(120)
        os._exit(0)
    os.write(1, b"free\\n" if free else b"held\\n")
    time.sleep(120)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_one_process_has_the_lock_until_it_ends_even_by_a_kill(tmp_path: Path) -> None:
    """And what it forked, and outlives it, does not keep it."""
    path = tmp_path / "run" / ".lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        told = dict([*holder.stdout.readline().split(), ""][:2] for _ in range(2))
        child = int(told.pop("child"))
        try:
            assert told == {"free": ""}
            for _ in range(2):  # asking does not take it away
                with locking(path) as free:
                    assert not free
            holder.kill()
            holder.wait(20)
            os.kill(child, 0)  # still there
            with locking(path) as free:
                assert free
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)
    with locking(path) as free:
        assert free


def test_a_file_system_without_locks_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unknown)
    with locking(tmp_path / ".lock") as free:
        assert free
