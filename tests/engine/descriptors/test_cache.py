"""Cached descriptors against those in memory: shared by lists of images, stopped and resumed."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.conftest import picture
from tests.engine.descriptors.nets import CPU
from verydeep.data.folders.folder import open_folder
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.caching.array_cache import ArrayCache
from verydeep.engine.descriptors.cache import DescribedSamples, compute_descriptors, load_descriptors, read_descriptors
from verydeep.engine.descriptors.in_memory import describe_images
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.nets.net import Net
from verydeep.errors import DataError, ResourceError

SKIP = Decoding("skip")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def count(cache: Path) -> Callable[[], int]:
    """Counts the descriptors in the cache; one that was computed twice counts twice."""
    return lambda: sum(len(load_file(path)["keys"]) for path in cache.rglob("*.safetensors"))


def describe(representation: Representation, split: Split, decoding: Decoding = STRICT) -> DescribedSamples:
    skipped = compute_descriptors(representation, split, CPU, decoding)
    return read_descriptors(representation, split, skipped, CPU, decoding)


@pytest.mark.parametrize("aggregation", ["average", "stack", "max"])
def test_cached_descriptors_are_those_in_memory(net: Net, persons: Split, aggregation: str) -> None:
    """Of two layers, two scales and boxes; persons on one photograph share its descriptors."""
    representation = Representation((net, net), ("relu7", "pool5"), (256, 320), aggregation, "image+box")  # type: ignore[arg-type]
    cached, expected = describe(representation, persons), describe_images(representation, persons, CPU)
    assert cached.values == pytest.approx(expected.values, abs=1e-5)
    assert cached.split.files == expected.images == persons.files


def test_photograph_with_two_persons_is_described_once(net: Net, persons: Split, count: Callable[[], int]) -> None:
    """With and without their boxes; what the cache has is not computed again."""
    representation = Representation((net,), ("relu7",), (256, 320))
    image_alone = describe(representation, persons).values
    assert np.array_equal(image_alone[0], image_alone[1]) and count() == 2 * 2
    describe(replace(representation, coverage="image+box"), persons)
    assert count() == 2 * 2 + 2 * 3


def test_stopped_computing_goes_on(
    net: Net, class_folders: Path, tmp_path: Path, cache: Path, count: Callable[[], int]
) -> None:
    """What is in the cache is not computed again, and the end is that of computing without a stop."""
    shutil.copytree(class_folders / "val", tmp_path / "val")
    split = open_folder(tmp_path, "val", seed=0, val_fraction=0.2)
    representation = Representation((net,), ("relu7",), (256,))
    whole = describe(representation, split)
    shutil.rmtree(cache)
    smallest = min(range(len(split)), key=lambda index: np.prod(split.image_size(index)))  # described last
    content = split.path(smallest).read_bytes()
    split.path(smallest).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=split.path(smallest).name):
        compute_descriptors(representation, split, CPU)
    assert 0 < count() < len(split)
    split.path(smallest).write_bytes(content)
    again = describe(representation, split)
    assert again.values == pytest.approx(whole.values, abs=1e-5) and count() == len(split)
    describe(representation, split)
    assert count() == len(split)


def test_lists_that_share_images_share_descriptors(net: Net, val_split: Split, count: Callable[[], int]) -> None:
    """In another order, too."""
    representation = Representation((net,), ("pool5",), (256,))
    some = describe(representation, val_split.subset([4, 2, 7]))
    assert count() == 3
    all_values = describe(representation, val_split).values
    assert count() == len(val_split)
    assert np.array_equal(all_values[[4, 2, 7]], some.values)


def test_undecodable_images_are_skipped(net: Net, val_split: Split, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, path in enumerate(files):
        path.write_bytes(val_split.path(number).read_bytes() if number != 1 else b"no picture")
    representation, split = Representation((net,), ("relu7",), (256,)), Split.of_photographs(files)
    with pytest.raises(DataError, match=r"1\.jpg"):
        describe(representation, split)
    descriptors = describe(representation, split, SKIP)
    assert descriptors.split.files == (files[0].as_posix(), files[2].as_posix())
    with pytest.raises(DataError, match=r"1\.jpg is not an image"):
        describe(representation, split.subset([1]), SKIP)


def test_photographs_of_two_folders_are_kept_apart(net: Net, tmp_path: Path) -> None:
    """Of one name, size and time, as bitmaps unpacked with normalized times are."""
    values = []
    for number in (1, 2):
        path = tmp_path / str(number) / "cat" / "1.bmp"
        path.parent.mkdir(parents=True)
        Image.fromarray(picture(70, 90, seed=number)).save(path)
        os.utime(path, ns=(0, 0))
        split = replace(Split.of_photographs([path]), root=tmp_path / str(number), files=("cat/1.bmp",))
        values.append(describe(Representation((net,), ("relu7",), (256,)), split).values)
    assert np.abs(values[0] - values[1]).max() > 0.01


def test_photograph_that_changed_meanwhile_is_reported(net: Net, class_folders: Path, tmp_path: Path) -> None:
    """Never is another image's descriptor in its place."""
    shutil.copytree(class_folders / "val", tmp_path / "val")
    split = open_folder(tmp_path, "val", seed=0, val_fraction=0.2).subset([0, 1, 2])
    representation = Representation((net,), ("relu7",), (256,))
    skipped = compute_descriptors(representation, split, CPU)
    os.utime(split.path(1), ns=(5, 5))
    with pytest.raises(DataError, match=r"01\.jpg changed while it was described"):
        read_descriptors(representation, split, skipped, CPU)


def test_descriptors_that_vanish_are_reported(tmp_path: Path) -> None:
    """Never is another image's descriptor in its place; images may repeat."""
    arrays = np.arange(6, dtype=np.float32).reshape(3, 2)
    with ArrayCache(tmp_path, {}) as cache:
        cache.add(np.array([9, 4, 7]), {"relu7-256": {"descriptors": arrays}})
    assert load_descriptors(cache, "relu7-256", np.array([7, 9, 7])).tolist() == arrays[[2, 0, 2]].tolist()
    for keys in ([7, 5], [5], [11]):
        with pytest.raises(ResourceError, match="changed while it was read: run the command again"):
            load_descriptors(cache, "relu7-256", np.array(keys))
