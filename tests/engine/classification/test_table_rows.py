"""Every row of the tables on nets of a few thousand weights, against a plain loop; what was computed, counted."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch import Tensor

from tests.thin_nets import CLASSES, CROP, WIDTHS, make_pictures, narrow_config, save_run
from verydeep.configs.ladder import LADDER
from verydeep.configs.networks import NetSizes
from verydeep.configs.paper import SHALLOW_TABLE, TABLES, PaperRow, PaperTable
from verydeep.configs.protocols import EvaluationProtocol, PaperNet
from verydeep.engine.classification.ensemble_errors import predict_members
from verydeep.engine.classification.paper_tables import measure_classification_tables
from verydeep.engine.classification.table_rows import (
    MeasuredRow,
    TableConditions,
    compare_rows,
    compute_views,
    measure_protocol,
    predict_ensemble,
)
from verydeep.engine.datasets import open_data_split
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.collection import Collection, find_nets
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import Provenance, load_model, save_config
from verydeep.ops.arrays import BoolArray, Float64Array, Int64Array
from verydeep.results.measured_table import MeasuredTable

CPU = Runtime(torch.device("cpu"), bf16=False)

ALL_TABLES = (*TABLES.values(), SHALLOW_TABLE)

TWICE = ("A/256", "D/256", "D/384", "D/256-512", "E/256-512")
"""Nets that were trained with seeds 3 and 8; all others with 3 alone."""

PIXELS = {224: 32, 256: 37, 288: 41, 352: 50, 384: 55, 416: 59, 512: 73}
"""Q in the paper's units -> at crop 32, Q / 7 rounded."""

NUM_IMAGES = 12

View = tuple[str, str, int]
"""(run, view, Q)"""


@dataclass
class Ladder:
    """All nets, all tables, and what each step computed."""

    runs: Path
    conditions: TableConditions
    computed: dict[str, Counter[View]]
    """Step -> images whose posteriors were computed, in each view of each net."""
    findings: dict[str, MeasuredTable]


def cached_images(cache_folder: Path) -> Counter[View]:
    """Images in the cache; one that was computed twice counts twice."""
    counted: Counter[View] = Counter()
    for about in (cache_folder / "posteriors").glob("*/about.json"):
        run = Path(json.loads(about.read_text())["net_folder"]).parent.name
        for path in about.parent.glob("*/*.safetensors"):
            view, scale = path.parent.name.rsplit("-", 1)
            counted[run, view, int(scale)] += len(load_file(path)["keys"])
    return counted


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ladder]:
    """What Table 6 computes, what Table 4 then, what all tables then, what all of them the second time."""
    root = tmp_path_factory.mktemp("ladder")
    make_pictures(root / "data" / "train", 1, first=100)
    make_pictures(root / "data" / "val", 2)
    steps = {"table6": [TABLES["table6"]], "table4": [TABLES["table4"]], "all": ALL_TABLES, "again": ALL_TABLES}
    computed: dict[str, Counter[View]] = {}
    findings: dict[str, MeasuredTable] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VERYDEEP_CACHE", str(root / "cache"))
        for net in (*LADDER, PaperNet.parse("B-5x5/256")):
            for seed in (3, 8) if str(net) in TWICE else (3,):
                save_run(root / "runs", narrow_config(net, root / "data", seed=seed))
        val = open_data_split(str(root / "data"), "val")
        conditions = TableConditions(find_nets(root / "runs"), str(root / "data"), val, NetSizes(CROP, **WIDTHS), CPU)
        for name, some_tables in steps.items():
            before = cached_images(root / "cache")
            findings |= {table.name: table for table in measure_classification_tables(some_tables, conditions)}
            computed[name] = cached_images(root / "cache") - before
        yield Ladder(root / "runs", conditions, computed, findings)


def run_of(net: str, seed: int) -> str:
    return f"{net.replace('/', '-')}-s{seed}"


def seeds_of(protocol: EvaluationProtocol) -> tuple[int, ...]:
    return (3, 8) if all(str(member.net) in TWICE for member in protocol.members) else (3,)


# A plain loop: one image, one view, one scale, one net at a time.


def rescaled(path: Path, scale: int) -> Tensor:
    """(3, H, W) with this Q for its short side."""
    with Image.open(path) as image:
        width, height = image.size
        short, q = min(width, height), PIXELS[scale]
        size = (round(width * q / short), round(height * q / short))
        pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1).float()


def softmax(scores: Tensor) -> Float64Array:
    """(N, K) of (N, K), in double precision."""
    powers = np.exp(scores.double().numpy())
    shares: Float64Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


@torch.no_grad()
def single_view(model: VGG, image: Tensor, view: str) -> Float64Array:
    """(K,) of one image (3, H, W)."""
    height, width = image.shape[1:]
    if view == "dense":
        sides = [softmax(model(each[None]).mean(dim=(2, 3)))[0] for each in (image, image.flip(2))]
        return np.asarray((sides[0] + sides[1]) / 2, np.float64)
    if view == "center":
        top, left = (height - CROP) // 2, (width - CROP) // 2
        crop = image[None, :, top : top + CROP, left : left + CROP]
        return np.asarray(softmax(model(crop)[:, :, 0, 0])[0], np.float64)
    tops, lefts = ([int(i * (side - CROP) / 4 + 0.5) for i in range(5)] for side in (height, width))
    crops = [image[:, top : top + CROP, left : left + CROP] for top in tops for left in lefts]
    crops += [crop.flip(2) for crop in crops]
    return np.asarray(softmax(model(torch.stack(crops))[:, :, 0, 0]).mean(axis=0), np.float64)


@pytest.fixture(scope="module")
def plain_posteriors(ladder: Ladder) -> Any:
    """(run, view, Q) -> (n, K), each computed when it is first needed."""

    @cache
    def of_split(run: str, view: str, scale: int) -> Float64Array:
        model = load_model(ladder.runs / run / "model")[0]
        val = ladder.conditions.split
        paths = [val.path(index) for index in range(len(val))]
        return np.stack([single_view(model, rescaled(path, scale), view) for path in paths])

    return of_split


def errors_at(posterior: Float64Array, labels: Int64Array, k: int) -> BoolArray:
    """(n,) whether the true class is not among the k best."""
    best = np.argsort(-posterior, axis=1)[:, :k]
    return np.array([label not in row for label, row in zip(labels, best, strict=True)])


@pytest.mark.parametrize("text", dict.fromkeys(str(each) for table in ALL_TABLES for each in table.protocols))
def test_a_row_is_the_mean_over_members_scales_and_views(text: str, ladder: Ladder, plain_posteriors: Any) -> None:
    protocol = EvaluationProtocol.parse(text)
    views = protocol.view.split("+")
    labels = ladder.conditions.split.labels
    assert labels is not None
    measured = measure_protocol(protocol, ladder.conditions)
    assert measured is not None
    assert measured.seeds == seeds_of(protocol) and not measured.unconverged
    center_errors = []
    for place, (seed, members) in enumerate(ladder.conditions.ensembles(protocol).items()):
        assert seed == measured.seeds[place]
        of_members, centers = [], []
        for member in protocol.members:
            run = run_of(str(member.net), seed)
            of_scales = [sum(plain_posteriors(run, view, q) for view in views) / len(views) for q in member.test_scales]
            of_members.append(sum(of_scales) / len(of_scales))
            if "dense" in views:
                centers.append(sum(plain_posteriors(run, "center", q) for q in member.test_scales) / len(of_scales))
        fused = sum(of_members) / len(of_members)
        predictions = predict_ensemble(protocol.view, members, ladder.conditions)
        np.testing.assert_allclose(predictions.posteriors, fused, rtol=0, atol=1e-5)
        assert measured.wrong_top1[place].tolist() == errors_at(fused, labels, 1).tolist()
        assert measured.wrong_topk[place].tolist() == errors_at(fused, labels, 5).tolist()
        if centers:
            center_errors.append(errors_at(sum(centers) / len(centers), labels, 1).mean())
    assert measured.top1.percent == pytest.approx(100 * measured.wrong_top1.mean())
    assert (measured.center is None) == (not center_errors)
    if measured.center is not None:
        assert measured.center.percent == pytest.approx(100 * np.mean(center_errors))
        scales = {q for member in protocol.members for q in member.test_scales}
        assert measured.geometry.keys() == scales
    else:
        assert measured.geometry == {}
    rows = [row for table in ladder.findings.values() for row in table.values["rows"] if row["protocol"] == text]
    assert rows
    for row in rows:
        assert row["measured"]["seeds"] == list(measured.seeds)
        for key, wrong in (("top1", measured.wrong_top1), ("topk", measured.wrong_topk)):
            assert row["measured"][f"{key}_of_each_seed"] == pytest.approx((100 * wrong.mean(axis=1)).tolist())


def test_the_nets_differ_from_each_other_and_from_image_to_image(ladder: Ladder) -> None:
    """Or else the rows above could not tell one net, scale or view from another."""
    rows = [measure_protocol(protocol, ladder.conditions) for table in ALL_TABLES for protocol in table.protocols]
    errors = [measured.wrong_top1 for measured in rows if measured]
    assert len({tuple(wrong[0]) for wrong in errors}) > len(TABLES["table4"].rows)
    assert all(0 < wrong.mean() < 1 for wrong in errors)


def views_of(net: str, views: str, scales: tuple[int, ...]) -> set[View]:
    seeds = (3, 8) if net in TWICE else (3,)
    return {(run_of(net, seed), view, q) for seed in seeds for view in views.split() for q in scales}


FIXED, LARGER, JITTERED = (224, 256, 288), (352, 384, 416), (256, 384, 512)


def test_table_6_sees_each_image_once_in_each_view(ladder: Ladder) -> None:
    views = set().union(
        *(views_of(net, "center dense", FIXED) for net in ("C/256", "D/256", "E/256")),
        *(views_of(net, "center dense", LARGER) for net in ("C/384", "D/384", "E/384")),
        views_of("D/256-512fc", "center dense", JITTERED),
        *(views_of(net, "center dense crops", JITTERED) for net in ("D/256-512", "E/256-512")),
    )
    views -= {view for view in views if view[0] in (run_of("D/256", 8), run_of("D/384", 8))}  # no seven with seed 8
    assert ladder.computed["table6"] == dict.fromkeys(views, NUM_IMAGES)


def test_table_4_then_needs_what_it_does_not_share_with_the_seven_nets(ladder: Ladder) -> None:
    views = views_of("B/256", "center dense", FIXED) | views_of("C/256-512", "center dense", JITTERED)
    views |= {(run_of("D/256", 8), view, q) for view in ("center", "dense") for q in FIXED}
    views |= {(run_of("D/384", 8), view, q) for view in ("center", "dense") for q in LARGER}
    assert ladder.computed["table4"] == dict.fromkeys(views, NUM_IMAGES)


def test_the_other_tables_then_need_single_scales_of_three_nets(ladder: Ladder) -> None:
    """All else of Tables 3, 5 and 7 is in Tables 4 and 6: 12 rows at one scale, most of them among the several."""
    new = views_of("A/256", "center dense", (256,)) | views_of("A-LRN/256", "center dense", (256,))
    new |= views_of("B-5x5/256", "center", (256,))
    assert ladder.computed["all"] == dict.fromkeys(new, NUM_IMAGES)


def test_the_second_time_nothing_is_computed(ladder: Ladder) -> None:
    assert ladder.computed["again"] == {}


# Which nets take part.


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/ with val/, and flat/ without; thin nets."""
    make_pictures(tmp_path / "data" / "train", 1, first=100)
    make_pictures(tmp_path / "data" / "val", 1)
    make_pictures(tmp_path / "flat", 5)
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def conditions_of(folder: Path, data: str = "data", part: str = "val") -> TableConditions:
    split = open_data_split(str(folder / data), part)
    return TableConditions(find_nets(folder / "runs"), str(folder / data), split, NetSizes(CROP, **WIDTHS), CPU)


A, D = (PaperNet.parse(text) for text in ("A/256", "D/256"))
BOTH = EvaluationProtocol.parse("A/256/256 + D/256/256")


def test_an_unconverged_run_is_named(small: Path) -> None:
    save_run(small / "runs", narrow_config(A, small / "data"))
    late = save_run(small / "runs", narrow_config(D, small / "data", converged=False))
    measured = measure_protocol(BOTH, conditions_of(small))
    assert measured is not None and measured.unconverged == (str(late),) and not measured.converged
    alone = EvaluationProtocol.parse("A/256/256")
    row = measure_protocol(alone, conditions_of(small))
    assert row is not None and row.unconverged == () and row.converged
    rows = [(PaperRow(alone, 20.0, 5.0), row), (PaperRow(BOTH, 20.0, 5.0), measured)]
    assert compare_rows(NO_TABLE, rows) == []


def test_a_seed_that_did_not_converge_is_left_out_where_another_did(small: Path) -> None:
    save_run(small / "runs", narrow_config(A, small / "data", seed=1))
    late = save_run(small / "runs", narrow_config(A, small / "data", seed=2, converged=False))
    row = measure_protocol(EvaluationProtocol.parse("A/256/256"), conditions_of(small))
    assert row is not None and row.converged
    assert (row.seeds, row.unconverged) == ((1,), (str(late),))


def test_seeds_that_lack_a_member_are_left_out(small: Path) -> None:
    for net, seeds in ((A, (0, 1, 2)), (D, (1, 2, 5))):
        for seed in seeds:
            save_run(small / "runs", narrow_config(net, small / "data", seed=seed))
    conditions = conditions_of(small)
    assert {seed: [each.net.path.name for each in nets] for seed, nets in conditions.ensembles(BOTH).items()} == {
        1: ["A-256-s1", "D-256-s1"],
        2: ["A-256-s2", "D-256-s2"],
    }
    measured = measure_protocol(BOTH, conditions)
    assert measured is not None and measured.wrong_top1.shape == (2, 6)
    assert measure_protocol(EvaluationProtocol.parse("B/256/256"), conditions) is None
    assert measure_protocol(EvaluationProtocol.parse("D/256fc/256"), conditions) is None


def test_two_runs_of_one_seed_are_an_error_that_names_both(small: Path) -> None:
    save_run(small / "runs", narrow_config(A, small / "data"))
    save_run(small / "runs", narrow_config(A, small / "data"), "copy")
    with pytest.raises(VerydeepError, match=r".*A-256-s0 and .*copy are both A/256 with seed 0"):
        compute_views([EvaluationProtocol.parse("A/256/256")], conditions_of(small))


def test_a_training_that_has_saved_no_net_yet_is_no_run(small: Path) -> None:
    """As when a table is looked at while the ladder trains."""
    save_run(small / "runs", narrow_config(A, small / "data"))
    begun = save_run(small / "runs", narrow_config(D, small / "data", converged=None))
    (begun / "model" / "model.safetensors").unlink()
    conditions = conditions_of(small)
    compute_views([BOTH], conditions)
    assert measure_protocol(BOTH, conditions) is None
    assert measure_protocol(EvaluationProtocol.parse("A/256/256"), conditions) is not None


def test_a_net_that_split_the_folder_differently_is_refused(small: Path) -> None:
    save_run(small / "runs", narrow_config(A, small / "flat", seed=4, split_seed=0))
    conditions = conditions_of(small, "flat")
    compute_views([EvaluationProtocol.parse("A/256/256")], conditions)
    path = save_run(small / "runs", narrow_config(D, small / "flat", seed=4, split_seed=1))
    with pytest.raises(VerydeepError, match=f"{path} was trained on another division .*seed 1") as caught:
        compute_views([BOTH], conditions_of(small, "flat"))
    assert "\n" not in str(caught.value)
    # Where val/ is a folder, the seed divides nothing.
    net = Net.open(save_run(small / "elsewhere", narrow_config(D, small / "data", split_seed=1)))
    check_same_split(net, str(small / "data"), conditions_of(small).split)


def test_a_net_of_another_system_has_a_row_of_its_own(small: Path) -> None:
    """It belongs to no row of the paper; its row has its name and the views of the table. Trunks have none."""
    save_run(small / "runs", narrow_config(A, small / "data"))
    strange = replace(narrow_config(D, small / "data"), train_scale=None, provenance=Provenance(imported_from="d.pth"))
    path = save_run(small / "elsewhere", strange, "other")
    trunk = replace(strange, class_names=(), class_words=())
    save_config(small / "elsewhere" / "trunk", trunk)
    unknown = replace(strange, class_names=(*CLASSES[:-1], "gnu"), class_words=CLASSES)
    save_run(small / "elsewhere", unknown, "other-classes")
    named = Collection(small / "runs", tuple((small / "elsewhere").iterdir()))
    conditions = replace(conditions_of(small), nets=named.nets())
    paper = PaperTable("table5", "views", (PaperRow(EvaluationProtocol.parse("A/256/256"), 29.6, 10.4),))
    crops = replace(paper, rows=(*paper.rows, PaperRow(EvaluationProtocol.parse("E/256/256 : crops"), 27.0, 9.0)))
    (table,) = measure_classification_tables([crops], conditions)
    cells = {name: rest for name, *rest in table.rows}
    assert [name for name in cells if name.startswith("other")] == ["other/256", "other/256 : crops"]
    assert cells["other/256"][0] == "" and cells["E/256/256 : crops"][1] == "no run"
    net = Net.open(path)
    for row, view in zip(table.values["other_nets"], ("dense", "crops"), strict=True):
        (predictions,) = predict_members([EnsembleMember(net, (256,))], conditions.split, view, CPU)
        wrong = predictions.mean(view, (256,)).argmax(1) != conditions.split.labels
        assert row["measured"]["top1"]["percent"] == pytest.approx(100 * wrong.mean())
    assert any("nets of another system" in remark for remark in table.remarks)
    assert [each["label"] for each in table.values["other_nets"]] == ["other/256", "other/256 : crops"]


# Comparisons of rows whose errors are known.

images = np.arange(300)
NO_TABLE = PaperTable("table3", "", ())


def measured_row(wrong: list[Any], seeds: tuple[int, ...] = (0,), unconverged: tuple[str, ...] = ()) -> MeasuredRow:
    errors = np.stack(wrong)
    return MeasuredRow(seeds, errors, errors, None, {}, not unconverged, unconverged, (), frozenset(), "")


def row(text: str, top1: float | None) -> PaperRow:
    return PaperRow(EvaluationProtocol.parse(text), top1, None)


def test_differences_have_the_papers_sign_and_are_larger_than_chance_or_not() -> None:
    """A errs on 90 images, D on 30 of these, B on 88 of them and 3 others: 20 points are real, 1/3 of one is not."""
    a, d = images < 90, images < 30
    b = (images < 88) | (images >= 297)
    rows = [
        (row("A/256/256", 29.6), measured_row([a])),
        (row("B/256/256", 28.7), measured_row([b])),
        (row("D/256/256", 27.0), measured_row([d])),
        (row("E/256/256", 27.3), None),
        (PaperRow(None, 40.7, 18.2, None, "others"), None),
        (row("C/256/256", 28.1), measured_row([a], unconverged=("runs/C",))),
    ]
    found = {(str(each.first)[0], str(each.second)[0]): each for each in compare_rows(NO_TABLE, rows)}
    assert list(found) == [("A", "B"), ("A", "D"), ("B", "D")]
    assert [each.paper for each in found.values()] == [0.9, 2.6, 1.7]
    points = [each.measured.points for each in found.values()]
    assert points == pytest.approx([-100 / 300, 6000 / 300, 6100 / 300])
    assert [each.measured.larger_than_chance for each in found.values()] == [False, True, True]
    assert [each.has_papers_sign for each in found.values()] == [False, True, True]


def test_no_sign_where_one_of_the_two_has_none() -> None:
    a, d = measured_row([images < 90]), measured_row([images < 30])
    (unknown,) = compare_rows(NO_TABLE, [(row("A/256/256", None), a), (row("D/256/256", 27.0), d)])
    assert unknown.paper is None and unknown.has_papers_sign is None
    (even,) = compare_rows(NO_TABLE, [(row("A/256/256", 27.0), a), (row("D/256/256", 27.0), d)])
    assert even.paper == 0 and even.has_papers_sign is None
    same = measured_row([images >= 210])  # as many as A, on other images
    (tie,) = compare_rows(NO_TABLE, [(row("A/256/256", 29.6), a), (row("D/256/256", 27.0), same)])
    assert tie.measured.points == 0 and tie.has_papers_sign is None


def test_runs_that_share_their_seed_are_paired() -> None:
    """Seeds 1 and 2 of each; the runs differ by 10 points, but of each pair D is better by 10 points exactly.

    Unpaired, or paired the other way round, two runs that far apart say nothing.
    """
    a = {1: images < 90, 2: images < 60, 7: images < 299}
    d = {2: images < 30, 1: images < 60, 9: images < 299}
    rows = [
        (row("A/256/256", 29.6), measured_row(list(a.values()), tuple(a))),
        (row("D/256/256", 27.0), measured_row(list(d.values()), tuple(d))),
    ]
    (found,) = compare_rows(NO_TABLE, rows)
    assert found.measured.points == pytest.approx(10)  # 7 and 9 have no partner
    assert found.measured.larger_than_chance


def test_rows_without_a_common_seed_are_two_samples() -> None:
    """The same runs as above, paired by nothing: 12.7 becomes 4.3 standard errors, but of runs 10 points apart."""
    rows = [
        (row("A/256/256", 29.6), measured_row([images < 90, images < 60], (1, 2))),
        (row("D/256/256", 27.0), measured_row([images < 60, images < 30], (3, 4))),
    ]
    (found,) = compare_rows(NO_TABLE, rows)
    assert found.measured.points == pytest.approx(10)
    assert not found.measured.larger_than_chance
    # Both rows' variances are 50 points squared: the standard error of the difference is 7.07.
    half = 4.3027 * 50**0.5
    assert found.measured.high - found.measured.low == pytest.approx(2 * half, rel=0.02)
    rows[1] = (rows[1][0], measured_row([images < 30], (3,)))
    (uneven,) = compare_rows(NO_TABLE, rows)
    assert uneven.measured.points == pytest.approx(15)
