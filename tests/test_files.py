"""Files that are complete or absent, whatever kills the process that writes them; locks that no kill leaves behind."""

import errno
import os
import signal
import stat
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.permissions import locked, public_folder
from verydeep.errors import DataError, ResourceError, WeightsError
from verydeep.files import atomic_folder, atomic_write, atomic_write_text, check_output_folder, try_lock
from verydeep.json_files import FileFormat, read_json, write_json
from verydeep.paths import shorten_name, utf8_path


@dataclass(frozen=True)
class Line:
    words: tuple[str, ...]
    share: float
    label: Literal["cat", "dog"] | None = None


LINES = FileFormat("lines", 3, "`verydeep draw`", WeightsError)


def test_json_comes_back(tmp_path: Path) -> None:
    values = {"words": ["Bär", "猫", "\udcff.jpg"], "nothing": None, "share": 0.1, "n": [1, 2]}
    write_json(tmp_path / "new" / "folder" / "values.json", values)
    assert read_json(tmp_path / "new" / "folder" / "values.json", dict[str, Any]) == values
    assert read_json(tmp_path / "new" / "folder" / "values.json", Line) == Line(("Bär", "猫", "\udcff.jpg"), 0.1)
    assert (tmp_path / "new" / "folder" / "values.json").read_bytes().decode("utf-8").count("猫") == 1
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["values.json"]


def test_a_file_with_a_format_comes_back(tmp_path: Path) -> None:
    line = Line(("a", "b"), 1.0, "dog")
    write_json(tmp_path / "line.json", asdict(line), LINES)
    assert read_json(tmp_path / "line.json", Line, LINES) == line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"a": ', "Expecting value"),
        (b"\xff\xfe\x00", "utf-8"),
        (b"{} {}", "Extra data"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "expected object, got array"),
        (b'{"words": []}', "missing required field share"),
        (b'{"words": ["a", 1], "share": 1}', r"at words\[1\] .expected str, got int"),
        (b'{"words": [], "share": true}', "at share .expected float, got bool"),
        (b'{"words": [], "share": NaN}', "the number NaN"),
        (b'{"words": [], "share": 1e999}', "the number 1e999"),
        (b'{"words": [], "share": 1, "label": "cow"}', "at label .invalid enum value 'cow'"),
    ],
)
def test_damaged_json_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "values.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"values\.json is damaged .*{reason}.*: remove it\.$"):
        read_json(tmp_path / "values.json", Line)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "words"}, r"line\.json is another kind of file: its model_type is not 'lines'\."),
        ({"format": 2}, r"line\.json was written by an earlier version of verydeep: run `verydeep draw` again\."),
        ({"format": None}, "earlier version"),
        ({"format": 4}, r"line\.json was written by a later version of verydeep: upgrade verydeep\."),
        ({"share": "much"}, r"damaged at share .*: restore it, or run `verydeep draw` again\."),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    write_json(tmp_path / "line.json", {"words": [], "share": 1, "label": None, **changes}, LINES)
    with pytest.raises(WeightsError, match=reason):
        read_json(tmp_path / "line.json", Line, LINES)


def test_a_file_with_a_format_gives_every_field(tmp_path: Path) -> None:
    write_json(tmp_path / "line.json", {"words": [], "share": 1}, LINES)
    with pytest.raises(
        WeightsError, match=r"line\.json lacks label: another version of verydeep wrote it, or it is damaged; run "
    ):
        read_json(tmp_path / "line.json", Line, LINES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json cannot be read \(No such file or directory\): remove it\.$"):
        read_json(tmp_path / "absent.json", Line)


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with (
        pytest.raises(ResourceError, match="results cannot be written: it is a folder; give the name of a file in it"),
        atomic_write(tmp_path / "results"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic_write(path) as temporary:
        temporary.write_text("new, half")
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
from verydeep.files import atomic_write
path = Path({str(path)!r})
if {moment == "before the rename"}:
    Path.replace = os.replace = os.rename = lambda *_: {kill}
with atomic_write(path) as temporary:
    temporary.write_text("new")
    if {moment == "while writing"}:
        {kill}
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:  # what the killed process left behind is in nobody's way
        temporary.write_text("newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_at_once_and_its_mark_last(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    for turn in ("first", "second"):
        with atomic_folder(folder, "done.json") as temporary:
            (temporary / "done.json").write_text(turn)
            (temporary / "table.csv").write_text(turn)
            assert not folder.exists() or (folder / "done.json").read_text() == "first"
        assert {path.name: path.read_text() for path in folder.iterdir()} == {"done.json": turn, "table.csv": turn}
    with pytest.raises(ResourceError, match=r"results/x cannot be written"), atomic_folder(folder, "m") as temporary:
        raise ResourceError(f"{temporary / 'x'} cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Each has a temporary file of its own, which appears whole; the last to end decides."""
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as first:
        first.write_text("first, half")
        with atomic_write(path) as second:
            second.write_text("second, whole")
            assert path.read_text() == "old"
        assert path.read_text() == "second, whole"
        first.write_text("first, whole")
    assert path.read_text() == "first, whole"
    assert list(tmp_path.iterdir()) == [path]


MANY_WRITES = """
import sys
from pathlib import Path
from verydeep.json_files import write_json

for number in range(150):
    write_json(Path(sys.argv[1]) / f"{number % 3}.json", [int(sys.argv[2])] * 200)
"""


def test_many_writers_of_the_same_files(tmp_path: Path) -> None:
    """None takes the temporary folder of another for one that a kill left."""
    writers = [
        subprocess.Popen([sys.executable, "-c", MANY_WRITES, str(tmp_path), str(number)], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert errors == [b""] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "1.json", "2.json"]
    assert all(len(set(read_json(path, list[int]))) == 1 for path in tmp_path.iterdir())


WRITER = """
import os, sys, time
from pathlib import Path
from verydeep.files import atomic_write

with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    temporary.with_name(".tmpa1B2c3").write_text("a library's own temporary file, such as safetensors'")
    print(temporary.parent.name, flush=True)
    time.sleep(120)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there: what is a day old is removed")
def test_what_a_killed_writer_left_is_removed_by_the_next_and_never_a_living_ones(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "weights")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            temporary = tmp_path / writer.stdout.readline().strip()
            write_json(tmp_path / "other.json", {})
            assert {path.name for path in temporary.iterdir()} == {"file", ".tmpa1B2c3"}
        finally:
            writer.kill()
    write_json(tmp_path / "other.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


REMOVER = """
import fcntl, os, sys
from pathlib import Path
from verydeep.json_files import write_json

def look(event, arguments):
    if event == "shutil.rmtree" and str(arguments[0]).endswith(".abandoned.0123abcd.tmp"):
        descriptor = os.open(arguments[0], os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print("free")
        except BlockingIOError:
            print("locked")

sys.addaudithook(look)
write_json(Path(sys.argv[1]) / "new.json", {})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_an_abandoned_folder_stays_locked_until_it_is_gone(tmp_path: Path) -> None:
    """Else a process that has just made it, and locks it now, would lose what it writes there."""
    (tmp_path / ".abandoned.0123abcd.tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", REMOVER, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "locked\n"
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "猫" * 85])
def test_the_longest_names_that_file_systems_take(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, {"n": 1})
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """Safetensors makes files of mode 0600 whatever the umask, and shared weights could not be read."""
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "weights") as temporary:
            temporary.write_bytes(b"0")
            temporary.chmod(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o640


HOLDER = """
import os, sys, time
from pathlib import Path
from verydeep.files import try_lock

with try_lock(Path(sys.argv[1])) as free:
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
        reports = dict([*holder.stdout.readline().split(), ""][:2] for _ in range(2))
        child = int(reports.pop("child"))
        try:
            assert reports == {"free": ""}
            for _ in range(2):  # asking does not take it away
                with try_lock(path) as free:
                    assert not free
            holder.kill()
            holder.wait(20)
            os.kill(child, 0)  # still there
            with try_lock(path) as free:
                assert free
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)
    with try_lock(path) as free:
        assert free


def test_a_file_system_without_locks_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unknown)  # a test has no file system without locks
    with try_lock(tmp_path / ".lock") as free:
        assert free


def test_long_names_are_cut_to_bytes_that_file_systems_take(tmp_path: Path) -> None:
    assert shorten_name("val-dense-256") == "val-dense-256"
    for letter in ("a", "\u6570", "\U0001f600"):
        names = [shorten_name(letter * 200 + end) for end in ("1", "2")]
        assert names[0] != names[1]
        for name in names:
            (tmp_path / f"runs-{name}-A-256-c64-s0").mkdir()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9" / "x\udcff.bin"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"content")
    with utf8_path(path) as readable:
        assert str(readable).encode() and readable.read_bytes() == b"content"
    with atomic_write_text(tmp_path / "list.csv") as file:
        file.write(f"{path.name}\n")
    assert (tmp_path / "list.csv").read_text() == "x\\udcff.bin\n"


@pytest.mark.skipif(os.name != "posix", reason="makes pipes, and changes permissions")
def test_what_may_not_be_read_or_written_is_called_that_and_pipes_are_not_opened() -> None:
    with public_folder() as root:
        write_json(root / "values.json", {})
        with locked(root / "values.json"), pytest.raises(DataError, match=r"values\.json may not be read: change its"):
            read_json(root / "values.json", dict[str, Any])
        with locked(root, 0o555), pytest.raises(ResourceError, match=f"{root} may not be written: change its"):
            check_output_folder(root / "new" / "run", lambda _: False, "a run")
        os.mkfifo(root / "pipe.json")
        with pytest.raises(WeightsError, match=r"pipe\.json is a pipe, not a file: restore it"):
            read_json(root / "pipe.json", Line, LINES)
