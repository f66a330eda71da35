"""What linear classifiers are trained to tell apart, and which training images are held out to choose their C.

Targets are (n, K) int8, one column a class: 1 the class is on the image, -1 it is not, 0 the image is left out of that
class's training (VOC's 'difficult').
"""

from collections.abc import Callable, Sequence

import numpy as np

from verydeep.ops.arrays import BoolArray, Int8Array, Int64Array

HOLD_OUT_STREAM = 7


def one_vs_rest(labels: Int64Array, num_classes: int) -> Int8Array:
    """(n, K) of single labels (n,): 1 in the column of an image's class, -1 in all others."""
    return np.where(labels[:, None] == np.arange(num_classes), 1, -1).astype(np.int8)


def hold_out(targets: Int8Array, seed: int, share: float = 0.2, photographs: Int64Array | None = None) -> BoolArray:
    """(n,) which samples are held out: photographs as ``hold_out_rarest_first`` has it, in an order drawn at random.

    Args:
        targets: (n, K)
        seed: of the draw.
        share: of the photographs to be held out.
        photographs: (n,) which one each sample is of, counted from 0: those of one stay together, as they look alike.
            None: each has its own.
    """
    if photographs is None:
        photographs = np.arange(len(targets))
    generator = np.random.Generator(np.random.Philox(key=[seed, HOLD_OUT_STREAM]))
    classes = [np.unique(photographs[column == 1]) for column in targets.T]
    held = hold_out_rarest_first(classes, int(photographs.max(initial=-1)) + 1, share, generator.permutation)
    return held[photographs]


def hold_out_rarest_first(
    classes: Sequence[Int64Array], num_images: int, share: float, draw: Callable[[Int64Array], Int64Array]
) -> BoolArray:
    """(n,) which images are held out: a share of each class's, rounded, at least one and never all.

    Classes are served from the rarest to the most frequent, each from those of its images that no rarer class has
    placed (after Sechidis et al. 2011); of single labels that is a stratified draw. Images of no class come last. An
    image of several classes is placed once, so those of a class may all have come to one side: then one of them changes
    it, if no other class has its last one there. A class of one image lies on one side.

    Args:
        classes: the images of each class.
        num_images: n.
        share: to be held out.
        draw: puts images into an order; the first are held out.
    """
    held, placed = np.zeros(num_images, np.bool_), np.zeros(num_images, np.bool_)
    for members in sorted(classes, key=len):  # stable: of equally large ones in the order of the classes
        wanted = min(max(1, round(share * len(members))), len(members) - 1) - int(held[members].sum())
        held[draw(members[~placed[members]])[: max(0, wanted)]] = True
        placed[members] = True
    free = draw(np.flatnonzero(~placed))
    held[free[: round(share * len(free))]] = True
    several = sorted((members for members in classes if len(members) > 1), key=len)
    for members in several:
        if held[members].all() or not held[members].any():
            side = held[members[0]]
            last = {image for each in several if (held[each] == side).sum() == 1 for image in each.tolist()}
            held[[image for image in draw(members).tolist() if image not in last][:1]] = not side
    return held
