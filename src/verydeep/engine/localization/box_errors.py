"""How good boxes are, image by image, by both test protocols of appendix A."""

from dataclasses import dataclass

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import Merged
from verydeep.ops.arrays import BoolArray, Float64Array, Int64Array
from verydeep.ops.localization_errors import (
    Instances,
    LocalizationErrors,
    best_overlaps,
    ground_truth_overlaps,
    localization_errors,
)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What the annotations say of n images."""

    instances: Instances
    counted: BoolArray
    """(n,) images that the localization error counts: those not on the devkit's blacklist."""

    @classmethod
    def of(cls, split: Split, candidate_classes: CandidateClasses, blacklisted: BoolArray) -> "GroundTruth":
        """Of the images that were asked about.

        Args:
            split: whose images all have boxes.
            candidate_classes: of it.
            blacklisted: (N,) images of the split that are not counted.
        """
        assert split.boxes is not None and candidate_classes.labels is not None
        boxes = [split.boxes[index] for index in candidate_classes.indices.tolist()]
        return cls(Instances.of(candidate_classes.labels, boxes), ~blacklisted[candidate_classes.indices])

    def subset(self, rows: Int64Array) -> "GroundTruth":
        """Of some of the images."""
        starts = np.cumsum(self.instances.counts) - self.instances.counts
        boxes = [self.instances.boxes[starts[row] : starts[row] + self.instances.counts[row]] for row in rows]
        return GroundTruth(Instances.of(self.instances.labels[rows], boxes), self.counted[rows])


@dataclass(frozen=True, eq=False)
class BoxErrors:
    """What the merged boxes of n images are worth."""

    merged: Merged
    """For the true class and the guesses, in the order of ``CandidateClasses.classes``."""
    truth_overlaps: Float64Array
    """(n,) largest IoU of the true class's box with an instance."""
    guess_overlaps: Float64Array | None
    """(n,) largest IoU of a guess of the true class with an instance; 0 where the true class was not guessed."""

    @classmethod
    def of(cls, merged: Merged, candidate_classes: CandidateClasses, truth: GroundTruth) -> "BoxErrors":
        """Compare boxes with the truth."""
        return cls(
            merged,
            ground_truth_overlaps(merged.boxes[:, 0], truth.instances),
            best_overlaps(candidate_classes.guesses, merged.boxes[:, 1:], truth.instances)
            if candidate_classes.guesses.size
            else None,
        )

    def errors(self, truth: GroundTruth) -> tuple[LocalizationErrors, LocalizationErrors | None]:
        """Of the true class's box (the first protocol), and of the boxes of the guesses, if any (the second)."""
        of_truth = localization_errors(self.truth_overlaps, ~truth.counted)
        guesses = self.guess_overlaps
        return of_truth, None if guesses is None else localization_errors(guesses, ~truth.counted)
