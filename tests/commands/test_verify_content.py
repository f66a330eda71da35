"""Defects drawn by Pillow, and groups that are known because they were made."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

import verydeep as vd
from tests.runs import Cli


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
def photographs(tmp_path: Path) -> Path:
    """Twelve in train and four in val, in two classes, all sound."""
    root = tmp_path / "photographs"
    for seed in range(16):
        path = root / ("train" if seed < 12 else "val") / ("ant", "bee")[seed % 2] / f"{seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(seed).save(path, quality=92)
    return root


def test_sound_photographs_have_no_findings(photographs: Path) -> None:
    verified = vd.verify(photographs)
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
def test_each_defect_is_found_alone(photographs: Path, kind: str) -> None:
    DEFECTS[kind](scene(40)).save(photographs / "train/ant/defect.jpg", quality=92)
    verified = vd.verify(photographs)
    assert [(finding.kind, finding.files) for finding in verified.findings] == [(kind, ("train/ant/defect.jpg",))]
    assert verified.problem == ""
    (record,) = verified.records()
    assert record["kind"] == kind and record["decodable"] is True and record["group"] is None


def test_the_size_that_counts_is_the_short_side_at_256(photographs: Path) -> None:
    """A large photograph whose blur a net never sees is sharp; its size is that of the file, not of its decode."""
    large = scene(41).resize((1320 * 2, 1000 * 2), Image.Resampling.BICUBIC)  # every edge is eight pixels wide
    large.save(photographs / "train/ant/large.jpg", quality=90)
    verified = vd.verify(photographs)
    assert verified.findings == ()
    assert verified.short_sides == {"128-255": 16, "256-511": 0, "512-1023": 0, "1024-2047": 1}


def test_groups_of_near_duplicates(photographs: Path) -> None:
    """Encoded again, smaller, mirrored, cropped: one group each, with the parts and labels that the files have."""
    again(scene(0), 35).save(photographs / "val/ant/encoded.jpg")
    scene(0).resize((210, 160)).save(photographs / "val/ant/smaller.png")
    scene(3).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photographs / "train/bee/mirrored.jpg")
    scene(5).crop((11, 6, 321, 240)).save(photographs / "train/ant/cropped.jpg")
    shutil.copy(photographs / "train/bee/7.jpg", photographs / "train/bee/copy.jpg")
    verified = vd.verify(photographs)
    found = [(finding.kind, finding.group, set(finding.files)) for finding in verified.findings]
    assert found == [
        ("same photograph, several labels", 1, {"train/ant/cropped.jpg", "train/bee/5.jpg"}),
        ("near-duplicates across parts", 2, {"train/ant/0.jpg", "val/ant/encoded.jpg", "val/ant/smaller.png"}),
        ("near-duplicates", 3, {"train/bee/3.jpg", "train/bee/mirrored.jpg"}),
        ("copies", 4, {"train/bee/7.jpg", "train/bee/copy.jpg"}),
    ]
    texts = {str(record["file"]): str(record["finding"]) for record in verified.records()}
    assert texts["train/bee/copy.jpg"] == "the same bytes (group 4, with train/bee/7.jpg)"
    assert "in train and val" in texts["val/ant/smaller.png"] and "ant and bee" in texts["train/bee/5.jpg"]


def test_a_rotation_that_a_camera_noted_is_applied(photographs: Path) -> None:
    """A photograph saved upright by another program is a near-duplicate of the one with the note."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    scene(1).transpose(Image.Transpose.ROTATE_90).save(photographs / "train/bee/turned.jpg", exif=exif, quality=90)
    (finding,) = vd.verify(photographs).findings
    assert set(finding.files) == {"train/bee/1.jpg", "train/bee/turned.jpg"}


def test_plain_photographs_are_no_near_duplicates(photographs: Path) -> None:
    for gray in (200, 201):
        Image.new("RGB", (300, 200), (gray, gray, gray)).save(photographs / f"train/ant/{gray}.png")
    assert [finding.kind for finding in vd.verify(photographs).findings] == ["nearly uniform"] * 2


def test_sentences_and_tables(photographs: Path, inside: Cli) -> None:
    for number in range(75):
        scene(100 + number, (120, 90)).save(photographs / f"train/bee/more-{number}.jpg")
    (photographs / "train/cow").mkdir()
    scene(90).save(photographs / "train/cow/one.jpg")
    DEFECTS["blurred"](scene(91)).save(photographs / "train/cow/two.jpg")
    shutil.copy(photographs / "train/cow/one.jpg", photographs / "val/ant/one.jpg")
    done = inside("verify", photographs)
    assert done.returncode == 0
    for sentence in (
        "2 classes have fewer than 10 training photographs: ant 6, cow 2.",
        "The classes are unequal: bee has 81 photographs, cow 2.",
        "Short sides in pixels: 64-127: 75, 128-255: 19.",
        "Same photograph, several labels: 2 photographs in 1 group: correct the labels",
        "Blurred: 1 photograph.",
        "All 94 files can be decoded.",
    ):
        assert sentence in done.stdout
    rows = list(csv.DictReader(io.StringIO(inside("verify", photographs, "--format", "csv").stdout)))
    assert [(row["file"], row["kind"], row["group"]) for row in rows] == [
        ("train/cow/one.jpg", "same photograph, several labels", "1"),
        ("val/ant/one.jpg", "same photograph, several labels", "1"),
        ("train/cow/two.jpg", "blurred", ""),
    ]
