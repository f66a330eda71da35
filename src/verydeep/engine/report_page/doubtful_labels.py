"""Photographs of an evaluation whose label is probably wrong, by the net's own predictions of them."""

import numpy as np

from verydeep.engine.report_page.stored_evaluation import StoredEvaluation
from verydeep.ops.confident_learning import rank_wrong_labels

SEEN = ("training images of", "are among these images", "may be training images")
"""Words of remarks about nets that learned from the photographs: their predictions say nothing about labels."""


def rank_doubtful_labels(evaluation: StoredEvaluation) -> list[int]:
    """Return the photographs whose label is probably wrong, the most doubtful first: places in the evaluation.

    Of the classes that are not among the best five, which the files do not have, the probability counts as 0. There are
    none for margins and boxes, nor where the net may have learned from the photographs.
    """
    remarks = " ".join(map(str, evaluation.values.get("remarks", ())))
    if evaluation.kind != "probability" or any(words in remarks for words in SEEN):
        return []
    names = sorted({each.label for each in evaluation.photographs})
    numbers = {name: number for number, name in enumerate(names)}
    posteriors = np.zeros((len(evaluation.photographs), len(names)), np.float32)
    for row, each in enumerate(evaluation.photographs):
        for name, score in each.guesses:
            if name in numbers:
                posteriors[row, numbers[name]] = score
    labels = np.array([numbers[each.label] for each in evaluation.photographs], np.int64)
    return [int(row) for row in rank_wrong_labels(posteriors, labels) if not evaluation.photographs[row].is_right]
