"""Every own row of Tables 8-10 on nets of a few thousand weights, against plain loops; what was computed, counted."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.engine.localization.conftest import CPU, Home
from tests.engine.localization.plainly import five_guesses, members_of, overlaps
from tests.thin_nets import CROP
from verydeep.configs.paper import LOCALIZATION_TABLES, TABLES
from verydeep.configs.protocols import EvaluationProtocol
from verydeep.data.decoding import Decoding
from verydeep.engine.classification.tables import TableConditions
from verydeep.engine.localization import predictions, tables
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidates import candidates
from verydeep.engine.localization.table_report import MeasuredLocalizationTable, measure_localization_table
from verydeep.engine.localization.tables import (
    LocalizationTableConditions,
    MeasuredBoxes,
    best_classes_there,
    measure_table,
)
from verydeep.engine.localization.threshold import DEFAULT_THRESHOLD
from verydeep.engine.nets.collection import find_nets
from verydeep.engine.nets.net import Net
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import Provenance

NUM_IMAGES, COUNTED = 12, [i for i in range(12) if i not in (1, 8)]
PIXELS = {256: 37, 352: 50, 384: 55}
SEEDS = {"D/384scr-fc": (3,), "D/384pcr-fc": (3,)}
"""Of all others 3 and 8."""

View = tuple[str, str, int]
"""(run, view, Q)"""


@dataclass
class Counted:
    """What was asked of the nets."""

    images: Counter[View] = field(default_factory=Counter)
    """Images whose boxes were asked for, in each view of each localization net."""
    rows: Counter[str] = field(default_factory=Counter)
    """Run -> images and crops that went through its net, or "run/classifier"."""
    loads: Counter[str] = field(default_factory=Counter)
    """The same -> how often its weights were read."""


def count(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Count from now on."""
    counted, names = Counted(), dict[int, tuple[str, VGG]]()
    load, forward = Net.load, VGG.forward

    def loaded(net: Net) -> VGG:
        model, run = load(net), net.path
        name = f"{run.parent.parent.name}/classifier" if run.name == "classifier" else run.name
        names[id(model)] = name, model  # the model is kept, so that no other gets its id
        counted.loads[name] += 1
        return model

    def seen(model: VGG, images: Tensor, *rest: Any) -> Tensor:
        counted.rows[names[id(model)][0]] += len(images)
        return forward(model, images, *rest)

    def candidate_classes(net: Any, images: Tensor, view: Any, *rest: Any) -> Any:
        assert min(images.shape[2:]) == (CROP if view.view == "center" else PIXELS[view.scale])
        counted.images[names[id(net.model)][0], view.view, view.scale] += len(images)
        return candidates(net, images, view, *rest)

    monkeypatch.setattr(Net, "load", loaded)
    monkeypatch.setattr(VGG, "forward", seen)
    monkeypatch.setattr(predictions, "candidates", candidate_classes)
    return counted


def conditions(home: Home, **others: Any) -> LocalizationTableConditions:
    shared = TableConditions(find_nets(home.runs), str(home.root / "data"), home.val, CROP, CPU)
    return LocalizationTableConditions(shared, **{"part": home.part, **others})


def found(name: str, shared: LocalizationTableConditions) -> MeasuredLocalizationTable:
    (findings,) = measure_localization_table(LOCALIZATION_TABLES[name], shared)
    return findings


@pytest.fixture(scope="module")
def measured(home: Home) -> Iterator[tuple[dict[str, Counted], dict[str, MeasuredLocalizationTable]]]:
    """All tables, one after the other, Table 9 twice; what each computed. Nothing was kept before."""
    steps, findings = {}, {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VERYDEEP_CACHE", str(home.root / "empty"))
        counted = count(monkeypatch)
        for step in ("table8", "table9", "table10", "again"):
            findings[step] = found("table9" if step == "again" else step, conditions(home))
            steps[step] = replace(counted)
            counted.images, counted.rows, counted.loads = Counter(), Counter(), Counter()
    yield steps, findings
    shutil.rmtree(home.root / "empty")


OWN_ROWS = dict.fromkeys(str(protocol) for table in LOCALIZATION_TABLES.values() for protocol in table.protocols)


@pytest.mark.parametrize("text", OWN_ROWS)
def test_a_row_is_what_plain_loops_give(text: str, home: Home, measured: Any) -> None:
    protocol = EvaluationProtocol.parse(text)
    rows = [row for each in measured[1].values() for row in each.rows if row[0].protocol == protocol]
    assert rows
    for _, each in rows:
        assert each is not None and each.protocol == protocol and each.is_answer and not each.unconverged
        assert each.seeds == SEEDS.get(str(protocol.members[0].net), (3, 8))
        assert each.wrong.shape == (len(each.seeds), 10) and each.thresholds == (DEFAULT_THRESHOLD,)
        of_truth = []
        for place, seed in enumerate(each.seeds):
            wrong = []
            for index in COUNTED:
                guesses: list[int] = []
                if isinstance(protocol.classes, EvaluationProtocol):
                    namers = members_of(protocol.classes, seed)
                    guesses = five_guesses(home, index, namers, protocol.classes.view)
                members = members_of(protocol, seed)
                pair = overlaps(home, index, members, protocol.view, guesses, DEFAULT_THRESHOLD)
                of_truth.append(pair[0])
                wrong.append((pair[1] if guesses else pair[0]) < 0.5)
            assert each.wrong[place].tolist() == wrong
        assert each.error.percent == pytest.approx(100 * each.wrong.mean())
        assert each.mean_iou.value == pytest.approx(np.mean(of_truth), abs=1e-4)


def test_the_nets_differ(measured: Any) -> None:
    """Or else the rows above could not tell one net, scale or seed from another."""
    rows = [each for findings in measured[1].values() for _, each in findings.rows if each is not None]
    assert len({each.mean_iou.value for each in rows}) == len(OWN_ROWS)
    assert any(0 < each.error.percent < 100 for each in rows)
    assert any(each.wrong[0].tolist() != each.wrong[1].tolist() for each in rows if len(each.seeds) > 1)


def runs_of(net: str) -> list[str]:
    return [f"{net.replace('/', '-')}-s{seed}" for seed in SEEDS.get(net, (3, 8))]


def test_table_8_is_one_crop_an_image_and_asks_nobody_for_classes(measured: Any) -> None:
    counted = measured[0]["table8"]
    runs = [run for net in ("D/384scr-fc", "D/384pcr-fc", "D/384pcr") for run in runs_of(net)]
    assert counted.images == {(run, "center", 384): NUM_IMAGES for run in runs}
    # One box of one class an image: no classification net has to rate it.
    assert counted.loads == dict.fromkeys(runs, 1) and counted.rows == dict.fromkeys(runs, NUM_IMAGES)


def test_table_9_lets_each_net_see_each_image_once_a_scale_for_all_of_its_rows(measured: Any) -> None:
    counted = measured[0]["table9"]
    boxes = {(run, "dense", 256): NUM_IMAGES for run in runs_of("D/256pcr")}
    boxes |= {(run, "dense", q): NUM_IMAGES for run in runs_of("D/384pcr") for q in (352, 384)}
    assert counted.images == boxes
    scales = {"D/256pcr": 1, "D/384pcr": 2}
    rows = {run: scales[net] * NUM_IMAGES for net in scales for run in runs_of(net)}
    rows |= {f"{run}/classifier": count for run, count in rows.items()}
    # Of the classes 150 crops, their mirror images among them, and three whole images and theirs.
    rows |= {run: (150 + 6) * NUM_IMAGES for net in ("D/256-512", "E/256-512") for run in runs_of(net)}
    assert counted.rows == rows and counted.loads == dict.fromkeys(rows, 1)


def test_the_classes_are_kept_the_boxes_are_not(measured: Any) -> None:
    steps = measured[0]
    again = [*runs_of("D/256pcr"), *runs_of("D/384pcr")]
    for step in ("table10", "again"):
        assert steps[step].images == steps["table9"].images
        assert steps[step].loads == dict.fromkeys([*again, *(f"{run}/classifier" for run in again)], 1)
    first, second = (measured[1][step] for step in ("table9", "again"))
    assert [each.wrong.tolist() for _, each in first.rows] == [each.wrong.tolist() for _, each in second.rows]


def test_rows_are_compared_on_the_seeds_that_both_have(measured: Any) -> None:
    """Against the means; what the paper has beside it is the difference of its own rows."""
    table_8, table_9 = (measured[1][name] for name in ("table8", "table9"))
    assert len(table_8.comparisons) == 3 and len(table_9.comparisons) == 6
    for findings, shared in ((table_8, 1), (table_9, 2)):
        rows = {row.protocol: (row, each) for row, each in findings.rows}
        for each in findings.comparisons:
            (row_a, a), (row_b, b) = rows[each.first], rows[each.second]
            points = 100 * (a.wrong[:shared].mean() - b.wrong[:shared].mean())
            assert each.measured.points == pytest.approx(points)
            assert each.paper == pytest.approx(row_a.val - row_b.val)
    assert [comparison.paper for comparison in table_8.comparisons] == [2.1, 3.3, 1.2]


def test_other_authors_are_never_run(measured: Any) -> None:
    rows = measured[1]["table10"].rows
    assert [each is None for _, each in rows] == [False, True, True, True]


# Which classes, and which nets take part.


def without(shared: LocalizationTableConditions, *nets: str) -> LocalizationTableConditions:
    kept = [net for net in shared.nets.nets if str(net) not in nets]
    return replace(shared, nets=replace(shared.nets, nets=kept))


(_, _, ROW, _), TRUTH = (LOCALIZATION_TABLES[name].protocols for name in ("table9", "table8"))
"""A row that asks for the classes of two nets, and those that ask for the truth."""


def test_of_the_classes_that_are_there_the_best_are_taken(home: Home) -> None:
    """By the published top-5 errors, whatever else is missing."""
    published = {
        row.protocol: row.top5_val
        for table in TABLES.values()
        for row in table.rows
        if row.protocol is not None and row.top5_val is not None
    }
    shared = conditions(home)
    assert best_classes_there(ROW, shared.nets) == ROW
    for missing in (("E/256-512",), ("E/256-512", "D/256-512"), ("E/256-512", "D/256-512", "D/256")):
        some = without(shared, *missing).nets
        there = {net.paper_net() for net in some.nets}
        able = [protocol for protocol in published if {member.net for member in protocol.members} <= there]
        best = min(able, key=published.__getitem__)
        assert best_classes_there(ROW, some) == replace(ROW, classes=best)
    texts = ("E/256-512", "D/256-512", "D/256", "D/384")
    assert str(best_classes_there(ROW, without(shared, *texts).nets)) == "D/384pcr/352,384"
    assert [best_classes_there(each, without(shared, *texts).nets) for each in TRUTH] == list(TRUTH)


def unfinished(shared: LocalizationTableConditions, **seeds: tuple[int, ...]) -> LocalizationTableConditions:
    """The same where the nets of these names and seeds did not make all drops of their rate."""
    names = {name.replace("_", "-"): those for name, those in seeds.items()}
    nets = [
        replace(net, config=replace(net.config, provenance=Provenance(converged=False)))
        if net.config.seed in names.get(net.path.name.rpartition("-")[0], ())
        else net
        for net in shared.nets.nets
    ]
    return replace(shared, nets=replace(shared.nets, nets=nets))


def test_classes_of_nets_that_did_not_converge_are_as_if_they_were_not_there(home: Home) -> None:
    shared = unfinished(conditions(home), E_256_512=(3, 8))
    best = best_classes_there(ROW, shared.nets)
    assert str(best.classes) == "D/256-512/256,384,512 : dense+crops"
    one = unfinished(conditions(home), E_256_512=(8,))
    assert best_classes_there(ROW, one.nets) == ROW
    findings = found("table9", one)
    assert all(each is not None and each.seeds == (3,) and each.is_answer for _, each in findings.rows)


def test_rows_of_nets_that_did_not_converge_are_no_answers(home: Home) -> None:
    """Of a net with one seed that did, the other seed is left out."""
    shared = unfinished(conditions(home), D_384pcr=(3,), D_384scr_fc=(3,))
    shared_net, fc, every = found("table8", shared).rows
    assert shared_net[1] is not None and not shared_net[1].is_answer and shared_net[1].seeds == (3,)
    assert fc[1] is not None and fc[1].is_answer
    assert every[1] is not None and every[1].is_answer and every[1].seeds == (8,)
    assert every[1].unconverged == (str(home.runs / "D-384pcr-s3"),)
    assert len(found("table8", shared).comparisons) == 1


def test_seeds_that_share_nothing_are_compared_as_other_runs(home: Home) -> None:
    shared = unfinished(conditions(home), D_384pcr=(3,))
    (_, _, with_fc) = found("table8", shared).comparisons
    assert str(with_fc.first).startswith("D/384pcr-fc") and with_fc.measured.low <= with_fc.measured.points


def test_a_table_without_any_run_is_one_sentence(home: Home) -> None:
    shared = conditions(home)
    nothing = replace(shared, nets=replace(shared.nets, nets=[]))
    for name in LOCALIZATION_TABLES:
        with pytest.raises(VerydeepError, match=f"No run answers for any row of {name} at crop 32 with these 6") as e:
            found(name, nothing)
        assert "\n" not in str(e.value) and "there is no run" in str(e.value)
    with pytest.raises(
        VerydeepError, match=r"asks for D/384scr-fc, D/384pcr-fc, D/384pcr, and there are .*D/256pcr \("
    ) as e:
        found("table8", replace(shared, nets=replace(shared.nets, nets=[home.net("D/256pcr")])))
    some = found("table9", without(shared, "D/256pcr")).rows
    assert [each is None for _, each in some] == [True, False, False, True]


def test_all_nets_that_answer_have_to_have_divided_the_data_alike(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[tuple[str, Any]] = []
    monkeypatch.setattr(tables, "check_same_split", lambda net, data, part: checked.append((net.path.name, part)))
    measure_table(LOCALIZATION_TABLES["table9"], conditions(home))
    nets = ("D/256pcr", "D/384pcr", "D/256-512", "E/256-512")
    assert sorted(name for name, _ in checked) == sorted(run for net in nets for run in runs_of(net))
    assert all(part is home.val for _, part in checked)


# Thresholds.


def test_thresholds_are_chosen_on_the_other_half_or_on_another_part(home: Home) -> None:
    by_halves = measure_table(LOCALIZATION_TABLES["table9"], conditions(home, tune_on=home.part))
    even = home.part.split.subset([0, 2, 4, 6])
    other = BoxedSplit(home.val, even, np.zeros(4, np.bool_))
    cheap = without(conditions(home, tune_on=other), "D/256-512", "E/256-512")
    elsewhere = measure_table(LOCALIZATION_TABLES["table9"], cheap)
    for rows, most in ((by_halves, 4), (elsewhere, 2)):  # two seeds, and two halves or one part
        chosen = [each.thresholds for _, each in rows if each is not None]
        assert len(chosen) == 4 and all(1 <= len(each) <= most for each in chosen)
        assert {t for each in chosen for t in each} != {DEFAULT_THRESHOLD}
    for _, each in elsewhere:
        assert each is not None
        # That of each seed is best on the four images: no other gives fewer errors there.
        assert each.thresholds == tuple(sorted({best_on(home, each, seed) for seed in each.seeds}))


def best_on(home: Home, each: MeasuredBoxes, seed: int) -> float:
    """The threshold of the smallest error, then of the largest mean IoU, on four images."""
    assert isinstance(each.protocol.classes, EvaluationProtocol)
    figures = []
    for threshold in np.arange(16) / 10:
        pairs = []
        for index in (0, 2, 4, 6):
            guesses = five_guesses(home, index, members_of(each.protocol.classes, seed), each.protocol.classes.view)
            members = members_of(each.protocol, seed)
            pairs.append(overlaps(home, index, members, "dense", guesses, float(threshold)))
        wrong = sum(pair[1] < 0.5 for pair in pairs)
        figures.append((wrong, -round(sum(pair[0] for pair in pairs), 6), float(threshold)))
    return min(figures)[2]


# Files that cannot be decoded.


def test_what_cannot_be_decoded_is_left_out_of_all_rows(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "val"
    shutil.copytree(home.val.root, root)
    for index in (2, 8):
        (root / home.val.files[index]).write_bytes(b"no picture")
    whole = replace(home.val, root=root)
    part = BoxedSplit(whole, replace(home.part.split, root=root), home.part.blacklisted)
    shared = conditions(home, part=part)
    skipping = replace(shared, nets=replace(shared.nets, split=whole, decoding=Decoding("skip")))
    cheap = ("D/256-512", "E/256-512")
    for name in ("table8", "table9"):
        before, after = (found(name, without(each, *cheap)) for each in (conditions(home), skipping))
        kept = [place for place, index in enumerate(COUNTED) if index != 2]
        for (_, each), (_, then) in zip(before.rows, after.rows, strict=True):
            assert each is not None and then is not None
            assert then.wrong.tolist() == each.wrong[:, kept].tolist() and (each.skipped, then.skipped) == (0, 2)


def test_on_the_other_processes_there_is_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "predict_ensembles", lambda *_: [])
    shared = conditions(home)
    second = replace(shared, nets=replace(shared.nets, runtime=replace(CPU, rank=1, world_size=2)))
    assert list(measure_localization_table(LOCALIZATION_TABLES["table9"], second)) == []
