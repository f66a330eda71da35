"""Boxes by hand, by counting pixels, on painted pictures and against torchvision."""

import importlib.util
import os
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.peers import import_torchvision
from verydeep.ops.boxes import (
    POSITIVE_SHARE,
    clip_boxes,
    decode_boxes,
    decode_dense_boxes,
    dense_windows,
    encode_boxes,
    flip_cxcywh,
    iou,
    visible_share,
)
from verydeep.ops.images import crop_box, rescaled_size


@st.composite
def pixel_boxes(draw: st.DrawFn, width: int = 9, height: int = 7) -> tuple[int, int, int, int]:
    """Inclusive, within a small image."""
    xs = sorted(draw(st.tuples(st.integers(0, width - 1), st.integers(0, width - 1))))
    ys = sorted(draw(st.tuples(st.integers(0, height - 1), st.integers(0, height - 1))))
    return xs[0], ys[0], xs[1], ys[1]


def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box
    return set(product(range(x1, x2 + 1), range(y1, y2 + 1)))


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, int], int, int, tuple[float, float, float, float]]:
    """(width, height) of a file, short side, crop, and the window of one crop of it."""
    width, height = draw(st.integers(8, 300)), draw(st.integers(8, 300))
    short = draw(st.integers(32, 200))
    crop = draw(st.integers(16, short))
    new_width, new_height = rescaled_size(width, height, short)
    left, top = draw(st.integers(0, new_width - crop)), draw(st.integers(0, new_height - crop))
    return (width, height), short, crop, crop_box(width, height, short, left, top, crop)


@given(a=pixel_boxes(), b=pixel_boxes())
def test_iou_counts_pixels(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> None:
    assert iou(a, b) == len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))


def test_iou_by_hand() -> None:
    """Half of 10 x 8 pixels: exactly 0.5; without inclusive pixels it would be less."""
    whole = [10, 20, 19, 27]
    others = [whole, [10, 20, 14, 27], [10, 20, 19, 23], [14, 23, 19, 27], [20, 20, 29, 27], [19, 27, 28, 34]]
    assert iou(whole, others).tolist() == [1, 0.5, 0.5, 30 / 80, 0, 1 / 159]


def test_boxes_that_are_none_overlap_nothing() -> None:
    """Upside down, or of a net that overflowed."""
    nan, inf = np.nan, np.inf
    none = [
        [5, 2, 3, 9],
        [5, 9, 8, 2],
        [8, 9, 5, 2],
        [nan, 2, 8, 9],
        [nan] * 4,
        [inf, inf, inf, inf],
        [-inf, 0, inf, 9],
    ]
    assert iou(none, [0, 0, 20, 20]).tolist() == [0] * len(none)


def test_iou_is_torchvisions() -> None:
    """In coordinates that exclude the last pixel, on all pairs."""
    if importlib.util.find_spec("torchvision") is None:
        missing = pytest.fail if os.environ.get("VERYDEEP_REQUIRE_PEERS") else pytest.skip
        missing("torchvision is not installed: pip install --no-deps torchvision==0.28.0")
    import_torchvision()
    from torchvision.ops import box_iou

    rng = np.random.default_rng(0)
    first = rng.uniform(0, 60, (2, 40, 2))
    a, b = np.concatenate([first, first + rng.uniform(0, 70, (2, 40, 2))], axis=-1)
    edges = [torch.from_numpy(boxes + np.array([0, 0, 1, 1])) for boxes in (a, b)]
    theirs = box_iou(*edges).numpy()
    assert (theirs > 0.5).any() and (theirs == 0).any()
    np.testing.assert_allclose(iou(a[:, None], b), theirs, rtol=1e-12)


def test_encode_by_hand() -> None:
    """A file of 100 x 79 at Q=40 is 51 x 40 (50.6), and the crop of 32 at (10, 4) there.

    Edges 30..60 and 20..45 of the file are 15.3..30.6 and 10.13..22.78, in the crop 5.3..20.6 and 6.13..18.78.
    """
    window = crop_box(100, 79, 40, 10, 4, 32)
    x, y = 51 / 100, 40 / 79
    expected = np.array([45 * x - 10, 32.5 * y - 4, 30 * x, 25 * y]) / 32
    assert encode_boxes([30, 20, 59, 44], window) == pytest.approx(expected)
    assert expected * 32 == pytest.approx([12.95, 12.456, 15.3, 12.658], abs=1e-3)


@given(box=pixel_boxes(30, 25), corner=st.tuples(st.integers(0, 9), st.integers(0, 14)))
def test_encoded_boxes_are_where_painted_ones_are(box: tuple[int, int, int, int], corner: tuple[int, int]) -> None:
    """The center and the area of what a crop shows of a painted box; the crop covers the middle of the file."""
    x1, y1, x2, y2 = np.array(box) + np.array([30, 20, 30, 20])
    picture = np.zeros((75, 100), np.float32)
    picture[y1 : y2 + 1, x1 : x2 + 1] = 1
    window = crop_box(100, 75, 96, 20 + corner[0], 10 + corner[1], 64)  # 0.78 file pixels to one of the crop's
    assert window[0] <= 30 and window[1] <= 20 and window[2] >= 60 and window[3] >= 45
    crop = np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR, box=window))
    y, x = np.mgrid[:64, :64] + 0.5
    area = crop.sum()
    found = np.array([(x * crop).sum() / area, (y * crop).sum() / area, area / 64]) / 64
    cx, cy, w, h = encode_boxes([x1, y1, x2, y2], window)
    assert found == pytest.approx([cx, cy, w * h], abs=0.25 / 64)


@given(view=views(), box=pixel_boxes(300, 300), cxcywh=st.lists(st.floats(-2, 3), min_size=4, max_size=4))
def test_encode_and_decode_undo_each_other(
    view: tuple[tuple[int, int], int, int, tuple[float, float, float, float]],
    box: tuple[int, int, int, int],
    cxcywh: list[float],
) -> None:
    window = view[3]
    assert decode_boxes(encode_boxes(box, window), window) == pytest.approx(np.array(box, float), abs=1e-9)
    assert encode_boxes(decode_boxes(cxcywh, window), window) == pytest.approx(np.array(cxcywh), abs=1e-9)


@given(view=views(), box=pixel_boxes(300, 300))
def test_boxes_mirror_with_the_photograph(
    view: tuple[tuple[int, int], int, int, tuple[float, float, float, float]], box: tuple[int, int, int, int]
) -> None:
    """The mirrored box in the mirrored window is the mirrored target; mirroring twice changes nothing."""
    (width, _), _, _, (left, upper, right, lower) = view
    mirrored = width - right, upper, width - left, lower
    target = encode_boxes(box, (left, upper, right, lower))
    mirrored_box = width - 1 - box[2], box[1], width - 1 - box[0], box[3]
    assert encode_boxes(mirrored_box, mirrored) == pytest.approx(flip_cxcywh(target), abs=1e-9)
    assert flip_cxcywh(flip_cxcywh(target)) == pytest.approx(target, abs=1e-12)
    assert target[1:].tolist() == flip_cxcywh(target)[1:].tolist()


@given(view=views(), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_the_windows_of_a_dense_map_are_those_of_crops(
    view: tuple[tuple[int, int], int, int, tuple[float, float, float, float]], rows: int, columns: int
) -> None:
    size, short, crop, _ = view
    windows = dense_windows(rows, columns, size, short, crop)
    assert windows.shape == (rows, columns, 4)
    for i, j in product(range(rows), range(columns)):
        assert tuple(windows[i, j]) == pytest.approx(crop_box(*size, short, 32 * j, 32 * i, crop))


@given(view=views(), rows=st.integers(1, 4), columns=st.integers(1, 4), data=st.data())
def test_every_position_that_says_the_same_box_is_decoded_to_it(
    view: tuple[tuple[int, int], int, int, tuple[float, float, float, float]],
    rows: int,
    columns: int,
    data: st.DataObject,
) -> None:
    """Three classes, a box each, told in the frame of each position's own crop."""
    size, short, crop, _ = view
    boxes = [data.draw(pixel_boxes(*size)) for _ in range(3)]
    outputs = np.empty((3, 4, rows, columns))
    for k, i, j in product(range(3), range(rows), range(columns)):
        outputs[k, :, i, j] = encode_boxes(boxes[k], crop_box(*size, short, 32 * j, 32 * i, crop))
    found = decode_dense_boxes(outputs, size, short, crop)
    assert found.shape == (3, rows, columns, 4)
    assert found == pytest.approx(np.broadcast_to(np.array(boxes, float)[:, None, None], found.shape), abs=1e-9)


def test_dense_boxes_by_hand() -> None:
    """A file of 100 x 79 at Q=96 is 122 x 96 (121.5); at crop 64 its map is 2 x 3, the last windows sticking out.

    Each position says its whole window; the file ends at pixels 99 and 78.
    """
    whole = np.broadcast_to(np.array([0.5, 0.5, 1, 1])[:, None, None], (4, 2, 3))
    x, y = 100 / 122, 79 / 96
    columns = [(0, 64 * x - 1), (32 * x, 96 * x - 1), (64 * x, 99)]
    rows = [(0, 64 * y - 1), (32 * y, 96 * y - 1)]
    expected = [[[x1, y1, x2, y2] for x1, x2 in columns] for y1, y2 in rows]
    found = decode_dense_boxes(whole, (100, 79), 96, 64)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_clipped_boxes_by_hand() -> None:
    """An image of 20 x 10: its last pixel is (19, 9)."""
    boxes = [[-3, -4, 25, 12], [2.5, 3, 7, 8.25], [8, 7, 5, 2], [30, -9, 40, -5], [-9, 4, -2, 4], [np.nan, 4, 50, 4]]
    expected = [[0, 0, 19, 9], [2.5, 3, 7, 8.25], [8, 7, 8, 7], [19, 0, 19, 0], [0, 4, 0, 4], [np.nan, 4, np.nan, 4]]
    np.testing.assert_array_equal(clip_boxes(boxes, 20, 10), expected)


@given(box=pixel_boxes(), window=pixel_boxes())
def test_visibility_counts_pixels(box: tuple[int, int, int, int], window: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = window
    common = len(pixels(box) & pixels(window))
    shares = common / len(pixels(box)), common / len(pixels(window))
    assert visible_share(box, (x1, y1, x2 + 1, y2 + 1)) == pytest.approx(max(shares))


def test_positives_by_hand() -> None:
    """A window of 16 x 10 pixels and boxes in units of the file; exactly half is enough."""
    window = (10, 20, 26, 30)
    boxes = {
        (10, 20, 12, 22): True,  # inside
        (8, 20, 11, 22): True,  # half of it inside
        (7, 20, 11, 22): False,  # 2 of 5 columns
        (18, -50, 90, 80): True,  # covers the right half of the crop
        (19, -50, 90, 80): False,  # covers 7 of 16 columns
        (0, 25, 90, 80): True,  # covers the lower half
        (30, 40, 50, 60): False,
    }
    assert (visible_share(list(boxes), window) >= POSITIVE_SHARE).tolist() == list(boxes.values())
