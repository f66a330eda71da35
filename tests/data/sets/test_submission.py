"""The test servers' files: by hand, and on ILSVRC's own lists."""

import csv
import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest

from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.data.sets.submission import write_localization_submission, write_submission
from verydeep.errors import VerydeepError

WNIDS = ("n01440764", "n02007558", "n02012849", "n02110185", "n02119789", "n03126707")
"""tench, flamingo, crane (the bird), Siberian husky, kit fox, crane (the machine)"""
NUMBERS = {"n01440764": 449, "n02110185": 3, "n02119789": 1}
"""Published: the devkit's list begins with kit fox, English setter, Siberian husky."""

FILES = ("test_00000010.JPEG", "test_00000009.JPEG", "b/test_00000001.JPEG", "a/test_00000011.JPEG")
POSTERIORS = np.array(
    [
        [0.05, 0.10, 0.15, 0.20, 0.30, 0.20],
        [0.40, 0.20, 0.02, 0.18, 0.05, 0.15],
        [0.20, 0.20, 0.20, 0.20, 0.20, 0.00],
        [0.00, 0.01, 0.02, 0.90, 0.03, 0.04],
    ],
    np.float32,
)


def test_the_file_by_hand(tmp_path: Path) -> None:
    """Lines in the order of the images' names, wherever they lie; equal posteriors in the order of the classes."""
    write_submission(tmp_path / "new" / "guesses.txt", FILES, WNIDS, POSTERIORS)
    classes = ilsvrc_classes()
    tench, flamingo, bird, husky, fox, machine = (classes[wnid].devkit_id for wnid in WNIDS)
    assert (tench, husky, fox) == (449, 3, 1)
    expected = [
        (tench, flamingo, bird, husky, fox),
        (tench, flamingo, husky, machine, fox),
        (fox, husky, machine, bird, flamingo),
        (husky, machine, fox, bird, flamingo),
    ]
    written = (tmp_path / "new" / "guesses.txt").read_bytes().decode("ascii")
    assert written == "".join(" ".join(map(str, line)) + "\n" for line in expected)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["guesses.txt"]


def test_the_thousand_classes() -> None:
    """Caffe's order and the devkit's, by what is published of them (docs/choices.md)."""
    classes = ilsvrc_classes()
    assert list(classes) == sorted(classes)
    assert sorted(known.devkit_id for known in classes.values()) == list(range(1, 1001))
    assert all(known.words.strip() for known in classes.values())
    first = next(iter(classes))
    assert (first, classes[first].words) == ("n01440764", "tench, Tinca tinca")
    assert classes["n02119789"].words == "kit fox, Vulpes macrotis"
    assert {wnid: classes[wnid].devkit_id for wnid in NUMBERS} == NUMBERS
    assert classes["n02012849"].words == classes["n03126707"].words == "crane"


@pytest.mark.parametrize(
    ("class_names", "message"),
    [
        (("n01440764", "n02119788", "ant", "n02110185", "n02119789", "n03126707"), "n02119788"),
        (("ant", "bell", "crab", "dog", "eel", "fox"), "ant"),
        (("ant", "bell"), "ant"),
        (("n01440764", "n02110185", "n02119789", "n03126707"), "there are only 4"),
    ],
)
def test_other_classes_are_errors_and_nothing_is_written(
    tmp_path: Path, class_names: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "guesses.txt"
    path.write_text("old")
    with pytest.raises(VerydeepError, match=message) as raised:
        write_submission(path, FILES, class_names, POSTERIORS[:, : len(class_names)])
    assert "omit `submission`" in str(raised.value)
    assert (list(tmp_path.iterdir()), path.read_text()) == ([path], "old")


def test_five_classes_are_enough(tmp_path: Path) -> None:
    write_submission(tmp_path / "guesses.txt", FILES, WNIDS[:5], POSTERIORS[:, :5])
    assert len((tmp_path / "guesses.txt").read_text().splitlines()) == 4


def test_a_net_that_overflowed_is_not_submitted(tmp_path: Path) -> None:
    posteriors = POSTERIORS.copy()
    posteriors[2, 3] = np.nan
    with pytest.raises(VerydeepError, match="are not numbers"):
        write_submission(tmp_path / "guesses.txt", FILES, WNIDS, posteriors)
    assert not list(tmp_path.iterdir())


def test_the_file_with_boxes_by_hand(tmp_path: Path) -> None:
    """Two guesses an image: devkit number and whole pixels, in the order of the images' names."""
    guesses = np.array([[0, 4], [3, 0], [4, 4], [0, 3]])
    boxes = np.zeros((4, 2, 4))
    boxes[0] = [[10, 20, 30, 40], [11, 21, 31, 41]]
    boxes[1] = [[0, 0, 499, 374], [0.4, 0.6, 498.7, 373.4]]
    boxes[2] = [[5, 6, 7, 8], [50, 60, 70, 80]]
    boxes[3] = [[1, 2, 3, 4], [100, 200, 300, 399]]
    write_localization_submission(tmp_path / "boxes.txt", FILES, WNIDS, guesses, boxes.astype(np.float32))
    assert (tmp_path / "boxes.txt").read_bytes() == (
        b"1 5 6 7 8 1 50 60 70 80\n"
        b"3 0 0 499 374 449 0 1 499 373\n"
        b"449 10 20 30 40 1 11 21 31 41\n"
        b"449 1 2 3 4 3 100 200 300 399\n"
    )


def test_boxes_of_a_net_that_overflowed_or_of_other_classes_are_not_submitted(tmp_path: Path) -> None:
    guesses, boxes = np.zeros((4, 5), np.int64), np.ones((4, 5, 4))
    with pytest.raises(VerydeepError, match=r"'ant' is not one of them; omit `submission`"):
        write_localization_submission(tmp_path / "boxes.txt", FILES, ("ant", *WNIDS[1:]), guesses, boxes)
    boxes[3, 4, 2] = np.inf
    with pytest.raises(VerydeepError, match="are not numbers"):
        write_localization_submission(tmp_path / "boxes.txt", FILES, WNIDS, guesses, boxes)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def real_lists(real_data: Path) -> Path:
    return real_data / "ilsvrc"


@pytest.mark.data
def test_the_classes_are_those_of_the_devkit_and_of_caffe(real_lists: Path) -> None:
    loadmat = pytest.importorskip("scipy.io", reason="reads meta.mat").loadmat
    synsets = loadmat(real_lists / "meta.mat", squeeze_me=True)["synsets"]
    leaves = {str(each["WNID"]): each for each in synsets if each["num_children"] == 0}
    classes = ilsvrc_classes()
    assert {wnid: (known.devkit_id, known.words) for wnid, known in classes.items()} == {
        wnid: (int(each["ILSVRC2012_ID"]), str(each["words"])) for wnid, each in leaves.items()
    }
    caffe = [line.split(" ", 1) for line in (real_lists / "synset_words.txt").read_text().splitlines()]
    assert [[wnid, known.words] for wnid, known in classes.items()] == caffe
    later = [line.split() for line in (real_lists / "map_clsloc.txt").read_text().splitlines()]
    assert {wnid: known.devkit_id for wnid, known in classes.items()} == {wnid: int(n) for wnid, n, _ in later}


@pytest.mark.data
def test_who_knows_the_true_classes_submits_the_ground_truth(real_lists: Path, tmp_path: Path) -> None:
    """The labels of 100 validation images in Caffe's order against the devkit's list of numbers."""
    with tarfile.open(real_lists / "val-100.tar") as archive:
        names = [member.name for member in archive if member.name.endswith("labels-caffe-order.txt")]
        stream = archive.extractfile(names[0])
        assert stream is not None
        labels = [line.split() for line in stream.read().decode().splitlines()]
    assert len(labels) == 100
    labels = labels[::-1]
    posteriors = np.full((100, 1000), 0.0005)
    posteriors[np.arange(100), [int(label) for _, label in labels]] = 0.5
    write_submission(tmp_path / "guesses.txt", [file for file, _ in labels], list(ilsvrc_classes()), posteriors)
    truth = (real_lists / "ILSVRC2012_validation_ground_truth.txt").read_text().split()
    places = sorted(int(file.removesuffix(".JPEG")[-8:]) for file, _ in labels)
    guessed = [line.split() for line in (tmp_path / "guesses.txt").read_text().splitlines()]
    assert [guesses[0] for guesses in guessed] == [truth[place - 1] for place in places]
    assert all(len(set(guesses)) == 5 for guesses in guessed)


@pytest.mark.data
def test_the_whole_image_under_its_true_class_scores_what_brute_force_gave(real_lists: Path, tmp_path: Path) -> None:
    """58.529% of the images outside the blacklist (README there); the file is read and scored as eval_clsloc.m does it.

    Files come in another order, classes in Caffe's; the true one stands at any of the five places, the other four
    guesses are small boxes of other classes.
    """
    loadmat = pytest.importorskip("scipy.io", reason="reads the devkit's boxes").loadmat
    with gzip.open(real_lists / "validation_image_sizes.csv.gz", "rt") as lines:
        sizes = {name: (int(width), int(height)) for name, width, height in csv.reader(lines)}
    numbers = np.loadtxt(real_lists / "ILSVRC2012_validation_ground_truth.txt", np.int64)
    wnids = list(ilsvrc_classes())
    index_of = {known.devkit_id: index for index, known in enumerate(ilsvrc_classes().values())}
    names = sorted(sizes)
    rng = np.random.default_rng(0)
    order = rng.permutation(50_000)
    labels = np.array([index_of[number] for number in numbers[order].tolist()])
    guesses = (labels[:, None] + [0, 3, 77, 400, 999]) % 1000
    boxes = np.tile([3.0, 4, 20, 30], (50_000, 5, 1))
    boxes[:, 0] = [(0, 0, width - 1, height - 1) for width, height in (sizes[names[i]] for i in order)]
    places = rng.permuted(np.tile(np.arange(5), (50_000, 1)), axis=1)
    guesses, boxes = np.take_along_axis(guesses, places, axis=1), np.take_along_axis(boxes, places[..., None], axis=1)
    files = [f"{i % 7}/{names[i]}" for i in order]
    write_localization_submission(tmp_path / "boxes.txt", files, wnids, guesses, boxes)

    records = loadmat(real_lists / "clsloc_validation_boxes.mat", squeeze_me=True)["rec"]
    blacklist = set(map(int, (real_lists / "clsloc_validation_blacklist.txt").read_text().split()))
    answers = (tmp_path / "boxes.txt").read_text().splitlines()
    assert len(answers) == len(records) == 50_000
    wrong = []
    for number, (line, record) in enumerate(zip(answers, records, strict=True), start=1):
        fields = list(map(int, line.split()))
        assert len(fields) == 25
        best = 1
        for label, *box in (fields[start : start + 5] for start in range(0, 25, 5)):
            for each in np.atleast_1d(record["objects"]):
                if label == int(each["label"]) and overlap(box, list(map(int, each["bbox"]))) >= 0.5:
                    best = 0
        wrong.append((best, number in blacklist))
    counted = [error for error, listed in wrong if not listed]
    assert len(counted) == 48_238
    assert 100 * np.mean(counted) == pytest.approx(58.529, abs=5e-4)
    assert 100 * np.mean([error for error, _ in wrong]) == pytest.approx(59.298, abs=5e-4)


def overlap(a: list[int], b: list[int]) -> float:
    """compute_overlap.m."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return -1
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)
