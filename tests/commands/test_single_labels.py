"""A CSV file that gives each photograph exactly one label is the same data set as class folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.runs import SHORT_TRAINING, SMALL_NET, Cli, make_photographs, metrics_of, read_csv, read_report

FAST = ("--scales", "256", "--precision", "fp32", "--workers", "0", "--c", "1,10")
FP32 = ("--precision", "fp32", "--workers", "0")


def write_labels(root: Path, table: str, folder: Path) -> None:
    """List the photographs in class folders below ``folder``."""
    files = sorted(folder.rglob("*.jpg"))
    lines = [f"{file.relative_to(root).as_posix()},{file.parent.name}" for file in files]
    (root / table).write_text("\n".join(["path,label", *lines]) + "\n")


@pytest.fixture
def flat(tmp_path: Path) -> tuple[Path, Path]:
    """The same photographs as class folders and as labels.csv, in folders of the same name."""
    folders = tmp_path / "folders" / "photos"
    make_photographs(tmp_path / "made", {"photos": 6})
    shutil.copytree(tmp_path / "made" / "photos", folders)
    shutil.copytree(folders, tmp_path / "table" / "photos")
    write_labels(tmp_path / "table" / "photos", "labels.csv", tmp_path / "table" / "photos")
    return folders, tmp_path / "table" / "photos"


def read_transfer(folder: Path) -> dict[str, Any]:
    """What a transfer tells, without the names of its folders."""
    values = json.loads((folder / "transfer.json").read_text())
    kept = {key: values[key] for key in ("summary", "metric", "score", "deviation", "draws", "curve", "copies")}
    files = ("confusion.csv", "confusion.png", "curve.png", "svms.safetensors")
    kept |= {name: (folder / name).read_bytes() for name in files}
    return kept | {"predictions": read_csv(folder / "predictions.csv")}


def test_a_transfer_gives_the_same(inside: Cli, flat: tuple[Path, Path], trained: Path, tmp_path: Path) -> None:
    """The score, the predictions, the curve, the confusion and the page, also of draws by number."""
    for number, options in enumerate(((), ("--num-train", "3", "--num-splits", "2"))):
        found = []
        for root in flat:
            out = tmp_path / f"{number}-{root.parent.name}"
            inside("transfer", root, trained, *FAST, *options, "--out", out)
            page = inside("report", out, "--out", tmp_path / "page.html").stdout
            assert page.startswith("Right on ")
            found.append(read_transfer(out) | {"page": page})
        assert found[0] == found[1] and found[0]["metric"] == "mean class recall" and found[0]["curve"]


def test_given_parts_give_the_same(inside: Cli, photographs: Path, trained: Path, tmp_path: Path) -> None:
    """train.csv and test.csv are train/ and test/; the curve draws by paths, which differ, so its end is compared."""
    folders, table = tmp_path / "folders", tmp_path / "table"
    for root in (folders, table):
        shutil.copytree(photographs / "train", root / "train")
        shutil.copytree(photographs / "val", root / "test")
    write_labels(table, "train.csv", table / "train")
    write_labels(table, "test.csv", table / "test")
    found = []
    for root in (folders, table):
        inside("transfer", root, trained, *FAST, "--out", tmp_path / f"few-{root.name}")
        few = read_transfer(tmp_path / f"few-{root.name}")
        found.append(few | {"curve": few["curve"][-1], "curve.png": b""})
        evaluated = tmp_path / f"evaluated-{root.name}"
        inside("evaluate", root, tmp_path / f"few-{root.name}", *FP32, "--out", evaluated)
        found[-1] |= {"evaluated": read_report(evaluated)["rows"][0]["errors"], "part": read_report(evaluated)["split"]}
    assert found[0] == found[1] and found[0]["part"] == "test"


@pytest.mark.parametrize("command", ["transfer", "train"])
def test_an_evaluation_takes_the_photographs_held_out(
    inside: Cli, flat: tuple[Path, Path], trained: Path, tmp_path: Path, command: str
) -> None:
    """Those that the classifier or the run did not learn from, also of a moved folder; the sentence says so."""
    found = []
    for root in flat:
        run = tmp_path / f"run-{root.parent.name}"
        if command == "transfer":
            inside("transfer", root, trained, *FAST, "--out", run)
        else:
            inside("train", root, *SMALL_NET, *SHORT_TRAINING, "--out", run)
        moved = root.rename(root.with_name("moved")) if command == "transfer" else root
        done = inside("evaluate", moved, run, *FP32, "--out", tmp_path / f"errors-{root.parent.name}")
        report = read_report(tmp_path / f"errors-{root.parent.name}")
        assert (report["num_images"], report["split"]) == (3, "val")
        assert "% of 3 val photographs [" in report["summary"] and report["summary"] in done.stdout.splitlines()
        assert not any("training images" in remark for remark in report["remarks"])
        lines = read_csv(tmp_path / f"errors-{root.parent.name}" / "predictions.csv")
        if command == "transfer":
            held_out = {line["path"] for line in read_csv(run / "predictions.csv")}
            assert {line["path"] for line in lines} == held_out
        else:
            assert len(metrics_of(run)) > 1
        figures = [{key: value for key, value in row.items() if key != "net"} for row in report["rows"]]  # its name
        found.append([figures, report["summary"], lines])
    assert found[0] == found[1]


def test_a_part_that_no_table_lists_is_refused(
    inside: Cli, flat: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    done = inside("transfer", flat[1], trained, *FAST, "--split", "test", "--out", "few", check=False)
    assert done.returncode == 1 and "omit --split, or list these in test.csv and the others in train.csv" in done.stderr
