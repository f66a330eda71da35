"""Every command that reads photographs, on files that nobody expects: answers for the good ones, sentences for others.

``python -m tests.test_absurd_commands`` runs them on all files; the tests take some of them.
"""

import csv
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain, product
from pathlib import Path

import pytest

from tests.absurd_images import draw, encode, write_all
from tests.engine.archive.archives import read_archive
from tests.kills import Attempt, Forker, start_forker
from tests.peers import need
from tests.permissions import WITHOUT_PRIVILEGES
from tests.runs import SMALL_NET, make_photographs
from tests.thin_nets import make_pictures, save_box_run
from verydeep.configs.protocols import PaperNet
from verydeep.data.split import Split
from verydeep.demonstration.examination import check_photograph, examine, make_picture
from verydeep.demonstration.subjects import open_subjects
from verydeep.errors import DataError, VerydeepError
from verydeep.paths import special_kind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes pipes, sockets and names of other bytes")

WORKERS = ("--workers", 0)
COMMANDS: dict[str, tuple[object, ...]] = {
    "train": ("train", "odd", *SMALL_NET, "--epochs", 1, "--out", "MODE-run"),
    "evaluate": ("evaluate", "odd", "skip-run", "--split", "all", "--out", "MODE-tested", *WORKERS),
    "predict": ("predict", "net", "odd", "--top", 1, "--format", "csv", *WORKERS),
    "describe": ("describe", "net", "odd", "--format", "csv", *WORKERS),
    "features": ("features", "net", "odd", "--out", "MODE-archive", *WORKERS),
    "search": ("search", "skip-archive", "odd", "--top", 1, "--format", "csv", *WORKERS),
    "transfer": ("transfer", "odd", "net", "--out", "MODE-classifier", *WORKERS),
    "explain": ("explain", "net", "strange", "--top", 1, "--out", "MODE-maps", "--format", "csv", *WORKERS),
    "localize": ("localize", "boxes", "strange", "--out", "MODE-boxes", "--format", "csv", *WORKERS),
}
"""Name -> words; MODE is "skip" or "error"."""
KEEPS_ANSWERS = {"predict", "describe", "search", "explain", "localize"}
"""Commands that answer for the good files also where bad ones are errors."""


def make_inputs(forker: Forker, folder: Path, every: int) -> dict[str, tuple[int, int]]:
    """Make class folders and nets; return how many files of each folder can be used, and how many cannot.

    Args:
        forker: runs the training.
        folder: for all of it. "odd" has two class folders, "strange" those of its files with strange names, and links.
        every: 1 for all absurd files; n for each n-th of those whose names are not strange.

    One file of each folder may not be read.
    """
    odd, strange = folder / "odd" / "ant", folder / "strange"
    for place in (odd, strange, folder / "odd" / "bell"):
        place.mkdir(parents=True)
    for number, file in enumerate(write_all(odd)):
        path = odd / file.name
        if path.is_symlink() or not (file.name.isascii() and file.name.isprintable() and len(file.name) < 200):
            if not special_kind(path):
                shutil.copy(path, strange, follow_symlinks=False)
        elif number % every and not path.is_dir():
            path.unlink()
    for place in (odd, strange):
        (place / "locked.png").write_bytes(encode(draw(), "PNG"))
        (place / "locked.png").chmod(0)
    for number in range(12):
        (folder / "odd" / "bell" / f"{number}.png").write_bytes(encode(255 - draw(60 + number, 50), "PNG"))
    make_photographs(folder / "photos", {"train": 6, "val": 3})
    done = forker.run(folder, "train", "photos", *SMALL_NET, "--epochs", 1, "--out", "net")
    assert done.code == 0, done.output
    make_pictures(folder / "pictures", 4)
    save_box_run(folder / "runs", PaperNet.parse("D/256pcr"), folder / "pictures", name="boxes")
    shutil.move(folder / "runs" / "boxes", folder / "boxes")
    return {name: count_usable(folder / name) for name in ("odd", "strange")}


def count_usable(folder: Path) -> tuple[int, int]:
    """Return how many files give pixels, and how many do not; which pixels is tested elsewhere."""
    paths = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    usable = [is_usable(path) for path in paths if not special_kind(path)]
    return usable.count(True), usable.count(False)


def is_usable(path: Path) -> bool:
    """Whether a file gives pixels; which pixels is tested in tests/data/pixels/test_absurd_images.py."""
    if path.name == "locked.png":  # whoever runs this may read it
        return False
    split = Split.of_photographs([path])
    try:
        split.open_image(0)
    except DataError:
        return False
    return True


def check_output(name: str, done: Attempt, mode: str) -> None:
    """Expect the right exit code, whole lines, none of them twice, and an end in one sentence where it failed."""
    assert done.code == (0 if mode == "skip" else 1), done.output
    assert "Traceback" not in done.output, done.output
    errors = [line for line in done.stderr.splitlines() if line.startswith("verydeep: ")]
    assert len(errors) == done.code and (not errors or errors[0] == done.stderr.splitlines()[-1]), done.stderr
    messages = done.stderr if name in KEEPS_ANSWERS else done.output
    assert "\x1b" not in messages  # a name could change the colors of a terminal; CSV has names as they are
    lines = [line for line in messages.splitlines() if line.strip() and "are copies of training" not in line]
    assert len(set(lines)) == len(lines), {line for line in lines if lines.count(line) > 1}
    if name in KEEPS_ANSWERS:
        assert all(line.endswith((".", "`", "/")) for line in lines), lines


def count_answers(name: str, folder: Path, done: Attempt, mode: str) -> int:
    """Return the number of files that a command answers for, or the negative number of those it skips."""
    if name in KEEPS_ANSWERS:
        return len({record["image"] for record in csv.DictReader(done.stdout.splitlines(keepends=True))})
    if name == "evaluate":
        with (folder / f"{mode}-tested" / "predictions.csv").open(newline="", encoding="utf-8") as file:
            return len({record["path"] for record in csv.DictReader(file)})
    if name == "features":
        return len(read_archive(folder / f"{mode}-archive"))
    if name == "transfer":
        values = json.loads((folder / f"{mode}-classifier" / "transfer.json").read_text("utf-8"))
        return -len(values["skipped"])
    return -len(json.loads((folder / f"{mode}-run" / "skipped.json").read_text("utf-8")))


def check_all(
    forker: Forker, folder: Path, counts: dict[str, tuple[int, int]], names: Iterable[str] = COMMANDS
) -> Iterator[tuple[object, ...]]:
    """Run commands with and without ``--bad-images skip``; yield name, mode, exit code and number of answers."""
    for name, mode in product(names, ("skip", "error")):
        arguments = [str(word).replace("MODE", mode) for word in COMMANDS[name]]
        done = forker.run(folder, *arguments, "--bad-images", mode, seconds=300)
        check_output(name, done, mode)
        answers = 0
        if mode == "skip" or name in {*KEEPS_ANSWERS, "features"}:
            num_usable, num_unusable = counts["odd" if "odd" in arguments else "strange"]
            answers = count_answers(name, folder, done, mode)
            assert answers in {num_usable, -num_unusable} or name == "train", (name, mode, answers)
        yield name, mode, done.code, answers


def check_verify(forker: Forker, folder: Path, num_unusable: int) -> Iterator[tuple[object, ...]]:
    """Find all bad files; write pages about files whose names may do anything."""
    for words in (("verify", "odd"), ("verify", "odd", "--net", "net", "--out", "pages")):
        done = forker.run(folder, *words, "--format", "json", *WORKERS, seconds=300)
        assert done.code == 1 and "Traceback" not in done.output, done.output
        kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
        assert kinds.count("undecodable") == num_unusable
        yield "verify", "", done.code, -num_unusable
    done = forker.run(folder, "report", "skip-run", "--out", "report.html", *WORKERS, seconds=300)
    assert done.code == 0 and "Traceback" not in done.output, done.output
    yield "report", "", done.code, 0


def check_demo(folder: Path) -> Iterator[tuple[object, ...]]:
    """Give each file to the page of ``verydeep demo``, as an upload does, without a browser."""
    options = {"precision": "fp32", "workers": 0, "device": "cpu", "kernels": "torch"}
    subjects = open_subjects([folder / "net", folder / "boxes"], None, options)
    (name,), num_answers = subjects.predictors, 0
    for path in sorted([*(folder / "odd" / "ant").iterdir(), *(folder / "strange").iterdir()]):
        if path.name == "locked.png" or not path.is_file():  # a browser does not upload those
            continue
        try:
            check_photograph(path)
            make_picture(path, 240)
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # values that are not bytes
                found = examine(subjects, name, path, "dense", (256,))
        except VerydeepError as error:
            assert not is_usable(path), error
            assert "\x1b" not in str(error) and str(error).endswith((".", "`")), error
        else:
            assert is_usable(path) and found.prediction.scores.shape == (1, 3) and found.box_text
            num_answers += 1
    yield "demo", "", 0, num_answers


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with start_forker(*WITHOUT_PRIVILEGES) as process:
        yield process


@pytest.fixture(scope="module")
def forker_of_c() -> Iterator[Forker]:
    """Its commands know no letters beyond ASCII."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}.items():
            patch.setenv(name, value)
        with start_forker(*WITHOUT_PRIVILEGES) as process:
            yield process


def test_every_command_answers_for_the_good_files(forker: Forker, tmp_path: Path) -> None:
    for package in ("cv2", "imagecodecs", "pillow_jxl"):
        need(package)
    counts = make_inputs(forker, tmp_path, 10)
    assert min(counts["odd"]) > 15
    results = chain(check_all(forker, tmp_path, counts), check_verify(forker, tmp_path, counts["odd"][1]))
    assert len(list(results)) == 21
    ((*_, num_answers),) = check_demo(tmp_path)
    assert num_answers > 15


def test_names_in_a_locale_without_letters(forker_of_c: Forker, tmp_path: Path) -> None:
    counts = make_inputs(forker_of_c, tmp_path, 100)
    results = chain(
        check_all(forker_of_c, tmp_path, counts, ("train", "predict", "explain")),
        check_verify(forker_of_c, tmp_path, counts["odd"][1]),
    )
    assert len(list(results)) == 9


if __name__ == "__main__":
    with start_forker(*WITHOUT_PRIVILEGES) as process, tempfile.TemporaryDirectory() as place:
        inputs = make_inputs(process, Path(place), 1)
        print("command,bad images,exit code,answers (negative: skipped)")
        everything = (
            check_all(process, Path(place), inputs),
            check_verify(process, Path(place), inputs["odd"][1]),
            check_demo(Path(place)),
        )
        for line in chain(*everything):
            print(*line, sep=",", flush=True)
