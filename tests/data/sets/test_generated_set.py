"""The generated set: its bytes, its boxes, what does and does not tell its classes apart, and how it survives."""

import csv
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.data.sets.generated_set import VERSION, generate, is_generated, open_generated
from verydeep.data.sets.outlines import CLASS_NAMES, render
from verydeep.errors import VerydeepError

COUNTS = {"train": 130, "val": 10, "test": 20}


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated") / "set"
    assert list(generate(root, seed=3, counts=COUNTS, processes=1))[-1] == 160
    return root


def test_bytes_do_not_depend_on_the_number_of_processes(made, tmp_path):
    done = list(generate(tmp_path / "set", seed=3, counts=COUNTS, processes=3))
    assert done == sorted(done)
    assert done[-1] == 160
    assert digest(tmp_path / "set") == digest(made)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_works_in_a_script_read_from_a_pipe(made, tmp_path):
    script = (
        "from pathlib import Path; from verydeep.data.sets.generated_set import generate\n"
        f"print(list(generate(Path({str(tmp_path / 'set')!r}), seed=3, counts={COUNTS}, processes=2))[-1])\n"
        "import sys; assert 'torch' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-"], input=script, text=True, capture_output=True, check=True)
    assert answer.stdout.strip() == "160"
    assert digest(tmp_path / "set") == digest(made)


def test_layout_reads_as_class_folders_and_as_a_split(made):
    assert is_generated(made)
    for name, count in COUNTS.items():
        split = open_generated(made, name)
        assert len(split) == count
        assert list(split.files) == sorted(p.relative_to(made).as_posix() for p in (made / name).glob("*/*"))
        assert split.class_names == tuple(sorted(path.name for path in (made / name).iterdir()))
        assert [CLASS_NAMES[label] for label in split.labels] == [file.split("/")[1] for file in split.files]
        assert np.bincount(split.labels, minlength=10).tolist() == [count // 10] * 10
        assert split.camera_rotation is False
        assert split.layout == "the generated set"
        for i, file in enumerate(split.files):
            picture = render(3, name, int(Path(file).stem))
            assert picture.label == split.labels[i]
            assert split.boxes[i].tolist() == [list(picture.box)]
            with Image.open(split.path(i)) as image:
                assert (image.format, image.size) == ("JPEG", picture.pixels.shape[1::-1])
                error = np.abs(np.asarray(image, float) - picture.pixels).mean()
            assert error < 12  # JPEG's own loss on noise; another picture differs by more than 25


def test_a_second_call_on_a_complete_set_writes_nothing(made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert list(generate(made, seed=3, counts=COUNTS)) == []
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize("processes", [1, 2])
def test_a_call_after_an_interrupted_one_continues(made, tmp_path, processes):
    root = tmp_path / "set"
    progress = generate(root, seed=3, counts=COUNTS, processes=processes)
    assert [next(progress), next(progress)] == [0, 100]
    progress.close()
    assert not root.exists()
    assert not is_generated(root)
    partial = tmp_path / ".set.partial"
    rows = [line for part in (partial / "parts").glob("*.csv") for line in part.read_text().splitlines()]
    times = {(name := row.split(",")[0]): (partial / "set" / name).stat().st_mtime_ns for row in rows}
    resumed = list(generate(root, seed=3, counts=COUNTS, processes=1))
    assert resumed[0] == len(times) >= 100
    assert {name: (root / name).stat().st_mtime_ns for name in times} == times
    assert digest(root) == digest(made)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_killed_process_leaves_no_set_and_no_workers(made, tmp_path):
    root = tmp_path / "set"
    script = (
        "from pathlib import Path; from verydeep.data.sets.generated_set import generate\n"
        f"for done in generate(Path({str(root)!r}), seed=3, counts={COUNTS}, processes=2): print(done, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "0\n"
        deadline = time.monotonic() + 20
        pictures = (tmp_path / ".set.partial" / "set").rglob
        while not any(pictures("*.jpg")):
            assert time.monotonic() < deadline
        process.kill()
    assert not root.exists()
    deadline = time.monotonic() + 20
    count = -1
    while count != (count := sum(1 for _ in pictures("*.jpg"))):  # the workers end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for _ in generate(root, seed=3, counts=COUNTS, processes=2):
        pass
    assert digest(root) == digest(made)


def test_a_part_made_for_another_seed_is_not_used(made, tmp_path):
    root = tmp_path / "set"
    other = generate(root, seed=4, counts=COUNTS, processes=1)
    assert [next(other), next(other)] == [0, 100]
    other.close()
    assert min(generate(root, seed=3, counts=COUNTS, processes=1)) == 0
    assert digest(root) == digest(made)


def test_another_process_that_was_first_is_no_error(made, tmp_path):
    root = tmp_path / "set"
    late = generate(root, seed=3, counts=COUNTS, processes=1)
    assert next(late) == 0
    list(generate(root, seed=3, counts=COUNTS, processes=1))
    list(late)
    assert digest(root) == digest(made)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    list(generate(tmp_path / "empty", counts={"val": 10}, processes=1))
    assert len(open_generated(tmp_path / "empty", "val")) == 10
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(VerydeepError, match="in the way"):
        list(generate(tmp_path / "photos", counts={"val": 10}))
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(VerydeepError, match="in the way"):
        list(generate(tmp_path / "empty", seed=1, counts={"val": 10}))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for processes in (1, 2):
        with pytest.raises(VerydeepError, match="cannot be written"):
            list(generate(tmp_path / "file" / "set", counts={"val": 300}, processes=processes))


def test_a_worker_that_cannot_write_is_an_error(tmp_path):
    root = tmp_path / "set"
    progress = generate(root, counts={"val": 300}, processes=2)
    assert next(progress) == 0
    shutil.rmtree(tmp_path / ".set.partial")
    with pytest.raises(VerydeepError, match="No such file"):
        list(progress)
    assert not root.exists()


def test_other_versions_and_damage_are_refused(made, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(made, root)
    assert not is_generated(tmp_path)
    with pytest.raises(VerydeepError, match="not version 3 of the generated set"):
        open_generated(tmp_path, "val")
    with pytest.raises(VerydeepError, match="no split 'validation'"):
        open_generated(root, "validation")
    with (root / "val_boxes.csv").open() as file:
        rows = list(csv.reader(file))
    (root / "val_boxes.csv").write_text("\n".join(",".join(row[:4]) for row in rows))
    with pytest.raises(VerydeepError, match="damaged"):
        open_generated(root, "val")
    marker = root / "generated.json"
    marker.write_text(marker.read_text().replace(f'"version": {VERSION}', f'"version": {VERSION - 1}'))
    assert is_generated(root)
    with pytest.raises(VerydeepError, match="not version 3 of the generated set"):
        open_generated(root, "test")
    with pytest.raises(VerydeepError, match="in the way"):
        list(generate(root, seed=3, counts=COUNTS))
