"""Average precision as Pascal VOC counts it (appendix B; docs/choices.md): at 11 points until 2009, over all since.

Both follow VOCevalcls.m and VOCap.m of the devkit. Images are ranked by falling score, and of equal scores the one that
comes first in the data set ranks first. An image that counts as neither (VOC's 'difficult') takes no rank. Neither is
scikit-learn's ``average_precision_score``: that sums the precisions as they are, where VOC takes the best precision at
that recall or any higher one, and it gives equal scores one rank.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Relevance = npt.NDArray[np.int8]


def average_precision_11_points(scores: Floats, relevance: Relevance) -> float:
    """The mean of the best precision at recall 0, 0.1, ..., 1 or higher (VOC-2007 to 2009).

    Recall is compared in whole numbers; the devkit's 0.3 is a little more than 3 of 10, as 3 * 0.1 is in binary.

    Args:
        scores: (n,) larger is surer; an image without a result has minus infinity, one that is not a number comes last.
        relevance: (n,) 1 the class is on the image, -1 it is not, 0 neither counts.

    Returns:
        In [0, 1]; NaN where the class is on no image.
    """
    found, best = _best_precisions(scores, relevance)
    if not len(found):
        return float("nan")
    first = np.searchsorted(10 * found, np.arange(11) * found[-1])  # the first rank of each recall
    return float(best[first].mean())


def average_precision(scores: Floats, relevance: Relevance) -> float:
    """The area under the best precision at each recall or higher (VOC-2010 and later).

    Args:
        scores: (n,) as ``average_precision_11_points``.
        relevance: (n,) as there.

    Returns:
        In [0, 1]; NaN where the class is on no image.
    """
    found, best = _best_precisions(scores, relevance)
    if not len(found):
        return float("nan")
    return float((np.diff(found, prepend=0) * best).sum() / found[-1])


def _best_precisions(scores: Floats, relevance: Relevance) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Down the ranking: how many images of the class were found, and the best precision there or further down.

    Both are empty where there are none to find.
    """
    assert scores.shape == relevance.shape
    order = np.argsort(-scores, kind="stable")
    ranked = relevance[order]
    found = np.cumsum(ranked[ranked != 0] > 0, dtype=np.int64)
    if not len(found) or not found[-1]:
        return np.zeros(0, np.int64), np.zeros(0)
    precision = found / np.arange(1, len(found) + 1)
    return found, np.maximum.accumulate(precision[::-1])[::-1]
