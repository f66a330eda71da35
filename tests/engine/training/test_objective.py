"""The loss of boxes against Caffe's formula and a step by hand; errors against boxes computed by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import picture
from tests.engine.training.test_fit import CPU
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import Recipe, Stage
from verydeep.configs.scales import TrainScale
from verydeep.data.loading.augmentation import draw_augmentation
from verydeep.data.loading.sampling import global_batch
from verydeep.data.loading.training_images import TrainSamples, load_train_batches
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.fit import fit
from verydeep.engine.training.objective import box_losses
from verydeep.engine.training.state import new_state
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.engine.training.validation import validate
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG

CROP, BATCH = 32, 12

TARGETS = torch.tensor([[0.5, 0.25, 1.0, 0.5], [0.0, 1.5, 2.0, 0.25]])
OFF_BY = torch.tensor([[0.1, -0.2, 0.3, -0.4], [1.0, 0.0, -2.0, 0.5]])
CAFFE = (0.15, 2.625)
"""(0.01 + 0.04 + 0.09 + 0.16) / 2 and (1 + 4 + 0.25) / 2."""


def test_the_loss_of_a_box_is_half_the_squared_distance() -> None:
    labels = torch.tensor([2, 0])
    assert box_losses(TARGETS + OFF_BY, TARGETS, labels, "single-class").tolist() == pytest.approx(CAFFE)


def test_only_the_box_of_the_true_class_counts() -> None:
    """Classes 2 and 0 of three: outputs 8 to 11 of the first row, 0 to 3 of the second."""
    outputs = torch.full((2, 12), 1e3)
    outputs[0, 8:12], outputs[1, 0:4] = TARGETS + OFF_BY
    outputs.requires_grad_()
    losses = box_losses(outputs, TARGETS, torch.tensor([2, 0]), "per-class")
    assert losses.tolist() == pytest.approx(CAFFE)
    (losses.sum() / 2).backward()
    expected = torch.zeros(2, 12)
    expected[0, 8:12], expected[1, 0:4] = OFF_BY / 2  # Caffe's: the difference over the batch
    torch.testing.assert_close(outputs.grad, expected, rtol=1e-5, atol=1e-7)
    assert outputs.grad is not None and outputs.grad.count_nonzero() == expected.count_nonzero()


@pytest.fixture
def boxed_split(train_split: Split) -> Split:
    """The training photographs, each with a box that leaves three, two, five and four pixels free."""
    boxes = []
    for index in range(len(train_split)):
        with Image.open(train_split.path(index)) as image:
            boxes.append(np.array([[3, 2, image.width - 1 - 5, image.height - 1 - 4]], np.float32))
    return replace(train_split, boxes=tuple(boxes))


def box_task(split: Split, regression: Regression | None, micro: int, *, val: Split | None = None) -> TrainingTask:
    stage = Stage(TrainScale(256, 512), dropout=0.0, epochs=2, milestones=())
    return TrainingTask(
        train=split,
        val=val,
        recipe=Recipe(stages=(stage,), batch_size=BATCH, color_shift="none"),
        covariance=np.eye(3),
        seed=3,
        micro_batch=micro,
        regression=regression,
    )


def small_net(outputs: int) -> VGG:
    model = VGG(NETWORKS["A"], outputs, crop=CROP, width=1 / 16, fc_width=16, mean_rgb=(100.0, 110.0, 90.0))
    initialize(model, "glorot", seed=1)
    return model


def target_by_hand(split: Split, key: tuple[int, int], scale: tuple[int, int]) -> list[float]:
    """Where the box lies in the first drawn crop, in the rescaled image's pixels; mirrored with it.

    The boxes reach over nearly all of the image, so that more than half of any crop is covered by them.
    """
    draw = draw_augmentation(3, *key, scale)
    assert split.boxes is not None
    x1, y1, x2, y2 = split.boxes[key[1]][0].tolist()
    with Image.open(split.path(key[1])) as image:
        width, height = image.size
    short = min(width, height)
    new_width, new_height = round(width * draw.short / short), round(height * draw.short / short)
    left, top = int(draw.x * (new_width - CROP + 1)), int(draw.y * (new_height - CROP + 1))
    x1, x2 = (x * new_width / width - left for x in (x1, x2 + 1))
    y1, y2 = (y * new_height / height - top for y in (y1, y2 + 1))
    if draw.flip:
        x1, x2 = CROP - x2, CROP - x1
    return [each / CROP for each in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)]


@pytest.mark.parametrize(("regression", "micro"), [("per-class", 12), ("single-class", 12), ("per-class", 5)])
def test_a_step_is_the_papers_with_the_euclidean_loss(boxed_split: Split, regression: Regression, micro: int) -> None:
    """Two steps by hand: torch's mean squared error, summed, halved, over the batch; targets from the draws."""
    outputs = 4 if regression == "single-class" else 12
    task = box_task(boxed_split, regression, micro)
    scale = task.recipe.stages[0].scale.in_pixels(CROP)
    model = small_net(outputs)
    model.set_dropout(0)
    state, reference = new_state(CPU.place(model), task), small_net(outputs)
    reference.set_dropout(0)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in reference.named_parameters()}
    steps = fit(state, task, CPU, StopRequest())
    flips = 0
    for step in range(2):
        report = next(steps)
        keys = global_batch(task.seed, step, len(task.train), BATCH)
        (batch,) = load_train_batches(TrainSamples(task.train, scale, CROP, task.seed), [keys], 0)
        images = batch.images.permute(0, 3, 1, 2).float()
        images[batch.flip] = images[batch.flip].flip(3)
        flips += int(batch.flip.sum())
        targets = torch.tensor([target_by_hand(boxed_split, key, scale) for key in keys])
        reference.zero_grad()
        predicted = reference(images).flatten(1)
        if regression == "per-class":
            predicted = torch.stack([row[4 * k : 4 * k + 4] for row, k in zip(predicted, batch.targets, strict=True)])
        loss = 0.5 * F.mse_loss(predicted, targets, reduction="sum") / BATCH
        loss.backward()
        assert report.loss == pytest.approx(loss.item(), rel=1e-4), step
        with torch.no_grad():
            for name, parameter in reference.named_parameters():
                assert parameter.grad is not None
                is_bias = name.endswith("bias")
                velocity[name] = 0.9 * velocity[name] + parameter.grad + (0 if is_bias else 5e-4) * parameter
                parameter.sub_((0.02 if is_bias else 0.01) * velocity[name])
    assert 0 < flips < 2 * BATCH
    for (name, parameter), expected in zip(state.model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-5, msg=name)


def test_classes_missing_from_a_batch_learn_no_box(boxed_split: Split) -> None:
    """Of fc8's rows those of the batch's classes alone move, but for the decay of the weights."""
    assert boxed_split.labels is not None
    some = boxed_split.subset([int(i) for i in np.flatnonzero(boxed_split.labels == 1)])
    task = box_task(some, "per-class", BATCH)
    model = small_net(12)
    decayed = model.fc8.weight.detach() * (1 - 0.01 * 5e-4)
    next(fit(new_state(CPU.place(model), task), task, CPU, StopRequest()))
    moved = [not torch.allclose(a, b, atol=1e-8) for a, b in zip(model.fc8.weight, decayed, strict=True)]
    assert moved == [False] * 4 + [True] * 4 + [False] * 4
    assert model.fc8.bias is not None
    assert (model.fc8.bias != 0).tolist() == moved


# Errors of nets with constant outputs, on images whose central crops are computed by hand

WIDE, HIGH = (64, 32), (30, 60)
"""(width, height). At Q = 256, 37 pixels beside a crop of 32, they become 74x37 and 37x74; their central crops begin at
(21, 2) and (2, 21). So the windows are, in pixels of the files: x from 21 * 64/74 = 18.16, y from 2 * 32/37 = 1.73,
27.68 wide and high; and x from 2 * 30/37 = 1.62, y from 21 * 60/74 = 17.03, 25.95 wide and high."""


def split_of(folder: Path, images: list[tuple[tuple[int, int], int, list[list[int]]]], classes: int = 3) -> Split:
    """Photographs of these sizes, classes and boxes."""
    for number, ((width, height), _, _) in enumerate(images):
        Image.fromarray(picture(height, width, seed=number)).save(folder / f"{number}.png")
    names = tuple(f"class {k}" for k in range(classes))
    return Split(
        name="val",
        root=folder,
        files=tuple(f"{number}.png" for number in range(len(images))),
        labels=np.array([label for _, label, _ in images], np.int64),
        class_names=names,
        class_words=names,
        layout="",
        camera_rotation=False,
        boxes=tuple(np.array(boxes, np.float32).reshape(-1, 4) for _, _, boxes in images),
    )


def constant_net(numbers: list[float]) -> VGG:
    """Return a net with these outputs for every image."""
    model = small_net(len(numbers))
    with torch.no_grad():
        model.fc8.weight.zero_()
        assert model.fc8.bias is not None
        model.fc8.bias.copy_(torch.tensor(numbers))
    return CPU.place(model)


def validation_error(model: VGG, split: Split, regression: Regression | None, runtime: Runtime = CPU) -> float:
    return validate(model, box_task(split, regression, BATCH, val=split), 256, runtime).error


CENTER = [0.5, 0.5, 1.0, 0.5]
"""As wide as the crop and half as high: (18, 9) to (45, 21) in the wide image, (2, 24) to (27, 36) in the high one."""


@pytest.mark.parametrize(
    ("size", "boxes", "right"),
    [
        (WIDE, [[18, 9, 45, 21]], True),
        (WIDE, [[18, 9, 45, 34]], True),  # IoU 14/26
        (WIDE, [[18, 9, 45, 38]], False),  # 14/30
        (WIDE, [[25, 2, 38, 29]], False),  # x and y in each other's place
        (WIDE, [[0, 8, 63, 23]], False),  # the same share of the image as the output's of the crop
        (WIDE, [[0, 0, 5, 31], [18, 9, 45, 21]], True),  # any of several instances
        (WIDE, [[0, 0, 5, 31], [58, 0, 63, 31]], False),
        (HIGH, [[2, 24, 27, 36]], True),
        (HIGH, [[8, 17, 20, 42]], False),
    ],
)
def test_a_box_is_wrong_where_it_misses_every_instance(
    tmp_path: Path, size: tuple[int, int], boxes: list[list[int]], right: bool
) -> None:
    split = split_of(tmp_path, [(size, 1, boxes)])
    assert validation_error(constant_net(CENTER), split, "single-class") == (0 if right else 100)


def test_the_box_is_that_of_the_true_class(tmp_path: Path) -> None:
    """Class 1 alone says where the object is: right for the image of class 1, wrong for those of classes 0 and 2."""
    nowhere = [5.0, 5.0, 0.1, 0.1]
    split = split_of(tmp_path, [(WIDE, label, [[18, 9, 45, 21]]) for label in (0, 1, 2)])
    assert validation_error(constant_net([*nowhere, *CENTER, *nowhere]), split, "per-class") == pytest.approx(200 / 3)


def test_a_box_beyond_the_image_is_cut_off(tmp_path: Path) -> None:
    """Nine windows wide and high, of which the image is all that there is; beyond the crop there is more of it."""
    split = split_of(tmp_path, [(WIDE, 0, [[0, 0, 63, 31]])])
    assert validation_error(constant_net([0.5, 0.5, 9.0, 9.0]), split, "single-class") == 0
    assert validation_error(constant_net([0.5, 0.5, 1.0, 1.0]), split, "single-class") == 100  # 27.7^2 of 64x32 pixels


def test_files_that_cannot_be_decoded_are_not_counted(tmp_path: Path) -> None:
    split = split_of(tmp_path, [(WIDE, 0, [[18, 9, 45, 21]]), (HIGH, 0, [[0, 0, 1, 1]]), (HIGH, 0, [[0, 0, 1, 1]])])
    (tmp_path / "1.png").write_bytes(b"no picture at all")
    task = replace(box_task(split, "single-class", BATCH, val=split), decoding=Decoding("skip"))
    seen = validate(constant_net(CENTER), task, 256, CPU)
    assert seen.error == 50
    assert list(seen.skipped) == ["1.png"]


@pytest.mark.parametrize("regression", ["per-class", None])
def test_validation_is_without_dropout(val_split: Split, regression: Regression | None) -> None:
    """Whatever the net was set to before. bf16 tests a copy of it, whose units are counted all the same."""
    boxes = tuple(np.array([[5, 5, 35, 30]], np.float32) for _ in range(len(val_split)))
    task = box_task(replace(val_split, boxes=boxes), regression, BATCH, val=replace(val_split, boxes=boxes))
    model = CPU.place(small_net(12 if regression else 3))
    seen: list[Tensor] = []
    model.fc8.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    model.set_dropout(0.9)
    results = []
    for _ in range(2):
        model.train()
        results.append(validate(model, task, 256, CPU))
    assert results[0] == results[1]
    half = len(seen) // 2
    assert torch.equal(torch.cat(seen[:half]), torch.cat(seen[half:]))
    assert torch.cat(seen).std() > 0
    assert results[0].dead_fc6 < 1
    model.train()
    assert validate(model, task, 256, Runtime(torch.device("cpu"), bf16=True)).dead_fc6 < 1
