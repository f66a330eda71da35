"""The examples run as their headers say."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import verydeep as vd
from tests.peers import need
from verydeep.data.layout import open_split
from verydeep.data.transfer_sets import open_transfer_set

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
WNIDS = ("n00000003", "n00000001", "n00000002")


def test_tiny_imagenet_subset(tmp_path: Path) -> None:
    source, subset = tmp_path / "tiny", tmp_path / "subset"
    (source / "val" / "images").mkdir(parents=True)
    (source / "wnids.txt").write_text("\n".join(WNIDS))
    (source / "words.txt").write_text("n00000001\tfish\nn00000002\tfrog\nn00000003\tfox\n")
    lines = []
    for number, wnid in enumerate(WNIDS):
        images = source / "train" / wnid / "images"
        images.mkdir(parents=True)
        for i in range(12):
            (images / f"{wnid}_{i}.JPEG").write_text(f"{wnid} {i}")
        boxes = "".join(f"{wnid}_{i}.JPEG\t{i}\t{number}\t50\t60\n" for i in reversed(range(12)))
        (source / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
        for i in (number, number + 3):
            (source / "val" / "images" / f"val_{i}.JPEG").write_text(f"{wnid} val")
            lines.append(f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (source / "val" / "val_annotations.txt").write_text("".join(lines))
    script = EXAMPLES / "tiny_imagenet_subset.py"
    command = [script, "tiny", "subset", "--classes", "2", "--train", "9"]  # relative, as a user types them
    subprocess.run([sys.executable, *map(str, command)], check=True, cwd=tmp_path, timeout=60)
    seen = {}
    for part in ("train", "val", "test"):
        split = open_split(subset, part)
        assert split.labels is not None
        assert split.class_words == ("fish", "frog")
        seen[part] = {(split.class_names[label], split.path(i).read_text()) for i, label in enumerate(split.labels)}
    wanted = ("n00000001", "n00000002")
    assert seen["train"] == {(wnid, f"{wnid} {i}") for wnid in wanted for i in range(9)}
    assert seen["test"] == {(wnid, f"{wnid} {i}") for wnid in wanted for i in (9, 10, 11)}
    assert seen["val"] == {(wnid, f"{wnid} val") for wnid in wanted}
    table = (subset / "boxes.csv").read_text().splitlines()
    assert table[0] == "path,label,xmin,ymin,xmax,ymax" and len(table) == 1 + 2 * (12 + 2)
    assert "test/n00000002/n00000002_10.JPEG,n00000002,10,2,50,60" in table
    assert "val/n00000001/val_4.JPEG,n00000001,0,32,44,62" in table
    assert sum(1 for path in (subset / "val").rglob("*.JPEG") if path.is_symlink()) == 4


def test_drawn_folders(tmp_path: Path) -> None:
    """The division is the one that transfer tests on."""
    for name in ("BACKGROUND_Google", "ant", "crab"):
        folder = tmp_path / "101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for i in range(32):
            Image.new("RGB", (8, 9)).save(folder / f"image_{i:04}.jpg")
    script = EXAMPLES / "drawn_folders.py"
    command = [sys.executable, str(script), ".", "drawn", "--seed", "2"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    wanted = open_transfer_set(tmp_path, seed=2).partitions[0]
    for part, split in (("train", wanted.train), ("test", wanted.test)):
        links = sorted((tmp_path / "drawn" / part).glob("*/*"))
        assert split is not None and len(links) == {"train": 90, "test": 6}[part]
        assert [f"{link.parent.name}/{link.name}" for link in links] == sorted(split.files)
        assert {link.resolve() for link in links} == {split.path(i) for i in range(len(split))}


def test_paired_differences(tmp_path: Path) -> None:
    """On the images that both saw: of four the first errs on two, the second on one of these."""
    said = {
        "dense": {"a": "ant", "b": "bee", "c": "cow", "d": "ant", "e": "ant"},
        "crops": {"d": "ant", "c": "bee", "b": "ant", "a": "ant"},
        "others": {"x": "ant"},
    }
    for name, guesses in said.items():
        lines = [f"{path},ant,{guess}" for path, guess in guesses.items()]
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_text("\n".join(["path,label,class1", *lines]))
    command = [sys.executable, str(EXAMPLES / "paired_differences.py"), "dense", "crops"]
    told = subprocess.run(command, check=True, cwd=tmp_path, timeout=60, capture_output=True, text=True).stdout
    first, dense, crops, both = told.splitlines()
    assert first.startswith("4 images;")
    assert dense.startswith("dense: 50.0 [") and crops.startswith("crops: 25.0 [")
    assert both.startswith("dense minus crops: +25.0 [-")  # four images show no difference
    done = subprocess.run([*command, "others"], cwd=tmp_path, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no image was seen by all of these tests" in done.stderr


def test_examples_are_short() -> None:
    for script in (EXAMPLES).glob("*.py"):
        assert len(script.read_text().splitlines()) <= 40, script.name


def run_example(name: str, *arguments: object, cwd: Path) -> str:
    """Run a script in a folder, and return what it prints."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # tables are not folded
    done = subprocess.run(command, cwd=cwd, env=environment, timeout=240, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_own_photographs(photographs: Path, tmp_path: Path) -> None:
    images = sorted((photographs / "test" / "bee").iterdir())
    printed = run_example("own_photographs.py", photographs, *images, "--crop", 32, "--epochs", 1, cwd=tmp_path)
    assert "top-1" in printed and str(images[0]) in printed
    with (tmp_path / "predictions.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [record["image"] for record in records[::3]] == [str(image) for image in images]
    assert {record["class"] for record in records} == {"apple", "bee", "cloud"}


def test_array_descriptors(trained: Path, real_photographs: list[Path], tmp_path: Path) -> None:
    lines = run_example("array_descriptors.py", trained, real_photographs[0], "--tiles", 3, cwd=tmp_path).splitlines()
    assert lines[0].split() == ["image", "d1", "d2", "d3", "d4"] and "image 9" in "".join(lines)
    assert lines[-1].startswith("Most alike: image ") and 0 < float(lines[-1].split()[-1]) < 1


def test_run_onnx(trained: Path, photographs: Path, tmp_path: Path) -> None:
    """The class and its probability are those of predict."""
    need("onnx")
    need("onnxruntime")
    photo = photographs / "test" / "bee" / "001.jpg"
    printed = run_example("run_onnx.py", trained, photo, cwd=tmp_path).split()
    best = vd.predict(trained, photo, precision="fp32", workers=0).top(1)[0][0]
    assert printed[-2:] == [best.words, f"{best.score:.1%}"]


NOTEBOOKS = {
    "first_steps": (
        "for each in (predictions, vd.predict(classifier, images)): print([row[0].name for row in each.top(1)])",
        [str(["lemon", "lime", "plum"])] * 2,
    ),
    "few_photographs": (
        "print([row[0].name for row in predictions.top(1)])",
        [str(["banana", "cherry", "fig"])],
    ),
    "what_the_net_sees": ("print(vd.predict(net, cut, scales=(256,)).top(1)[0][0].name)", ["plum"]),
}
"""Notebook -> code to run behind its cells, and the last lines that it prints."""


def test_all_notebooks_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks(name: str, tmp_path: Path) -> None:
    """The cells run one after another, and the nets that are trained on drawn fruit know it."""
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    check, lines = NOTEBOOKS[name]
    code = "\n".join(["".join(cell["source"]) for cell in cells] + [check])
    (tmp_path / "notebook.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "notebook.py"], cwd=tmp_path, timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-len(lines) :] == lines
