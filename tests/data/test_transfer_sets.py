"""Which set lies in a folder, how its protocol divides it, and how it is scored."""

import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.sets.voc_trees import put_actions, put_annotation, put_voc
from tests.data.trees import put
from verydeep.data.layout import open_split
from verydeep.data.split import Split
from verydeep.data.transfer_sets import TransferSet, open_transfer_set
from verydeep.errors import VerydeepError


def classes(root: Path, **sizes: int) -> Path:
    return put(root, *(f"{name}/{i:04}.jpg" for name, size in sizes.items() for i in range(size)))


def counts(split: Split | None) -> dict[str, int]:
    assert split is not None and split.labels is not None
    return {name: int((split.labels == k).sum()) for k, name in enumerate(split.class_names)}


def check(found: TransferSet) -> None:
    """What holds of every set."""
    for partition in found.partitions:
        assert partition.train.class_names == found.class_names
        if partition.test is not None:
            assert partition.test.class_names == found.class_names
            train, test = ({(part.root, file) for file in part.files} for part in (partition.train, partition.test))
            assert not train & test
            assert train and test


@pytest.fixture
def caltech_101(tmp_path: Path) -> Path:
    """The smallest of the real set has 31, the largest 800."""
    return classes(tmp_path / "101_ObjectCategories", BACKGROUND_Google=90, airplanes=85, inline_skate=31, ant=42)


def test_caltech_101_has_three_draws_of_30_and_up_to_50(caltech_101: Path) -> None:
    found = open_transfer_set(caltech_101.parent)
    check(found)
    assert (found.name, found.metric, len(found.partitions)) == ("Caltech-101", "mean class recall", 3)
    assert found.class_names == ("BACKGROUND_Google", "airplanes", "ant", "inline_skate")
    for seed, partition in enumerate(found.partitions):
        assert set(counts(partition.train).values()) == {30}
        expected = {"BACKGROUND_Google": 50, "airplanes": 50, "inline_skate": 1, "ant": 12}
        assert counts(partition.test) == expected
        drawn = "30 of each class for training and up to 50 others for testing"
        assert partition.train.layout == f"Caltech-101 (4 of 102 classes), {drawn} (seed {seed})"
        assert partition.test is not None
        assert (partition.train.name, partition.test.name) == ("train", "test")
    assert len({partition.train.files for partition in found.partitions}) == 3


def test_draws_in_a_row_have_seeds_in_a_row(caltech_101: Path) -> None:
    three = open_transfer_set(caltech_101, seed=4).partitions
    alone = open_transfer_set(caltech_101, seed=6, num_splits=1).partitions
    assert [partition.train.files for partition in three[2:]] == [partition.train.files for partition in alone]
    assert len(open_transfer_set(caltech_101, num_splits=5).partitions) == 5


def test_other_numbers_of_photographs(caltech_101: Path) -> None:
    partition = open_transfer_set(caltech_101, num_train=5, num_test=20).partitions[0]
    assert set(counts(partition.train).values()) == {5}
    assert set(counts(partition.test).values()) == {20}
    partition = open_transfer_set(caltech_101, num_train=31, num_test=0).partitions[0]
    assert partition.test is None
    assert set(counts(partition.train).values()) == {31}
    with pytest.raises(
        VerydeepError, match=r"'inline_skate' of .* has 31 photographs, but 31 are needed for training, and"
    ):
        open_transfer_set(caltech_101, num_train=31)


def test_caltech_101_goes_no_further_than_its_smallest_class(caltech_101: Path) -> None:
    (caltech_101 / "inline_skate" / "0000.jpg").unlink()
    with pytest.raises(VerydeepError, match=r"'inline_skate' of .*101_ObjectCategories has 30 photographs, but 30 are"):
        open_transfer_set(caltech_101)


def test_caltech_256_tests_on_the_rest(tmp_path: Path) -> None:
    folder = classes(tmp_path / "256_ObjectCategories", **{"001.ak47": 98, "056.dog": 80, "257.clutter": 827})
    put(folder, "056.dog/greg/a.jpg", "198.spider/RENAME2", *(f"198.spider/{i:04}.jpg" for i in range(108)))
    found = open_transfer_set(tmp_path)
    check(found)
    assert (found.name, found.metric, len(found.partitions)) == ("Caltech-256", "mean class recall", 3)
    for partition in found.partitions:
        assert set(counts(partition.train).values()) == {60}
        assert counts(partition.test) == {"001.ak47": 38, "056.dog": 20, "198.spider": 48, "257.clutter": 767}


def test_the_order_in_which_photographs_were_written_does_not_matter(caltech_101: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / caltech_101.name
    put(copy, *(path.relative_to(caltech_101).as_posix() for path in sorted(caltech_101.rglob("*.jpg"), reverse=True)))
    one, other = (open_transfer_set(root, num_train=7) for root in (caltech_101, copy))
    assert one.class_names == other.class_names
    for first, second in zip(one.partitions, other.partitions, strict=True):
        assert first.train.files == second.train.files
        assert first.test is not None and second.test is not None
        assert first.test.files == second.test.files


TRAIN, VAL, TEST = ({f"{year}_{i:06}": {"dog": 1} if i % 2 else {} for i in range(3)} for year in (2008, 2009, 2010))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    folder = put_voc(tmp_path / "VOCdevkit" / "VOC2012", "train", TRAIN)
    put_voc(folder, "val", VAL)
    return put_voc(folder, "trainval", TRAIN | VAL)


def test_voc_without_its_test_set_tests_on_val(voc: Path) -> None:
    found = open_transfer_set(voc.parent.parent)
    check(found)
    assert (found.name, found.metric) == ("VOC-2012", "AP, all points")
    (partition,) = found.partitions
    assert partition.test is not None
    assert (partition.train.name, partition.test.name) == ("train", "val")
    assert partition.test.relevance is not None
    with pytest.raises(VerydeepError, match=r"Main/test\.txt cannot be read"):
        open_transfer_set(voc, split="test")


def test_voc_learns_from_trainval_for_its_test_set(voc: Path) -> None:
    put_voc(voc, "test", TEST, lists=False)
    found = open_transfer_set(voc)
    check(found)
    (partition,) = found.partitions
    assert partition.test is not None
    assert (partition.train.name, partition.test.name) == ("trainval", "test")
    assert len(partition.train) == 6
    assert partition.test.relevance is None
    (partition,) = open_transfer_set(voc, split="val").partitions
    assert partition.test is not None
    assert (partition.train.name, partition.test.name) == ("train", "val")


@pytest.mark.parametrize(
    ("year", "metric"), [(2007, "AP, 11 points"), (2009, "AP, 11 points"), (2010, "AP, all points")]
)
def test_the_average_precision_of_the_year(tmp_path: Path, year: int, metric: str) -> None:
    folder = put_voc(tmp_path / f"VOC{year}", "trainval", TRAIN)
    found = open_transfer_set(put_voc(folder, "test", TEST))
    check(found)
    assert (found.name, found.metric) == (f"VOC-{year}", metric)
    assert found.partitions[0].test is not None
    assert found.partitions[0].test.relevance is not None


def test_voc_actions(voc: Path) -> None:
    with pytest.raises(VerydeepError, match=r"ImageSets/Action, .*, is missing"):
        open_transfer_set(voc, actions=True)
    for name, image in (("train", "2011_000001"), ("val", "2011_000002")):
        put_actions(voc, name, {(image, 1): {"walking": 1}, (image, 2): {}})
        put_annotation(voc, image, *[("person", (1, 1, 9, 9))] * 2)
    found = open_transfer_set(voc, actions=True)
    check(found)
    assert (found.name, found.metric, len(found.class_names)) == ("VOC-2012 actions", "AP, all points", 10)
    (partition,) = found.partitions
    assert partition.test is not None
    assert (len(partition.train), len(partition.test)) == (2, 2)
    assert partition.train.boxes is not None
    assert open_transfer_set(voc).name == "VOC-2012"


def test_class_folders_without_parts_hold_out_what_training_does(tmp_path: Path) -> None:
    found = open_transfer_set(classes(tmp_path / "birds", jay=20, owl=10), seed=3)
    check(found)
    assert (found.name, found.metric) == ("birds", "mean class recall")
    (partition,) = found.partitions
    assert (counts(partition.train), counts(partition.test)) == ({"jay": 16, "owl": 8}, {"jay": 4, "owl": 2})
    assert partition.test is not None
    assert partition.test.files == open_split(tmp_path / "birds", "val", seed=3).files
    several = open_transfer_set(tmp_path / "birds", num_splits=2, split="val").partitions
    assert several[0].train.files != several[1].train.files


def test_class_folders_drawn_by_number(tmp_path: Path) -> None:
    root = classes(tmp_path, jay=20, owl=10)
    found = open_transfer_set(root, num_train=3, num_test=9, num_splits=2)
    check(found)
    assert len(found.partitions) == 2
    for partition in found.partitions:
        assert (counts(partition.train), counts(partition.test)) == ({"jay": 3, "owl": 3}, {"jay": 9, "owl": 7})
    assert open_transfer_set(root, num_test=0).partitions[0].test is None
    assert len(open_transfer_set(root, num_test=0).partitions[0].train) == 30
    with pytest.raises(VerydeepError, match="`num_test` needs `num_train`"):
        open_transfer_set(root, num_test=5)


def test_class_folders_in_parts(tmp_path: Path) -> None:
    for part, size in (("train", 6), ("val", 3)):
        classes(tmp_path / part, jay=size, owl=size)
    (partition,) = open_transfer_set(tmp_path).partitions
    assert (counts(partition.train), counts(partition.test)) == ({"jay": 6, "owl": 6}, {"jay": 3, "owl": 3})
    put(tmp_path, "test/a.jpg")
    assert open_transfer_set(tmp_path).partitions[0].test is not None, "a test of unknown classes is left alone"
    with pytest.raises(VerydeepError, match="has no test photographs with labels"):
        open_transfer_set(tmp_path, split="test")
    classes(tmp_path / "test", jay=2)
    found = open_transfer_set(tmp_path)
    check(found)
    assert counts(found.partitions[0].test) == {"jay": 2, "owl": 0}
    assert counts(open_transfer_set(tmp_path, split="val").partitions[0].test) == {"jay": 3, "owl": 3}


def test_all_of_train_is_learned_from_where_test_is_there(tmp_path: Path) -> None:
    classes(tmp_path / "train", jay=6, owl=6)
    classes(tmp_path / "test", jay=2, owl=2)
    found = open_transfer_set(tmp_path)
    check(found)
    assert counts(found.partitions[0].train) == {"jay": 6, "owl": 6}
    assert counts(open_transfer_set(tmp_path, split="val").partitions[0].train) == {"jay": 5, "owl": 5}


def test_a_csv_of_labels(tmp_path: Path) -> None:
    files = [f"{i:02}.jpg" for i in range(20)]
    put(tmp_path, *files)
    rows = [f"{file},{'sea;' if i % 3 else ''}dog" if i % 2 else f"{file}," for i, file in enumerate(files)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]), "utf-8")
    found = open_transfer_set(tmp_path, num_splits=3)
    check(found)
    assert (found.metric, found.class_names, len(found.partitions)) == ("AP, all points", ("dog", "sea"), 3)
    assert found.name == tmp_path.name
    for partition in found.partitions:
        assert partition.test is not None
        assert len(partition.train) + len(partition.test) == 20
        for part in (partition.train, partition.test):
            assert part.relevance is not None
            assert (part.relevance > 0).any(axis=0).all()
            assert part.layout.startswith("labels.csv, 20% of each class held out (seed ")
    assert len({partition.train.files for partition in found.partitions}) == 3
    everything = open_transfer_set(tmp_path, num_test=0).partitions
    assert (len(everything[0].train), everything[0].test) == (20, None)
    with pytest.raises(VerydeepError, match=r"labels\.csv have several labels or none"):
        open_transfer_set(tmp_path, num_train=3)


def test_a_label_on_one_photograph_is_learned_and_not_tested(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,dog\nb.jpg,dog\nc.jpg,dog;yak\n", "utf-8")
    (partition,) = open_transfer_set(tmp_path).partitions
    assert partition.test is not None and partition.test.relevance is not None
    assert "c.jpg" in partition.train.files and partition.test.relevance.tolist() == [[1, -1]]
    (note,) = partition.train.notes
    assert note == "Too few photographs to be in both splits, so all are for training, none to test: yak."
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,dog\nb.jpg,\n", "utf-8")
    with pytest.raises(VerydeepError, match=r"Too few photographs in .*labels\.csv have the label 'dog'"):
        open_transfer_set(tmp_path)


def test_csv_files_for_the_parts(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "train.csv").write_text("path,label\na.jpg,dog\nb.jpg,\n", "utf-8")
    (tmp_path / "test.csv").write_text("path,label\nc.jpg,dog\n", "utf-8")
    found = open_transfer_set(tmp_path)
    check(found)
    assert (found.metric, found.class_names) == ("AP, all points", ("dog",))
    with pytest.raises(VerydeepError, match="defines its own training and test"):
        open_transfer_set(tmp_path, num_splits=3)


def test_numbers_and_parts_that_a_set_has_no_use_for_are_errors(caltech_101: Path, voc: Path) -> None:
    with pytest.raises(VerydeepError, match=r"VOC2012 defines its own training and test"):
        open_transfer_set(voc, num_train=3)
    for part in ("train", "val"):
        classes(caltech_101.parent / "divided" / part, jay=3, owl=3)
    with pytest.raises(VerydeepError, match=r"divided defines its own training and test"):
        open_transfer_set(caltech_101.parent / "divided", num_test=3)
    with pytest.raises(VerydeepError, match="has no val photographs of its own"):
        open_transfer_set(caltech_101, split="val")
    with pytest.raises(VerydeepError, match="is not Pascal VOC, the only set with actions"):
        open_transfer_set(caltech_101, actions=True)


@pytest.mark.parametrize(("name", "number"), [("num_train", 0), ("num_test", -1), ("num_splits", 0)])
def test_numbers_that_are_none_are_errors(tmp_path: Path, name: str, number: int) -> None:
    with pytest.raises(VerydeepError, match=f"must be at least {number + 1}, not {number}"):
        open_transfer_set(tmp_path, **{name: number})


def test_folders_that_hold_no_set_are_errors(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match="does not exist"):
        open_transfer_set(tmp_path / "missing")
    with pytest.raises(VerydeepError, match="no class folders"):
        open_transfer_set(put(tmp_path / "flat", "a.jpg"))
    classes(tmp_path / "parts" / "val", jay=3)
    with pytest.raises(VerydeepError, match=r"parts has val/ but no train/"):
        open_transfer_set(tmp_path / "parts")


@pytest.mark.data
def test_the_real_caltech_101(real_data: Path, tmp_path: Path) -> None:
    """Its names alone, empty files in place of photographs. Published: 102 classes, 9,144 images, 31 to 800 each."""
    with tarfile.open(real_data / "caltech-101.tar") as archive:
        names = [member.name for member in archive if member.isfile()]
    put(tmp_path, *names)
    sizes = Counter(name.split("/")[1] for name in names if name.endswith(".jpg"))
    assert (len(sizes), sizes.total(), min(sizes.values()), max(sizes.values())) == (102, 9144, 31, 800)
    found = open_transfer_set(tmp_path)
    check(found)
    assert found.class_names == tuple(sorted(sizes))
    for partition in found.partitions:
        assert set(counts(partition.train).values()) == {30}
        assert counts(partition.test) == {name: min(50, size - 30) for name, size in sizes.items()}
        assert "BACKGROUND_Google/tmp" not in partition.train.files
        assert partition.train.layout.startswith("Caltech-101 (102 classes), ")
    used = {
        file
        for partition in found.partitions
        for part in (partition.train, partition.test)
        if part
        for file in part.files
    }
    assert 6500 < len(used) < 7500, "the issue says about 7,100 in all splits together"
    assert np.unique([len(partition.train) for partition in found.partitions]).tolist() == [3060]


def test_one_photograph_of_each_class_leaves_nothing_to_test(tmp_path: Path) -> None:
    found = open_transfer_set(classes(tmp_path, jay=1, owl=1))
    (partition,) = found.partitions
    assert partition.test is None and counts(partition.train) == {"jay": 1, "owl": 1}
    assert partition.train.notes == (
        "There are too few photographs for both train and val, so all photographs of jay and owl are in train.",
    )
    with pytest.raises(VerydeepError, match=r"has 1 photograph.*; add photographs or give `num_test=0` to test noth"):
        open_transfer_set(tmp_path, num_train=1)
    assert open_transfer_set(tmp_path, num_train=1, num_test=0).partitions[0].test is None


@pytest.mark.parametrize("numbers", [{}, {"num_train": 3}, {"num_splits": 3}])
def test_groups_stay_together_in_every_random_split(tmp_path: Path, numbers: dict[str, int]) -> None:
    """In the fifth, in draws by number, and among several labels; training photographs know their groups."""
    folders = classes(tmp_path / "folders", jay=20, owl=20)
    files = [f"{i:02}.jpg" for i in range(40)]
    put(tmp_path / "table", *files)
    rows = [f"{file},{'jay' if i % 2 else 'owl'}" for i, file in enumerate(files)]
    (tmp_path / "table" / "labels.csv").write_text("\n".join(["path,label", *rows]), "utf-8")
    pattern = r"(\d)\d?\.jpg"
    rows[:2] = ["00.jpg,jay;owl", "01.jpg,"]
    put(tmp_path / "several", *files, "labels.csv")
    (tmp_path / "several" / "labels.csv").write_text("\n".join(["path,label", *rows]), "utf-8")
    several = [] if "num_train" in numbers else [tmp_path / "several"]
    for root in (folders, tmp_path / "table", *several):
        found = open_transfer_set(root, group_by=pattern, **numbers)
        assert found.is_drawn and found.group_by == pattern
        for partition in found.partitions:
            assert partition.test is not None and partition.train.groups is not None
            names = [{re.search(pattern, file)[1] for file in part.files} for part in (partition.train, partition.test)]
            assert not names[0] & names[1] and set(partition.train.groups) == names[0]
            assert min(counts(partition.test).values() if partition.test.labels is not None else [1]) > 0


def test_groups_of_parts_are_for_the_choice_of_c(tmp_path: Path) -> None:
    for part in ("train", "test"):
        classes(tmp_path / part, jay=4, owl=4)
    found = open_transfer_set(tmp_path, group_by="parent")
    assert not found.is_drawn and found.partitions[0].train.groups == ("jay",) * 4 + ("owl",) * 4
