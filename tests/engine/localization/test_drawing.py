"""Photographs with boxes, by the pixels of the pictures."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from verydeep.engine.localization.drawing import LabeledBox, Rectangle, choose_colors, draw_photograph, place_label
from verydeep.ops.arrays import BoolArray, Int64Array

RED, BLUE = (214, 39, 40), (31, 119, 180)
"""Matplotlib's tab:red and tab:blue: classes 0 and 1."""


def read_pixels(path: Path) -> Int64Array:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def is_color(image: Int64Array, color: tuple[int, int, int]) -> BoolArray:
    return np.abs(image - color).max(axis=2) < 12


def find_extent(mask: BoolArray) -> tuple[int, int, int, int]:
    """Return the left, upper, right and lower edges of the true pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_a_box_lies_at_its_pixels_next_to_the_photograph_without_it(tmp_path: Path) -> None:
    """61x45 enlarged to 480x354: a pixel of the file is 7.9 wide, more than a line. The first box is on top."""
    photograph = Image.new("RGB", (61, 45), (100, 110, 90))
    boxes = [LabeledBox((10, 20, 40, 35), 0, "$ant$ 93%"), LabeledBox((10, 20, 40, 35), 1, "bee 3%")]
    draw_photograph(photograph, boxes, tmp_path / "boxes.png")
    image = read_pixels(tmp_path / "boxes.png")
    ratio = 480 / 61
    assert image.shape == (354, 480 + 9 + 480, 3)
    assert is_color(image[:, :480], (100, 110, 90)).all() and (image[:, 480:489] == 255).all()
    right = image[:, 489:]
    lower_part = is_color(right, RED)
    lower_part[: round(28 * ratio)] = False  # without the labels
    assert find_extent(lower_part)[0::2] == pytest.approx((10 * ratio, 41 * ratio), abs=2.5)
    assert find_extent(lower_part)[3] == pytest.approx(36 * ratio, abs=2.5)
    right_of_label = is_color(right, RED)[:, round(38 * ratio) : round(39 * ratio)]
    assert find_extent(right_of_label)[1] == pytest.approx(20 * ratio, abs=2.5)
    labels = [find_extent(is_color(right, color)[: round(19.4 * ratio)]) for color in (RED, BLUE)]
    for (left, upper, end, lower), color in zip(labels, (RED, BLUE), strict=True):
        assert left >= 0 and upper >= 0 and end - left > 40 and lower - upper >= 13
        label = right[upper:lower, left:end]
        assert 0.1 < 1 - is_color(label, color).mean() < 0.7 and (label > 230).all(axis=2).any(), "white letters"
    assert labels[1][3] <= labels[0][1] + 1, "the second label makes room for the first"


def test_labels_and_lines_have_the_same_share_of_small_and_large_pictures(tmp_path: Path) -> None:
    """Larger photographs than 1000 pixels are reduced; a wide one stands above its boxes."""
    heights = {}
    for size, panel in (((48, 32), (480, 320)), ((700, 467), (700, 467)), ((2400, 1600), (1000, 667))):
        photograph = Image.new("RGB", size, (100, 110, 90))
        box = [0.3 * size[0], 0.5 * size[1], 0.9 * size[0], 0.9 * size[1]]
        draw_photograph(photograph, [LabeledBox(box, 0, "ant 93%")], tmp_path / "boxes.png")
        image = read_pixels(tmp_path / "boxes.png")
        assert image.shape[:2] == (panel[1], 2 * panel[0] + panel[0] // 50)
        _, upper, _, lower = find_extent(is_color(image, RED)[: round(0.49 * panel[1])])
        heights[size] = (lower - upper) / panel[0]
    assert max(heights.values()) < 1.15 * min(heights.values())
    assert 0.025 < min(heights.values()) < 0.06
    draw_photograph(Image.new("RGB", (3000, 500), (100, 110, 90)), [], tmp_path / "wide.png")
    assert read_pixels(tmp_path / "wide.png").shape == (167 + 20 + 167, 1000, 3)


@pytest.mark.parametrize("size", [(48, 32), (32, 480), (900, 200)])
def test_a_title_stands_above_the_photograph_and_its_boxes(tmp_path: Path, size: tuple[int, int]) -> None:
    """Two lines, whole and black on white; what lies below is the picture without a title."""
    photograph, boxes = Image.new("RGB", size, (100, 110, 90)), [LabeledBox((3, 4, 20, 30), 0, "ant 93%")]
    draw_photograph(photograph, boxes, tmp_path / "plain.png")
    draw_photograph(photograph, boxes, tmp_path / "titled.png", title=("photograph_0017.jpg", "pets-A-256pcr-c64-s0"))
    plain, titled = read_pixels(tmp_path / "plain.png"), read_pixels(tmp_path / "titled.png")
    height = len(titled) - len(plain)
    assert titled.shape[1] == plain.shape[1] and 0.02 < height / max(plain.shape) < 0.12
    assert (np.abs(titled[height:] - plain) <= 2).all()
    dark = (titled[:height] < 120).all(axis=2)
    rows = np.flatnonzero(dark.any(axis=1))
    assert (np.diff(rows) > 1).any(), "two lines"
    left, upper, right, lower = find_extent(dark)
    assert left > 0 and upper > 0 and right < plain.shape[1] and lower < height
    assert abs(left + right - plain.shape[1]) < 0.1 * plain.shape[1]


def test_a_long_label_is_written_smaller(tmp_path: Path) -> None:
    photograph, heights = Image.new("RGB", (300, 500), (100, 110, 90)), []
    for text in ("ant 93%", "a name that is much longer than this photograph is wide, 93%"):
        draw_photograph(photograph, [LabeledBox((9, 250, 150, 490), 0, text)], tmp_path / "boxes.png")
        right = read_pixels(tmp_path / "boxes.png")[:, 310:]
        label = is_color(right, RED)[:247]
        heights.append(find_extent(label)[3] - find_extent(label)[1])
    assert heights[1] < 0.8 * heights[0]
    left, upper, end, lower = find_extent(label)
    assert left >= 0 and end - left > 240 and end < 300
    assert label[upper:lower, left : left + 2].all() and label[upper:lower, end - 2 : end].all(), "no letter is cut"


def test_a_box_at_the_border_has_lines_as_wide_as_any(tmp_path: Path) -> None:
    """Of 2.5 pixels; half of one whose middle lies on the border would be cut."""
    photograph = Image.new("RGB", (300, 500), (100, 110, 90))
    draw_photograph(photograph, [LabeledBox((0, 0, 299, 499), 0, "ant 93%")], tmp_path / "boxes.png")
    red = is_color(read_pixels(tmp_path / "boxes.png")[:, 310:], RED)
    assert red.shape == (500, 300)
    assert [line.sum() for line in (red[250, :6], red[250, -6:], red[:6, 250], red[-6:, 250])] == [2] * 4


labels = st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 40), st.integers(1, 20))


@given(st.tuples(st.integers(-5, 110), st.integers(-5, 110)), st.integers(1, 60), st.integers(1, 30), st.lists(labels))
def test_a_label_goes_to_the_nearest_free_place(
    corner: tuple[int, int], width: int, height: int, others: list[tuple[int, int, int, int]]
) -> None:
    """Against all whole places: inside the picture of 100x100, on no other label, nearest to the top of its box."""
    taken = [(x, y, x + w, y + h) for x, y, w, h in others]
    left, upper, right, lower = place_label(corner, (width, height), (100, 100), taken)
    assert (right - left, lower - upper) == (width, height)
    assert left >= 0 and upper >= 0 and right <= 100 and lower <= 100
    preferred = corner[1] - height if corner[1] >= height else min(max(corner[1], 0), 100 - height)
    preferred = min(preferred, 100 - height)

    def is_free(y: float, other: Rectangle) -> bool:
        return other[2] <= left or right <= other[0] or other[3] <= y or y + height <= other[1]

    free = [y for y in range(100 - height + 1) if all(is_free(y, other) for other in taken)]
    assert abs(upper - preferred) == min((abs(y - preferred) for y in free), default=0)


def test_a_class_has_its_color_unless_another_in_the_picture_has_it() -> None:
    assert choose_colors([3]) == choose_colors([13]) == ["tab:orange"]
    assert choose_colors([3, 13, 4, 3]) == ["tab:orange", "tab:purple", "tab:cyan", "tab:orange"]
    assert len(set(choose_colors(range(0, 100, 10)))) == 10
    assert len(choose_colors(range(12))) == 12
