"""Which boxes are used: every defect alone, under each policy, and the same boxes from every source."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.sets import ilsvrc_trees as trees
from tests.data.test_annotations import xml
from verydeep.data.box_annotations import BoxReport, add_boxes, read_boxes
from verydeep.data.box_checks import BadBoxes
from verydeep.data.layout import open_split
from verydeep.data.sets.preparation import find_ilsvrc, prepare_ilsvrc
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

WIDTH, HEIGHT = 50, 40
GOOD = (3, 4, 20, 30)
HEADER = "path,label,xmin,ymin,xmax,ymax\n"


def boxes_of(root: Path, part: str, bad_boxes: BadBoxes = "error", workers: int = 0) -> tuple[Split, BoxReport]:
    split = open_split(root, part)
    return add_boxes(split, read_boxes(split, root, bad_boxes, workers))


def lists(split: Split) -> dict[str, list[list[float]]]:
    assert split.boxes is not None
    return {file: boxes.tolist() for file, boxes in zip(split.files, split.boxes, strict=True)}


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """train/ and val/ of two classes with two images each, and no boxes."""
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in (1, 2):
                Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def boxed(pets: Path) -> Path:
    """The same with one good box for every image of train/, in XML."""
    for name in ("cat", "dog"):
        for number in (1, 2):
            put(pets / f"Annotations/train/{name}/{number}.xml", xml(GOOD, name=name))
    return pets


def test_every_source_gives_the_same(pets: Path) -> None:
    """XML in folders, beside the images, and flat where names allow; CSV with paths from the root."""
    expected = {f"{name}/{n}.png": [[3 + n, 4, 20, 30], [0, 0, 9, 39]] for name in ("cat", "dog") for n in (1, 2)}
    rows = {file: [tuple(map(int, box)) for box in boxes] for file, boxes in expected.items()}

    def from_xml(place: str) -> None:
        for file, boxes in rows.items():
            put(pets / place / file.replace(".png", ".xml"), xml(*boxes, name=file.split("/")[0]))

    for place in ("train", "Annotations", "Annotations/train"):  # the last found comes first
        from_xml(place)
        split, report = boxes_of(pets, "train")
        assert lists(split) == expected, place
        assert (report.num_images, report.num_boxed, report.num_boxes) == (4, 4, 8)
        assert str(report) == "8 boxes on 4 of 4 images"
    lines = [f"train/{file},{file.split('/')[0]},{','.join(map(str, b))}\n" for file, bs in rows.items() for b in bs]
    put(pets / "boxes.csv", "\ufeff" + HEADER + "".join(lines[::-1]) + "val/cat/1.png,cat,1,2,3,4\n")
    split, _ = boxes_of(pets, "train")
    assert {file: sorted(boxes) for file, boxes in lists(split).items()} == {
        file: sorted(boxes) for file, boxes in expected.items()
    }
    assert split.boxes is not None
    assert all(boxes.dtype == np.float32 for boxes in split.boxes)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(boxed: Path, workers: int) -> None:
    put(boxed / "Annotations/train/cat/2.xml", xml((-9, 0, 20, 30)))
    found = boxes_of(boxed, "train", "clip", workers)
    assert lists(found[0])["cat/2.png"] == [[0, 0, 20, 30]]
    assert [problem.action for problem in found[1].problems] == ["clipped"]


def test_flat_folders_with_annotations_beside_the_classes(pets: Path) -> None:
    """The folder is no class, and the images of the other part are no reason to complain."""
    for file in (pets / "val").rglob("*.png"):
        file.unlink()
    root = pets / "train"
    for name in ("cat", "dog"):
        for number in range(3, 8):
            Image.new("RGB", (WIDTH, HEIGHT)).save(root / name / f"{number}.png")
        for number in range(1, 8):
            put(root / f"Annotations/{name}/{number}.xml", xml(GOOD, name=name))
    parts = [boxes_of(root, part)[0] for part in ("train", "val")]
    assert parts[0].class_names == ("cat", "dog")
    assert [len(part) for part in parts] == [12, 2]
    assert all(boxes == [list(GOOD)] for part in parts for boxes in lists(part).values())


@pytest.mark.parametrize(
    ("box", "message", "clipped"),
    [
        ((-5, 4, 20, 30), "reaches beyond the image of 50x40", [0, 4, 20, 30]),
        ((3, -2, 20, 30), "reaches beyond the image of 50x40", [3, 0, 20, 30]),
        ((3, 4, 51, 30), "reaches beyond the image of 50x40", [3, 4, 49, 30]),
        ((3, 4, 20, 41), "reaches beyond the image of 50x40", [3, 4, 20, 39]),
        ((20, 4, 3, 30), "has a min larger than its max", [3, 4, 20, 30]),
        ((3, 30, 20, 4), "has a min larger than its max", [3, 4, 20, 30]),
        ((3, 4, 3, 30), "has no area", None),
        ((3, 30, 20, 30), "has no area", None),
        ((70, 4, 90, 30), "reaches beyond the image of 50x40 and has no area", None),
        ((90, 4, 45, 30), "has a min larger than its max and reaches beyond the image of 50x40", [45, 4, 49, 30]),
    ],
)
@pytest.mark.parametrize("source", ["xml", "csv"])
def test_a_bad_box_is_an_error_clipped_or_left_out(
    boxed: Path, source: str, box: tuple[int, ...], message: str, clipped: list[int] | None
) -> None:
    """The second box of an image, so that the sentence has to count."""
    if source == "xml":
        put(boxed / "Annotations/train/dog/1.xml", xml(GOOD, box, name="dog"))  # type: ignore[arg-type]
        where = f"Object 2 of {boxed / 'Annotations/train/dog/1.xml'}"
    else:
        images = [f"train/{name}/{n}.png,{name}" for name in ("cat", "dog") for n in (1, 2)]
        lines = [f"{image},3,4,20,30\n" for image in images] + [f"train/dog/1.png,dog,{','.join(map(str, box))}\n"]
        put(boxed / "boxes.csv", HEADER + "".join(lines))
        where = f"Line 6 of {boxed / 'boxes.csv'}"
    with pytest.raises(VerydeepError) as error:
        boxes_of(boxed, "train")
    assert str(error.value) == f"{where} {message}; correct it, or choose `bad_boxes=clip` or `bad_boxes=skip`."
    split, report = boxes_of(boxed, "train", "clip")
    done = "left out" if clipped is None else "clipped"
    assert [str(problem) for problem in report.problems] == [f"{where} {message}: {done}"]
    assert lists(split)["dog/1.png"] == [list(GOOD)] + ([] if clipped is None else [clipped])
    assert str(report) == f"{4 + (clipped is not None)} boxes on 4 of 4 images; 1 {done}"
    split, report = boxes_of(boxed, "train", "skip")
    assert [str(problem) for problem in report.problems] == [f"{where} {message}: left out"]
    assert lists(split)["dog/1.png"] == [list(GOOD)]


@pytest.mark.parametrize(
    ("box", "cut"), [((0, 0, 50, 40), [0, 0, 49, 39]), ((-1, -1, 49, 39), [0, 0, 49, 39]), ((0, 0, 49, 39), None)]
)
def test_the_pixel_in_which_conventions_differ_is_cut_off(
    boxed: Path, box: tuple[int, int, int, int], cut: list[int] | None
) -> None:
    put(boxed / "Annotations/train/cat/1.xml", xml(box))
    split, report = boxes_of(boxed, "train")
    assert lists(split)["cat/1.png"] == [cut or list(box)]
    assert report.problems == ()


@pytest.mark.parametrize("policy", ["clip", "skip"])
@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "cat/1.xml",
            xml(GOOD, name="unicorn"),
            r"Object 1 of .*cat/1\.xml has a class that the set does not have, ",
        ),
        ("cat/1.xml", xml(GOOD, name="dog"), r"train/cat/1\.png has no box of its class"),
        ("cat/1.xml", xml(), r"train/cat/1\.png has no box of its class"),
        ("cat/1.xml", None, r"train/cat/1\.png has no annotation"),
        ("cat/1.xml", "<annotation>", r"cat/1\.xml is not XML"),
        ("cat/1.xml", xml(("x", 1, 2, 3)), r"Object 1 of .*cat/1\.xml has a box that is not four numbers"),
        ("cat/1.xml", xml(GOOD, size=(40, 50)), r"1\.png has 50x40 pixels, but its boxes were drawn on 40x50"),
    ],
)
def test_an_annotation_that_does_not_fit_is_an_error_or_left_out(
    boxed: Path, file: str, text: str | None, message: str, policy: BadBoxes
) -> None:
    (boxed / "Annotations/train" / file).unlink()
    if text is not None:
        put(boxed / "Annotations/train" / file, text)
    with pytest.raises(VerydeepError, match=rf"{message}.*; correct it, or choose `bad_boxes=clip`"):
        boxes_of(boxed, "train")
    split, report = boxes_of(boxed, "train", policy)
    assert len(report.problems) == 1
    assert report.problems[0].action == "left out"
    assert lists(split) == {"cat/1.png": [], **{f"{rest}.png": [list(GOOD)] for rest in ("cat/2", "dog/1", "dog/2")}}
    assert split.boxed().files == ("cat/2.png", "dog/1.png", "dog/2.png")
    assert split.boxed().labels is not None
    assert split.boxed().labels.tolist() == [0, 1, 1]  # type: ignore[union-attr]


def test_an_annotation_without_image_is_reported_first(boxed: Path) -> None:
    put(boxed / "Annotations/train/dog/7.xml", xml(GOOD, name="dog"))
    put(boxed / "Annotations/train/cat/1.xml", "broken")
    with pytest.raises(VerydeepError, match=r"train/dog/7\.xml has no image in the data set; correct it"):
        boxes_of(boxed, "train")
    _, report = boxes_of(boxed, "train", "skip")
    assert [problem.description.rsplit("/", 1)[-1].split(" (")[0] for problem in report.problems] == [
        "7.xml has no image in the data set",
        "1.xml is not XML",
    ]


@pytest.mark.parametrize("path", ["train/cat/9.png", "../outside.png", "/etc/passwd", ""])
def test_a_line_without_image_is_an_error(pets: Path, path: str) -> None:
    (pets.parent / "outside.png").write_bytes((pets / "train/cat/1.png").read_bytes())
    images = [f"train/{name}/{n}.png,{name}" for name in ("cat", "dog") for n in (1, 2)]
    put(pets / "boxes.csv", HEADER + f"{path},cat,1,2,3,4\n" + "".join(f"{image},3,4,20,30\n" for image in images))
    with pytest.raises(VerydeepError, match=rf"Line 2 of .*boxes\.csv \('{path}'\) has no image"):
        boxes_of(pets, "train")
    assert boxes_of(pets, "train", "skip")[1].num_boxed == 4


@pytest.mark.parametrize(
    ("prefix", "named"),
    [("pets/train/", "pets/train/cat/1.png"), ("", "cat/1.png"), ("C:\\\\pets\\\\", "C:\\\\pets\\\\cat/1.png")],
)
def test_wrong_paths_throughout_are_one_error_with_a_right_one(pets: Path, prefix: str, named: str) -> None:
    lines = [f"{prefix}{name}/{n}.png,{name},3,4,20,30\n" for name in ("cat", "dog") for n in (1, 2)]
    put(pets / "boxes.csv", HEADER + "".join(lines).replace("\\\\", "\\"))
    for policy in ("error", "skip"):
        with pytest.raises(VerydeepError) as error:
            boxes_of(pets, "train", policy)
        assert str(error.value) == (
            f"No path in {pets / 'boxes.csv'} is a file: paths begin at {pets}, such as 'train/cat/1.png', and line 2 "
            f"has '{named}'."
        )


def test_a_name_in_other_case_is_an_error_that_names_the_image(pets: Path) -> None:
    lines = [f"train/{name}/{n}.png,{name},3,4,20,30\n" for name in ("cat", "dog") for n in (1, 2)]
    put(pets / "boxes.csv", HEADER + "".join(lines).replace("cat/1.png", "Cat/1.PNG"))
    lost = (
        r"Line 2 of .*boxes\.csv \('train/Cat/1\.PNG'\) has no image in the data set, but 'train/cat/1\.png' is there"
    )
    with pytest.raises(VerydeepError, match=f"{lost}; correct it"):
        boxes_of(pets, "train")
    put(pets / "boxes.csv", HEADER + "".join(lines).replace("train", "Train"))
    with pytest.raises(VerydeepError) as error:
        boxes_of(pets, "train")
    assert str(error.value) == (
        f"No path in {pets / 'boxes.csv'} is a file: line 2 has 'Train/cat/1.png'; did you mean 'train/cat/1.png'?"
    )


@pytest.mark.parametrize("name", ["cat/ONE.xml", "ONE.xml"])
def test_an_xml_file_in_other_case_is_an_error_that_names_the_image(boxed: Path, name: str) -> None:
    (boxed / "train/cat/1.png").rename(boxed / "train/cat/one.png")
    (boxed / "Annotations/train/cat/1.xml").rename(boxed / "Annotations/train" / name)
    with pytest.raises(
        VerydeepError, match=r"ONE\.xml has no image in the data set, but 'cat/one\.png' is there; correct"
    ):
        boxes_of(boxed, "train")


def test_a_line_may_have_the_whole_path_of_an_image(pets: Path) -> None:
    lines = [f"{pets}/train/{name}/{n}.png,{name},3,4,20,30\n" for name in ("cat", "dog") for n in (1, 2)]
    put(pets / "boxes.csv", HEADER + "".join(lines))
    assert all(boxes == [list(GOOD)] for boxes in lists(boxes_of(pets, "train")[0]).values())


def test_xml_files_none_of_which_has_an_image_are_one_error(pets: Path) -> None:
    for number in (1, 2):
        put(pets / f"Annotations/cat_{number}.xml", xml(GOOD, name="cat"))
    with pytest.raises(
        VerydeepError, match=r"No XML file in .*Annotations has the name of an image: .* needs cat/1\.xml"
    ):
        boxes_of(pets, "train", "skip")


@pytest.mark.parametrize(
    "header", ["LABEL,Path,xmin,ymin,xmax,ymax", "label, path ,xMin,ymin,xmax,ymax", "label,path,xmin,ymin,xmax,ymax"]
)
def test_columns_have_any_order_and_case(pets: Path, header: str) -> None:
    images = [f"{name},train/{name}/{n}.png" for name in ("cat", "dog") for n in (1, 2)]
    put(pets / "boxes.csv", f"{header}\n" + "".join(f"{image},3,4,20,30\n" for image in images))
    assert all(boxes == [list(GOOD)] for boxes in lists(boxes_of(pets, "train")[0]).values())
    put(pets / "boxes.csv", "ymax,xmax,ymin,xmin,label,path\n" + "30,20,4,3,cat,train/cat/1.png\n")
    assert lists(boxes_of(pets, "train", "skip")[0])["cat/1.png"] == [list(GOOD)]
    for line in ("cat", "cat,train/cat/1.png,3,4,20", "cat,train/cat/1.png,3,4,20,30,7"):
        put(pets / "boxes.csv", f"{header}\n{line}\n")
        with pytest.raises(VerydeepError, match=r"Line 2 of"):
            boxes_of(pets, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train/cat/1.png,cat,3,4,20,30\n", r"Line 1 of .*boxes\.csv is .*; it must be path,label,xmin,ymin,xmax,ymax"),
        (HEADER.encode("utf-16").decode("latin-1"), r"Line 1 of .*boxes\.csv is .* it must be|cannot be read"),
        (HEADER + "train/cat/1.png,cat,3,4,20\n", r"Line 2 of .*boxes\.csv has a box that is not four numbers"),
        (HEADER + "train/cat/1.png,cat,3,4,20,30,7\n", r"Line 2 of .*boxes\.csv has a box that is not four numbers"),
        (HEADER + "train/cat/1.png\n", r"Line 2 of .*boxes\.csv has a box that is not four numbers"),
        (HEADER + "\ntrain/cat/1.png,cat,3,4,far,30\n", r"Line 3 of .*boxes\.csv has a box that is not four numbers"),
        (HEADER + "train/cat/1.png,lion,3,4,20,30\n", r"Line 2 of .*boxes\.csv has a class .*'lion'"),
    ],
)
def test_a_damaged_table_is_reported_with_its_line(pets: Path, text: str, message: str) -> None:
    put(pets / "boxes.csv", text)
    with pytest.raises(VerydeepError, match=message):
        boxes_of(pets, "train")


def test_boxes_as_fractions_of_the_image_are_errors(pets: Path) -> None:
    images = [f"train/{name}/{n}.png,{name}" for name in ("cat", "dog") for n in (1, 2)]
    put(pets / "boxes.csv", HEADER + "".join(f"{image},0,0.25,0.5,1.0\n" for image in images))
    with pytest.raises(
        VerydeepError, match=r"All boxes in .*boxes\.csv are fractions of their images; multiply them by"
    ):
        boxes_of(pets, "train")
    put(pets / "boxes.csv", HEADER + "".join(f"{image},0,0.25,10.5,1.0\n" for image in images))
    assert boxes_of(pets, "train")[1].num_boxed == 4


def test_no_boxes_at_all_say_where_to_put_them(pets: Path) -> None:
    with pytest.raises(VerydeepError, match=r"holds no boxes; write them to .*boxes\.csv"):
        boxes_of(pets, "train")
    put(pets / "boxes.csv", HEADER)
    with pytest.raises(VerydeepError, match=r"No image in .* of 4 images; 4 left out; .*has no annotation"):
        boxes_of(pets, "train", "skip")
    with pytest.raises(VerydeepError, match=r"has no labels, so its boxes have no classes"):
        split = replace(open_split(pets, "train"), labels=None)
        next(read_boxes(split, pets))


def test_one_file_for_two_images_is_an_error(pets: Path) -> None:
    put(pets / "Annotations/1.xml", xml(GOOD))
    with pytest.raises(VerydeepError, match=r"1\.xml could belong to cat/1\.png or to dog/1\.png"):
        boxes_of(pets, "train", "skip")


def test_flat_annotations_go_by_the_names_of_images(pets: Path) -> None:
    for part in ("train", "val"):
        for file in list((pets / part).rglob("*.png")):
            name = f"{part}{file.parent.name}{file.stem}"
            file.rename(file.with_name(f"{name}.png"))
            put(pets / f"Annotations/{name}.xml", xml(GOOD, name=file.parent.name))
    assert boxes_of(pets, "train")[1].num_boxed == boxes_of(pets, "val")[1].num_boxed == 4


def test_both_normal_forms_of_a_name_match(pets: Path) -> None:
    """In XML and CSV, of files, folders and classes."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for part in ("train", "val"):
        (pets / part / "cat").rename(pets / part / decomposed)
        (pets / part / decomposed / "1.png").rename(pets / part / decomposed / f"{decomposed}.png")
    (pets / "boxes.csv").write_text(f"{HEADER}train/{composed}/{composed}.png,{composed},3,4,20,30\n", "utf-8")
    assert lists(boxes_of(pets, "train", "skip")[0])[f"{decomposed}/{decomposed}.png"] == [[3, 4, 20, 30]]
    (pets / "boxes.csv").unlink()
    put(pets / f"Annotations/train/{composed}/{composed}.xml", xml(GOOD, name=composed))
    split, report = boxes_of(pets, "train", "skip")
    assert lists(split)[f"{decomposed}/{decomposed}.png"] == [[*map(float, GOOD)]]
    assert report.num_boxes == 1 and len(report.problems) == 3


def test_boxes_lie_in_the_folder_that_an_archive_holds_twice(boxed: Path, tmp_path: Path) -> None:
    (tmp_path / "pets" / "pets").mkdir(parents=True)
    for path in (boxed / "train", boxed / "val", boxed / "Annotations"):
        path.rename(tmp_path / "pets" / "pets" / path.name)
    assert boxes_of(tmp_path / "pets", "train")[1].num_boxed == 4
    (tmp_path / "pets" / "pets" / "Annotations").rename(tmp_path / "other")
    lines = "".join(f"train/{name}/{n}.png,{name},3,4,20,30\n" for name in ("cat", "dog") for n in (1, 2))
    (tmp_path / "pets" / "pets" / "boxes.csv").write_text(HEADER + lines)
    assert boxes_of(tmp_path / "pets", "train")[1].num_boxed == 4


def test_boxes_drawn_at_another_size_scale_with_their_edges(pets: Path) -> None:
    """Twice as wide and high: 49 pixels from the 2nd on are 98 from the 4th on, however they are counted."""
    Image.new("RGB", (2 * WIDTH, 2 * HEIGHT)).save(pets / "train/cat/1.png")
    put(pets / "Annotations/train/cat/1.xml", xml((2, 10, 49, 39), (0, 0, 50, 40)))
    split, report = boxes_of(pets, "train", "skip")
    assert lists(split)["cat/1.png"] == [[4, 20, 99, 79], [0, 0, 99, 79]]
    assert [problem.description for problem in report.problems if "cat/1" in problem.description] == []


def test_the_cameras_rotation_turns_the_image_that_boxes_must_fit(pets: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(pets / "train/cat/1.png", exif=exif)
    put(pets / "Annotations/train/cat/1.xml", xml((0, 0, 39, 49), size=None))
    assert lists(boxes_of(pets, "train", "skip")[0])["cat/1.png"] == [[0, 0, 39, 49]]
    put(pets / "Annotations/train/cat/1.xml", xml((0, 0, 49, 39), size=None))
    assert lists(boxes_of(pets, "train", "clip")[0])["cat/1.png"] == [[0, 0, 39, 39]]


def test_an_image_without_header_keeps_its_boxes_for_bad_images_to_decide(boxed: Path) -> None:
    (boxed / "train/cat/1.png").write_bytes(b"no photograph")
    split, report = boxes_of(boxed, "train")
    assert lists(split)["cat/1.png"] == [list(GOOD)]
    assert report.problems == ()


def test_classes_go_by_their_words_too(boxed: Path) -> None:
    put(boxed / "words.txt", "cat\tdomestic cat, house cat\ndog\thound\n")
    for number, name in ((1, "Domestic_Cat"), (2, " house cat ")):
        put(boxed / f"Annotations/train/cat/{number}.xml", xml(GOOD, name=name))
    assert boxes_of(boxed, "train")[1].num_boxed == 4


# ILSVRC as it is handed out

DRAWN = (2 * trees.WIDTH, 2 * trees.HEIGHT)


def ilsvrc(root: Path, form: str) -> Path:
    """Kaggle's tree as it lies or prepared, with boxes for all of val and all but one image of every class of train."""
    kaggle = trees.make_kaggle(root / "kaggle")
    annotations = kaggle / "ILSVRC/Annotations/CLS-LOC"
    for file in annotations.rglob("*.xml"):
        file.unlink()
    ready = kaggle
    if form != "kaggle":
        ready = root / "ready"
        for _ in prepare_ilsvrc(find_ilsvrc(kaggle), ready):
            pass
        annotations = ready / "Annotations"
    for wnid, names in trees.TRAIN.items():
        for name in names[1:]:
            folder = annotations / ("train" if form != "train archive" else "") / wnid
            put(folder / name.replace(".JPEG", ".xml"), xml((10, 20, 49, 39), name=wnid, size=DRAWN))
    for name, wnid in trees.VAL.items():
        put(annotations / "val" / name.replace(".JPEG", ".xml"), xml((5, 10, 20, 25), name=wnid, size=DRAWN))
    return ready


@pytest.mark.parametrize("form", ["kaggle", "prepared", "train archive"])
def test_ilsvrc_xml_in_every_place_drawn_at_twice_the_size(tmp_path: Path, form: str) -> None:
    root = ilsvrc(tmp_path, form)
    put(next(root.rglob("Annotations/**/val")).parent / "n09999999/n09999999_1.xml", xml(GOOD))  # no class of these
    split, report = boxes_of(root, "train")
    for file, boxes in lists(split).items():
        first = Path(file).name == trees.TRAIN[file.split("/")[0]][0]
        assert boxes == ([] if first else [[5, 10, 24, 19]])
    assert report.problems == ()
    assert report.known_defects == {"training images without boxes": 4, "drawn at another size": 7}
    split, report = boxes_of(root, "val")
    assert set(map(str, lists(split).values())) == {"[[2.5, 5.0, 9.5, 12.0]]"}
    assert (report.num_boxed, report.known_defects) == (6, {"drawn at another size": 6})


def test_known_defects_of_ilsvrc_are_mended_and_counted_under_every_policy(tmp_path: Path) -> None:
    root = ilsvrc(tmp_path, "prepared")
    folder = root / "Annotations/train/n02119789"
    w, h = trees.WIDTH, trees.HEIGHT
    boxes = ((-3, 2, 20, 9999), (30, 20, 5, 3), (w + 5, 0, w + 9, 9), ("4.25", 3, 9, 9))
    put(folder / "n02119789_40.xml", xml(*boxes, name="kit_fox", size=(w, h)))
    for policy in ("error", "clip", "skip"):
        split, report = boxes_of(root, "train", policy)
        assert lists(split)["n02119789/n02119789_40.JPEG"] == [[0, 2, 20, h - 1], [5, 3, 30, 20], [4.25, 3, 9, 9]]
        assert report.problems == ()
        counted = {"beyond the image": 2, "in the wrong order": 1, "of no area": 1, "drawn at another size": 6}
        assert report.known_defects == counted | {"training images without boxes": 4}
        assert "known defects: 2 beyond the image, 6 drawn at another size" in str(report)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("val/ILSVRC2012_val_00000003.xml", None, r"ILSVRC2012_val_00000003\.JPEG has no annotation"),
        ("val/ILSVRC2012_val_00000099.xml", xml(GOOD), r"ILSVRC2012_val_00000099\.xml has no image"),
        (
            "val/ILSVRC2012_val_00000003.xml",
            trees.ANNOTATION,
            r"class that the set does not have, 'Scottish_deerhound'",
        ),
    ],
)
def test_other_defects_of_ilsvrc_are_not(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    root = ilsvrc(tmp_path, "prepared")
    if text is None:
        (root / "Annotations" / file).unlink()
    else:
        put(root / "Annotations" / file, text)
    with pytest.raises(VerydeepError, match=message):
        boxes_of(root, "val")


def test_kaggles_lists_stand_in_for_missing_xml(tmp_path: Path) -> None:
    kaggle = trees.make_kaggle(tmp_path)
    (kaggle / "ILSVRC/Annotations").rename(kaggle / "elsewhere")
    lines = [f"{n[:-5]},{wnid} 1 2 30 20 {wnid} 0 5 9 9 \n" for wnid, names in trees.TRAIN.items() for n in names[1:]]
    put(kaggle / "LOC_train_solution.csv", "ImageId,PredictionString\n" + "".join(lines))
    split, report = boxes_of(kaggle, "train")
    for file, boxes in lists(split).items():
        first = Path(file).name == trees.TRAIN[file.split("/")[0]][0]
        assert boxes == ([] if first else [[1, 2, 30, 20], [0, 5, 9, 9]])
    assert report.known_defects == {"training images without boxes": 4}
    lines = [f"{name[:-5]},{wnid} 0 3 {10 + i} 9 \n" for i, (name, wnid) in enumerate(trees.VAL.items())]
    put(kaggle / "LOC_val_solution.csv", "ImageId,PredictionString\n" + "".join(lines))
    split, report = boxes_of(kaggle, "val")
    assert lists(split) == {name: [[0, 3, 10 + i, 9]] for i, name in enumerate(trees.VAL)}
    assert report.known_defects == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n01440764_1,n01440764 1 2 3\n", r"Line 3 of .*LOC_train_solution\.csv has a box that is not four numbers"),
        ("n01440764_1\n", r"Line 3 of .*LOC_train_solution\.csv is not 'ImageId,WNID box'"),
        ("n01440764_77,n01440764 1 2 3 4\n", r"Line 3 of .*LOC_train_solution\.csv \('n01440764_77'\) has no image"),
        ("n01440764_1,n00000001 1 2 3 4\n", r"Line 3 of .*LOC_train_solution\.csv has a class"),
    ],
)
def test_a_damaged_list_of_kaggle_is_reported_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    kaggle = trees.make_kaggle(tmp_path)
    (kaggle / "ILSVRC/Annotations").rename(kaggle / "elsewhere")
    put(kaggle / "LOC_train_solution.csv", "ImageId,PredictionString\nn01440764_9,n01440764 1 2 3 4\n" + line)
    with pytest.raises(VerydeepError, match=message):
        boxes_of(kaggle, "train")


@pytest.mark.data
def test_the_real_tiny_imagenet_keeps_all_but_the_boxes_whose_object_was_cropped_away(
    real_data: Path, tmp_path: Path
) -> None:
    """13 of the 4,000 lines of val have xmin = xmax or ymin = ymax, all on the border (counted by a script)."""
    root = tmp_path / "tiny-imagenet-80"
    with tarfile.open(real_data / f"{root.name}.tar.gz") as archive:
        lists_and_val = [each for each in archive if not each.name.startswith(f"{root.name}/train/")]
        archive.extractall(tmp_path, lists_and_val, filter="data")
    for wnid in (root / "wnids.txt").read_text().split():
        (root / "train" / wnid).mkdir(parents=True)
    _, report = boxes_of(root, "val")
    assert (report.num_images, report.num_boxes) == (4_000, 4_000 - 13)
    assert report.problems == () and report.known_defects == {"of no area": 13}
