"""Missing nets of the ladder: their order, their source nets, the division of the data, and the cost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.interruption import interrupt_when
from tests.thin_nets import CROP, SIZES, WIDTHS, make_pictures, narrow_config, save_run
from verydeep.configs.ladder import LADDER, find_source
from verydeep.configs.networks import NETWORKS
from verydeep.configs.paper import SHALLOW_TABLE, TABLES
from verydeep.configs.protocols import PaperNet
from verydeep.configs.recipes import RECIPES
from verydeep.data.split import Split
from verydeep.engine.datasets import fingerprint, open_data_split
from verydeep.engine.log import Log
from verydeep.engine.nets.collection import Collection, find_matching_nets, find_nets
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.nets.net import NetShape
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.cost import StepCost, estimate_seconds, measure_costs
from verydeep.engine.training.ladder import Rung, find_missing, log_cost, plan_rung, train_missing
from verydeep.engine.training.request import TrainRequest
from verydeep.engine.training.settings import RunSettings
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, Provenance, load_config, save_config

CPU = Runtime(torch.device("cpu"), bf16=False)

NAMES = ("ant", "bell", "crab", "dill", "elk", "fig")
SHAPE = NetShape(NAMES, CROP, **WIDTHS)


def net(text: str) -> PaperNet:
    return PaperNet.parse(text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """flat/ and data/ with val/, photographs of six classes; thin nets."""
    make_pictures(tmp_path / "data" / "train", 4, first=100)
    make_pictures(tmp_path / "data" / "val", 1)
    make_pictures(tmp_path / "flat", 6)
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def leave_config(runs: Path, text: str, seed: int = 0, *, ended: bool = True) -> Path:
    """A run without weights, which counts as existing."""
    paper_net = net(text)
    config = ModelConfig(
        paper_net.network, NAMES, NAMES, CROP, **WIDTHS, train_scale=str(paper_net.scale),
        fine_tuned=paper_net.fine_tuned, seed=seed, provenance=Provenance(converged=False if ended else None),
    )  # fmt: skip
    run = runs / f"{text.replace('/', '-')}-s{seed}"
    save_config(run / "model", config)
    return run


def missing(names: Sequence[str], seeds: Sequence[int], runs: Path) -> list[tuple[str, int]]:
    rungs = find_missing([net(text) for text in names], seeds, Collection(runs), SHAPE)
    return [(str(rung.net), rung.seed) for rung in rungs]


# Missing nets.


def test_in_an_empty_folder_all_nets_are_missing_each_after_its_source(home: Path) -> None:
    rungs = find_missing(LADDER, (0, 4), Collection(home / "nowhere"), SHAPE)
    assert len(rungs) == 26 and {rung.seed for rung in rungs} == {0, 4}
    assert all(rung.begun is None for rung in rungs)
    for place, rung in enumerate(rungs):
        start = find_source(rung.net)
        assert start is None or Rung(start, rung.seed) in rungs[:place]


def test_the_shallow_table_needs_net_a_as_a_source(home: Path) -> None:
    assert [str(each) for each in SHALLOW_TABLE.nets] == ["B/256", "B-5x5/256"]
    assert missing(["B/256", "B-5x5/256"], [7], home) == [("A/256", 7), ("B/256", 7), ("B-5x5/256", 7)]


def test_existing_nets_are_not_trained_again_with_their_seed(home: Path) -> None:
    leave_config(home / "runs", "A/256", 0)
    leave_config(home / "runs", "B/256", 1)
    leave_config(home / "runs", "B-5x5/256", 0)
    found = missing(["B/256", "B-5x5/256"], [0, 1], home / "runs")
    assert found == [("B/256", 0), ("B-5x5/256", 1)]


def test_a_net_that_did_not_converge_counts_as_existing(home: Path) -> None:
    leave_config(home / "runs", "A/256", ended=True)
    assert missing(["A/256"], [0], home / "runs") == []


def test_sources_of_existing_nets_are_not_trained(home: Path) -> None:
    leave_config(home / "runs", "D/256-512")
    assert missing(["D/256-512"], [0], home / "runs") == []
    assert missing(["D/256-512", "B-5x5/256"], [0], home / "runs") == [("B-5x5/256", 0)]
    # D/256-512fc descends from D/384, which the trained jittered net is no substitute for.
    assert missing(["D/256-512", "D/256-512fc"], [0], home / "runs") == [
        ("A/256", 0), ("D/256", 0), ("D/384", 0), ("D/256-512fc", 0),
    ]  # fmt: skip


def test_a_run_that_was_begun_is_continued(home: Path) -> None:
    leave_config(home / "runs", "A/256")
    begun = leave_config(home / "runs", "D/256", ended=False)
    nets = [net("D/384"), net("D/256")]
    assert find_missing(nets, [0], Collection(home / "runs"), SHAPE) == [
        Rung(net("D/256"), 0, begun),
        Rung(net("D/384"), 0),
    ]


def test_nets_of_other_classes_crops_or_widths_do_not_count(home: Path) -> None:
    run = leave_config(home / "runs", "A/256")
    for shape in (replace(SHAPE, crop=2 * CROP), replace(SHAPE, class_names=("x", *NAMES[1:]))):
        assert find_missing([net("A/256")], [0], Collection(home / "runs"), shape) == [Rung(net("A/256"), 0)]
    assert find_missing(
        [net("A/256")], [0], Collection(home / "runs"), replace(SHAPE, class_names=("x", *NAMES[1:]))
    ) == [Rung(net("A/256"), 0)]
    config = load_config(run / "model")
    save_config(run / "model", replace(config, width=1.0))
    assert missing(["A/256"], [0], home / "runs") == [("A/256", 0)]


# The plan of one training.


@pytest.fixture
def train_request(home: Path) -> TrainRequest:
    """As ``verydeep reproduce`` makes it, on the flat folder."""
    return TrainRequest(
        str(home / "flat"), crop=CROP, **WIDTHS, epochs=3, batch_size=16, split_seed=0,
        precision="fp32", runs=Collection(home / "runs"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "start", "rate"),
    [
        ("A/256", None, 1e-2),
        ("A-LRN/256", None, 1e-2),
        ("B-5x5/256", None, 1e-2),
        ("B/256", "A/256", 1e-2),
        ("E/256", "A/256", 1e-2),
        ("C/384", "C/256", 1e-3),
        ("D/256-512", "D/384", 1e-3),
        ("D/256-512fc", "D/384", 1e-3),
    ],
)
def test_a_net_starts_from_its_source_of_the_same_seed(
    text: str, start: str | None, rate: float, home: Path, train_request: TrainRequest
) -> None:
    """Rates of section 3.1 for its batch of 256: 1e-2 from random weights or from A."""
    runs: dict[tuple[str, int], Path] = {}
    for each in LADDER:
        for seed in (2, 6):
            if str(each) != text:
                config = narrow_config(each, home / "flat", seed=seed)
                mean = (float(seed), 1.0, float(len(runs)))
                runs[str(each), seed] = home / "runs" / f"{len(runs)}"
                save_config(runs[str(each), seed] / "model", replace(config, mean_rgb=mean))
    training = plan_rung(Rung(net(text), 6), train_request, SHAPE)
    settings = training.settings
    paper_net = net(text)
    assert (settings.network, settings.fine_tuned, settings.seed) == (paper_net.network, paper_net.fine_tuned, 6)
    (stage,) = settings.recipe.stages
    assert stage.scale == paper_net.scale and stage.epochs == 3
    assert stage.learning_rate == rate / 4  # a batch of 16 in place of 256
    assert {"width": settings.width, "fc_width": settings.fc_width, "crop": settings.crop} == {**WIDTHS, "crop": CROP}
    assert settings.init_from == (None if start is None else str(runs[start, 6]))
    assert settings.mean_rgb == (None if start is None else load_config(runs[start, 6] / "model").mean_rgb)
    assert not training.resume
    layers = "fc" if paper_net.fine_tuned == "fc" else ""
    assert training.run.path == home / "runs" / f"flat-{paper_net.network}-{paper_net.scale}{layers}-{SIZES}-s6"


@pytest.mark.parametrize(
    ("text", "dropouts"), [("A/256", [0.0, 0.5]), ("B/256", [0.0, 0.5]), ("D/384", [0.5]), ("D/256-512fc", [0.5])]
)
def test_only_nets_with_new_convolutions_start_without_dropout(
    text: str, dropouts: list[float], home: Path, train_request: TrainRequest
) -> None:
    for each in LADDER:
        if str(each) != text:
            save_config(home / "runs" / str(each).replace("/", "-") / "model", narrow_config(each, home / "flat"))
    training = plan_rung(Rung(net(text), 0), replace(train_request, dropout_after=1), SHAPE)
    assert [stage.dropout for stage in training.settings.recipe.stages] == dropouts


def test_the_division_of_a_flat_folder_is_the_same_for_every_seed(home: Path, train_request: TrainRequest) -> None:
    parts = []
    for seed in (0, 1, 2):
        training = plan_rung(Rung(net("A/256"), seed), train_request, SHAPE)
        assert training.settings.seed == seed and training.settings.split_seed == 0
        assert training.val is not None and not set(training.train.files) & set(training.val.files)
        parts.append((training.train.files, training.val.files))
    assert parts[0] == parts[1] == parts[2]
    other = plan_rung(Rung(net("A/256"), 0), replace(train_request, split_seed=None, seed=0), SHAPE)
    apart = plan_rung(Rung(net("A/256"), 1), replace(train_request, split_seed=None), SHAPE)
    assert other.train.files == parts[0][0] != apart.train.files  # or the seeds would not matter here


# One after another.


def train_missing_nets(nets: Sequence[str], seeds: Sequence[int], train_request: TrainRequest, log: Path) -> list[str]:
    """Train what is missing, and return the messages that announce each training."""
    train_missing([net(text) for text in nets], seeds, train_request, CPU, Log(log))
    return [line for line in log.read_text().splitlines() if line.startswith("Training ")] if log.exists() else []


def test_the_ladder_is_trained_in_order_and_continues_after_a_stop(home: Path, train_request: TrainRequest) -> None:
    """Stopped within the second training, the next call resumes that one, and a third finds nothing to do."""
    nets, one_epoch = ["D/256-512", "B-5x5/256"], replace(train_request, epochs=1)
    second = home / "runs" / f"flat-D-256-{SIZES}-s5" / "run.json"
    with interrupt_when(second.exists), pytest.raises(KeyboardInterrupt):
        train_missing_nets(nets, [5], one_epoch, home / "first")
    runs = {each.path.name: each.ended for each in find_nets(home / "runs")}
    assert runs == {f"flat-A-256-{SIZES}-s5": True, f"flat-D-256-{SIZES}-s5": False}
    messages = (home / "first").read_text()
    assert "To train: 5 nets" in messages
    assert messages.index("In all") < messages.index("Training 1 of 5: A/256, seed 5")

    announced = train_missing_nets(nets, [5], one_epoch, home / "second")
    trained = ["D/256", "D/384", "D/256-512", "B-5x5/256"]
    assert announced == [f"Training {number} of 4: {name}, seed 5" for number, name in enumerate(trained, start=1)]
    messages = (home / "second").read_text()
    assert "To train: 4 nets" in messages and "its checkpoint" in messages
    for name, source in zip(trained, ("A-256", "D-256", "D-384", None), strict=True):
        run = home / "runs" / f"flat-{name.replace('/', '-')}-{SIZES}-s5"
        init_from = RunSettings.load(RunFolder(run)).init_from
        assert init_from == (source and str(home / "runs" / f"flat-{source}-{SIZES}-s5"))

    assert train_missing_nets(nets, [5], one_epoch, home / "third") == [] and not (home / "third").exists()


def test_a_net_that_divided_the_folder_in_another_way_is_refused_before_the_training(
    home: Path, train_request: TrainRequest
) -> None:
    """`verydeep train --seed 1` divides a flat folder by its seed; a net that starts from it could not be tested."""
    config = narrow_config(net("A/256"), home / "flat", seed=1, split_seed=1)
    save_config(home / "runs" / "mine" / "model", config)
    with pytest.raises(VerydeepError, match="mine was trained on another division"):
        train_missing_nets(["B/256"], [0, 1], train_request, home / "log")
    assert len(find_nets(home / "runs")) == 1
    assert len(train_missing_nets(["B/256"], [0], train_request, home / "log")) == 2  # another seed is not concerned
    nets = find_matching_nets(net("B/256"), find_nets(home / "runs"), SHAPE)
    val = open_data_split(str(home / "flat"), "val")
    assert nets[0].config.split.val == fingerprint(val)


# The cost.


def test_the_cost_adds_up(train_request: TrainRequest, tmp_path: Path) -> None:
    """By hand: 3 epochs of 1,024 images are 3,072 images in 12 batches of 256."""
    costs = {"A": StepCost(0.1, 2.0, 3_000_000_000), "D": StepCost(0.5, 8.0, 7_500_000_000)}
    recipe = replace(RECIPES["256"], stages=(replace(RECIPES["256"].stages[0], epochs=3),))
    assert estimate_seconds(costs["A"], recipe, net("A/256"), 1024, 0, 1) == pytest.approx(307.2 + 24)
    assert estimate_seconds(costs["D"], recipe, net("D/256"), 1024, 0, 2) == pytest.approx(1536 / 2 + 96)
    rungs = [Rung(net("A/256"), 0), Rung(net("D/256"), 0), Rung(net("D/384"), 3, Path("runs/begun"))]
    train = Split.of_photographs([Path(f"{number}.png") for number in range(1024)])
    log_cost(rungs, costs, train, None, replace(train_request, batch_size=256), 1, Log(tmp_path / "log"))
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert lines[0] == ["To", "train:", "3", "nets"]
    assert lines[2][:4] == ["A/256", "0", "random", "weights"] and lines[2][-2:] == ["3.0", "GB"]
    assert lines[3][:4] == ["D/256", "0", "A/256", "3"] and lines[3][-2:] == ["7.5", "GB"]
    assert lines[4][:5] == ["D/384", "3", "its", "checkpoint", "3"]
    # 331.2 s and twice 1,632 s
    assert " ".join(lines[5]) == "In all about 60 minutes (timed on this machine), 18.0 GB."


def test_each_network_is_timed_once(home: Path) -> None:
    costs = measure_costs({"D", "A"}, SHAPE, CPU)
    assert sorted(costs) == ["A", "D"]
    for name, cost in costs.items():
        assert cost.seconds_per_image > 0 and cost.seconds_per_update > 0
        # Two nets in fp32, and a checkpoint that holds weights and momentum.
        net = VGG(NETWORKS[name], 6, crop=CROP, **WIDTHS)
        weights = 4 * sum(parameter.numel() for parameter in net.parameters())
        assert 4 * weights <= cost.disk_bytes < 6 * weights


def test_the_tables_need_the_ladder(home: Path) -> None:
    nets = [each for table in TABLES.values() for each in table.nets]
    assert {rung.net for rung in find_missing(nets, [0], Collection(home), SHAPE)} == set(LADDER)


def test_two_runs_of_one_seed_are_an_error(home: Path) -> None:
    run = leave_config(home / "runs", "A/256")
    save_config(home / "runs" / "again" / "model", load_config(run / "model"))
    with pytest.raises(VerydeepError, match="are both A/256 with seed 0"):
        missing(["B/256"], [0], home / "runs")


def test_runs_of_these_tests_are_like_trained_ones(home: Path) -> None:
    """The folders these tests make are runs to the package, and their nets load."""
    save_run(home / "runs", narrow_config(net("C/384"), home / "data", seed=2))
    (found,) = find_nets(home / "runs")
    assert (found.paper_net(**WIDTHS), found.config.seed, found.ended, found.converged) == (net("C/384"), 2, True, True)
    assert found.load().num_classes == 6
