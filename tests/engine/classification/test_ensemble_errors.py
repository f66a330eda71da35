"""Rows of errors, the geometry behind them, and refused classes."""

from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.conftest import picture
from tests.engine.conftest import NAMES, make_predictions, net_named
from tests.engine.steps import finish
from tests.models.plain_twin import fill
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import View
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import (
    ClassificationEvaluation,
    evaluate_predictions,
    list_views,
    measure_maps,
    predict_members,
)
from verydeep.engine.inference import SingleView
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.posteriors import NetPredictions, predict_split
from verydeep.engine.runtime import Runtime
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights
from verydeep.ops.arrays import Float64Array

TINY = VGG(NETWORKS["B-5x5"], 3, crop=32, width=1 / 64, fc_width=4)
FLOOR = VGG(NETWORKS["B-5x5"], 3, crop=64, width=1 / 64, fc_width=4, ceil_mode=False)
CPU = Runtime(torch.device("cpu"), bf16=False)


def counted(map_height: int, map_width: int, height: int, width: int, crop: int) -> float:
    """Share of the windows' pixels that lie in the image, counted one by one."""
    inside = np.zeros((map_height * 32 + crop, map_width * 32 + crop))
    inside[:height, :width] = 1
    corners = [(32 * i, 32 * j) for i in range(map_height) for j in range(map_width)]
    return float(np.mean([inside[top : top + crop, left : left + crop].mean() for top, left in corners]))


@settings(max_examples=25)
@given(height=st.integers(64, 200), width=st.integers(64, 200), net=st.sampled_from([TINY, FLOOR]))
def test_geometry_is_the_real_maps(height: int, width: int, net: VGG) -> None:
    with torch.no_grad():
        rows, columns = net(torch.zeros(1, 3, height, width)).shape[2:]
    geometry = measure_maps(np.array([[height, width]]), net.crop, net.ceil_mode)
    assert (geometry.map_height, geometry.map_width) == (rows, columns)
    assert geometry.inside == pytest.approx(counted(rows, columns, height, width, net.crop))


def test_at_crop_32_a_third_of_the_windows_area_is_inside() -> None:
    """Q=256 is 37 px: windows of 0-32 and 32-64, 37/64 of them inside on each side (docs/choices.md)."""
    square = measure_maps(np.array([[37, 37]]), 32)
    assert (square.map_height, square.map_width) == (2, 2)
    assert square.inside == pytest.approx((37 / 64) ** 2)
    assert square.inside == pytest.approx(1 / 3, abs=0.01)
    wide = measure_maps(np.array([[37, 49]]), 32)
    assert wide.inside == pytest.approx(37 / 64 * 49 / 64)


@pytest.mark.parametrize("short", [224, 256, 288, 352, 384, 416, 512, 640, 768])
def test_the_papers_short_sides_lie_wholly_inside(short: int) -> None:
    """With maps: 1, 2, 3, 5, 6, 7, 10, 14, 18 positions."""
    geometry = measure_maps(np.array([[short, short]]), 224)
    assert geometry.inside == 1
    assert geometry.map_height == geometry.map_width == (short - 224) // 32 + 1


@pytest.mark.parametrize(
    ("short", "floor", "ceil"), [(224, 3, 4), (256, 4, 5), (352, 8, 9), (384, 10, 10), (512, 15, 16)]
)
def test_long_sides_by_both_roundings(short: int, floor: int, ceil: int) -> None:
    """Of an image of 4:3."""
    sizes = np.array([[short, round(short * 4 / 3)]])
    assert measure_maps(sizes, 224, ceil_mode=False).map_width == floor
    assert measure_maps(sizes, 224).map_width == ceil


def test_many_images_have_the_median_map_and_the_mean_share() -> None:
    sizes = np.array([[37, 49], [37, 49], [73, 37]])
    geometry = measure_maps(sizes, 32)
    assert (geometry.map_height, geometry.map_width) == (2, 2)
    each = [37 / 64 * 49 / 64, 37 / 64 * 49 / 64, 73 / 96 * 37 / 64]
    assert geometry.inside == pytest.approx(sum(each) / 3)


def test_every_dense_scale_comes_with_the_central_crop() -> None:
    expected = [("center", 256), ("center", 384), ("dense", 256), ("dense", 384)]
    assert [(v.view, v.scale) for v in list_views("dense", (256, 384))] == expected
    assert [(v.view, v.scale) for v in list_views("center", (384,))] == [("center", 384)]
    assert [(v.view, v.scale) for v in list_views("crops", (384, 512))] == [("crops", 384), ("crops", 512)]
    both = [("center", 256), ("dense", 256), ("crops", 256)]
    assert [(v.view, v.scale) for v in list_views("dense+crops", (256,))] == both


def test_rows_by_hand(known_predictions: tuple[Split, EnsembleMember, NetPredictions]) -> None:
    split, member, predictions = known_predictions
    evaluation = evaluate_predictions([member], [predictions], split, "dense")
    got: list[object] = [(row.view, row.scales, row.errors.top1.percent) for row in evaluation.rows]
    assert got == [
        ("center", (256,), pytest.approx(100 * 7 / 11)),
        ("center", (384,), pytest.approx(100 * 7 / 11)),
        ("dense", (256,), pytest.approx(100 * 8 / 11)),
        ("dense", (384,), pytest.approx(100 * 7 / 11)),
        ("dense", (256, 384), pytest.approx(100 * 7 / 11)),  # (0.425, 0.5, 0.075)
    ]
    assert [len(row.geometry) for row in evaluation.rows] == [0, 0, 1, 1, 2]
    assert [(each.map_height, each.map_width) for each in evaluation.rows[-1].geometry] == [(2, 2), (2, 3)]
    assert evaluation.rows[2].geometry[0].inside == pytest.approx(37 / 64 * 49 / 64)
    assert [row.errors.topk.percent for row in evaluation.rows[:2]] == pytest.approx([100 * 3 / 11, 100 * 4 / 11])
    assert evaluation.rows[-1].errors.class_recall.percent == pytest.approx(100 / 3)
    assert evaluation.predictions.posteriors[0] == pytest.approx([0.425, 0.5, 0.075])
    assert evaluation.predictions.skipped == {split.files[2]: "cut short"}
    assert evaluation.confusion.tolist() == [[0, 3, 0], [0, 4, 0], [0, 4, 0]]
    assert evaluation.calibration_error == pytest.approx(100 * (0.5 - 4 / 11))  # all in one bin, 4 of 11 right


def test_rows_of_both_views_by_hand(known_predictions: tuple[Split, EnsembleMember, NetPredictions]) -> None:
    """Crops alone (0.3, 0.2, 0.5) miss 7 of 11, with dense (0.3625, 0.35, 0.2875) 8."""
    split, member, predictions = known_predictions
    evaluation = evaluate_predictions([member], [predictions], split, "dense+crops")
    wrong = {(row.view, row.scales): round(row.errors.top1.percent * 11 / 100) for row in evaluation.rows}
    assert list(wrong.items()) == [
        (("center", (256,)), 7), (("center", (384,)), 7), (("dense", (256,)), 8), (("dense", (384,)), 7),
        (("crops", (256,)), 7), (("crops", (384,)), 8),
        (("dense", (256, 384)), 7), (("crops", (256, 384)), 7), (("dense+crops", (256, 384)), 8),
    ]  # fmt: skip
    assert evaluation.predictions.posteriors[3] == pytest.approx([0.3625, 0.35, 0.2875])
    assert [len(row.geometry) for row in evaluation.rows] == [0, 0, 1, 1, 0, 0, 2, 0, 2]
    one = evaluate_predictions([replace(member, scales=(384,))], [predictions], split, "dense+crops")
    assert [(row.view, row.scales) for row in one.rows] == [
        (view, (384,)) for view in ("center", "dense", "crops", "dense+crops")
    ]
    assert one.predictions.posteriors[0] == pytest.approx([0.225, 0.6, 0.175])


def test_nets_of_different_numbers_of_scales_weigh_equally(
    known_predictions: tuple[Split, EnsembleMember, NetPredictions],
) -> None:
    """The first net says (0.425, 0.5, 0.075) over two scales, the second (0.5, 0.4, 0.1) at one.

    Their mean (0.4625, 0.45, 0.0875) chooses the first class; over the three scales alike, (0.45, 0.467, 0.083), it
    would be the second.
    """
    split, first, predictions = known_predictions
    posteriors = [[0.5, 0.4, 0.1]] * 11
    rows: dict[tuple[SingleView, int], list[list[float]]] = {("center", 512): posteriors, ("dense", 512): posteriors}
    second, others = EnsembleMember(net_named("y"), (512,)), make_predictions(rows, predictions.indices.tolist())
    evaluation = evaluate_predictions([first, second], [predictions, others], split, "dense")
    assert evaluation.predictions.posteriors == pytest.approx(np.array([[0.4625, 0.45, 0.0875]] * 11), abs=1e-6)
    assert [(row.net, row.view, row.scales) for row in evaluation.rows] == [
        ("x", "dense", (256, 384)), ("y", "dense", (512,)), ("2 nets", "center", ()), ("2 nets", "dense", ()),
    ]  # fmt: skip
    assert [len(row.geometry) for row in evaluation.rows] == [2, 1, 0, 0]
    # The central crops: (0.25, 0.25, 0.5) and (0.5, 0.4, 0.1) average to (0.375, 0.325, 0.3).
    assert [round(row.errors.top1.percent * 11 / 100) for row in evaluation.rows] == [7, 8, 8, 8]


def test_only_images_that_every_net_decoded_are_fused(
    known_predictions: tuple[Split, EnsembleMember, NetPredictions],
) -> None:
    """Image 2 is broken for the first net, images 0 and 9 for the second."""
    split, first, predictions = known_predictions
    indices = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    posteriors = [[0.1, 0.9 - index / 20, index / 20] for index in indices]
    members = [replace(first, scales=(256,)), EnsembleMember(net_named("y"), (256,))]
    each = [predictions, make_predictions({("crops", 256): posteriors}, indices)]
    evaluation = evaluate_predictions(members, each, split, "crops")
    fused = evaluation.predictions
    assert fused.indices.tolist() == [1, 3, 4, 5, 6, 7, 8, 10, 11]
    by_hand = [[0.15, (1.0 - index / 20) / 2, (0.7 + index / 20) / 2] for index in fused.indices]
    assert fused.posteriors == pytest.approx(np.array(by_hand), abs=1e-6)
    assert evaluation.rows[-1].errors.num_images == 9


# Scores of four classes at the positions of the map: of the image, and of its mirror image.
Scores = tuple[list[list[int]], list[list[int]]]
FIRST: dict[int, Scores] = {256: ([[4, 6, 4, 2], [4, 3, 7, 9]], [[1, 5, 5, 1], [2, 8, 0, 9]])}
SECOND: dict[int, Scores] = {
    256: ([[5, 4, 2, 2], [7, 8, 1, 3]], [[7, 3, 1, 9], [6, 0, 2, 8]]),
    384: ([[3, 4, 9, 7], [7, 5, 5, 4], [9, 3, 9, 3]], [[0, 0, 7, 7], [8, 1, 7, 2], [1, 5, 1, 2]]),
}


def soft(scores: Any) -> Float64Array:
    powers = np.exp(np.asarray(scores, np.float64))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def average(parts: Any) -> Float64Array:
    return np.asarray(np.mean(list(parts), axis=0))


def geometric(parts: Any) -> Float64Array:
    return soft(np.mean(np.log(list(parts)), axis=0))


def average_maps(maps: Scores) -> Float64Array:
    """Section 3.2: scores averaged over positions, the soft-max, the mean of the image's and its mirror image's."""
    return average(soft(average(positions)) for positions in maps)


def over_nets_and_scales(each: Any) -> Float64Array:
    return average(average(each(maps) for maps in net.values()) for net in (FIRST, SECOND))


def other_orders() -> dict[str, Float64Array]:
    nets = [{q: average_maps(maps) for q, maps in net.items()} for net in (FIRST, SECOND)]
    return {
        "soft-max before positions": over_nets_and_scales(lambda maps: average(average(soft(p)) for p in maps)),
        "largest over positions": over_nets_and_scales(lambda maps: average(soft(np.max(p, axis=0)) for p in maps)),
        "sum over positions": over_nets_and_scales(lambda maps: average(soft(np.sum(p, axis=0)) for p in maps)),
        "flips on scores": over_nets_and_scales(lambda maps: soft(average(average(p) for p in maps))),
        "scales on scores": average(
            average(soft(average(average(maps[flip]) for maps in net.values())) for flip in (0, 1))
            for net in (FIRST, SECOND)
        ),
        "geometric over scales": average(geometric(net.values()) for net in nets),
        "geometric over nets": geometric(average(net.values()) for net in nets),
        "every net and scale alike": average(posterior for net in nets for posterior in net.values()),
        "nets before scales": average(average(net[q] for net in nets if q in net) for q in (256, 384)),
        "larger maps count more": average([nets[0][256], (2 * nets[1][256] + 3 * nets[1][384]) / 5]),
        "all on scores": soft(
            average(average(average(average(p) for p in maps) for maps in net.values()) for net in (FIRST, SECOND))
        ),
    }


class ScriptedNet(VGG):
    """A net with score maps of our choice, by the short side in pixels, for an image that is brighter to the right."""

    def __init__(self, scores: dict[int, Scores]) -> None:
        super().__init__(NETWORKS["A"], 4, crop=32, width=1 / 64, fc_width=4)
        self.maps = {{256: 37, 384: 55}[q]: maps for q, maps in scores.items()}

    def forward(self, images: Tensor, _keep: object = None) -> Tensor:
        side, half = min(images.shape[2:]), images.shape[3] // 2
        if side == 32:  # the central crop, which is computed for every dense row
            return torch.zeros(len(images), 4, 1, 1)
        mirrored = [bool(image[:, :, :half].mean() > image[:, :, half:].mean()) for image in images.float()]
        chosen = [torch.tensor(self.maps[side][flip], dtype=torch.float32).T for flip in mirrored]
        return torch.stack(chosen)[:, :, None]


def test_the_order_of_averaging(tmp_path: Path) -> None:
    """Two nets, the second at two scales, from a file to the posterior; every other order has another winner.

    Scores averaged over positions, the soft-max, the mean of the image's and its mirror image's: the first net says
    (0.046, 0.472, 0.200, 0.282), the second (0.304, 0.245, 0.003, 0.447) and (0.145, 0.027, 0.719, 0.110), over its two
    scales (0.225, 0.136, 0.361, 0.278). The mean of the two nets, (0.135, 0.304, 0.281, 0.280), is largest for the
    second class.
    """
    Image.fromarray(picture(45, 61)).save(tmp_path / "one.png")
    names = ("a", "b", "c", "d")
    split = Split("val", tmp_path, ("one.png",), np.array([1]), names, names, "one picture", camera_rotation=False)
    members = [EnsembleMember(net_named("first"), (256,)), EnsembleMember(net_named("second"), (256, 384))]
    predictions = []
    for member, model in zip(members, (ScriptedNet(FIRST), ScriptedNet(SECOND)), strict=True):
        _, each = finish(predict_split(model, split, list_views("dense", member.scales), CPU))
        assert each is not None
        predictions.append(each)
    evaluation = evaluate_predictions(members, predictions, split, "dense")
    expected = over_nets_and_scales(average_maps)
    assert evaluation.predictions.posteriors[0] == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx([0.135, 0.304, 0.281, 0.280], abs=1e-3)
    assert [row.errors.top1.percent for row in evaluation.rows][-1] == 0
    for order, posterior in other_orders().items():
        assert posterior.argmax() != 1 and np.ptp(np.sort(posterior)[-2:]) > 0.01, order


@pytest.fixture(scope="module")
def two_nets(tmp_path_factory: pytest.TempPathFactory) -> list[Net]:
    """A and B, with random weights that let scores differ from image to image."""
    folder, nets = tmp_path_factory.mktemp("two"), []
    for seed, network in enumerate(("A", "B")):
        config = ModelConfig(network, NAMES, NAMES, crop=32, width=1 / 16, fc_width=12, mean_rgb=(131.0, 96.0, 57.0))
        model = config.build()
        fill(model, seed)
        save_config(folder / network, config)
        save_weights(folder / network, model.state_dict())
        nets.append(Net.open(folder / network))
    return nets


@pytest.mark.parametrize("view", ["dense", "crops", "dense+crops", "center"])
def test_an_ensemble_is_the_mean_of_single_nets(val_split: Split, two_nets: list[Net], view: View) -> None:
    """Of three scales and of one."""
    assert val_split.labels is not None
    members = list(starmap(EnsembleMember, zip(two_nets, ((256, 384, 512), (384,)), strict=True)))

    def evaluate(*members: EnsembleMember) -> ClassificationEvaluation:
        return evaluate_predictions(members, predict_members(members, val_split, view, CPU), val_split, view)

    singles, fusion = [evaluate(member) for member in members], evaluate(*members)
    mean = np.mean([single.predictions.posteriors for single in singles], axis=0)
    assert fusion.predictions.posteriors == pytest.approx(mean, abs=1e-6)
    assert np.abs(singles[0].predictions.posteriors - singles[1].predictions.posteriors).max() > 0.01
    assert [row.errors for row in fusion.rows[:2]] == [single.rows[-1].errors for single in singles]
    assert fusion.rows[-1].errors.top1.percent == pytest.approx(100 * (mean.argmax(1) != val_split.labels).mean())
    again = evaluate(*members[::-1])
    assert again.predictions.posteriors == pytest.approx(fusion.predictions.posteriors, abs=1e-7)
