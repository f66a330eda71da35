import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import ilsvrc_trees as trees
from verydeep.commands.verify import verify
from verydeep.errors import VerydeepError


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(30, 200, (96, 61, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")
    return path


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.fixture
def photographs(tmp_path) -> Path:
    root = tmp_path / "photographs"
    for index in range(9):
        noise(root / f"{'cat' if index % 2 else 'dog'}/{index}.jpg", index)
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_it_finds_all_that_is_broken_and_all_that_is_odd(photographs, tmp_path, capsys, workers):
    (photographs / "cat/1.jpg").write_bytes(b"no image")
    cut(photographs / "dog/2.jpg", 0.5)
    cut(photographs / "cat/3.jpg", 0.9)
    Image.new("CMYK", (20, 30)).save(photographs / "dog/4.jpg")
    Image.new("RGB", (20, 30)).save(photographs / "cat/5.jpg", format="PNG")
    with pytest.raises(VerydeepError, match=r"^2 of 9 files cannot be decoded"):
        verify(photographs, out=tmp_path / "found.json", workers=workers)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["data"] == str(photographs)
    assert found["files"] == 9
    broken = {row["file"]: row["why"] for row in found["undecodable"]}
    assert list(broken) == ["cat/1.jpg", "dog/2.jpg"]
    assert "not an image" in broken["cat/1.jpg"]
    assert "damaged" in broken["dog/2.jpg"]
    odd = {row["file"]: row["what"] for row in found["odd"]}
    assert list(odd) == ["cat/3.jpg", "cat/5.jpg", "dog/4.jpg"]
    assert "rows were decoded" in odd["cat/3.jpg"]
    assert odd["cat/5.jpg"] == "PNG under the name .jpg"
    assert odd["dog/4.jpg"].startswith("CMYK")
    told = capsys.readouterr().out
    assert "class folders; 9 files" in told
    assert all(file in told for file in (*broken, *odd))
    assert "cat/7.jpg" not in told


def test_a_sound_data_set_is_told_to_be_one(photographs, capsys):
    verify(photographs)
    assert "All 9 files can be used." in capsys.readouterr().out


def test_every_part_is_read_also_test_without_labels(tmp_path, capsys):
    root = trees.make_kaggle(tmp_path)
    (root / "ILSVRC/Data/CLS-LOC/test" / trees.TEST[0]).write_bytes(b"")
    with pytest.raises(VerydeepError, match=f"^1 of {len(trees.NAMES)} files"):
        verify(root)
    told = capsys.readouterr().out
    assert "CMYK" in told
    assert "PNG under the name .JPEG" in told


def test_train_without_val_and_test_are_each_read_once(tmp_path, capsys):
    for index in range(6):
        noise(tmp_path / f"train/cat/{index}.jpg", index)
    noise(tmp_path / "test/9.jpg", 9)
    verify(tmp_path)
    assert "All 7 files can be used." in capsys.readouterr().out


def test_mistakes_are_told_before_anything_is_read(photographs, tmp_path):
    with pytest.raises(VerydeepError, match=r"--workers 0 is out of range"):
        verify(photographs, workers=0)
    with pytest.raises(VerydeepError, match=r"--out .*cannot be written"):
        verify(photographs, out=tmp_path)
    with pytest.raises(VerydeepError, match=r"--out .*cannot be written"):
        verify(photographs, out=tmp_path / "nowhere/found.json")


def ready_workers(pid: int) -> list[int]:
    """Child processes that ignore Ctrl-C by now."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    masks = {child: Path(f"/proc/{child}/status").read_text().split("SigIgn:")[1].split()[0] for child in children}
    return [child for child, mask in masks.items() if int(mask, 16) >> (signal.SIGINT - 1) & 1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
def test_ctrl_c_stops_every_process_at_once_and_without_their_words(tmp_path):
    large = tmp_path / "data/cat/0.jpg"
    large.parent.mkdir(parents=True)
    Image.new("RGB", (1500, 1100)).save(large)
    for index in range(1, 6000):  # about a minute of work
        (tmp_path / f"data/cat/{index}.jpg").hardlink_to(large)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from verydeep.commands.verify import verify\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        f"        verify(Path({str(tmp_path / 'data')!r}), workers=2)\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n"
    )
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while len(workers := ready_workers(process.pid)) < 3:  # two, and the one that minds their resources
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)  # a machine may stall; all of the work would take longer
    assert process.returncode == 130
    assert "Traceback" not in told
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):  # the minder goes once it has seen the others go
        assert time.monotonic() < deadline
        time.sleep(0.05)
