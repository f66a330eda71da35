"""What the pictures of boxes show, by their pixels and by what Matplotlib is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.engine.localization.conftest import evaluation_of
from verydeep.data.split import Split
from verydeep.engine.localization.pictures import (
    NamedBox,
    Rectangle,
    colors,
    draw_examples,
    draw_photograph,
    draw_success,
    free_place,
    ranks_of_examples,
)
from verydeep.ops.arrays import BoolArray, Int64Array

RED, BLUE = (214, 39, 40), (31, 119, 180)
"""Matplotlib's tab:red and tab:blue: classes 0 and 1."""


def pixels(path: Path) -> Int64Array:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def near(image: Int64Array, color: tuple[int, int, int]) -> BoolArray:
    return np.abs(image - color).max(axis=2) < 12


def extent(mask: BoolArray) -> tuple[int, int, int, int]:
    """Left, upper, right, lower edges of what is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_a_box_lies_where_its_pixels_are_beside_the_photograph_without_it(tmp_path: Path) -> None:
    """61x45 enlarged to 480x354: a pixel of the file is 7.9 wide, more than a line. The first box is on top."""
    photograph = Image.new("RGB", (61, 45), (100, 110, 90))
    boxes = [NamedBox((10, 20, 40, 35), 0, "$ant$ 93%"), NamedBox((10, 20, 40, 35), 1, "bee 3%")]
    draw_photograph(photograph, boxes, tmp_path / "boxes.png")
    image = pixels(tmp_path / "boxes.png")
    ratio = 480 / 61
    assert image.shape == (354, 480 + 9 + 480, 3)
    assert near(image[:, :480], (100, 110, 90)).all() and (image[:, 480:489] == 255).all()
    right = image[:, 489:]
    below = near(right, RED)
    below[: round(28 * ratio)] = False  # without the labels
    assert extent(below)[0::2] == pytest.approx((10 * ratio, 41 * ratio), abs=2.5)
    assert extent(below)[3] == pytest.approx(36 * ratio, abs=2.5)
    extra_views = near(right, RED)[:, round(38 * ratio) : round(39 * ratio)]
    assert extent(extra_views)[1] == pytest.approx(20 * ratio, abs=2.5)
    labels = [extent(near(right, color)[: round(19.4 * ratio)]) for color in (RED, BLUE)]
    for (left, upper, end, lower), color in zip(labels, (RED, BLUE), strict=True):
        assert left >= 0 and upper >= 0 and end - left > 40 and lower - upper >= 13
        label = right[upper:lower, left:end]
        assert 0.1 < 1 - near(label, color).mean() < 0.7 and (label > 230).all(axis=2).any(), "white letters"
    assert labels[1][3] <= labels[0][1] + 1, "the second label makes room for the first"


def test_labels_and_lines_have_the_same_share_of_small_and_large_pictures(tmp_path: Path) -> None:
    """Larger photographs than 1000 pixels are reduced; a wide one stands above its boxes."""
    heights = {}
    for size, panel in (((48, 32), (480, 320)), ((700, 467), (700, 467)), ((2400, 1600), (1000, 667))):
        photograph = Image.new("RGB", size, (100, 110, 90))
        box = [0.3 * size[0], 0.5 * size[1], 0.9 * size[0], 0.9 * size[1]]
        draw_photograph(photograph, [NamedBox(box, 0, "ant 93%")], tmp_path / "boxes.png")
        image = pixels(tmp_path / "boxes.png")
        assert image.shape[:2] == (panel[1], 2 * panel[0] + panel[0] // 50)
        _, upper, _, lower = extent(near(image, RED)[: round(0.49 * panel[1])])
        heights[size] = (lower - upper) / panel[0]
    assert max(heights.values()) < 1.15 * min(heights.values())
    assert 0.025 < min(heights.values()) < 0.06
    draw_photograph(Image.new("RGB", (3000, 500), (100, 110, 90)), [], tmp_path / "wide.png")
    assert pixels(tmp_path / "wide.png").shape == (167 + 20 + 167, 1000, 3)


def test_a_long_label_is_written_smaller(tmp_path: Path) -> None:
    photograph, heights = Image.new("RGB", (300, 500), (100, 110, 90)), []
    for told in ("ant 93%", "a name that is much longer than this photograph is wide, 93%"):
        draw_photograph(photograph, [NamedBox((9, 250, 150, 490), 0, told)], tmp_path / "boxes.png")
        right = pixels(tmp_path / "boxes.png")[:, 310:]
        label = near(right, RED)[:247]
        heights.append(extent(label)[3] - extent(label)[1])
    assert heights[1] < 0.8 * heights[0]
    left, upper, end, lower = extent(label)
    assert left >= 0 and end - left > 240 and end < 300
    assert label[upper:lower, left : left + 2].all() and label[upper:lower, end - 2 : end].all(), "no letter is cut"


def test_a_box_at_the_border_has_lines_as_wide_as_any(tmp_path: Path) -> None:
    """Of 2.5 pixels; half of one whose middle lies on the border would be cut."""
    photograph = Image.new("RGB", (300, 500), (100, 110, 90))
    draw_photograph(photograph, [NamedBox((0, 0, 299, 499), 0, "ant 93%")], tmp_path / "boxes.png")
    red = near(pixels(tmp_path / "boxes.png")[:, 310:], RED)
    assert red.shape == (500, 300)
    assert [line.sum() for line in (red[250, :6], red[250, -6:], red[:6, 250], red[-6:, 250])] == [2] * 4


labels = st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 40), st.integers(1, 20))


@given(st.tuples(st.integers(-5, 110), st.integers(-5, 110)), st.integers(1, 60), st.integers(1, 30), st.lists(labels))
def test_a_label_goes_to_the_nearest_free_place(
    corner: tuple[int, int], width: int, height: int, others: list[tuple[int, int, int, int]]
) -> None:
    """Against all whole places: inside the picture of 100x100, on no other label, nearest to the top of its box."""
    taken = [(x, y, x + w, y + h) for x, y, w, h in others]
    left, upper, right, lower = free_place(corner, (width, height), (100, 100), taken)
    assert (right - left, lower - upper) == (width, height)
    assert left >= 0 and upper >= 0 and right <= 100 and lower <= 100
    wanted = corner[1] - height if corner[1] >= height else min(max(corner[1], 0), 100 - height)
    wanted = min(wanted, 100 - height)

    def is_free(y: float, other: Rectangle) -> bool:
        return other[2] <= left or right <= other[0] or other[3] <= y or y + height <= other[1]

    free = [y for y in range(100 - height + 1) if all(is_free(y, other) for other in taken)]
    assert abs(upper - wanted) == min((abs(y - wanted) for y in free), default=0)


def test_a_class_has_its_color_unless_another_in_the_picture_has_it() -> None:
    assert colors([3]) == colors([13]) == ["tab:orange"]
    assert colors([3, 13, 4, 3]) == ["tab:orange", "tab:purple", "tab:cyan", "tab:orange"]
    assert len(set(colors(range(0, 100, 10)))) == 10
    assert len(colors(range(12))) == 12


@pytest.mark.parametrize(
    ("num_images", "ranks"),
    [
        (0, []),
        (1, [0]),
        (3, [0, 1, 2]),
        (10, list(range(10))),
        (91, list(range(0, 91, 10))),
        (19, list(range(0, 19, 2))),
    ],
)
def test_ranks_are_evenly_spaced_from_the_best_to_the_worst(num_images: int, ranks: list[int]) -> None:
    assert ranks_of_examples(num_images) == ranks


@pytest.fixture
def given_to_matplotlib(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    from matplotlib.axes import Axes

    found: dict[str, list[Any]] = {}

    def note(name: str) -> None:
        original = getattr(Axes, name)

        def noted(self: Axes, *values: Any, **options: Any) -> Any:
            found.setdefault(name, []).append((self, *values, options))
            return original(self, *values, **options)

        monkeypatch.setattr(Axes, name, noted)

    for name in ("imshow", "set_title", "plot", "add_patch", "axvline"):
        note(name)
    return found


def test_examples_are_chosen_by_rank(
    read_boxed_split: Split, given_to_matplotlib: dict[str, list[Any]], tmp_path: Path
) -> None:
    """Of eleven that count, ten in the order of their IoU and not of their files; 0.5 is right."""
    overlaps = [0.5, 0.99, 0.2, 0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.1, 0.45, 0.0]
    counted = [i != 1 for i in range(12)]
    found = evaluation_of(read_boxed_split, [[0.0] * 12, overlaps], None, counted, ["center", "dense"])
    draw_examples(read_boxed_split, found, tmp_path / "examples.png")
    order = [3, 4, 5, 6, 0, 10, 7, 8, 2, 9, 11]
    places = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert read_boxed_split.labels is not None
    titles = [(title, options["color"]) for _, title, options in given_to_matplotlib["set_title"]]
    assert titles == [
        (
            f"{('ant', '$bell_1$', 'crab')[read_boxed_split.labels[order[place]]]}\n"
            f"rank {place + 1} of 11, IoU {overlaps[order[place]]:.2f}",
            "tab:green" if overlaps[order[place]] >= 0.5 else "tab:red",
        )
        for place in places
    ]
    panels = [axes for axes, *_ in given_to_matplotlib["set_title"]]
    for place, axes in zip(places, panels, strict=True):
        index = order[place]
        ((image, options),) = [rest for shown, *rest in given_to_matplotlib["imshow"] if shown is axes]
        with Image.open(read_boxed_split.path(index)) as original:
            width, height = original.size
            assert np.abs(np.asarray(image, np.int16) - np.asarray(original.convert("RGB"))).max() == 0
        assert options["extent"] == (-0.5, width - 0.5, height - 0.5, -0.5)
        drawn = [patch for shown, patch, _ in given_to_matplotlib["add_patch"] if shown is axes]
        assert read_boxed_split.boxes is not None
        rectangles = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in drawn]
        truth = [
            (x1 - 0.5, y1 - 0.5, x2 - x1 + 1, y2 - y1 + 1) for x1, y1, x2, y2 in read_boxed_split.boxes[index].tolist()
        ]
        assert rectangles == [*truth, (index - 0.5, index + 0.5, 21, 22)]
        assert [patch.get_linestyle() for patch in drawn] == ["dashed"] * len(truth) + ["solid"]
    with Image.open(tmp_path / "examples.png") as sheet:
        assert sheet.width > sheet.height > 300


def test_success_counts_what_the_error_counts(
    read_boxed_split: Split, given_to_matplotlib: dict[str, list[Any]], tmp_path: Path
) -> None:
    overlaps = [[0.5] * 6 + [0.8] * 6, [0.05] + [0.3] * 5 + [1.0] * 6]
    guesses = [[0.0] * 3 + [0.5] * 9, [0.0] * 6 + [0.95] * 6]
    counted = [True] * 10 + [False] * 2
    found = evaluation_of(read_boxed_split, overlaps, guesses, counted, ["constant", "dense"])
    draw_success(found, tmp_path / "success.png")
    curves = given_to_matplotlib["plot"]
    assert [options["label"] for *_, options in curves] == ["constant"] * 2 + ["dense, Q=256 (37)"] * 2
    for (_, thresholds, shares, *_), values in zip(
        curves, (overlaps[0], guesses[0], overlaps[1], guesses[1]), strict=True
    ):
        assert (thresholds[0], thresholds[-1]) == (0.05, 1) and len(thresholds) > 50
        assert np.isclose(thresholds, 0.5).any()
        expected = [100 * np.mean([value >= least for value in values[:10]]) for least in thresholds]
        np.testing.assert_allclose(shares, expected)
    at_half = [share[np.isclose(thresholds, 0.5)].item() for _, thresholds, share, *_ in curves]
    errors = [each for row in found.rows for each in (row.truth, row.guesses) if each is not None]
    assert at_half == pytest.approx([100 - each.error.percent for each in errors])
    assert [x for _, x, _ in given_to_matplotlib["axvline"]] == [0.5, 0.5]
    titles = [axes.get_title() for axes, *_ in given_to_matplotlib["axvline"]]
    assert titles == ["box of the true class", "boxes of 2 guessed classes"]


def test_success_of_the_truth_alone_has_one_panel(
    read_boxed_split: Split, given_to_matplotlib: dict[str, list[Any]], tmp_path: Path
) -> None:
    found = evaluation_of(read_boxed_split, [[0.4] * 12], None, [True] * 12, ["center"])
    draw_success(found, tmp_path / "success.png")
    assert len(given_to_matplotlib["plot"]) == len(given_to_matplotlib["axvline"]) == 1
