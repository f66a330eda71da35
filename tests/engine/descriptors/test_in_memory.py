"""Descriptors of a few images: scales, nets and boxes combined by hand."""

from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import picture
from tests.engine.descriptors.nets import CONFIG, CPU, describe_by_windows, unit
from tests.thin_nets import save_model
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.descriptors.in_memory import describe_images
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.nets.net import Net
from verydeep.errors import DataError, VerydeepError, WeightsError
from verydeep.ops.arrays import Float32Array

SKIP = Decoding("skip")


def test_image_and_its_box_are_stacked(net: Net, persons: Split) -> None:
    """Windows of what Pillow cuts out."""
    representation = Representation((net,), ("relu7",), (256, 320), coverage="image+box")
    values = describe_images(representation, persons, CPU).values
    assert persons.boxes is not None
    model = net.load()
    for index, box in enumerate(persons.boxes):
        parts = []
        for region in (None, tuple(map(int, box[0]))):
            scales = [describe_by_windows(model, persons, index, scale, region)["relu7"] for scale in (256, 320)]  # type: ignore[arg-type]
            parts.append(unit(np.mean(scales, axis=0)))
        assert values[index] == pytest.approx(np.concatenate(parts) / 2**0.5, abs=1e-4)
    assert not np.allclose(values[0], values[1], atol=1e-2)


def test_nets_and_scales_are_combined(net: Net, val_split: Split) -> None:
    """By hand, from each net at each scale; scales are stacked in the order given."""

    def raw(layer: str, scale: int) -> Float32Array:
        return np.stack([describe_by_windows(net.load(), val_split, i, scale)[layer] for i in range(len(val_split))])

    a, b = ([raw(layer, scale) for scale in (256, 320)] for layer in ("relu7", "pool5"))
    averaged = describe_images(Representation((net, net), ("relu7", "pool5"), (256, 320)), val_split, CPU)
    expected = unit(np.hstack([unit((a[0] + a[1]) / 2), unit((b[0] + b[1]) / 2)]))
    assert averaged.values == pytest.approx(expected, abs=1e-4)
    stacked = describe_images(Representation((net,), ("relu7",), (320, 256), "stack"), val_split, CPU)
    assert stacked.values == pytest.approx(unit(np.hstack([unit(a[1]), unit(a[0])])), abs=1e-4)
    largest = describe_images(Representation((net,), ("pool5",), (256, 320), "max"), val_split, CPU)
    assert largest.values == pytest.approx(unit(np.maximum(b[0], b[1])), abs=1e-4)


def test_undecodable_images_are_skipped(net: Net, val_split: Split, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(files):
        path.write_bytes(val_split.path(number).read_bytes() if number != 1 else b"no picture")
    representation = Representation((net, net), ("relu7", "pool5"), (256,))
    with pytest.raises(DataError, match=r"1\.jpg"):
        describe_images(representation, Split.of_photographs(files), CPU)
    descriptors = describe_images(representation, Split.of_photographs(files), CPU, SKIP)
    assert descriptors.images == (files[0].as_posix(), files[2].as_posix())
    assert list(descriptors.skipped) == [files[1].as_posix()]
    whole = describe_images(representation, Split.of_photographs([files[0], files[2]]), CPU)
    assert descriptors.values == pytest.approx(whole.values, abs=1e-5)
    with pytest.raises(DataError, match=r"1\.jpg is not an image"):
        describe_images(representation, Split.of_photographs(files[1:2]), CPU, SKIP)


def test_person_with_a_bad_box_is_skipped_alone(net: Net, persons: Split) -> None:
    boxes = (np.array([[100, 0, 110, 9]], np.float32), *persons.boxes[1:])  # type: ignore[index]
    representation, split = (
        Representation((net,), ("relu7",), (256,), coverage="image+box"),
        replace(persons, boxes=boxes),
    )
    with pytest.raises(DataError, match=r"box \(100, 0, 110, 9\)"):
        describe_images(representation, split, CPU)
    descriptors = describe_images(representation, split, CPU, SKIP)
    assert descriptors.images == persons.files[1:] and len(descriptors.skipped) == 1


def test_images_in_memory_and_threads(net: Net) -> None:
    """Images need no files; several threads describe at once."""
    images = [Image.fromarray(picture(90, 70, seed=seed)) for seed in range(2)]
    representation = Representation((net,), ("relu7",), (256,))
    expected = describe_images(representation, Split.of_images(images), CPU).values
    results: list[Float32Array] = []

    def describe() -> None:
        results.append(describe_images(representation, Split.of_images(images), CPU).values)

    threads = [Thread(target=describe) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and all(values == pytest.approx(expected, abs=1e-6) for values in results)
    assert expected.shape == (2, 12) and np.abs(expected[0] - expected[1]).max() > 0.01


def test_unknown_layer_is_refused(net: Net, val_split: Split) -> None:
    representation = Representation((net,), ("relu9",), (256,))
    with pytest.raises(VerydeepError, match=r"relu9.* choose one of conv1_1"):
        describe_images(representation, val_split, CPU)
    with pytest.raises(VerydeepError, match=r"relu9.* choose one of conv1_1"):
        representation.check()


@pytest.mark.parametrize(
    ("factor", "fault"),
    [(1e38, "values that are not finite, first in conv1_1, for ant/00.jpg"), (1e25, "descriptors .* at relu7")],
)
def test_descriptors_that_are_not_finite_are_refused(factor: float, fault: str, net: Net, val_split: Split) -> None:
    """Or whose length is not."""
    model = net.load()
    with torch.no_grad():
        model.conv1_1.weight *= factor
    save_model(model, CONFIG, net.path)
    with pytest.raises(WeightsError, match=f"run computes {fault}"):
        describe_images(Representation((Net.open(net.path),), ("relu7",), (256,)), val_split.subset([0]), CPU)
