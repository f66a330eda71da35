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

import verydeep as vd
from tests.crashes import crash_decoders
from tests.data.sets import ilsvrc_trees as trees
from tests.data.test_annotations import xml
from tests.runs import Cli


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(30, 200, (96, 61, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")
    return path


def resave(path: Path, mode: str, kind: str) -> None:
    with Image.open(path) as image:
        image.convert(mode).save(path, format=kind)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    root = tmp_path / "photographs"
    for index in range(9):
        noise(root / f"{'cat' if index % 2 else 'dog'}/{index}.jpg", index)
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_it_finds_all_that_is_broken_and_all_that_is_unusual(
    photographs: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    (photographs / "cat/1.jpg").write_bytes(b"no image")
    cut(photographs / "dog/2.jpg", 0.5)
    cut(photographs / "cat/3.jpg", 0.9)
    resave(photographs / "dog/4.jpg", "CMYK", "JPEG")
    resave(photographs / "cat/5.jpg", "RGB", "PNG")
    verified = vd.verify(photographs, workers=workers)
    assert (verified.folder, verified.num_files) == (photographs, 9)
    assert verified.problem.startswith("2 of 9 files cannot be used")
    assert list(verified.undecodable) == ["cat/1.jpg", "dog/2.jpg"]
    assert "not an image" in verified.undecodable["cat/1.jpg"]
    assert "damaged" in verified.undecodable["dog/2.jpg"]
    unusual = dict(verified.unusual)
    assert list(unusual) == ["cat/3.jpg", "cat/5.jpg", "dog/4.jpg"]
    assert "rows were decoded" in unusual["cat/3.jpg"]
    assert unusual["cat/5.jpg"] == "PNG under the name .jpg"
    assert unusual["dog/4.jpg"].startswith("CMYK")
    records = verified.records()
    assert [record["file"] for record in records] == [*verified.undecodable, *unusual]
    assert [record["decodable"] for record in records] == [False, False, True, True, True]
    assert capsys.readouterr() == ("", "")


def test_the_command_line_lists_the_files_and_fails(photographs: Path, inside: Cli) -> None:
    (photographs / "cat/1.jpg").write_bytes(b"no image")
    resave(photographs / "dog/4.jpg", "CMYK", "JPEG")
    done = inside("verify", photographs, check=False)
    assert done.returncode == 1
    assert "class folders; 9 files" in done.stdout
    assert "cat/1.jpg" in done.stdout and "dog/4.jpg" in done.stdout and "cat/7.jpg" not in done.stdout
    assert done.stderr == (
        "verydeep: 1 of 9 files cannot be used: replace or remove them, or train with --bad-images skip.\n"
    )
    lines = inside("verify", photographs, "--format", "json", check=False).stdout.splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["cat/1.jpg", "dog/4.jpg"]


def test_the_reason_stays_on_a_narrow_terminal(photographs: Path, inside: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    (photographs / "cat/1.jpg").write_bytes(b"no image")
    text = inside("verify", photographs, check=False).stdout
    assert "too narrow" not in text
    words = [word for word in text.split() if word not in ("cat/1.jpg", "no")]
    assert "is not an image, or its header is damaged" in " ".join(words)


def test_what_is_too_elongated_or_too_large_is_listed(photographs: Path) -> None:
    Image.new("RGB", (3000, 2)).save(photographs / "cat/line.png")
    Image.new("L", (1, 101)).save(photographs / "dog/hair.gif")
    Image.new("RGB", (300, 3)).save(photographs / "dog/exactly.webp")
    Image.new("1", (1, 1)).save(photographs / "dog/dot.png")
    Image.new("1", (20_000, 20_000)).save(photographs / "cat/huge.png")
    refused = vd.verify(photographs).undecodable
    assert list(refused) == ["cat/huge.png", "cat/line.png", "dog/hair.gif"]
    assert refused["cat/huge.png"].startswith("claims more than 178 million pixels")
    assert refused["cat/line.png"].startswith("has 3000x2 pixels, one side more than 100 times the other; crop or")
    assert refused["dog/hair.gif"].startswith("has 1x101 pixels")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the signals of POSIX")
def test_a_file_that_ends_its_process_is_listed_and_the_others_are_inspected(photographs: Path, tmp_path: Path) -> None:
    (photographs / "dog/6.jpg").write_bytes(b"no image")
    program = tmp_path / "program.py"
    program.write_text(
        "import json, verydeep as vd\n"
        "if __name__ == '__main__':\n"
        f"    print(json.dumps(dict(vd.verify({str(photographs)!r}, workers=2).undecodable)))\n"
    )
    environment = crash_decoders(tmp_path / "hook", "dog/2.jpg", signal.SIGSEGV, after=photographs)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "dog/2.jpg": "crashes the decoder, or takes too much memory; remove it.",
        "dog/6.jpg": "is not an image, or its header is damaged; replace or remove the file.",
    }


def test_a_sound_data_set_is_usable(photographs: Path, inside: Cli) -> None:
    assert vd.verify(str(photographs)).problem == ""
    assert "All 9 files can be decoded." in inside("verify", photographs).stdout


def test_every_part_is_read_also_test_without_labels(tmp_path: Path) -> None:
    root = trees.make_kaggle(tmp_path)
    (root / "ILSVRC/Data/CLS-LOC/test" / trees.TEST[0]).write_bytes(b"")
    verified = vd.verify(root)
    assert verified.problem.startswith(f"1 of {len(trees.NAMES)} files")
    findings = " ".join(text for _, text in verified.unusual)
    assert "CMYK" in findings and "PNG under the name .JPEG" in findings


def test_train_without_val_and_test_are_each_read_once(tmp_path: Path) -> None:
    for index in range(6):
        noise(tmp_path / f"train/cat/{index}.jpg", index)
    noise(tmp_path / "test/9.jpg", 9)
    assert vd.verify(tmp_path).num_files == 7


def test_leftovers_of_systems_and_folders_in_folders_are_noted(photographs: Path, tmp_path: Path, inside: Cli) -> None:
    (tmp_path / "archive" / "photographs").mkdir(parents=True)
    photographs.rename(tmp_path / "archive" / "photographs")
    inner = tmp_path / "archive" / "photographs"
    for index in range(0, 9, 2):
        noise(inner / f"dog/@eaDir/{index}.jpg/SYNOPHOTO_THUMB_M.jpg", index)
    noise(tmp_path / "archive" / "__MACOSX" / "._0.jpg", 0)
    verified = vd.verify(tmp_path / "archive")
    assert (verified.num_files, verified.problem) == (9, "")
    assert verified.notes == (
        f"All images of {tmp_path / 'archive'} lie in {inner}, which is read instead.",
        f"Left out of {inner}, because a program, a camera or a cloud drive made them: 1 folder @eaDir.",
    )
    assert inside("verify", tmp_path / "archive").stdout.count("@eaDir") == 1


def test_everything_is_found_in_one_run(photographs: Path, inside: Cli) -> None:
    for index in range(9, 12):
        noise(photographs / f"test/cow/{index}.jpg", index)
    (photographs / "train").mkdir()
    for name in ("cat", "dog"):
        (photographs / name).rename(photographs / "train" / name)
    (photographs / "train" / "bird").mkdir()
    (photographs / "train" / "fish").mkdir()
    (photographs / "train" / "fish" / "notes.txt").touch()
    (photographs / "train" / "cat" / "1.jpg").write_bytes(b"no image")
    verified = vd.verify(photographs)
    assert verified.num_files == 12 and list(verified.undecodable) == ["train/cat/1.jpg"]
    assert verified.problem.splitlines() == [
        f"The class folder {photographs / 'train' / 'fish'} holds no images; fill or remove it.",
        f"{photographs / 'test'} has class folders that training lacks: cow; rename or remove them.",
        "1 of 12 files cannot be used: replace or remove them, or train with `bad_images=skip`.",
    ]
    assert f"Not used, because it is empty: {photographs / 'train' / 'bird'}." in verified.notes
    assert inside("verify", photographs, check=False).returncode == 1


def test_photographs_without_class_folders_are_decoded_too(tmp_path: Path) -> None:
    noise(tmp_path / "phone" / "1.jpg", 1)
    noise(tmp_path / "phone" / "2.jpg", 2).write_bytes(b"no image")
    verified = vd.verify(tmp_path / "phone")
    assert (verified.layout, verified.num_files, list(verified.undecodable)) == ("photographs", 2, ["2.jpg"])
    assert verified.problem == (  # a training is not possible
        "1 of 2 files cannot be used: replace or remove them, or use `verydeep predict` and `verydeep features` with "
        "`bad_images=skip`."
    )
    assert "has no class folders" in verified.notes[0]


def test_all_defects_of_boxes_are_listed(photographs: Path, inside: Cli) -> None:
    """A wrong label, an impossible box, a file that does not exist, and a photograph without a box."""
    lines = [f"{'cat' if n % 2 else 'dog'}/{n}.jpg,{'cat' if n % 2 else 'dog'},1,2,30,40" for n in range(8)]
    lines[1] = "cat/1.jpg,cow,1,2,30,40"
    lines[2] = "dog/2.jpg,dog,30,2,1,40"
    lines[3] = "cat/3.jpg,cat,1,2,99,40"
    (photographs / "boxes.csv").write_text(
        "\n".join(["path,label,xmin,ymin,xmax,ymax", *lines, "dog/x.jpg,dog,1,2,3,4"])
    )
    verified = vd.verify(photographs)
    assert dict(verified.bad_boxes) == {
        "": "Line 10 of boxes.csv ('dog/x.jpg') has no image in the data set",
        "cat/1.jpg": "Line 3 of boxes.csv has a class that the set does not have, 'cow'",
        "dog/2.jpg": "Line 4 of boxes.csv has a min larger than its max",
        "cat/3.jpg": "Line 5 of boxes.csv reaches beyond the image of 61x96",
        "dog/8.jpg": "has no annotation",
    }
    assert [record["finding"] for record in verified.records()] == [finding for _, finding in verified.bad_boxes]
    assert {record["file"]: record["decodable"] for record in verified.records()} == {
        file: True if file else None for file in dict(verified.bad_boxes)
    }
    done = inside("verify", photographs, check=False)
    assert done.returncode == 1
    assert "5 annotations of boxes are wrong or missing: correct them, or train with --bad-boxes clip" in done.stderr
    (photographs / "boxes.csv").write_text("path,label\n")
    assert "Line 1 of" in vd.verify(photographs).problem


def test_good_boxes_are_no_finding(photographs: Path) -> None:
    lines = [f"{'cat' if n % 2 else 'dog'}/{n}.jpg,{'cat' if n % 2 else 'dog'},1,2,30,40" for n in range(9)]
    (photographs / "boxes.csv").write_text("\n".join(["path,label,xmin,ymin,xmax,ymax", *lines]))
    verified = vd.verify(photographs)
    assert (verified.bad_boxes, verified.problem) == ((), "")
    assert verified.notes[-1] == "boxes.csv: 9 boxes on 9 photographs."


def test_the_place_of_boxes_is_named_and_so_are_files_that_are_not_read(photographs: Path) -> None:
    lines = [f"{'cat' if n % 2 else 'dog'}/{n}.jpg,{'cat' if n % 2 else 'dog'},1,2,30,40" for n in range(9)]
    for name in ("box.csv", "BBoxes.CSV", "annotations.json", "cat/boxes.csv"):
        (photographs / name).write_text("\n".join(["path,label,xmin,ymin,xmax,ymax", *lines]))
    verified = vd.verify(photographs)
    assert verified.problem == ""
    assert verified.notes[-1] == (
        f"Not read: BBoxes.CSV, annotations.json, box.csv, cat/boxes.csv in {photographs}; boxes are read from "
        f"{photographs / 'boxes.csv'} with path,label,xmin,ymin,xmax,ymax."
    )
    annotations = photographs / "Annotations" / "cat"
    annotations.mkdir(parents=True)
    for number in range(1, 8, 2):
        (annotations / f"{number}.xml").write_text(xml((1, 2, 30, 40), name="cat", size=None))
    assert vd.verify(photographs).notes[-1] == "Annotations: 4 boxes on 4 photographs."


def test_boxes_whose_paths_are_all_wrong_are_one_problem(photographs: Path) -> None:
    lines = [f"pictures/{'cat' if n % 2 else 'dog'}/{n}.jpg,dog,1,2,30,40" for n in range(9)]
    (photographs / "boxes.csv").write_text("\n".join(["path,label,xmin,ymin,xmax,ymax", *lines]))
    verified = vd.verify(photographs)
    assert verified.bad_boxes == ()
    assert verified.problem == (
        f"No path in {photographs / 'boxes.csv'} is a file: paths begin at {photographs}, such as 'dog/0.jpg', and "
        "line 2 has 'pictures/dog/0.jpg'."
    )


def test_labels_whose_paths_are_all_wrong_are_one_problem(tmp_path: Path) -> None:
    for number in range(3):
        noise(tmp_path / "lab" / f"{number}.jpg", number)
    (tmp_path / "lab" / "labels.csv").write_text("path,label\nlaboratory/2.jpg,cat\nlaboratory/1.jpg,dog\n")
    assert vd.verify(tmp_path / "lab").problem == (
        f"No path in {tmp_path / 'lab' / 'labels.csv'} is a file: paths begin at {tmp_path / 'lab'}, such as '2.jpg', "
        "and line 2 has 'laboratory/2.jpg'."
    )


def test_a_single_class_stops_a_training(tmp_path: Path, inside: Cli) -> None:
    for number in range(2):
        noise(tmp_path / "one" / "Cat" / f"{number}.jpg", number)
    done = inside("verify", "one", check=False)
    assert done.returncode == 1
    assert "Both files can be decoded." in done.stdout
    wrong = "verydeep: one has a single class (Cat), and a net cannot be trained from one class: add photographs of"
    assert done.stderr == f"{wrong} another.\n"
    assert inside("train", "one", check=False).stderr.endswith(done.stderr.removeprefix("verydeep: "))
    noise(tmp_path / "one" / "dog.jpg", 3)
    assert vd.verify(tmp_path / "one").problem.endswith("or put the images that lie in no class folder into one.")
    (tmp_path / "one" / "dog.jpg").unlink()
    (tmp_path / "one" / "labels.csv").write_text("path,label\nCat/0.jpg,cat\nCat/1.jpg,\n")
    assert vd.verify(tmp_path / "one").problem == ""  # transfer learns from photographs without the label
    (tmp_path / "one" / "labels.csv").write_text("path,label\nCat/0.jpg,cat\nCat/1.jpg,cat\n")
    assert "has a single class (cat)" in vd.verify(tmp_path / "one").problem


def test_a_file_that_cannot_be_decoded_says_no(photographs: Path, inside: Cli) -> None:
    (photographs / "cat/1.jpg").write_bytes(b"no image")
    (photographs / "dog/2.jpg").write_bytes((photographs / "dog/4.jpg").read_bytes()[:-200])
    rows = [line.split() for line in inside("verify", photographs, check=False).stdout.splitlines()]
    assert [row[-1] for row in rows if row and row[0] in ("cat/1.jpg", "dog/2.jpg")] == ["no", "yes"]


def test_all_defects_of_labels_are_listed(photographs: Path) -> None:
    lines = ["cat/1.jpg,cat", "cat/9.jpg,cat", "dog/2.jpg,dog;", "cat/1.jpg,dog", "dog/4.jpg", "dog/0.jpg,dog;big"]
    (photographs / "labels.csv").write_text("\n".join(["path,label", *lines]))
    verified = vd.verify(photographs)
    assert (verified.layout, verified.num_files) == ("labels.csv", 2)
    assert [line.split(" of ")[0] for line in verified.problem.splitlines()] == ["Line 3", "Line 4", "Line 5", "Line 6"]
    assert "7 images in" in verified.notes[0]


def test_labels_with_a_wrong_header_are_a_problem(tmp_path: Path, photographs: Path) -> None:
    noise(tmp_path / "lab" / "1.jpg", 1)
    for folder in (tmp_path / "lab", photographs):
        (folder / "labels.csv").write_text("path;class\n1.jpg;cat\n")
    wrong = f"Line 1 of {tmp_path / 'lab' / 'labels.csv'} is 'path;class'; it must be path,label."
    assert vd.verify(tmp_path / "lab").problem == wrong
    verified = vd.verify(photographs)
    assert verified.problem == "" and "labels.csv is 'path;class'; it must be path,label." in verified.notes[-1]


def test_classes_are_named_with_their_numbers_of_photographs(photographs: Path, inside: Cli) -> None:
    assert "9 files; 2 classes: cat 4, dog 5." in inside("verify", photographs).stdout


def test_a_photograph_with_several_labels_counts_for_each_class(photographs: Path, inside: Cli) -> None:
    files = sorted(path.relative_to(photographs).as_posix() for path in photographs.rglob("*.jpg"))[:3]
    lines = [f"{file};{label}" for file, label in zip(files, ['"ant;bee"', "ant", "bee"], strict=True)]
    (photographs / "labels.csv").write_text("\n".join(["path;label", *lines]))
    assert vd.verify(photographs).class_counts == {"ant": 2, "bee": 2}
    done = inside("verify", photographs)
    assert "2 classes: ant 2, bee 2" in done.stdout and "training photographs: ant 2, bee 2" in done.stdout
    (photographs / "labels.csv").write_text("\n".join(["path;label", f"{files[0]};ant;bee", *lines[1:]]))
    assert "Line 2 of" in (problem := vd.verify(photographs).problem) and "has 3 fields" in problem


def test_an_empty_folder_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(vd.DataError, match=rf"No photographs in {tmp_path}: name a folder that has some\."):
        vd.verify(tmp_path)


def test_a_folder_of_photographs_to_predict_is_no_error(tmp_path: Path, inside: Cli) -> None:
    noise(tmp_path / "phone" / "1.jpg", 1)
    done = inside("verify", "phone")
    assert "phone has no class folders: a net can predict these photographs" in done.stdout
    assert "The file can be decoded." in done.stdout and done.stderr == ""


def test_photographs_with_one_folder_of_others_are_all_decoded(tmp_path: Path) -> None:
    """A camera's folder: its only subfolder is no class."""
    for name in ("1.jpg", "2.jpg", "last week/3.jpg"):
        noise(tmp_path / "phone" / name, len(name))
    (tmp_path / "phone" / "2.jpg").write_bytes(b"no image")
    verified = vd.verify(tmp_path / "phone")
    assert (verified.num_files, list(verified.undecodable), verified.folder_problems) == (3, ["2.jpg"], ())
    assert "has 2 images outside class folders and 1 inside: all are treated as photographs" in verified.notes[0]


def test_images_that_are_not_looked_at_are_counted(photographs: Path) -> None:
    noise(photographs / "cover.jpg", 3)
    verified = vd.verify(photographs)
    assert verified.num_unused == 1 and verified.footer()[-1] == "1 image without a class was not looked at."
    noise(photographs / "other.jpg", 4)
    assert vd.verify(photographs).footer()[-1] == "2 images without a class were not looked at."


def test_mistakes_are_found_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(vd.OptionError, match=r"`workers=-1` is out of range: give 0 or more") as caught:
        vd.verify(tmp_path / "nowhere", workers=-1)
    assert caught.value.parameter == "workers"


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
def test_ctrl_c_stops_every_process_at_once_and_without_traceback(tmp_path: Path) -> None:
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
        _, output = process.communicate(timeout=60)  # a machine may stall; all of the work would take longer
    assert process.returncode == 130
    assert "Traceback" not in output
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):  # the minder goes once it has seen the others go
        assert time.monotonic() < deadline
        time.sleep(0.05)
