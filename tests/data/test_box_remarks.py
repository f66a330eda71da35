"""Boxes that are possible and still wrong: percentages, widths for right edges, x for y, and repeats."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep as vd
from verydeep.data.annotations import XYXY
from verydeep.data.box_annotations import add_boxes, read_boxes
from verydeep.data.box_remarks import remark_on_boxes
from verydeep.data.layout import open_split

SIZE = 300, 220
"""Width and height."""
CORNER = "lie in the upper left quarter"
EXCHANGED = "would fit with x and y exchanged"
REPEATED = "another one of the same photograph"


def draw_true_boxes(count: int) -> list[XYXY]:
    """Draw boxes anywhere in the photograph, from a tenth of its sides to the whole."""
    generator = np.random.default_rng(7)
    corners = np.sort(generator.uniform(0, 1, (count, 2, 2)), axis=1)  # (count, corner, x or y)
    corners[:, 1] = np.minimum(np.maximum(corners[:, 1], corners[:, 0] + 0.1), 0.999)
    corners[:, 0] = np.minimum(corners[:, 0], corners[:, 1] - 0.09)
    return [(x1, y1, x2, y2) for (x1, y1), (x2, y2) in np.floor(corners * SIZE).tolist()]


def in_percent(box: XYXY) -> XYXY:
    return tuple(round(100 * value / side) for value, side in zip(box, SIZE * 2, strict=True))  # type: ignore[return-value]


def with_widths(box: XYXY) -> XYXY:
    return box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1


def exchange(box: XYXY) -> XYXY:
    return box[1], box[0], box[3], box[2]


@pytest.mark.parametrize(
    ("change", "expected"),
    [(tuple, []), (in_percent, [CORNER]), (with_widths, [CORNER]), (exchange, [EXCHANGED])],
)
def test_boxes_in_other_units_or_orders_are_remarked(change: Callable[[XYXY], XYXY], expected: list[str]) -> None:
    remarks = remark_on_boxes([[(change(box), SIZE)] for box in draw_true_boxes(60)])
    assert len(remarks) == len(expected)
    assert all(part in remark for part, remark in zip(expected, remarks, strict=True))


@pytest.mark.parametrize(("count", "has_remark"), [(9, False), (10, True)])
def test_few_boxes_may_lie_there_by_chance(count: int, has_remark: bool) -> None:
    assert bool(remark_on_boxes([[((10, 20, 90, 90), SIZE)]] * count)) is has_remark


@pytest.mark.parametrize("box", [(0, 0, 299, 219), (50, 40, 249, 179), (48, 39, 248, 178)])
def test_boxes_in_the_middle_say_nothing(box: XYXY) -> None:
    """The whole photograph, and cropped objects, whose centers are the middle within a pixel or two."""
    assert remark_on_boxes([[(box, SIZE)]] * 50) == ()


def test_a_box_that_is_given_twice_is_remarked() -> None:
    true = [((200, 20, 280, 90), SIZE), ((10, 150, 90, 200), SIZE)]
    assert remark_on_boxes([true, true]) == ()
    (one,) = remark_on_boxes([[true[0], *true], true])
    assert one.startswith(f"1 box repeats {REPEATED}")
    (two,) = remark_on_boxes([[true[0], *true], [*true, true[1]]])
    assert two.startswith(f"2 boxes repeat {REPEATED}")


def write_set(root: Path, change: Callable[[XYXY], XYXY]) -> None:
    lines = ["path,label,xmin,ymin,xmax,ymax"]
    for number, box in enumerate(draw_true_boxes(30)):
        file = f"{'ant' if number % 2 else 'bee'}/{number}.png"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, (number, 9, 9)).save(root / file)
        lines.append(",".join(map(str, [file, file[:3], *change(box)])))
    (root / "boxes.csv").write_text("\n".join(lines))


def test_training_and_verify_have_the_remarks(tmp_path: Path) -> None:
    write_set(tmp_path / "percent", in_percent)
    split = open_split(tmp_path / "percent", "train")
    (remark,) = add_boxes(split, read_boxes(split, tmp_path / "percent"))[1].remarks
    assert CORNER in remark
    verified = vd.verify(tmp_path / "percent")
    assert CORNER in verified.notes[-1] and verified.bad_boxes == ()
    write_set(tmp_path / "exchanged", exchange)
    verified = vd.verify(tmp_path / "exchanged")
    assert EXCHANGED in verified.notes[-1] and len(verified.bad_boxes) > 10
