"""Tables 11 and 12 on small trees of every data set: every row of the paper's own nets, against plain loops."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from sklearn.svm import LinearSVC

from tests.data.sets.transfer_trees import put_action_pictures, put_caltech_101, put_caltech_256, put_voc_pictures
from tests.engine.descriptors.nets import CPU, unit
from tests.thin_nets import CROP, random_net, sample_picture, save_model
from verydeep.configs.networks import NetSizes
from verydeep.configs.scales import in_pixels
from verydeep.configs.transfer import SCALES, TRANSFER_TABLES
from verydeep.data.split import Split
from verydeep.data.transfer_sets import TransferSet, open_transfer_set
from verydeep.engine.log import Log
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.net import Net
from verydeep.engine.transfer.paper_tables import build_transfer_table
from verydeep.engine.transfer.table_cells import (
    Cells,
    TransferConditions,
    find_transfer_nets,
    measure_cells,
    open_columns,
)
from verydeep.engine.transfer.task import TransferResult
from verydeep.errors import OptionError, VerydeepError, WeightsError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, Provenance, save_config, save_weights
from verydeep.ops.arrays import Float32Array
from verydeep.ops.average_precision import average_precision, average_precision_11_points
from verydeep.results.measured_table import MeasuredTable

TABLE_11, TABLE_12 = TRANSFER_TABLES["table11"], TRANSFER_TABLES["table12"]
WIDTH, FC_WIDTH = 0.05, 96  # more dimensions than training images, so that SVMs converge
CONFIG = ModelConfig(
    "D", ("ant", "bell"), ("ant", "bell"), crop=CROP, width=WIDTH, fc_width=FC_WIDTH, train_scale="256-512",
    mean_rgb=(100.0, 120.0, 90.0), provenance=Provenance(converged=True),
)  # fmt: skip


def save_net(run: Path, config: ModelConfig) -> None:
    """Save a net whose values before each FC layer's ReLU have mean 0 and deviation 1, so that descriptors differ."""
    model = random_net(config, config.network)
    with torch.no_grad():
        for name in ("fc6", "fc7"):
            layer = model.get_submodule(name)
            outputs = torch.cat(
                [model.activations(sample_picture(i), [name])[name].mean(dim=(2, 3)) for i in range(30)]
            )
            deviation = outputs.std(dim=0).clamp(min=1e-6)
            layer.weight /= deviation[:, None, None, None]
            layer.bias.sub_(outputs.mean(dim=0)).div_(deviation)
    save_model(model, config, run)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; runs/ has thin D and E, of other classes than any data set here."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    save_net(tmp_path / "runs" / "deep", CONFIG)
    save_net(tmp_path / "runs" / "deeper", replace(CONFIG, network="E"))
    return tmp_path


def measure(
    *folders: str, table: str = "table11", runs: str = "runs", costs: tuple[float, ...] = (1.0, 3.0)
) -> tuple[Cells, MeasuredTable]:
    paper = TRANSFER_TABLES[table]
    sets = open_columns(paper, folders)
    nets, unconverged = find_transfer_nets(paper, Collection.parse(runs), NetSizes(CROP, WIDTH, FC_WIDTH))
    conditions = TransferConditions(sets, nets, unconverged, CROP, CPU, costs=costs)
    cells = measure_cells(paper, conditions, Log(silent=True))
    return cells, build_transfer_table(paper, cells, conditions)


def count_cached(home: Path) -> Counter[tuple[str, str]]:
    """Count the cached descriptors by net and kind; one that was computed twice counts twice."""
    counts: Counter[tuple[str, str]] = Counter()
    for folder in (home / "cache" / "descriptors").iterdir():
        run = Path(json.loads((folder / "about.json").read_text())["net_folder"]).parent.name
        for path in folder.rglob("*.safetensors"):
            counts[run, path.parent.name] += len(load_file(path)["keys"])
    return counts


def expected_counts(*images_and_kinds: tuple[int, str]) -> dict[tuple[str, str], int]:
    """Count every image once for each net at each scale of its data set."""
    counts: Counter[tuple[str, str]] = Counter()
    for images, kind in images_and_kinds:
        for run in ("deep", "deeper"):
            for scale in SCALES[kind].scales:  # type: ignore[index]
                counts[run, f"relu7-{scale}"] += images
    return dict(counts)


def describe_slowly(model: VGG, image: Image.Image, transfer_set: TransferSet) -> Float32Array:
    """Describe one image by one net: a scale and a mirror image at a time, layer by layer; (D,), of length one."""
    scales = []
    for scale in SCALES[transfer_set.kind].scales:
        short = in_pixels(scale, CROP)
        width, height = image.size
        size = (short, round(height * short / width)) if width <= height else (round(width * short / height), short)
        pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))  # RGB
        mirrored = []
        for view in (pixels, pixels[:, ::-1]):
            x = torch.from_numpy(view.astype(np.float32)).permute(2, 0, 1)[None] - model.mean_rgb[:, None, None]
            for name, layer in model.named_children():
                x = layer(x)
                if name == "relu7":
                    break
            mirrored.append(x[0].mean(dim=(1, 2)))
        scales.append(torch.stack(mirrored).mean(dim=0).numpy())
    if transfer_set.kind == "Caltech":
        return unit(np.concatenate([unit(values) for values in scales]))
    return unit(np.mean(scales, axis=0))


@torch.inference_mode()
def compute_margins_slowly(result: TransferResult) -> Float32Array:
    """Return (n, K) of the last partition's test samples, with its C: by plain loops, Pillow, scikit-learn."""
    transfer_set, representation = result.task.transfer_set, result.task.representation
    nets = [Net.open(net.path).load() for net in representation.nets]

    def describe(split: Split) -> Float32Array:
        samples = []
        for index in range(len(split)):
            with Image.open(split.path(index)) as opened:
                images = [opened.convert("RGB")]
            if representation.coverage == "image+box":
                assert split.boxes is not None
                x1, y1, x2, y2 = map(int, split.boxes[index][0])
                images.append(images[0].crop((x1, y1, x2 + 1, y2 + 1)))
            parts = [describe_slowly(net, image, transfer_set) for net in nets for image in images]
            samples.append(unit(np.concatenate(parts)))
        return np.array(samples)

    partition = transfer_set.partitions[-1]
    assert partition.test is not None
    train_values, test_values, margins = describe(partition.train), describe(partition.test), []
    for k in range(len(transfer_set.class_names)):
        if partition.train.labels is not None:
            targets = np.where(partition.train.labels == k, 1, -1)
        else:
            assert partition.train.relevance is not None
            targets = partition.train.relevance[:, k]
        svm = LinearSVC(C=result.partitions[-1].svms.C, loss="hinge", tol=1e-6, max_iter=100_000, random_state=0)
        margins.append(svm.fit(train_values[targets != 0], targets[targets != 0]).decision_function(test_values))
    return np.stack(margins, axis=1)


def score_slowly(margins: Float32Array, transfer_set: TransferSet) -> float:
    """Return mean class recall, or the mean AP of the year."""
    test = transfer_set.partitions[-1].test
    assert test is not None
    if test.labels is not None:
        is_right = margins.argmax(axis=1) == test.labels
        return 100 * float(np.mean([is_right[test.labels == k].mean() for k in range(len(transfer_set.class_names))]))
    assert test.relevance is not None
    precision = average_precision_11_points if transfer_set.name == "VOC-2007" else average_precision
    return 100 * float(np.mean([precision(margins[:, k], test.relevance[:, k]) for k in range(margins.shape[1])]))


def check_slowly(result: TransferResult, values: dict[str, Any]) -> None:
    """The margins of the last draw are those of plain loops, and the score is that of the margins."""
    margins = result.partitions[-1].margins
    assert margins is not None and margins.std() > 0.01
    assert margins == pytest.approx(compute_margins_slowly(result), abs=2e-3)
    assert values["draws"][-1]["score"] == pytest.approx(score_slowly(margins, result.task.transfer_set))


def measured_rows(table: MeasuredTable) -> list[dict[str, Any]]:
    return [row for row in table.values["rows"] if row["nets"]]


CHECKED_SLOWLY = [
    (["D/256-512", "E/256-512"], "VOC-2007"),
    (["D/256-512"], "VOC-2012"),
    (["E/256-512"], "Caltech-101"),
    (["D/256-512"], "Caltech-256"),
]
"""Rows and columns that are compared with plain loops: every data set and every row."""


@pytest.mark.slow
def test_table_11_on_all_four_data_sets(home: Path) -> None:
    """Rows share descriptors; the figures are those of plain loops; a second time nothing is computed."""
    put_voc_pictures(home / "VOC2007", 2007, ("trainval", "test"))
    put_voc_pictures(home / "VOC2012", 2012, ("train", "val", "trainval"))
    put_caltech_101(home)
    put_caltech_256(home)
    folders = ("VOC2007", "256_ObjectCategories", "VOC2012", "101_ObjectCategories")
    cells, table = measure(*folders)
    sets = {name: cells["VGG Net-D & Net-E", name].task.transfer_set for name in TABLE_11.columns}
    # 3 draws of 30 + up to 50 of 32, 34, 31; of 60 + the rest of 61, 62, 63: every photograph is in one of them.
    counts = count_cached(home)
    assert dict(counts) == expected_counts((93, "VOC"), (93, "VOC"), (97, "Caltech"), (186, "Caltech"))
    assert [row["label"] for row in measured_rows(table)] == [row.label for row in TABLE_11.rows[4:]]
    assert table.values["data"] == {name: str(one.partitions[0].train.root) for name, one in sets.items()}
    for row in measured_rows(table):
        for name, transfer_set in sets.items():
            values = row["figures"][name]["measured"]
            num_draws = 3 if transfer_set.kind == "Caltech" else 1
            assert len(values["draws"]) == len(transfer_set.partitions) == num_draws
            if (row["nets"], name) in CHECKED_SLOWLY:
                check_slowly(cells[row["label"], name], values)
    check_texts(table)
    assert measure(*reversed(folders))[1].rows == table.rows
    assert count_cached(home) == counts


def check_texts(table: MeasuredTable) -> None:
    """Measured figures are next to the paper's, with the deviation over draws, or the interval."""
    d = next(row for row in measured_rows(table) if row["nets"] == ["D/256-512"])
    voc, caltech = (d["figures"][name]["measured"] for name in ("VOC-2007", "Caltech-101"))
    scores = [draw["score"] for draw in caltech["draws"]]
    assert (caltech["score"], caltech["deviation"]) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
    row = dict(zip(table.headings[1:], table.rows[4][1:], strict=False)) | {"label": table.rows[4][0]}
    assert row["label"] == "VGG Net-D (16 layers)" and table.headings[:3] == ("row", "VOC-2007: paper", "here")
    low, high = voc["interval"]["low"], voc["interval"]["high"]
    assert table.rows[4][1:3] == ("89.3", f"{voc['score']:.1f} [{low:.1f},{high:.1f}]")
    assert table.rows[4][5:7] == ("91.8 ± 1.0", f"{caltech['score']:.1f} ± {caltech['deviation']:.1f}")
    assert low < voc["score"] < high and caltech["interval"] is None
    cells = [cell for row_cells in table.rows for cell in row_cells]
    assert "86.5 ± 0.5" in cells and "81.5 (85.2*)" in cells
    remarks = " ".join(table.remarks)
    assert "D/256-512 is runs/deep." in remarks and "E/256-512 is runs/deeper." in remarks
    assert "VOC-2012: VOC-2012 classification, train: trained on 46 train images, tested on 47 val images." in remarks
    assert "(seed 0); the first of 3 draws: trained on 90 train images, tested on 7 test images." in remarks


@pytest.mark.slow
def test_table_12_image_only_and_with_the_box(home: Path) -> None:
    """Whole images are described once, although two persons are on most and both rows need them."""
    folder = put_action_pictures(home / "VOC2012", ("train", "val"))
    cells, table = measure("VOC2012", table="table12", costs=(10.0, 30.0))  # with smaller ones margins are nearly -1
    (partition,) = open_transfer_set(folder, actions=True).partitions
    assert partition.test is not None
    assert (len(partition.train), len(partition.test), len({*partition.train.files})) == (36, 38, 22)
    assert dict(count_cached(home)) == expected_counts((22 + 23 + 36 + 38, "VOC actions"))
    assert [row["coverage"] for row in measured_rows(table)] == ["image", "image+box"]
    for row in measured_rows(table):
        values = row["figures"]["VOC-2012 actions"]["measured"]
        check_slowly(cells[row["label"], "VOC-2012 actions"], values)
    assert any("trained on 36 train persons, tested on 38 val persons" in remark for remark in table.remarks)
    assert table.rows[0][1:] == ("70.2*", "")


def test_missing_data_and_nets_are_named(home: Path) -> None:
    """Columns without data have the paper's figures alone; a missing net is named in its row."""
    put_caltech_101(home)
    (home / "runs" / "deeper").rename(home / "elsewhere")
    _, table = measure(".")
    remarks = " ".join(table.remarks)
    assert "Not measured: VOC-2007, VOC-2012, Caltech-256; `data` takes several folders" in remarks
    assert "need a converged E/256-512 of crop 32, width 0.05 and FC width 96" in remarks and "trains none" in remarks
    assert table.title.endswith(", by nets of width 0.05 and FC width 96")
    assert table.headings == (
        "row", "VOC-2007: paper", "VOC-2012: paper", "Caltech-101: paper", "here", "Caltech-256: paper"
    )  # fmt: skip
    cells = {row[0]: row[4] for row in table.rows}
    assert cells["VGG Net-E (19 layers)"] == cells["VGG Net-D & Net-E"] == "no E/256-512"
    assert float(cells["VGG Net-D (16 layers)"].split(" ± ")[0]) > 0 and cells["He et al. (He et al., 2014)"] == ""
    _, table = measure(".", runs="runs,elsewhere")
    assert all(row["figures"]["Caltech-101"]["measured"] for row in measured_rows(table))
    assert all(row["figures"]["VOC-2007"]["measured"] is None for row in table.values["rows"])


def test_voc_is_tested_where_labels_are_known(home: Path) -> None:
    """The test set's labels are with VOC's server alone."""
    folder = put_voc_pictures(home / "VOC2012", 2012, ("train", "val", "trainval", "test"))
    for path in (folder / "ImageSets" / "Main").glob("*_test.txt"):
        path.unlink()
    (transfer_set,) = open_columns(TABLE_11, ["VOC2012"]).values()
    assert transfer_set.partitions[0].test is not None and transfer_set.partitions[0].test.name == "val"


def test_copies_are_reported_once(home: Path) -> None:
    """A training photograph is tested on under another name; all rows share the remark."""
    folder = put_voc_pictures(home / "VOC2012", 2012, ("train", "val"))
    sets, pictures = folder / "ImageSets" / "Main", folder / "JPEGImages"
    train, test = ((sets / f"{part}.txt").read_text().split()[0] for part in ("train", "val"))
    shutil.copy(pictures / f"{train}.jpg", pictures / f"{test}.jpg")
    _, table = measure("VOC2012", runs="runs")
    pair = f"JPEGImages/{test}.jpg", f"JPEGImages/{train}.jpg"
    remark = f"VOC-2012: The test photograph {pair[0]} is a copy of the training photograph {pair[1]}, so"
    assert sum(each.startswith(remark) for each in table.remarks) == 1
    rows = measured_rows(table)
    assert len(rows) == 3
    assert all(row["figures"]["VOC-2012"]["measured"]["copies"] == dict([pair]) for row in rows)


# Refusals.


def find(runs: str = "runs") -> tuple[dict[Any, Net], tuple[str, ...]]:
    return find_transfer_nets(TABLE_11, Collection.parse(runs), NetSizes(CROP, WIDTH, FC_WIDTH))


@pytest.mark.parametrize(
    "others",
    [
        {"fine_tuned": "fc"},
        {"train_scale": "384"},
        {"crop": 64},
        {"fc_width": 16},
        {"width": 0.1},
        {"provenance": Provenance(converged=True, imported_source="oxford-vgg16")},
        {"regression": "per-class", "class_names": ("ant",), "class_words": ("ant",)},
    ],
)
def test_other_nets_do_not_stand_for_the_papers(tmp_path: Path, others: dict[str, Any]) -> None:
    """Nor nets that predict boxes; all are recognized without reading their weights."""
    save_config(tmp_path / "other" / "model", replace(CONFIG, **others))
    save_weights(tmp_path / "other" / "model", {})
    with pytest.raises(
        WeightsError, match=r"No row of table11 can be measured without a converged D/256-512 or E/256-512"
    ):
        find(str(tmp_path))


def test_trunks_are_named(tmp_path: Path) -> None:
    trunk = replace(CONFIG, class_names=(), class_words=())
    save_model(trunk.build(), trunk, tmp_path / "trunk")
    with pytest.raises(WeightsError, match=r"without a converged D/.* .*/trunk: a trunk has no relu7"):
        find(str(tmp_path))


def test_unconverged_net_is_not_used(home: Path) -> None:
    shutil.rmtree(home / "runs" / "deeper")
    save_net(home / "runs" / "half", replace(CONFIG, network="E", provenance=Provenance(converged=False)))
    nets, unconverged = find()
    assert [str(net.path) for net in nets.values()] == ["runs/deep"] and unconverged == ("runs/half",)


def test_two_nets_for_one_are_refused(home: Path) -> None:
    """Whatever their classes and seeds: nobody can know which of them is meant."""
    save_net(
        home / "runs" / "twin", replace(CONFIG, class_names=("other", "more"), class_words=("other", "more"), seed=5)
    )
    with pytest.raises(OptionError, match=r"runs/deep and runs/twin are both D/256-512 at crop 32: name only one"):
        find()


@pytest.mark.parametrize(
    ("make", "folders", "table", "message"),
    [
        (put_caltech_101, (".", "101_ObjectCategories"), TABLE_11, r"\. and 101_ObjectCategories are both Caltech-101"),
        (put_caltech_101, (".",), TABLE_12, "is not Pascal VOC"),
        (lambda root: put_voc_pictures(root / "VOC2010", 2010, ("train", "val")), ("VOC2010",), TABLE_11,
         "VOC2010 is VOC-2010, and table11 is about VOC-2007"),
        (lambda root: None, ("nowhere",), TABLE_11, "nowhere"),
    ],
)  # fmt: skip
def test_other_data_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    folders: tuple[str, ...],
    table: Any,
    message: str,
) -> None:
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VerydeepError, match=message):
        open_columns(table, folders)


def test_data_sets_of_ones_own_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / name / file for name in ("jay", "owl") for file in ("a.jpg", "b.jpg")):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(OptionError, match="is a data set of your own, and table11 is about VOC-2007, VOC-2012"):
        open_columns(TABLE_11, [str(tmp_path)])
