"""Errors of merged boxes, by both test protocols of appendix A.1."""

from dataclasses import dataclass

from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merged_boxes import MergedBoxes
from verydeep.ops.arrays import BoolArray, Float64Array
from verydeep.ops.localization_errors import (
    RIGHT_AT,
    LocalizationErrors,
    TrueBoxes,
    best_overlaps,
    ground_truth_overlaps,
    localization_errors,
)


@dataclass(frozen=True, eq=False)
class BoxErrors:
    """Merged boxes of n images, compared with the annotations."""

    boxes: MergedBoxes
    """Boxes of the true class and the guesses, in the order of ``CandidateClasses.classes``."""
    truth_overlaps: Float64Array
    """(n,) largest IoU of the true class's box with a true box."""
    guess_overlaps: Float64Array | None
    """(n,) largest IoU of a guess of the true class with a true box, 0 without such a guess; None: no guesses."""
    counted: BoolArray
    """(n,) whether the errors count the image: the devkit's blacklist is left out."""

    @property
    def truth(self) -> LocalizationErrors:
        """Error of the true class's box, one box an image: the first protocol."""
        return localization_errors(self.truth_overlaps[self.counted])

    @property
    def guesses(self) -> LocalizationErrors | None:
        """Error of up to five boxes an image, one for each guess: the second protocol."""
        return None if self.guess_overlaps is None else localization_errors(self.guess_overlaps[self.counted])

    @property
    def wrong(self) -> BoolArray:
        """(m,) whether each counted image is wrong, by the second protocol where classes were guessed."""
        overlaps = self.truth_overlaps if self.guess_overlaps is None else self.guess_overlaps
        return overlaps[self.counted] < RIGHT_AT


def measure_box_errors(boxes: MergedBoxes, candidate_classes: CandidateClasses, boxed_split: BoxedSplit) -> BoxErrors:
    """Compare merged boxes with the annotations of their images."""
    split, indices = boxed_split.split, candidate_classes.indices
    assert split.boxes is not None and candidate_classes.labels is not None
    truth = TrueBoxes.from_images(candidate_classes.labels, [split.boxes[index] for index in indices.tolist()])
    guesses = candidate_classes.guesses  # none where the true class alone is a candidate
    return BoxErrors(
        boxes,
        truth_overlaps=ground_truth_overlaps(boxes.xyxy[:, 0], truth),
        guess_overlaps=best_overlaps(guesses, boxes.xyxy[:, 1:], truth) if guesses.size else None,
        counted=boxed_split.counted[indices],
    )
