"""``verydeep reproduce table11, table12``: every row of the paper's own nets, on small trees of every data set."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.svm import LinearSVC
from torch import Tensor

import verydeep.commands.reproduce as command
from tests.data.transfer_trees import put_action_pictures, put_caltech_101, put_caltech_256, put_voc_pictures
from tests.runs import run_and_print
from tests.thin_nets import CROP, drawn, sample, save, thin_networks
from verydeep.configs.scales import in_pixels
from verydeep.configs.transfer import SCALES, TRANSFER_TABLES
from verydeep.data.split import Split
from verydeep.data.transfer_sets import TransferSet, open_transfer_set
from verydeep.engine.nets.net import Net
from verydeep.engine.transfer import table_report, tables
from verydeep.engine.transfer.task import TransferResult
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig, Provenance, save_config, save_weights
from verydeep.ops.arrays import Float32Array
from verydeep.ops.average_precision import average_precision, average_precision_11_points

Reproduce = Callable[..., str]
Outcomes = dict[tuple[str, str], TransferResult]

FC_WIDTH = 48
WIDE = ModelConfig(
    "D", ("ant", "bell"), ("ant", "bell"), crop=CROP, fc_width=FC_WIDTH, train_scale="256-512",
    mean_rgb=(100.0, 120.0, 90.0), provenance=Provenance(converged=True),
)  # fmt: skip


def leave_describer(run: Path, config: ModelConfig) -> None:
    """A net whose values before each FC layer's ReLU have mean 0 and deviation 1, so that no descriptor is another."""
    model = drawn(config, config.network)
    with torch.no_grad():
        for name in ("fc6", "fc7"):
            layer = model.get_submodule(name)
            seen = torch.cat([model.activations(sample(i), [name])[name].mean(dim=(2, 3)) for i in range(30)])
            spread = seen.std(dim=0).clamp(min=1e-6)
            layer.weight /= spread[:, None, None, None]
            layer.bias.sub_(seen.mean(dim=0)).div_(spread)
    save(model, config, run)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/ with thin D and E, of other classes than any data set here; a terminal that folds nothing."""
    thin_networks(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(Net.paper_net, "__defaults__", (1.0, FC_WIDTH))
    monkeypatch.setattr(tables.find_transfer_nets, "__defaults__", (1.0, FC_WIDTH))
    leave_describer(tmp_path / "runs" / "deep", WIDE)
    leave_describer(tmp_path / "runs" / "deeper", replace(WIDE, network="E"))
    monkeypatch.setattr(tables, "CANDIDATES", (1.0, 10.0))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """How many images, mirror images among them, went through which net at which short side in pixels."""
    counted: Counter[tuple[str, int]] = Counter()
    plain = VGG.activations

    def counting(model: VGG, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        counted[model.network.name, min(images.shape[2:])] += len(images)
        return plain(model, images, layers)

    monkeypatch.setattr(VGG, "activations", counting)
    return counted


@pytest.fixture
def reproduce(home: Path, capsys: pytest.CaptureFixture[str]) -> Reproduce:
    """Runs it and returns what it said."""

    def call(table: str, **options: Any) -> str:
        capsys.readouterr()
        run_and_print(command.reproduce, table, **{"crop": CROP, "precision": "fp32", "workers": 0} | options)
        return capsys.readouterr().out

    return call


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    """What was measured, by row and column."""
    kept: Outcomes = {}
    plain = tables.measure_cells

    def keeping(*arguments: Any) -> tables.Measured:
        found = plain(*arguments)
        kept.update({key: cell.result for key, cell in found.items()})
        return found

    monkeypatch.setattr(table_report, "measure_cells", keeping)
    return kept


def expected_passes(*images_and_scales: tuple[int, str]) -> dict[tuple[str, int], int]:
    """Of each net: every image and its mirror image once at each scale of its data set."""
    counted: Counter[tuple[str, int]] = Counter()
    for images, kind in images_and_scales:
        for network in "DE":
            for scale in SCALES[kind].scales:  # type: ignore[index]
                counted[network, in_pixels(scale, CROP)] += 2 * images
    return dict(counted)


def described_slowly(model: VGG, image: Image.Image, task: TransferSet) -> Float32Array:
    """One net, one image: a scale and a mirror image at a time, layer by layer; (D,), of length one."""
    each_scale = []
    for scale in SCALES[task.kind].scales:
        short = in_pixels(scale, CROP)
        width, height = image.size
        size = (short, round(height * short / width)) if width <= height else (round(width * short / height), short)
        pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))  # RGB
        views = []
        for view in (pixels, pixels[:, ::-1]):
            x = torch.from_numpy(view.astype(np.float32)).permute(2, 0, 1)[None] - model.mean_rgb[:, None, None]
            for name, layer in model.named_children():
                x = layer(x)
                if name == "relu7":
                    break
            views.append(x[0].mean(dim=(1, 2)))
        each_scale.append(torch.stack(views).mean(dim=0).numpy())
    if task.kind == "Caltech":
        return unit(np.concatenate([unit(each) for each in each_scale]))
    return unit(np.mean(each_scale, axis=0))


def unit(x: Float32Array) -> Float32Array:
    return np.asarray(x / np.linalg.norm(x), np.float32)


@torch.inference_mode()
def margins_slowly(outcome: TransferResult, home: Path) -> Float32Array:
    """(n, K) of the last partition's test samples, with the C that was chosen: by plain loops, Pillow, scikit-learn."""
    task, asked = outcome.task.task, outcome.task.representation
    nets = [Net.open(net.path).load() for net in asked.nets]

    def describe(split: Split) -> Float32Array:
        samples = []
        for index in range(len(split)):
            with Image.open(split.path(index)) as opened:
                views = [opened.convert("RGB")]
            if asked.seen == "image+box":
                assert split.boxes is not None
                x1, y1, x2, y2 = map(int, split.boxes[index][0])
                views.append(views[0].crop((x1, y1, x2 + 1, y2 + 1)))
            samples.append(unit(np.concatenate([described_slowly(net, view, task) for net in nets for view in views])))
        return np.array(samples)

    partition = task.partitions[-1]
    assert partition.test is not None
    learned, tested, margins = describe(partition.train), describe(partition.test), []
    for k in range(len(task.class_names)):
        if partition.train.labels is not None:
            marks = np.where(partition.train.labels == k, 1, -1)
        else:
            assert partition.train.relevance is not None
            marks = partition.train.relevance[:, k]
        svm = LinearSVC(C=outcome.found[-1].classifiers.C, loss="hinge", tol=1e-6, max_iter=100_000, random_state=0)
        margins.append(svm.fit(learned[marks != 0], marks[marks != 0]).decision_function(tested))
    return np.stack(margins, axis=1)


def score_slowly(margins: Float32Array, task: TransferSet) -> float:
    """Mean class recall, or the mean AP of the year."""
    test = task.partitions[-1].test
    assert test is not None
    if test.labels is not None:
        right = margins.argmax(axis=1) == test.labels
        return 100 * float(np.mean([right[test.labels == k].mean() for k in range(len(task.class_names))]))
    assert test.relevance is not None
    precision = average_precision_11_points if task.name == "VOC-2007" else average_precision
    return 100 * float(np.mean([precision(margins[:, k], test.relevance[:, k]) for k in range(margins.shape[1])]))


def check_slowly(outcome: TransferResult, told: dict[str, Any], home: Path) -> None:
    """The margins of the last draw are those of plain loops, and the score is that of the margins."""
    margins = outcome.found[-1].margins
    assert margins is not None and margins.std() > 0.01
    assert margins == pytest.approx(margins_slowly(outcome, home), abs=2e-3)
    assert told["draws"][-1]["score"] == pytest.approx(score_slowly(margins, outcome.task.task))


def own_rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in table["rows"] if row["nets"]]


SLOWLY = [
    (["D/256-512", "E/256-512"], "VOC-2007"),
    (["D/256-512"], "VOC-2012"),
    (["E/256-512"], "Caltech-101"),
    (["D/256-512"], "Caltech-256"),
]
"""Rows and columns that are compared with plain loops: every data set and every row."""


@pytest.mark.slow
def test_table_11_on_all_four_data_sets(
    home: Path, reproduce: Reproduce, passes: Counter[tuple[str, int]], outcomes: Outcomes
) -> None:
    """Rows share what each net sees; the figures are those of plain loops; a second time nothing is computed."""
    put_voc_pictures(home / "VOC2007", 2007, ("trainval", "test"))
    put_voc_pictures(home / "VOC2012", 2012, ("train", "val", "trainval"))
    put_caltech_101(home)
    put_caltech_256(home)
    folders = ("VOC2007", "256_ObjectCategories", "VOC2012", "101_ObjectCategories")
    told = reproduce("table11", data=",".join(folders))

    tasks = {name: outcomes["VGG Net-D & Net-E", name].task.task for name in TRANSFER_TABLES["table11"].columns}
    # 3 draws of 30 + up to 50 of 32, 34, 31; of 60 + the rest of 61, 62, 63: every photograph is in one of them.
    assert dict(passes) == expected_passes((93, "VOC"), (93, "VOC"), (97, "Caltech"), (186, "Caltech"))
    (place,) = (home / "runs" / "tables").iterdir()
    assert place.name == "VOC-2007+VOC-2012+Caltech-101+Caltech-256-c32-fp32"
    table = json.loads((place / "table11.json").read_text())
    assert [row["label"] for row in own_rows(table)] == [row.label for row in TRANSFER_TABLES["table11"].rows[4:]]
    assert table["data"] == {name: str(task.partitions[0].train.root) for name, task in tasks.items()}
    for row in own_rows(table):
        for name, task in tasks.items():
            measured = row["figures"][name]["measured"]
            assert len(measured["draws"]) == len(task.partitions) == (3 if task.kind == "Caltech" else 1)
            if (row["nets"], name) in SLOWLY:
                check_slowly(outcomes[row["label"], name], measured, home)
    check_words(told, table, place)
    before = passes.copy()
    assert cells_of(reproduce("table11", data=",".join(reversed(folders)))) == cells_of(told)
    assert passes == before


def check_words(told: str, table: dict[str, Any], place: Path) -> None:
    """What was measured stands beside the paper's, with the deviation over draws, or the interval."""
    d = next(row for row in table["rows"] if row["nets"] == ["D/256-512"])
    voc, caltech = (d["figures"][name]["measured"] for name in ("VOC-2007", "Caltech-101"))
    scores = [draw["score"] for draw in caltech["draws"]]
    assert (caltech["score"], caltech["deviation"]) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
    line = next(line for line in told.splitlines() if line.startswith("VGG Net-D (16 layers)  "))
    low, high = voc["interval"]["low"], voc["interval"]["high"]
    assert f"89.3 {voc['score']:.1f} [{low:.1f},{high:.1f}]" in " ".join(line.split())
    assert f"91.8 ± 1.0 {caltech['score']:.1f} ± {caltech['deviation']:.1f}" in " ".join(line.split())
    assert low < voc["score"] < high and caltech["interval"] is None
    assert "86.5 ± 0.5" in told and "81.5 (85.2*)" in told
    assert "D/256-512 is runs/deep." in told and "E/256-512 is runs/deeper." in told
    assert "VOC-2012: VOC-2012 classification, train: learned from 46 images of train, tested on 47 of val." in told
    assert "(seed 0); the first of 3 draws: learned from 90 images of train, tested on 7 of test." in told
    assert "| VGG Net-D & Net-E | 89.7 | " in (place / "table11.md").read_text()


def cells_of(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith(("VGG Net", "Wei"))]


@pytest.mark.slow
def test_table_12_image_only_and_with_the_box(
    home: Path,
    reproduce: Reproduce,
    passes: Counter[tuple[str, int]],
    outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole images are described once, although two persons are on most and both rows need them."""
    monkeypatch.setattr(tables, "CANDIDATES", (10.0, 30.0))  # with smaller ones all margins are nearly -1
    folder = put_action_pictures(home / "VOC2012", ("train", "val"))
    told = reproduce("table12", data="VOC2012")
    task = open_transfer_set(folder, actions=True)
    persons = sum(len(part) for one in task.partitions for part in (one.train, one.test) if part is not None)
    assert persons == 36 + 38 and len({*task.partitions[0].train.files}) == 22
    assert dict(passes) == expected_passes((22 + 23 + persons, "VOC actions"))
    table = json.loads((home / "runs" / "tables" / "VOC-2012-actions-c32-fp32" / "table12.json").read_text())
    assert [row["seen"] for row in own_rows(table)] == ["image", "image+box"]
    for row in own_rows(table):
        measured = row["figures"]["VOC-2012 actions"]["measured"]
        check_slowly(outcomes[row["label"], "VOC-2012 actions"], measured, home)
    assert "learned from 36 persons of train, tested on 38 of val" in told and "70.2*" in told


def test_what_is_missing_is_told_in_the_row(home: Path, reproduce: Reproduce) -> None:
    """Data sets that are not there have the paper's figures alone; a missing net is named, and not trained."""
    put_caltech_101(home)
    (home / "runs" / "deeper").rename(home / "elsewhere")
    told = reproduce("table11", data=".")
    assert "Not measured: VOC-2007, VOC-2012, Caltech-256; --data takes several folders" in told
    assert "The other rows need E/256-512 at crop 32 and full width" in told and "none is trained here" in told
    rows = {line.split("  ")[0]: line for line in told.splitlines() if "VGG Net" in line and "  " in line}
    assert "no E/256-512" in rows["VGG Net-E (19 layers)"] and "no E/256-512" in rows["VGG Net-D & Net-E"]
    assert "no E" not in rows["VGG Net-D (16 layers)"]
    (place,) = (home / "runs" / "tables").iterdir()
    assert (place / "table11.md").read_text().count("here") >= 1 and place.name == "Caltech-101-c32-fp32"
    reproduce("table11", data=".", runs="runs,elsewhere", out=Path("all"))
    table = json.loads((home / "all" / "table11.json").read_text())
    assert all(row["figures"]["Caltech-101"]["measured"] for row in own_rows(table))
    assert all(row["figures"]["VOC-2007"]["measured"] is None for row in table["rows"])


def test_voc_is_tested_where_labels_are_known(home: Path, reproduce: Reproduce) -> None:
    """The test set's labels are with VOC's server alone."""
    folder = put_voc_pictures(home / "VOC2012", 2012, ("train", "val", "trainval", "test"))
    for path in (folder / "ImageSets" / "Main").glob("*_test.txt"):
        path.unlink()
    assert "tested on 47 of val" in reproduce("table11", data="VOC2012", runs="runs/deep")


def test_copies_are_told_once(home: Path, reproduce: Reproduce) -> None:
    """A photograph that was learned from is tested on under another name; all rows share the note."""
    folder = put_voc_pictures(home / "VOC2012", 2012, ("train", "val"))
    sets, pictures = folder / "ImageSets" / "Main", folder / "JPEGImages"
    learned, tested = ((sets / f"{part}.txt").read_text().split()[0] for part in ("train", "val"))
    shutil.copy(pictures / f"{learned}.jpg", pictures / f"{tested}.jpg")
    told = reproduce("table11", data="VOC2012")
    pair = f"JPEGImages/{tested}.jpg", f"JPEGImages/{learned}.jpg"
    note = f"VOC-2012: Note: a photograph that was tested on has a copy that was learned from ({pair[0]} is {pair[1]})"
    assert told.count(note) == 1
    (place,) = (home / "runs" / "tables").iterdir()
    rows = own_rows(json.loads((place / "table11.json").read_text()))
    assert len(rows) == 3
    assert all(row["figures"]["VOC-2012"]["measured"]["copies"] == dict([pair]) for row in rows)


# Refusals.


@pytest.mark.parametrize(
    "others",
    [
        {"fine_tuned": "fc"},
        {"train_scale": "384"},
        {"crop": 64},
        {"fc_width": 16},
        {"provenance": Provenance(converged=True, imported_source="oxford-vgg16")},
        {"regression": "per-class", "class_names": ("ant",), "class_words": ("ant",)},
    ],
)
def test_other_nets_do_not_answer(home: Path, reproduce: Reproduce, others: dict[str, Any]) -> None:
    """Nor nets that predict boxes; all are told apart without reading their weights."""
    put_caltech_101(home)
    (home / "runs").rename(home / "before")
    config = replace(WIDE, **others)
    save_config(home / "runs" / "other" / "model", config)
    save_weights(home / "runs" / "other" / "model", {})
    with pytest.raises(VerydeepError, match=r"No row of table11 can be measured without D/256-512 or E/256-512"):
        reproduce("table11", data=".")


def test_convolutions_alone_do_not_answer_and_are_named(home: Path, reproduce: Reproduce) -> None:
    put_caltech_101(home)
    (home / "runs").rename(home / "before")
    trunk = replace(WIDE, class_names=(), class_words=())
    save(trunk.build(), trunk, home / "runs" / "trunk")
    with pytest.raises(VerydeepError, match=r"without D/.* runs/trunk will not do, being convolutions alone"):
        reproduce("table11", data=".")


def test_a_net_that_is_not_trained_to_its_end_does_not_answer(home: Path, reproduce: Reproduce) -> None:
    put_caltech_101(home)
    (home / "runs" / "deeper").rename(home / "elsewhere")
    leave_describer(home / "runs" / "half", replace(WIDE, network="E", provenance=Provenance(converged=False)))
    told = reproduce("table11", data=".")
    assert "no E/256-512" in told and "Not converged, so not reported" in told and "runs/half" in told


def test_two_nets_that_answer_alike_are_named(home: Path, reproduce: Reproduce) -> None:
    """Whatever their classes and seeds: which of them is meant nobody can know."""
    put_caltech_101(home)
    leave_describer(home / "runs" / "twin", replace(WIDE, class_names=("other",), class_words=("other",), seed=5))
    with pytest.raises(VerydeepError, match=r"runs/deep and runs/twin both answer for D/256-512 at crop 32: name one"):
        reproduce("table11", data=".")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 3}, "table11 trains no nets, .*: leave `epochs` out"),
        ({"seeds": "0,1", "split": "test"}, "leave `seeds` and `split` out"),
        ({"tune_threshold": True}, "`tune_threshold` is for boxes"),
        ({"data": "birds"}, "birds is a set of your own, and table11 is of VOC-2007, VOC-2012, Caltech-101"),
        ({"data": ".,101_ObjectCategories"}, r"\. and 101_ObjectCategories are both Caltech-101"),
        ({"data": "nowhere"}, "There is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_told(home: Path, reproduce: Reproduce, options: dict[str, Any], told: str) -> None:
    put_caltech_101(home)
    for name in ("jay", "owl"):
        (home / "birds" / name).mkdir(parents=True)
        (home / "birds" / name / "a.jpg").touch()
        (home / "birds" / name / "b.jpg").touch()
    with pytest.raises(VerydeepError, match=told):
        reproduce("table11", **{"data": "."} | options)


def test_the_other_tables_data_are_told(home: Path, reproduce: Reproduce) -> None:
    put_caltech_101(home)
    with pytest.raises(VerydeepError, match="is not Pascal VOC, whose task actions are"):
        reproduce("table12", data=".")
    put_voc_pictures(home / "VOC2010", 2010, ("train", "val"))
    with pytest.raises(VerydeepError, match="VOC2010 is VOC-2010, and table11 is of VOC-2007"):
        reproduce("table11", data="VOC2010")
