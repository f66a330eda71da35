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


def hold_out_samples(targets: Int8Array, seed: int, photographs: Int64Array | None = None) -> BoolArray:
    """Hold out a fifth of the photographs at random, as ``hold_out_rarest_first`` does; return (n,) which samples.

    Args:
        targets: (n, K)
        seed: of the random order.
        photographs: (n,) number of the photograph, or group of photographs, of each sample, from 0. Samples of one
            stay together, because they look alike. None: each has its own.
    """
    if photographs is None:
        photographs = np.arange(len(targets))
    generator = np.random.Generator(np.random.Philox(key=[seed, HOLD_OUT_STREAM]))
    classes = [np.unique(photographs[column == 1]) for column in targets.T]
    held_out = hold_out_rarest_first(classes, int(photographs.max(initial=-1)) + 1, 0.2, generator.permutation)
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


def hold_out_groups(classes: Sequence[Int64Array], groups: Int64Array, share: float) -> BoolArray:
    """Return (n,) whether each image is held out: whole groups, about a share of each class's images.

    Classes are divided from the one of fewest groups to that of most, each among the groups that no earlier class has.
    Groups are held out in the order of their numbers as long as each brings the number of images nearer to the share;
    where none does, the smallest is. A class of several groups has at least one on each side, unless that is impossible
    because of the groups that it has in common with others; the images of a class of one group are not held out.

    Args:
        classes: the images of each class.
        groups: (n,) number of the group of each image, from 0, in the order in which groups are chosen.
        share: to hold out.
    """
    num_groups = int(groups.max(initial=-1)) + 1
    held_out, assigned = np.zeros(num_groups, np.bool_), np.zeros(num_groups, np.bool_)
    unlabeled = np.setdiff1d(np.arange(len(groups)), np.concatenate([*classes, np.empty(0, np.int64)]))
    counted = sorted((np.unique(groups[members], return_counts=True) for members in classes), key=lambda c: len(c[0]))
    for numbers, counts in [*counted, np.unique(groups[unlabeled], return_counts=True)]:
        target, count = share * counts.sum(), counts[held_out[numbers]].sum()
        free = np.flatnonzero(~assigned[numbers])
        num_trained = int((~held_out[numbers]).sum())
        for place in free:
            if count + counts[place] / 2 <= target and num_trained > 1:
                held_out[numbers[place]] = True
                count, num_trained = count + counts[place], num_trained - 1
        if not count and num_trained > 1 and len(free):
            held_out[numbers[free[counts[free].argmin()]]] = True
        assigned[numbers] = True
    several = [numbers for numbers, _ in counted if len(numbers) > 1]
    for numbers in several:
        if held_out[numbers].all() or not held_out[numbers].any():
            side = held_out[numbers[0]]
            last = {group for each in several if (held_out[each] == side).sum() == 1 for group in each.tolist()}
            last |= {group for each, _ in counted if len(each) == 1 for group in each.tolist()}
            held_out[[group for group in numbers.tolist() if group not in last][:1]] = not side
    return held_out[groups]
