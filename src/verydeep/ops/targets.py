"""Targets of linear classifiers, and the training images held out to choose their C.

Targets are (n, K) int8, one column per class: 1 the class is on the image, -1 it is not, 0 the image is ignored in that
class's training (VOC's 'difficult').
"""

from collections.abc import Callable, Sequence

import numpy as np

from verydeep.ops.arrays import BoolArray, Int8Array, Int64Array

HOLD_OUT_STREAM = 7


def one_vs_rest(labels: Int64Array, num_classes: int) -> Int8Array:
    """Return targets (n, K) of single labels (n,): 1 in the column of an image's class, -1 in all others."""
    return np.where(labels[:, None] == np.arange(num_classes), 1, -1).astype(np.int8)


def hold_out_samples(
    targets: Int8Array, seed: int, share: float = 0.2, photographs: Int64Array | None = None
) -> BoolArray:
    """Return (n,) whether each sample is held out; photographs are chosen at random, as ``hold_out_rarest_first`` says.

    Args:
        targets: (n, K)
        seed: of the random order.
        share: of the photographs to hold out.
        photographs: (n,) number of the photograph of each sample, from 0. Samples of one photograph stay together,
            because they look alike. None: each has its own.
    """
    if photographs is None:
        photographs = np.arange(len(targets))
    generator = np.random.Generator(np.random.Philox(key=[seed, HOLD_OUT_STREAM]))
    classes = [np.unique(photographs[column == 1]) for column in targets.T]
    held_out = hold_out_rarest_first(classes, int(photographs.max(initial=-1)) + 1, share, generator.permutation)
    return held_out[photographs]


def hold_out_rarest_first(
    classes: Sequence[Int64Array], num_images: int, share: float, order: Callable[[Int64Array], Int64Array]
) -> BoolArray:
    """Return (n,) whether each image is held out: a rounded share of each class, at least one image and never all.

    Classes are divided from the rarest to the most frequent, each among the images that no rarer class has (after
    Sechidis et al. 2011); for single labels that is a stratified draw. Images without a class come last. An image of
    several classes is assigned once, so all images of a class may end up on one side. Then one of them changes sides,
    unless another class has its last image there. A class of one image is on one side only.

    Args:
        classes: the images of each class.
        num_images: n.
        share: to hold out.
        order: puts images into an order, of which the first are held out.
    """
    held_out, assigned = np.zeros(num_images, np.bool_), np.zeros(num_images, np.bool_)
    for members in sorted(classes, key=len):  # stable: classes of one size stay in their order
        num_lacking = min(max(1, round(share * len(members))), len(members) - 1) - int(held_out[members].sum())
        held_out[order(members[~assigned[members]])[: max(0, num_lacking)]] = True
        assigned[members] = True
    unlabeled = order(np.flatnonzero(~assigned))
    held_out[unlabeled[: round(share * len(unlabeled))]] = True
    several = sorted((members for members in classes if len(members) > 1), key=len)
    for members in several:
        if held_out[members].all() or not held_out[members].any():
            side = held_out[members[0]]
            last = {image for each in several if (held_out[each] == side).sum() == 1 for image in each.tolist()}
            held_out[[image for image in order(members).tolist() if image not in last][:1]] = not side
    return held_out
