"""The commands of the guides run, one after another, on small stand-ins for photographs and published nets.

Blocks that are marked ``no-run`` need a network, a GPU or days; tests/test_docs.py parses them.
"""

import io
import shutil
import sys
from pathlib import Path

import pytest

from tests.data.sets import ilsvrc_trees
from tests.markdown_pages import ROOT, commands
from tests.peers import need
from tests.published_files import write_published_nets
from tests.runs import Cli
from tests.thin_nets import CROP, FC_WIDTH, make_boxes, make_pictures
from verydeep.arguments import read_options
from verydeep.cli import COMMANDS

GUIDES = (
    "README",
    *(f"docs/{name}" for name in ("tutorial", "explain", "features", "finding-bad-data", "photographs", "python")),
)
PAGES = [path for name in GUIDES if (path := ROOT / f"{name}.md").exists()]
PAGES += sorted((ROOT / "docs" / "how-to").glob("*.md"))

FAST = {"workers": 0, "precision": "fp32"}
SHORT = {
    "train": ("--epochs", 1, "--batch-size", 12),
    "reproduce": ("--crop", CROP, "--fc-width", FC_WIDTH),
}
"""Options that shorten a command."""
SMALL_NET = ("--crop", CROP, "--fc-width", FC_WIDTH)


def make_stand_ins(folder: Path) -> None:
    """Make the photographs that the guides name."""
    make_pictures(folder / "photos", 5)
    make_pictures(folder / "others", 2, first=100)
    shutil.copytree(folder / "photos", folder / "signs")
    make_boxes(folder / "signs")
    for place in ("holiday.jpg", "photo.jpg", "cross.jpg", "holiday/1.jpg", "new/2.jpg"):
        (folder / place).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / "photos" / "crab" / "3.png", folder / place)
    (folder / "list.csv").write_text("path\nholiday.jpg\n")
    lines = ["path,group"]
    for name in ("fox", "owl"):
        for number in range(8):
            path = folder / "animals" / name / f"{name}{number}" / "1.png"
            path.parent.mkdir(parents=True)
            shutil.copyfile(folder / "photos" / ("ant" if name == "fox" else "elk") / f"{number % 5}.png", path)
            lines.append(f"{path.relative_to(folder / 'animals').as_posix()},{number}")
    (folder / "groups.csv").write_text("\n".join(lines))
    ilsvrc_trees.make_kaggle(folder / "downloads")


def shorten(words: list[str]) -> list[object]:
    """Return a command that takes seconds on the stand-ins."""
    if words == ["train"]:
        words = ["train", "photos", "--out", "runs/generated-A-256-512-c64-s0"]
    if words[0] == "verify" or "--resume" in words:
        return list(words)
    options = {option.name for option in read_options(words[0], COMMANDS)}
    added: list[object] = [f"--{name}={value}" for name, value in FAST.items() if name in options]
    if words[0] == "train" and "--init-from" not in words:
        added += SMALL_NET
    return [*words, *added, *SHORT.get(words[0], ())]


def make_missing_runs(words: list[str], folder: Path, inside: Cli) -> None:
    """Make the runs that a command takes: the page's own newest run under the name that the page has, or a new one.

    The names of the stand-ins' runs tell that they are thin.
    """
    runs = folder / "runs"
    for word in words:
        name = runs / word.removeprefix("runs/")
        if not word.startswith("runs/") or name.exists() or words[words.index(word) - 1] == "--out":
            continue
        linked = {path.resolve() for path in runs.glob("*") if path.is_symlink()}
        own = [path for path in runs.glob("*") if path.resolve() not in linked]
        if own and ("pcr" in name.name) == ("pcr" in own[-1].name):
            newest = max(own, key=lambda path: path.stat().st_mtime)
            name.symlink_to(newest.name)
        elif "pcr" in name.name:
            source = next(path for path in runs.iterdir() if "pcr" not in path.name)
            boxes = ["train", "signs", "--task", "localize", "--init-from", str(source), "--out", word]
            inside(*shorten(boxes))
        else:
            inside(*shorten(["train", "photos", "--init-from", "oxford-vgg16", "--out", word]))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run(page: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem in ("export", "README"):
        need("onnx")
    write_published_nets(tmp_path / "cache", monkeypatch)
    make_stand_ins(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"holiday.jpg\n")))
    for words in commands(page, mark=""):
        make_missing_runs(words, tmp_path, inside)
        inside(*shorten(words))
