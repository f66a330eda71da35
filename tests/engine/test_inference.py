"""Posteriors against loops written out here, around the plain twin; worked examples of the order of averaging."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import picture
from tests.engine.steps import finish
from tests.models.plain_twin import PlainTwin, fill
from verydeep.configs.networks import NETWORKS
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.inference import SingleView, ViewAtScale, predict_center, predict_crops, predict_dense, prepare_net
from verydeep.engine.posteriors import ArrayBatch, NetPredictions, combine_batches, predict_batches, predict_split
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import Float64Array

MEAN = (131.0, 96.0, 57.0)
CPU = Runtime(torch.device("cpu"), bf16=False)
CROP = 32
PIXELS = {32: {224: 32, 256: 37, 384: 55, 512: 73}, 64: {224: 64, 256: 73, 384: 110, 512: 146}}
KINDS: tuple[SingleView, ...] = ("dense", "center", "crops")
VIEWS = [ViewAtScale(kind, scale) for kind in KINDS for scale in (256, 384, 512)]
FEW_VIEWS = [VIEWS[0], VIEWS[2], VIEWS[3], VIEWS[6], VIEWS[7]]


def small_net(name: str = "B", crop: int = CROP) -> VGG:
    net = VGG(NETWORKS[name], 3, crop=crop, width=1 / 16, fc_width=24, mean_rgb=MEAN)
    fill(net, seed=4)
    return net.eval()


def soft_max(scores: list[float]) -> list[float]:
    largest = max(scores)
    powers = [math.exp(score - largest) for score in scores]
    return [power / sum(powers) for power in powers]


def mirrored(image: Tensor) -> Tensor:
    return torch.stack([image[:, :, column] for column in reversed(range(image.shape[2]))], dim=2)


def dense_by_hand(twin: PlainTwin, image: Tensor, crop: int = CROP) -> list[float]:
    """Section 3.2 for one image (3, H, W): class scores averaged over the map, the soft-max, the mean over flips."""
    both = []
    for seen in (image, mirrored(image)):
        score_map = twin.dense(seen[None], crop // 32)[0]  # (K, h, w)
        positions = [score_map[:, i, j] for i in range(score_map.shape[1]) for j in range(score_map.shape[2])]
        both.append(soft_max([sum(float(scores[k]) for scores in positions) / len(positions) for k in range(3)]))
    return [(first + second) / 2 for first, second in zip(*both, strict=True)]


def center_by_hand(twin: PlainTwin, image: Tensor, crop: int = CROP) -> list[float]:
    top, left = (image.shape[1] - crop) // 2, (image.shape[2] - crop) // 2
    return soft_max(twin.logits(image[None, :, top : top + crop, left : left + crop])[0].tolist())


def crops_by_hand(twin: PlainTwin, image: Tensor, crop: int = CROP) -> list[float]:
    """Section 3.2 for one image: 5x5 crops at i (H - crop) / 4, halves rounded up, and their flips; soft-max, mean."""
    height, width = image.shape[1:]
    crops = []
    for i in range(5):
        for j in range(5):
            top, left = math.floor(i * (height - crop) / 4 + 0.5), math.floor(j * (width - crop) / 4 + 0.5)
            crops.append(image[:, top : top + crop, left : left + crop])
    crops += [mirrored(each) for each in crops]
    assert len(crops) == 50 and all(each.shape == (3, crop, crop) for each in crops)
    posteriors = [soft_max(scores) for scores in twin.logits(torch.stack(crops)).tolist()]
    return [sum(column) / 50 for column in zip(*posteriors, strict=True)]


BY_HAND = {"dense": dense_by_hand, "center": center_by_hand, "crops": crops_by_hand}


def tensor_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def rescaled(path: Path, short: int) -> Tensor:
    with Image.open(path) as file:
        image = file.convert("RGB")
    width, height = image.size
    size = (short, round(height * short / width)) if width < height else (round(width * short / height), short)
    return tensor_of(image.resize(size, Image.Resampling.BILINEAR))


def predictions_of(net: VGG, split: Split, views: list[ViewAtScale] = VIEWS, runtime: Runtime = CPU) -> NetPredictions:
    _, predictions = finish(predict_split(prepare_net(net, runtime), split, views, runtime))
    assert predictions is not None
    return predictions


@pytest.mark.parametrize("name", ["A-LRN", "D"])
def test_the_posterior_of_crops_is_the_loop_written_out(name: str) -> None:
    """However many of the 50 crops go through the net together."""
    net, images = small_net(name, 64), torch.stack([tensor_of(Image.fromarray(picture(75, 110, s))) for s in range(2)])
    expected = np.array([crops_by_hand(PlainTwin(name, net.state_dict(), MEAN), image, 64) for image in images])
    for at_once in (1, 7, 50, 1000):
        assert predict_crops(net, images, at_once=at_once).numpy() == pytest.approx(expected, abs=1e-5)
    assert np.abs(predict_dense(net, images).numpy() - expected).max() > 1e-3


@pytest.mark.parametrize("name", ["A-LRN", "B", "D"])
def test_a_dense_posterior_is_the_loop_written_out(name: str) -> None:
    net, images = small_net(name), torch.stack([tensor_of(Image.fromarray(picture(75, 107, s))) for s in range(3)])
    twin = PlainTwin(name, net.state_dict(), MEAN)
    expected = [dense_by_hand(twin, image) for image in images]
    assert np.ptp([row[0] for row in expected]) > 1e-3
    assert predict_dense(net, images).numpy() == pytest.approx(np.array(expected), abs=1e-5)
    # Without its mirror image, and upside down, it is something else.
    for other in (net.logits(images).softmax(dim=1), predict_dense(net, images.flip(2))):
        assert np.abs(other.detach().numpy() - np.array(expected)).max() > 1e-4


class Worked(VGG):
    """Scores that stand in the image itself: red and green, less 100, are the scores of two classes there."""

    def __init__(self) -> None:
        super().__init__(NETWORKS["A"], 2, crop=32, width=1 / 64, fc_width=1)

    def forward(self, images: Tensor, _keep: object = None) -> Tensor:
        return images[:, :2] - 100


def test_scores_are_averaged_before_the_soft_max() -> None:
    """Scores (12, 0), (0, 3), (0, 3) average to (4, 2): the first class wins, by 1 / (1 + e^-2).

    Posteriors of the three positions would average to (0.365, 0.635): the second would win.
    """
    image = torch.tensor([[12.0, 0, 0], [0, 3, 3], [0, 0, 0]]).view(1, 3, 1, 3) + 100
    posterior = predict_dense(Worked(), image)[0].tolist()
    assert posterior == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])
    after = np.mean([soft_max([12, 0]), soft_max([0, 3]), soft_max([0, 3])], axis=0)
    assert after == pytest.approx([0.365, 0.635], abs=1e-3)


class LeftColumn(Worked):
    """The same, of the leftmost column alone, so that an image and its mirror image score differently."""

    def forward(self, images: Tensor, _keep: object = None) -> Tensor:
        return super().forward(images)[:, :, :, :1]


def test_flips_are_averaged_on_posteriors() -> None:
    """Scores (8, 0) and, mirrored, (0, 9): posteriors average to 0.49990 and 0.50010.

    Averaged as scores, (4, 4.5) would give 0.378 and 0.622.
    """
    image = torch.tensor([[8.0, 0], [0, 9], [0, 0]]).view(1, 3, 1, 2) + 100
    first = (1 / (1 + math.exp(-8)) + 1 / (1 + math.exp(9))) / 2
    expected = [first, 1 - first]
    assert predict_dense(LeftColumn(), image)[0].tolist() == pytest.approx(expected, abs=1e-7)
    alone = LeftColumn().logits(image).softmax(dim=1)[0].tolist()
    assert alone == pytest.approx(soft_max([8, 0]), abs=1e-7)


class Corner(Worked):
    """The scores of the upper left pixel alone."""

    def forward(self, images: Tensor, _keep: object = None) -> Tensor:
        return super().forward(images)[:, :, :1, :1]


def test_crops_are_averaged_on_posteriors() -> None:
    """Of 32x36 pixels the crops begin at columns 0 to 4, their mirror images at columns 31 to 35.

    Of the ten, each five times, one scores (12, 0), five (0, 1) and four (0, 0): posteriors average to 0.434 and 0.566,
    while the scores' means, (1.2, 0.5), and their maxima would give the first class.
    """
    columns = torch.zeros(2, 36)
    columns[:, 0] = torch.tensor([12.0, 0])
    columns[1, [1, 3, 31, 32, 33]] = 1
    image = torch.zeros(1, 3, 32, 36)
    image[0, :2] = columns[:, None] + 100
    first = (soft_max([12, 0])[0] + 5 * soft_max([0, 1])[0] + 4 * 0.5) / 10
    assert first == pytest.approx(0.434, abs=1e-3)
    assert predict_crops(Corner(), image)[0].tolist() == pytest.approx([first, 1 - first], abs=1e-6)
    scores = columns[:, [*range(5), *range(31, 36)]]
    assert scores.mean(1).argmax() == scores.amax(1).argmax() == 0


def test_an_image_of_the_crops_size_gives_the_posterior_of_crops(tmp_path: Path) -> None:
    """Its 50 crops are the image 25 times and its mirror image 25 times."""
    net, images = small_net(), torch.stack([tensor_of(Image.fromarray(picture(CROP, CROP, s))) for s in range(2)])
    both = (predict_center(net, images) + predict_center(net, torch.stack([*map(mirrored, images)]))) / 2
    assert float((both - predict_center(net, images)).abs().max()) > 1e-3
    assert predict_crops(net, images).numpy() == pytest.approx(both.numpy(), abs=1e-6)
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(CROP, CROP, seed)).save(path)
    at_224 = [ViewAtScale(kind, 224) for kind in KINDS]
    predictions = predictions_of(net, Split.of_photographs(paths), at_224)
    for view in (at_224[0], at_224[2]):
        assert predictions.posteriors[view] == pytest.approx(both.numpy(), abs=1e-6)


@pytest.mark.parametrize("crop", [32, 64])
def test_a_split_is_predicted_as_written_out(val_split: Split, crop: int) -> None:
    """Every photograph, view and scale, from the file on; several scales are the mean of their posteriors."""
    net, pixels = small_net(crop=crop), PIXELS[crop]
    val_split = val_split if crop == 32 else val_split.first_of_each_class(1)
    twin = PlainTwin("B", net.state_dict(), MEAN)
    predictions = predictions_of(net, val_split)
    assert predictions.indices.tolist() == list(range(len(val_split)))
    by_hand: dict[ViewAtScale, Float64Array] = {}
    for view in VIEWS:
        compute = BY_HAND[view.view]
        by_hand[view] = np.array(
            [compute(twin, rescaled(val_split.path(i), pixels[view.scale]), crop) for i in range(len(val_split))]
        )
        assert predictions.posteriors[view].dtype == np.float32
        assert predictions.posteriors[view] == pytest.approx(by_hand[view], abs=1e-5)
        assert predictions.posteriors[view].sum(axis=1) == pytest.approx(np.ones(len(val_split)), abs=1e-5)
    for first, second in ((0, 3), (0, 6), (3, 6), (0, 1), (6, 7)):
        assert np.abs(by_hand[VIEWS[first]] - by_hand[VIEWS[second]]).max() > 0.005
    three = {views[0].view: sum(by_hand[view] for view in views) / 3 for views in (VIEWS[:3], VIEWS[3:6], VIEWS[6:])}
    for kind in KINDS:
        assert predictions.mean(kind, (256, 384, 512)) == pytest.approx(three[kind], abs=1e-5)
    both = (three["dense"] + three["crops"]) / 2
    assert predictions.mean("dense+crops", (256, 384, 512)) == pytest.approx(both, abs=1e-5)
    one = (by_hand[VIEWS[1]] + by_hand[VIEWS[7]]) / 2
    assert predictions.mean("dense+crops", (384,)) == pytest.approx(one, abs=1e-5)
    for i in range(len(val_split)):
        for scale in (256, 384, 512):
            assert tuple(predictions.sizes[scale][i]) == rescaled(val_split.path(i), pixels[scale]).shape[1:]


def test_both_views_are_weighed_equally() -> None:
    """(0.70, 0.30, 0) dense and (0.02, 0.40, 0.58) of crops average to (0.36, 0.35, 0.29).

    Their geometric mean would choose the second class, a mean over the 52 images that the net sees the third.
    """
    dense, crops = np.array([[0.70, 0.30, 0.00]], np.float32), np.array([[0.02, 0.40, 0.58]], np.float32)
    posteriors = {ViewAtScale("dense", 256): dense, ViewAtScale("crops", 256): crops}
    mean = NetPredictions(posteriors, np.array([0]), {}).mean("dense+crops", (256,))
    assert mean[0] == pytest.approx([0.36, 0.35, 0.29])
    assert (dense * crops).argmax() == 1 and (2 * dense + 50 * crops).argmax() == 2


def test_batch_size_workers_and_order_change_nothing(train_split: Split) -> None:
    """Within 1e-5 (docs/choices.md)."""
    net, split = CPU.place(small_net("D")), train_split.first_of_each_class(5)
    expected = predictions_of(net, split, FEW_VIEWS)
    others = {"two workers": predictions_of(net, split, FEW_VIEWS, replace(CPU, num_workers=2))}
    for pixels in (1, 30_000, 10**9):
        runtime = type("Batches", (Runtime,), {"batch_pixels": pixels})(torch.device("cpu"), False)
        others[f"batches of {pixels} pixels"] = predictions_of(net, split, FEW_VIEWS, runtime)
    for what, other in others.items():
        assert np.array_equal(other.indices, expected.indices)
        for view in FEW_VIEWS:
            assert np.abs(other.posteriors[view] - expected.posteriors[view]).max() < 1e-5, what
    order = np.random.default_rng(1).permutation(len(split))
    shuffled = replace(split, files=tuple(split.files[i] for i in order), labels=None)
    again = predictions_of(net, shuffled, FEW_VIEWS)
    for view in FEW_VIEWS:
        assert np.ptp(expected.posteriors[view], axis=0).max() > 1e-3
        assert np.abs(again.posteriors[view] - expected.posteriors[view][order]).max() < 1e-5


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_the_shares_of_the_processes_are_the_split(train_split: Split, world_size: int) -> None:
    """None twice, none missing, and what one process computes: 33 images on two, three and five processes."""
    net, views = small_net("A"), [FEW_VIEWS[0], FEW_VIEWS[3]]
    parts: list[ArrayBatch] = []
    for rank in range(world_size):
        parts += predict_batches(net, train_split, views, Runtime(torch.device("cpu"), False, rank, world_size))
    indices = [int(index) for part in parts for index in part.indices]
    assert sorted(indices) == list(range(len(train_split)))
    together, alone = combine_batches(parts, train_split, views, {}), predictions_of(net, train_split, views)
    for view in views:
        assert np.abs(together.posteriors[view] - alone.posteriors[view]).max() < 1e-5


def test_the_main_process_alone_has_the_predictions(val_split: Split) -> None:
    """Also where another has nothing to do: one batch, two processes."""

    class Second(Runtime):
        def gather_on_main(self, value: object) -> list[object]:
            assert value == []
            return []

    one = replace(val_split, files=val_split.files[:1], labels=None)
    steps = predict_split(small_net(), one, FEW_VIEWS, Second(torch.device("cpu"), False, 1, 2))
    assert finish(steps) == ([0], None)
    counts, predictions = finish(predict_split(small_net(), one, FEW_VIEWS, CPU))
    assert counts == [0, 1] and predictions is not None


def test_only_the_chosen_images_are_predicted(val_split: Split) -> None:
    net, positions = small_net(), [7, 2, 10]
    expected = predictions_of(net, val_split, FEW_VIEWS)
    parts = list(predict_batches(net, val_split, FEW_VIEWS, CPU, indices=positions))
    assert sorted(int(index) for part in parts for index in part.indices) == sorted(positions)
    for part in parts:
        for view in FEW_VIEWS:
            assert part.arrays[str(view)]["posteriors"] == pytest.approx(
                expected.posteriors[view][part.indices], abs=1e-5
            )


def test_bf16_is_off_by_default(val_split: Split) -> None:
    net = small_net("D")
    exact = predictions_of(net, val_split)
    rounded = predictions_of(net, val_split, runtime=replace(CPU, bf16=True))
    difference = max(np.abs(exact.posteriors[view] - rounded.posteriors[view]).max() for view in VIEWS)
    assert 1e-5 < difference < 0.2
    assert rounded.posteriors[VIEWS[0]].dtype == np.float32


def test_a_net_left_in_training_mode_is_tested_without_dropout(val_split: Split) -> None:
    net = small_net()
    expected = predictions_of(net, val_split, VIEWS[:1])
    again = predictions_of(net.train(), val_split, VIEWS[:1])
    assert np.array_equal(expected.posteriors[VIEWS[0]], again.posteriors[VIEWS[0]])


def test_a_scale_below_the_crop_is_refused(val_split: Split) -> None:
    with pytest.raises(VerydeepError, match="200"):
        predictions_of(small_net(), val_split, [ViewAtScale("dense", 200), ViewAtScale("dense", 256)])


def broken(split: Split, folder: Path, bad: set[int]) -> Split:
    for i, file in enumerate(split.files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        content = split.path(i).read_bytes()
        (folder / file).write_bytes(content[: len(content) // 4] if i in bad else content)
    return replace(split, root=folder)


def test_broken_images_are_skipped_and_named(val_split: Split, tmp_path: Path) -> None:
    net, split = small_net(), broken(val_split, tmp_path, {0, 5})
    with pytest.raises(VerydeepError, match=r"\.jpg"):
        predictions_of(net, split)
    counts, predictions = finish(predict_split(net, split, VIEWS, CPU, Decoding("skip")))
    assert predictions is not None and sum(counts) == len(split)
    good = [i for i in range(len(split)) if i not in (0, 5)]
    assert predictions.indices.tolist() == good
    assert set(predictions.skipped) == {split.files[0], split.files[5]}
    expected = predictions_of(net, val_split)
    for view in VIEWS:
        assert np.abs(predictions.posteriors[view] - expected.posteriors[view][good]).max() < 1e-5


def test_nothing_but_broken_images_is_an_error(val_split: Split, tmp_path: Path) -> None:
    split = broken(val_split, tmp_path, set(range(len(val_split))))
    with pytest.raises(VerydeepError, match="Not one"):
        list(predict_split(small_net(), split, VIEWS, CPU, Decoding("skip")))
