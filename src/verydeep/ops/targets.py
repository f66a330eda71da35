"""What linear classifiers are trained to tell apart, and which training images are held out to choose their C.

Targets are (n, K) int8, one column a class: 1 the class is on the image, -1 it is not, 0 the image is left out of that
class's training (VOC's 'difficult').
"""

import numpy as np
import numpy.typing as npt

HOLD_OUT_STREAM = 7

Targets = npt.NDArray[np.int8]


def one_vs_rest(labels: npt.NDArray[np.int64], num_classes: int) -> Targets:
    """(n, K) of single labels (n,): 1 in the column of an image's class, -1 in all others."""
    return np.where(labels[:, None] == np.arange(num_classes), 1, -1).astype(np.int8)


def hold_out(targets: Targets, seed: int, share: float = 0.2) -> npt.NDArray[np.bool_]:
    """(n,) which images are held out: a share of each class's, rounded, at least one and never all.

    Classes are served from the rarest to the most frequent, each from those of its images that no rarer class has
    placed; of single labels that is a stratified draw. An image of several classes is placed once, so a class of few
    images may still lie on one side alone, and so does a class of one image. Images of no class are drawn last.

    Args:
        targets: (n, K)
        seed: of the draw.
        share: to be held out.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, HOLD_OUT_STREAM]))
    positive = targets == 1
    held, placed = np.zeros(len(targets), np.bool_), np.zeros(len(targets), np.bool_)
    for label in np.argsort(positive.sum(axis=0), kind="stable"):
        of_class = positive[:, label]
        total = int(of_class.sum())
        wanted = min(max(1, round(share * total)), total - 1) - int((of_class & held).sum())
        free = generator.permutation(np.flatnonzero(of_class & ~placed))
        held[free[: max(0, wanted)]] = True
        placed |= of_class
    free = generator.permutation(np.flatnonzero(~placed))
    held[free[: round(share * len(free))]] = True
    return held
