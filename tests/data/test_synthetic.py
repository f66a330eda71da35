"""The generated set: its bytes, its boxes, what does and does not tell its classes apart, and how it survives."""

import csv
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from colorsys import rgb_to_hsv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.data import synthetic
from verydeep.data.synthetic import CLASS_NAMES, generate, is_generated, open_generated, render
from verydeep.errors import VerydeepError

COUNTS = {"train": 130, "val": 10, "test": 20}


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated") / "set"
    assert list(generate(root, seed=3, counts=COUNTS, processes=1))[-1] == 160
    return root


@pytest.fixture(scope="module")
def pictures():
    return [render(5, "train", index) for index in range(900)]


@pytest.mark.parametrize("processes", [2, 3])
def test_bytes_do_not_depend_on_the_number_of_processes(made, tmp_path, processes):
    done = list(generate(tmp_path / "set", seed=3, counts=COUNTS, processes=processes))
    assert done == sorted(done)
    assert done[-1] == 160
    assert digest(tmp_path / "set") == digest(made)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_seed_split_and_index_each_change_the_picture():
    drawn = [render(*key).pixels for key in ((0, "train", 4), (1, "train", 4), (0, "val", 4), (0, "train", 14))]
    assert len({pixels.tobytes() for pixels in drawn}) == 4
    assert np.array_equal(render(0, "train", 4).pixels, drawn[0])


def test_works_in_a_script_read_from_a_pipe(made, tmp_path):
    script = (
        "from pathlib import Path; from verydeep.data.synthetic import generate\n"
        f"print(list(generate(Path({str(tmp_path / 'set')!r}), seed=3, counts={COUNTS}, processes=2))[-1])\n"
        "import sys; assert 'torch' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-"], input=script, text=True, capture_output=True, check=True)
    assert answer.stdout.strip() == "160"
    assert digest(tmp_path / "set") == digest(made)


def test_layout_reads_as_class_folders_and_as_a_split(made):
    assert is_generated(made)
    for name, count in COUNTS.items():
        split = open_generated(made, name)
        assert len(split) == count
        assert list(split.files) == sorted(p.relative_to(made).as_posix() for p in (made / name).glob("*/*"))
        assert split.class_names == tuple(sorted(path.name for path in (made / name).iterdir()))
        assert [CLASS_NAMES[label] for label in split.labels] == [file.split("/")[1] for file in split.files]
        assert np.bincount(split.labels, minlength=10).tolist() == [count // 10] * 10
        assert split.camera_rotation is False
        assert split.layout == "the generated set, 10 outlines"
        for i, file in enumerate(split.files):
            picture = render(3, name, int(Path(file).stem))
            assert picture.label == split.labels[i]
            assert split.boxes[i].tolist() == [list(picture.box)]
            with Image.open(split.path(i)) as image:
                assert (image.format, image.size) == ("JPEG", picture.pixels.shape[1::-1])
                error = np.abs(np.asarray(image, float) - picture.pixels).mean()
            assert error < 12  # JPEG's own loss on noise; another picture differs by more than 25


def test_boxes_are_those_of_the_masks_and_wholly_inside(pictures):
    for picture in pictures:
        ys, xs = np.nonzero(picture.mask)
        assert picture.box == (xs.min(), ys.min(), xs.max(), ys.max())
        assert picture.pixels.shape == (*picture.mask.shape, 3)
        # The box was found before the object was put into the picture: had the border cut it, they would differ.


def test_the_mask_is_where_the_object_is_seen(pictures):
    """Shifted by two pixels in any direction, the mask fits the brighter region of the picture less well."""
    fits = {shift: [] for shift in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))}
    for picture in pictures[:300]:
        brightness = picture.pixels.mean(axis=2)
        for shift, fit in fits.items():
            mask = np.roll(picture.mask, shift, axis=(0, 1))
            fit.append(brightness[mask].mean() - brightness[~mask].mean())
    here = np.array(fits.pop((0, 0)))
    assert (here > 40).all()  # brighter than the background, each of them
    for fit in fits.values():
        assert (here > fit).mean() > 0.97


def test_shapes_are_rectangular_and_differ(pictures):
    shapes = np.array([picture.mask.shape for picture in pictures])
    assert 0.45 < (shapes[:, 0] > shapes[:, 1]).mean() < 0.55
    assert (shapes[:, 0] != shapes[:, 1]).all()
    assert len({tuple(shape) for shape in shapes.tolist()}) > 400
    assert np.abs(np.median(shapes.min(axis=1)) - 112) < 3
    assert np.abs(np.median(shapes.max(axis=1)) - 144) < 4


def test_sizes_are_log_uniform_whatever_the_class(pictures):
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with verydeep[test]")
    boxes = np.array([picture.box for picture in pictures])
    longer = (boxes[:, 2:] - boxes[:, :2] + 1).max(axis=1)
    share = longer / [min(picture.mask.shape) for picture in pictures]
    assert share.min() >= 0.15
    assert share.max() <= 0.60
    uniform = np.log(share / 0.15) / np.log(4)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    labels = np.array([picture.label for picture in pictures])
    assert stats.kruskal(*(uniform[labels == k] for k in range(10))).pvalue > 1e-3


def test_hue_says_nothing_about_the_class(pictures):
    """Neither the object's hue nor the background's: no dependence on the class in either."""
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with verydeep[test]")
    labels = np.array([picture.label for picture in pictures])
    for inside in (True, False):
        colors = [p.pixels[p.mask == inside].mean(axis=0) / 255 for p in pictures]
        sixth = np.array([int(6 * rgb_to_hsv(*color)[0]) % 6 for color in colors])
        table = np.zeros((10, 6), int)
        np.add.at(table, (labels, sixth), 1)
        assert (table.sum(axis=0) > 60).all()  # every hue occurs
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_outlines_differ_also_when_flipped():
    """The flips of training turn no class into another: best overlap with any other class's mirror image."""
    outlines = []
    for points in (synthetic._OUTLINES[name] for name in CLASS_NAMES):
        low, high = points[0].min(axis=0), points[0].max(axis=0)
        scaled = [60 * (polygon - low) / (high - low) + 2 for polygon in points]
        outlines.append(synthetic._rasterize(scaled)[:64, :64] >= 0.5)
    for i, one in enumerate(outlines):
        for other in outlines[:i] + outlines[i + 1 :]:
            assert (one & other[:, ::-1]).sum() / (one | other[:, ::-1]).sum() < 0.95


def test_nearest_thumbnails_do_not_tell_the_classes(pictures):
    """k-NN on 8x8 thumbnails, in color and in standardized grey, errs on at least 70% of the test images."""
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn comes with verydeep[test]")

    def thumbnails(drawn):
        small = [Image.fromarray(p.pixels).resize((8, 8), Image.Resampling.BOX) for p in drawn]
        color = np.stack([np.asarray(image, float) for image in small]).reshape(len(drawn), -1)
        grey = color.reshape(len(drawn), 64, 3).mean(axis=2)
        standardized = (grey - grey.mean(axis=1, keepdims=True)) / grey.std(axis=1, keepdims=True)
        return color, standardized, np.array([p.label for p in drawn])

    *train, labels = thumbnails(pictures)
    *test, truth = thumbnails([render(5, "test", index) for index in range(500)])
    for known, asked in zip(train, test, strict=True):
        for k in (1, 5):
            nearest = neighbors.KNeighborsClassifier(n_neighbors=k).fit(known, labels)
            assert (nearest.predict(asked) != truth).mean() >= 0.70


def test_a_second_call_on_a_complete_set_writes_nothing(made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert list(generate(made, seed=3, counts=COUNTS)) == []
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_call_is_gone_on_with(made, tmp_path, monkeypatch, processes):
    root = tmp_path / "set"
    progress = generate(root, seed=3, counts=COUNTS, processes=processes)
    assert [next(progress), next(progress)] == [0, 100]
    progress.close()
    assert not root.exists()
    assert not is_generated(root)
    drawn = []
    monkeypatch.setattr(synthetic, "render", lambda *key: drawn.append(key) or render(*key))
    resumed = list(generate(root, seed=3, counts=COUNTS, processes=1))
    assert resumed[0] >= 100
    assert len(drawn) == 160 - resumed[0]
    assert digest(root) == digest(made)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_killed_process_leaves_no_set_and_no_workers(made, tmp_path):
    root = tmp_path / "set"
    script = (
        "from pathlib import Path; from verydeep.data.synthetic import generate\n"
        f"for done in generate(Path({str(root)!r}), seed=3, counts={COUNTS}, processes=2): print(done, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "0\n"
        deadline = time.monotonic() + 20
        pictures = (tmp_path / ".set.partial" / "set").rglob
        while not any(pictures("*.jpg")):
            assert time.monotonic() < deadline
        process.kill()
    assert not root.exists()
    deadline = time.monotonic() + 20
    count = -1
    while count != (count := sum(1 for _ in pictures("*.jpg"))):  # the workers end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for _ in generate(root, seed=3, counts=COUNTS, processes=2):
        pass
    assert digest(root) == digest(made)


def test_a_part_made_for_another_seed_is_not_used(made, tmp_path):
    root = tmp_path / "set"
    other = generate(root, seed=4, counts=COUNTS, processes=1)
    assert [next(other), next(other)] == [0, 100]
    other.close()
    assert min(generate(root, seed=3, counts=COUNTS, processes=1)) == 0
    assert digest(root) == digest(made)


def test_another_process_that_was_first_is_no_error(made, tmp_path):
    root = tmp_path / "set"
    late = generate(root, seed=3, counts=COUNTS, processes=1)
    assert next(late) == 0
    list(generate(root, seed=3, counts=COUNTS, processes=1))
    list(late)
    assert digest(root) == digest(made)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    list(generate(tmp_path / "empty", counts={"val": 10}, processes=1))
    assert len(open_generated(tmp_path / "empty", "val")) == 10
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(VerydeepError, match="in the way"):
        list(generate(tmp_path / "photos", counts={"val": 10}))
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(VerydeepError, match="in the way"):
        list(generate(tmp_path / "empty", seed=1, counts={"val": 10}))


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for processes in (1, 2):
        with pytest.raises(VerydeepError, match="cannot be written"):
            list(generate(tmp_path / "file" / "set", counts={"val": 300}, processes=processes))


def test_what_a_worker_could_not_write_is_told(tmp_path):
    root = tmp_path / "set"
    progress = generate(root, counts={"val": 300}, processes=2)
    assert next(progress) == 0
    shutil.rmtree(tmp_path / ".set.partial")
    with pytest.raises(VerydeepError, match="No such file"):
        list(progress)
    assert not root.exists()


def test_other_versions_and_damage_are_told(made, tmp_path, monkeypatch):
    root = tmp_path / "set"
    shutil.copytree(made, root)
    assert not is_generated(tmp_path)
    with pytest.raises(VerydeepError, match="not the generated set"):
        open_generated(tmp_path, "val")
    with pytest.raises(VerydeepError, match="no part 'validation'"):
        open_generated(root, "validation")
    with (root / "val_boxes.csv").open() as file:
        rows = list(csv.reader(file))
    (root / "val_boxes.csv").write_text("\n".join(",".join(row[:4]) for row in rows))
    with pytest.raises(VerydeepError, match="damaged"):
        open_generated(root, "val")
    monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
    assert is_generated(root)
    with pytest.raises(VerydeepError, match="not the generated set of this version"):
        open_generated(root, "test")
    with pytest.raises(VerydeepError, match="in the way"):
        list(generate(root, seed=3, counts=COUNTS))
