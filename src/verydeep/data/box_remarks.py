"""Remarks on boxes each of which is possible, but which together look as if they meant something else."""

from collections.abc import Sequence

from verydeep.data.annotations import XYXY

WrittenBox = tuple[XYXY, tuple[float, float]]
"""A box as its annotation has it, and the width and height of the image on which it was drawn."""

MIN_BOXES = 10
"""Boxes from which a coincidence is unlikely: ten objects on the same side of the middle are 1 in 1,000 cases."""

NEAR_MIDDLE = 0.05
"""Share of the width or height by which a center may miss the middle and still say nothing about its side."""


def remark_on_boxes(images: Sequence[Sequence[WrittenBox]]) -> tuple[str, ...]:
    """Return sentences about the boxes of images: percentages, widths, x for y, and boxes that are given twice.

    Args:
        images: the boxes of each image, all of the image's class.
    """
    boxes = [box for image in images for box in image]
    num_repeated = sum(len(image) - len(set(image)) for image in images)
    sentences = []
    if all(map(_is_upper_left, boxes)) and sum(map(_misses_the_middle, boxes)) >= MIN_BOXES:
        sentences.append(
            f"The centers of all {len(boxes):,} boxes lie in the upper left quarter of their photographs: check that "
            "they are in pixels, not in percent, and end with xmax and ymax, not with width and height."
        )
    beyond = [box for box in boxes if not _is_inside(*box)]
    if len(beyond) >= MIN_BOXES and all(_is_inside((y1, x1, y2, x2), size) for (x1, y1, x2, y2), size in beyond):
        sentences.append(
            f"{len(beyond):,} boxes reach beyond their photographs, and all of them would fit with x and y exchanged: "
            "check the order of the columns."
        )
    if num_repeated:
        repeats = "1 box repeats" if num_repeated == 1 else f"{num_repeated:,} boxes repeat"
        sentences.append(f"{repeats} another one of the same photograph, which then counts more: give each box once.")
    return tuple(sentences)


def _is_upper_left(box: WrittenBox) -> bool:
    """Whether the center is not right of the middle and not below it; then xmin and a width fit, too."""
    (x1, y1, x2, y2), (width, height) = box
    return x1 + x2 <= width and y1 + y2 <= height


def _misses_the_middle(box: WrittenBox) -> bool:
    (x1, y1, x2, y2), (width, height) = box
    return max(abs(x1 + x2 + 1 - width) / width, abs(y1 + y2 + 1 - height) / height) > 2 * NEAR_MIDDLE


def _is_inside(box: XYXY, size: tuple[float, float]) -> bool:
    """Whether the image has the last pixels of a box; one pixel beyond is a matter of convention."""
    return box[2] <= size[0] and box[3] <= size[1]
