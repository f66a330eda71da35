"""Every own row of Tables 8-10 on nets of a few thousand weights, against plain loops; computations are counted."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.engine.localization.conftest import CPU, Home, run_in_two
from tests.engine.localization.reference import find_members, guess_classes, measure_overlaps
from tests.thin_nets import CROP, WIDTHS, make_boxes, make_pictures
from verydeep.configs.networks import NetSizes
from verydeep.configs.paper import LOCALIZATION_TABLES, TABLES
from verydeep.configs.protocols import EvaluationProtocol
from verydeep.data.box_annotations import add_boxes, read_boxes
from verydeep.data.pixels.decoding import Decoding
from verydeep.engine.classification.table_rows import TableConditions
from verydeep.engine.datasets import open_data_split
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
from verydeep.engine.localization.paper_tables import measure_localization_table
from verydeep.engine.localization.table_rows import (
    LocalizationTableConditions,
    MeasuredBoxes,
    choose_available_classes,
    compare_box_rows,
    measure_protocols,
)
from verydeep.engine.nets.collection import find_nets
from verydeep.errors import DataError, WeightsError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import load_model

NUM_IMAGES, COUNTED = 12, [i for i in range(12) if i not in (1, 8)]
PIXELS = {256: 37, 352: 50, 384: 55}
SEEDS = {"D/384scr-fc": (3,), "D/384pcr-fc": (3,)}
"""Seeds of these nets; all others have 3 and 8."""

Measured = dict[EvaluationProtocol, MeasuredBoxes]


@dataclass
class Computations:
    """What went through nets; a source net has the name of its own run."""

    images: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(run, short side in pixels) -> images and crops."""
    models: dict[str, list[VGG]] = field(default_factory=dict)
    """Run -> models that were loaded from it; they are kept, so that no two have the same id."""

    @property
    def images_by_run(self) -> Counter[str]:
        totals: Counter[str] = Counter()
        for (run, _), count in self.images.items():
            totals[run] += count
        return totals

    @property
    def loads(self) -> dict[str, int]:
        return {run: len(models) for run, models in self.models.items()}


@contextmanager
def count_computations(home: Home) -> Iterator[Computations]:
    """Count what goes through the nets of the runs, which are recognized by their weights."""
    computations = Computations()
    names = {last_bias(load_model(run / "model")[0]): run.name for run in home.runs.iterdir()}

    def count(model: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(model, VGG):
            name = names[last_bias(model)]
            computations.images[name, min(inputs[0].shape[2:])] += len(inputs[0])
            models = computations.models.setdefault(name, [])
            if not any(known is model for known in models):
                models.append(model)

    handle = register_module_forward_pre_hook(count)
    try:
        yield computations
    finally:
        handle.remove()


def last_bias(model: VGG) -> tuple[float, ...]:
    assert model.fc8.bias is not None
    return tuple(model.fc8.bias.tolist())


def make_conditions(home: Home, **others: Any) -> LocalizationTableConditions:
    shared = TableConditions(find_nets(home.runs), str(home.root / "data"), home.val, NetSizes(CROP, **WIDTHS), CPU)
    return LocalizationTableConditions(shared, **{"test_split": home.boxed_val, **others})


def measure(name: str, conditions: LocalizationTableConditions) -> Measured:
    return measure_protocols(LOCALIZATION_TABLES[name].protocols, conditions)


@pytest.fixture(scope="module")
def steps(home: Home) -> Iterator[dict[str, tuple[Computations, Measured]]]:
    """All tables, one after the other, Table 9 twice, and what each computed. The cache is empty at first."""
    measured = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VERYDEEP_CACHE", str(home.root / "empty"))
        for step in ("table8", "table9", "table10", "again"):
            with count_computations(home) as computations:
                measured[step] = computations, measure("table9" if step == "again" else step, make_conditions(home))
    yield measured
    shutil.rmtree(home.root / "empty")


OWN_ROWS = dict.fromkeys(str(protocol) for table in LOCALIZATION_TABLES.values() for protocol in table.protocols)


@pytest.mark.parametrize("text", OWN_ROWS)
def test_a_row_agrees_with_plain_loops(text: str, home: Home, steps: dict[str, tuple[Computations, Measured]]) -> None:
    protocol = EvaluationProtocol.parse(text)
    rows = [rows[protocol] for _, rows in steps.values() if protocol in rows]
    assert rows
    for row in rows:
        assert row.protocol == protocol and row.converged and not row.unconverged
        assert row.seeds == SEEDS.get(str(protocol.members[0].net), (3, 8))
        assert row.wrong.shape == (len(row.seeds), 10) and row.thresholds == (DEFAULT_THRESHOLD,)
        truth_overlaps = []
        for number, seed in enumerate(row.seeds):
            wrong = []
            for index in COUNTED:
                guesses: list[int] = []
                if isinstance(protocol.classes, EvaluationProtocol):
                    class_members = find_members(protocol.classes, seed)
                    guesses = guess_classes(home, index, class_members, protocol.classes.view)
                members = find_members(protocol, seed)
                truth, guess = measure_overlaps(home, index, members, protocol.view, guesses, DEFAULT_THRESHOLD)
                truth_overlaps.append(truth)
                wrong.append((guess if guesses else truth) < 0.5)
            assert row.wrong[number].tolist() == wrong
        assert row.error.percent == pytest.approx(100 * row.wrong.mean())
        assert row.mean_iou.value == pytest.approx(np.mean(truth_overlaps), abs=1e-4)


def test_the_nets_differ(steps: dict[str, tuple[Computations, Measured]]) -> None:
    """Or else the rows above could not tell one net, scale or seed from another."""
    rows = [row for _, measured in steps.values() for row in measured.values()]
    assert len({row.mean_iou.value for row in rows}) == len(OWN_ROWS)
    assert any(0 < row.error.percent < 100 for row in rows)
    assert any(row.wrong[0].tolist() != row.wrong[1].tolist() for row in rows if len(row.seeds) > 1)


def name_runs(net: str) -> list[str]:
    return [f"{net.replace('/', '-')}-s{seed}" for seed in SEEDS.get(net, (3, 8))]


def test_table_8_is_one_crop_an_image_and_needs_no_classification_net(
    steps: dict[str, tuple[Computations, Measured]],
) -> None:
    """One box of one class an image needs no rating."""
    computations, _ = steps["table8"]
    runs = [run for net in ("D/384scr-fc", "D/384pcr-fc", "D/384pcr") for run in name_runs(net)]
    assert computations.images == {(run, CROP): NUM_IMAGES for run in runs}
    assert computations.loads == dict.fromkeys(runs, 1)


def test_in_table_9_each_net_sees_each_image_once_a_scale_for_all_rows(
    steps: dict[str, tuple[Computations, Measured]],
) -> None:
    computations, _ = steps["table9"]
    images = {(run, PIXELS[256]): NUM_IMAGES for net in ("D/256pcr", "D/256") for run in name_runs(net)}
    images |= {
        (run, PIXELS[q]): NUM_IMAGES for net in ("D/384pcr", "D/384") for run in name_runs(net) for q in (352, 384)
    }
    class_runs = [run for net in ("D/256-512", "E/256-512") for run in name_runs(net)]
    assert {key: count for key, count in computations.images.items() if key[0] not in class_runs} == images
    # Classes: 150 crops, their mirror images among them, and three whole images with their mirror images.
    assert all(computations.images_by_run[run] == (150 + 6) * NUM_IMAGES for run in class_runs)
    assert computations.loads == dict.fromkeys([*(run for run, _ in images), *class_runs], 1)


def test_posteriors_are_cached_and_boxes_are_not(steps: dict[str, tuple[Computations, Measured]]) -> None:
    runs = [run for net in ("D/256pcr", "D/384pcr", "D/256", "D/384") for run in name_runs(net)]
    for step in ("table10", "again"):
        assert steps[step][0].loads == dict.fromkeys(runs, 1)
        assert steps[step][0].images == {key: steps["table9"][0].images[key] for key in steps[step][0].images}
    first, second = (steps[step][1].values() for step in ("table9", "again"))
    assert [row.wrong.tolist() for row in first] == [row.wrong.tolist() for row in second]


def test_rows_are_compared_on_the_seeds_that_both_have(steps: dict[str, tuple[Computations, Measured]]) -> None:
    """The paper's difference is that of its own rows."""
    for name, num_comparisons, num_seeds in (("table8", 3, 1), ("table9", 6, 2)):
        rows = {row.protocol: (row, steps[name][1][row.protocol]) for row in LOCALIZATION_TABLES[name].rows}
        comparisons = compare_box_rows(list(rows.values()))
        assert len(comparisons) == num_comparisons
        for comparison in comparisons:
            (row_a, a), (row_b, b) = rows[comparison.first], rows[comparison.second]
            points = 100 * (a.wrong[:num_seeds].mean() - b.wrong[:num_seeds].mean())
            assert comparison.measured.points == pytest.approx(points)
            assert row_a.val is not None and row_b.val is not None
            assert comparison.paper == pytest.approx(row_a.val - row_b.val)
        if name == "table8":
            assert [comparison.paper for comparison in comparisons] == [2.1, 3.3, 1.2]


# Which classes, and which nets take part.


def without(conditions: LocalizationTableConditions, *nets: str) -> LocalizationTableConditions:
    remaining = [net for net in conditions.shared.nets if str(net.paper_net(**WIDTHS)) not in nets]
    return replace(conditions, shared=replace(conditions.shared, nets=remaining))


(_, _, ROW, _), TRUTH = (LOCALIZATION_TABLES[name].protocols for name in ("table9", "table8"))
"""A row with the classes of two nets, and the rows with the true class."""


def test_the_best_available_classes_are_chosen(home: Home) -> None:
    """By the published top-5 errors, whatever else is missing."""
    published = {
        row.protocol: row.top5_val
        for table in TABLES.values()
        for row in table.rows
        if row.protocol is not None and row.top5_val is not None
    }
    conditions = make_conditions(home)
    assert choose_available_classes(ROW, conditions.shared) == ROW
    for missing in (("E/256-512",), ("E/256-512", "D/256-512"), ("E/256-512", "D/256-512", "D/256")):
        shared = without(conditions, *missing).shared
        nets = {net.paper_net(**WIDTHS) for net in shared.nets}
        available = [protocol for protocol in published if {member.net for member in protocol.members} <= nets]
        best = min(available, key=published.__getitem__)
        assert choose_available_classes(ROW, shared) == replace(ROW, classes=best)
    shared = without(conditions, "E/256-512", "D/256-512", "D/256", "D/384").shared
    assert str(choose_available_classes(ROW, shared)) == "D/384pcr/352,384"
    assert [choose_available_classes(protocol, shared) for protocol in TRUTH] == list(TRUTH)


def with_unconverged(conditions: LocalizationTableConditions, **seeds: tuple[int, ...]) -> LocalizationTableConditions:
    """Return conditions in which the nets of these names and seeds did not converge."""
    names = {name.replace("_", "-"): net_seeds for name, net_seeds in seeds.items()}
    nets = [
        replace(net, config=replace(net.config, provenance=replace(net.config.provenance, converged=False)))
        if net.config.seed in names.get(net.path.name.rpartition("-")[0], ())
        else net
        for net in conditions.shared.nets
    ]
    return replace(conditions, shared=replace(conditions.shared, nets=nets))


def test_classes_of_nets_that_did_not_converge_are_not_available(home: Home) -> None:
    conditions = with_unconverged(make_conditions(home), E_256_512=(3, 8))
    best = choose_available_classes(ROW, conditions.shared)
    assert str(best.classes) == "D/256-512/256,384,512 : dense+crops"
    conditions = with_unconverged(make_conditions(home), E_256_512=(8,))
    assert choose_available_classes(ROW, conditions.shared) == ROW
    assert all(row.seeds == (3,) and row.converged for row in measure("table9", conditions).values())


def test_rows_of_nets_that_did_not_converge_are_marked(home: Home) -> None:
    """Of a net with one seed that did, the other seed is left out."""
    conditions = with_unconverged(make_conditions(home), D_384pcr=(3,), D_384scr_fc=(3,))
    measured = measure("table8", conditions)
    scr_fc, pcr_fc, pcr = measured.values()
    assert not scr_fc.converged and scr_fc.seeds == (3,)
    assert pcr_fc.converged
    assert pcr.converged and pcr.seeds == (8,) and pcr.unconverged == (str(home.runs / "D-384pcr-s3"),)
    assert len(compare_box_rows([(row, measured[row.protocol]) for row in LOCALIZATION_TABLES["table8"].rows])) == 1


def test_rows_without_a_common_seed_are_compared_as_independent_runs(home: Home) -> None:
    measured = measure("table8", with_unconverged(make_conditions(home), D_384pcr=(3,)))
    rows = [(row, measured[row.protocol]) for row in LOCALIZATION_TABLES["table8"].rows]
    (_, _, comparison) = compare_box_rows(rows)
    assert str(comparison.first).startswith("D/384pcr-fc")
    assert comparison.measured.low <= comparison.measured.points


def test_a_table_without_any_run_is_refused_in_one_sentence(home: Home) -> None:
    conditions = make_conditions(home)

    def refuse(name: str, *nets: str) -> str:
        shared = replace(conditions.shared, nets=[home.net(net) for net in nets])
        with pytest.raises(WeightsError) as caught:
            list(measure_localization_table(LOCALIZATION_TABLES[name], replace(conditions, shared=shared)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    for name in LOCALIZATION_TABLES:
        message = refuse(name)
        assert f"row of {name} with crop 32 and the 6 classes of the data" in message
    message = refuse("table8", "D/256pcr")
    assert "D/384scr-fc, D/384pcr-fc, D/384pcr" in message and "D/256pcr (" in message
    one, *_, fused = LOCALIZATION_TABLES["table9"].protocols
    assert set(LOCALIZATION_TABLES["table9"].protocols) - measure("table9", without(conditions, "D/256pcr")).keys() == {
        one,
        fused,
    }


@pytest.mark.parametrize("name", ["D/256pcr", "D/384pcr", "D/256-512", "E/256-512"])
def test_nets_have_to_have_split_the_data_alike(name: str, home: Home, tmp_path: Path) -> None:
    """A net that split the same folder with another seed may have been trained on test images."""
    make_pictures(tmp_path, 4)
    make_boxes(tmp_path)
    val = open_data_split(str(tmp_path), "val")
    boxed_split, _ = add_boxes(val, read_boxes(val, tmp_path))
    nets = [
        replace(net, config=replace(net.config, split=replace(net.config.split, seed=5)))
        if str(net.paper_net(**WIDTHS)) == name
        else net
        for net in find_nets(home.runs)
    ]
    shared = TableConditions(nets, str(tmp_path), val, NetSizes(CROP, **WIDTHS), CPU)
    test_split = BoxedSplit(val, boxed_split, np.ones(len(val), np.bool_))
    with pytest.raises(DataError, match=f"{name.replace('/', '-')}-s3 was trained on another"):
        measure("table9", LocalizationTableConditions(shared, test_split))


# Thresholds.


def test_thresholds_are_chosen_on_the_other_half_or_on_another_split(home: Home) -> None:
    by_halves = measure("table9", make_conditions(home, tuning_split=home.boxed_val))
    four = BoxedSplit(home.val, home.boxed_val.split.subset([0, 2, 4, 6]), np.ones(4, np.bool_))
    cheap = without(make_conditions(home, tuning_split=four), "D/256-512", "E/256-512")
    on_four = measure("table9", cheap)
    for rows, most in ((by_halves, 4), (on_four, 2)):  # two seeds, and two halves or one split
        chosen = [row.thresholds for row in rows.values()]
        assert len(chosen) == 4 and all(1 <= len(thresholds) <= most for thresholds in chosen)
        assert {threshold for thresholds in chosen for threshold in thresholds} != {DEFAULT_THRESHOLD}
    for row in on_four.values():
        assert row.thresholds == tuple(sorted({best_threshold(home, row, seed) for seed in row.seeds}))


def best_threshold(home: Home, row: MeasuredBoxes, seed: int) -> float:
    """Return the threshold of the smallest error, then of the largest mean IoU, on four images."""
    assert isinstance(row.protocol.classes, EvaluationProtocol)
    choices = []
    for threshold in np.arange(16) / 10:
        overlaps = []
        for index in (0, 2, 4, 6):
            class_members = find_members(row.protocol.classes, seed)
            guesses = guess_classes(home, index, class_members, row.protocol.classes.view)
            members = find_members(row.protocol, seed)
            overlaps.append(measure_overlaps(home, index, members, "dense", guesses, float(threshold)))
        num_wrong = sum(guess < 0.5 for _, guess in overlaps)
        choices.append((num_wrong, -round(sum(truth for truth, _ in overlaps), 6), float(threshold)))
    return min(choices)[2]


# Files that cannot be decoded.


def test_files_that_cannot_be_decoded_are_left_out_of_all_rows(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "val"
    shutil.copytree(home.val.root, root)
    for index in (2, 8):
        (root / home.val.files[index]).write_bytes(b"no picture")
    val = replace(home.val, root=root)
    damaged = BoxedSplit(val, replace(home.boxed_val.split, root=root), home.boxed_val.counted)
    conditions = make_conditions(home, test_split=damaged)
    skipping = replace(conditions, shared=replace(conditions.shared, split=val, decoding=Decoding("skip")))
    counted = [number for number, index in enumerate(COUNTED) if index != 2]
    for name in ("table8", "table9"):
        complete, skipped = (
            measure(name, without(each, "D/256-512", "E/256-512")) for each in (make_conditions(home), skipping)
        )
        assert complete and complete.keys() == skipped.keys()
        for protocol, row in skipped.items():
            assert row.wrong.tolist() == complete[protocol].wrong[:, counted].tolist()
            assert (complete[protocol].skipped, row.skipped) == (0, 2)


def test_other_processes_measure_and_return_nothing(home: Home) -> None:
    conditions = make_conditions(home)
    paper = LOCALIZATION_TABLES["table8"]
    (alone,) = measure_localization_table(paper, conditions)
    first, second = run_in_two(
        lambda runtime: list(
            measure_localization_table(paper, replace(conditions, shared=replace(conditions.shared, runtime=runtime)))
        )
    )
    assert [table.rows for table in first] == [alone.rows] and second == []
