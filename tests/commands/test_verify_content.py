"""Defects drawn by Pillow, and groups that are known because they were made."""

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

import verydeep as vd
from tests.runs import Cli, make_photographs


def scene(seed: int, size: tuple[int, int] = (330, 250)) -> Image.Image:
    """A smooth ground, shapes and fine grain; each seed another one."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(40, 220, (4, 5, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(ground)
    for _ in range(9):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        width, height = rng.integers(20, 110, 2)
        color = tuple(rng.integers(0, 256, 3).tolist())
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + width, y + height), fill=color)
    grain = rng.normal(0, 9, (size[1], size[0], 1))
    return Image.fromarray(np.clip(np.asarray(ground) + grain, 0, 255).astype(np.uint8))


def again(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Twelve in train and four in val, in two classes, all sound."""
    root = tmp_path / "photographs"
    for seed in range(16):
        path = root / ("train" if seed < 12 else "val") / ("ant", "bee")[seed % 2] / f"{seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(seed).save(path, quality=92)
    return root


def test_sound_photographs_have_no_findings(scenes: Path) -> None:
    verified = vd.verify(scenes)
    assert verified.findings == () and verified.records() == []
    assert verified.class_counts == {"ant": 6, "bee": 6}
    assert verified.short_sides == {"128-255": 16}


DEFECTS = {
    "too dark": lambda image: ImageEnhance.Brightness(image).enhance(0.12),
    "too bright": lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.9),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "nearly uniform": lambda image: Image.blend(image, Image.new("RGB", image.size, (90, 120, 60)), 0.99),
    "tiny": lambda image: image.resize((40, 30)),
    "elongated": lambda image: image.crop((0, 100, 330, 170)),
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_each_defect_is_found_alone(scenes: Path, kind: str) -> None:
    DEFECTS[kind](scene(40)).save(scenes / "train/ant/defect.jpg", quality=92)
    verified = vd.verify(scenes)
    assert [(finding.kind, finding.files) for finding in verified.findings] == [(kind, ("train/ant/defect.jpg",))]
    assert verified.problem == ""
    (record,) = verified.records()
    assert record["kind"] == kind and record["decodable"] is True and record["group"] is None


def test_the_size_that_counts_is_the_short_side_at_256(scenes: Path) -> None:
    """A large photograph whose blur a net never sees is sharp; its size is that of the file, not of its decode."""
    large = scene(41).resize((1320 * 2, 1000 * 2), Image.Resampling.BICUBIC)  # every edge is eight pixels wide
    large.save(scenes / "train/ant/large.jpg", quality=90)
    verified = vd.verify(scenes)
    assert verified.findings == ()
    assert verified.short_sides == {"128-255": 16, "256-511": 0, "512-1023": 0, "1024-2047": 1}


def test_groups_of_near_duplicates(scenes: Path) -> None:
    """Encoded again, smaller, mirrored, cropped: one group each, with the parts and labels that the files have."""
    again(scene(0), 35).save(scenes / "val/ant/encoded.jpg")
    scene(0).resize((210, 160)).save(scenes / "val/ant/smaller.png")
    scene(3).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(scenes / "train/bee/mirrored.jpg")
    scene(5).crop((11, 6, 321, 240)).save(scenes / "train/ant/cropped.jpg")
    shutil.copy(scenes / "train/bee/7.jpg", scenes / "train/bee/copy.jpg")
    verified = vd.verify(scenes)
    found = [(finding.kind, finding.group, set(finding.files)) for finding in verified.findings]
    assert found == [
        ("same photograph, several labels", 1, {"train/ant/cropped.jpg", "train/bee/5.jpg"}),
        ("near-duplicates across splits", 2, {"train/ant/0.jpg", "val/ant/encoded.jpg", "val/ant/smaller.png"}),
        ("near-duplicates", 3, {"train/bee/3.jpg", "train/bee/mirrored.jpg"}),
        ("copies", 4, {"train/bee/7.jpg", "train/bee/copy.jpg"}),
    ]
    texts = {str(record["file"]): str(record["finding"]) for record in verified.records()}
    assert texts["train/bee/copy.jpg"] == "the same bytes (group 4, with train/bee/7.jpg)"
    assert "in train and val" in texts["val/ant/smaller.png"] and "ant and bee" in texts["train/bee/5.jpg"]


def test_a_rotation_that_a_camera_noted_is_applied(scenes: Path) -> None:
    """A photograph saved upright by another program is a near-duplicate of the one with the note."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    scene(1).transpose(Image.Transpose.ROTATE_90).save(scenes / "train/bee/turned.jpg", exif=exif, quality=90)
    (finding,) = vd.verify(scenes).findings
    assert set(finding.files) == {"train/bee/1.jpg", "train/bee/turned.jpg"}


def test_plain_photographs_are_no_near_duplicates(scenes: Path) -> None:
    for gray in (120, 121):
        Image.new("RGB", (300, 200), (gray, gray, gray)).save(scenes / f"train/ant/{gray}.png")
    assert [finding.kind for finding in vd.verify(scenes).findings] == ["nearly uniform"] * 2


def test_sentences_and_tables(scenes: Path, inside: Cli) -> None:
    for number in range(75):
        scene(100 + number, (120, 90)).save(scenes / f"train/bee/more-{number}.jpg")
    (scenes / "train/cow").mkdir()
    scene(90).save(scenes / "train/cow/one.jpg")
    DEFECTS["blurred"](scene(91)).save(scenes / "train/cow/two.jpg")
    shutil.copy(scenes / "train/cow/one.jpg", scenes / "val/ant/one.jpg")
    done = inside("verify", scenes)
    assert done.returncode == 0
    for sentence in (
        "2 classes have fewer than 10 training photographs: ant 6, cow 2.",
        "The classes are unequal: bee has 81 photographs, cow 2.",
        "Short sides: 75 of 64-127 pixels, 19 of 128-255 pixels.",
        "Same photograph, several labels: 2 photographs in 1 group: correct the labels",
        "Blurred: 1 photograph.",
        "All 94 files can be decoded.",
    ):
        assert sentence in done.stdout
    rows = list(csv.DictReader(io.StringIO(inside("verify", scenes, "--format", "csv").stdout)))
    assert [(row["file"], row["kind"], row["group"]) for row in rows] == [
        ("train/cow/one.jpg", "same photograph, several labels", "1"),
        ("val/ant/one.jpg", "same photograph, several labels", "1"),
        ("train/cow/two.jpg", "blurred", ""),
    ]


def test_a_net_finds_wrong_labels(trained: Path, tmp_path: Path) -> None:
    """Two photographs lie in another class's folder; the net knows the three colors."""
    root = make_photographs(tmp_path / "data", {"train": 12, "val": 3})
    (root / "train/apple/000.jpg").rename(root / "train/bee/was-apple.jpg")
    (root / "val/cloud/000.jpg").rename(root / "val/apple/was-cloud.jpg")
    verified = vd.verify(root, net=trained, precision="fp32", workers=0)
    doubtful = [finding for finding in verified.findings if finding.kind == "probably a wrong label"]
    assert {finding.files[0] for finding in doubtful[:2]} == {"train/bee/was-apple.jpg", "val/apple/was-cloud.jpg"}
    assert (
        "labeled bee, but probably apple: posteriors 0."
        in {each.files[0]: each.text for each in doubtful}["train/bee/was-apple.jpg"]
    )
    assert any(line.startswith("Probably a wrong label: ") for line in verified.footer())
    check = verified.label_check
    assert check is not None and check.is_reliable and check.num_listed == len(doubtful)
    assert check.num_photographs == 45 and 2 <= check.num_others <= 10
    assert not any("by heart" in note for note in verified.notes)


def test_a_net_that_was_trained_on_the_photographs_is_reported(trained: Path, photographs: Path) -> None:
    verified = vd.verify(photographs, net=trained, precision="fp32", workers=0)
    (note,) = [note for note in verified.footer() if "by heart" in note]
    assert note.startswith(f"{trained} was trained on photographs of {photographs / 'train'} and may have learned")


def test_a_poor_net_says_so(trained: Path, tmp_path: Path, inside: Cli) -> None:
    """Labels without any relation to the photographs cannot be judged by any net."""
    names = np.random.default_rng(0).permutation(["ant", "bee", "cow"] * 20)
    for number, name in enumerate(names):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        scene(number, (90, 70)).save(tmp_path / "data" / name / f"{number}.jpg")
    done = inside("verify", "data", "--net", trained, "--workers", 0, "--out", "found")
    (found,) = re.findall(
        r"Labels: this net's descriptors contradict the labels of (\d+) of 60 photographs", done.stdout
    )
    assert int(found) >= 24
    (listed,) = re.findall(
        r"at least (\d+) of the (\d+) listed labels are right after all", " ".join(done.stdout.split())
    )
    assert int(listed[1]) - int(listed[0]) == 3  # a twentieth of 60
    for text in (done.stdout, (tmp_path / "found" / "verify.html").read_text()):
        assert "so the list is not reliable: use a published net" in " ".join(text.split())


def test_photographs_without_labels_have_no_wrong_ones(trained: Path, tmp_path: Path) -> None:
    for seed in range(3):
        scene(seed).save(tmp_path / f"{seed}.jpg")
    again(scene(1), 60).save(tmp_path / "encoded.jpg")
    (finding,) = vd.verify(tmp_path, net=trained, precision="fp32", workers=0).findings
    assert finding.kind == "near-duplicates" and set(finding.files) == {"1.jpg", "encoded.jpg"}


def test_a_net_that_does_not_exist_is_named_before_files_are_decoded(scenes: Path) -> None:
    with pytest.raises(vd.VerydeepError, match="no-such-net"):
        vd.verify(scenes, net="no-such-net")


def test_labels_of_a_csv_file_count(scenes: Path, tmp_path: Path) -> None:
    """A photograph with several labels counts for each class; its copy has no other label."""
    root = scenes / "train/ant"
    again(scene(2), 50).save(root / "encoded.jpg")
    labels = {"0.jpg": "sea", "2.jpg": "sea", "4.jpg": "dog", "6.jpg": "dog;sea", "8.jpg": "dog", "10.jpg": "dog"}
    lines = [f"{file},{label}" for file, label in {**labels, "encoded.jpg": "dog"}.items()]
    (root / "labels.csv").write_text("\n".join(["path,label", *lines]))
    verified = vd.verify(root)
    assert verified.class_counts == {"dog": 5, "sea": 3}
    (finding,) = verified.findings
    assert (finding.kind, finding.text) == (
        "same photograph, several labels",
        "nearly the same photograph, with the labels dog and sea",
    )
