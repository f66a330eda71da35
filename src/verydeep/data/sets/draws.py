"""Random draws of training and test photographs, decided by a seed and by each file's name alone.

Photographs are ordered by SHA-256 of ``<seed>:<path>``, with the path below the data set's folder and forward slashes.
So the order is the same on every machine and for every order of listing, and anybody can repeat it without this
package. For any k, the first k photographs of a class are the same. The seeds of the paper's own random splits are
unknown (docs/choices.md).

Where photographs belong to groups, half of the groups are for testing (``hold_out_groups``, in the order of SHA-256 of
``<seed>:<group>``), or a fifth if the others have too few photographs for training.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from verydeep.data.folders.groups import number_groups
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import BoolArray, Int64Array
from verydeep.ops.targets import hold_out_groups, hold_out_rarest_first
from verydeep.wording import count_of, join_choices


def draw_of_each_class(split: Split, num_train: int, num_test: int | None, *, seed: int) -> tuple[Split, Split]:
    """Draw training images of each class, and test images among the others.

    Args:
        split: images with labels.
        num_train: number of training images of each class.
        num_test: largest number of test images of each class; None: all others.
        seed: of the draw.

    Raises:
        DataError: a class has too few images for training, or none would be left for testing.
    """
    classes = list(_classes(split))
    is_test = _choose_test_groups(split, classes, num_train, seed) if split.groups and num_test != 0 else None
    train: list[int] = []
    test: list[int] = []
    too_small: dict[str, int] = {}
    for name, members in zip(split.class_names, classes, strict=True):
        ordered = _order_by_hash(split, members, seed)
        drawn = ordered[:num_train] if is_test is None else ordered[~is_test[ordered]][:num_train]
        others = ordered[num_train:] if is_test is None else ordered[is_test[ordered]]
        if len(drawn) < num_train or (not len(others) and num_test != 0):
            too_small[name] = len(ordered)
        train += drawn.tolist()
        test += others[:num_test].tolist()
    if too_small:
        raise _too_small_error(split, too_small, num_train, num_test)
    return split.subset(sorted(train)), split.subset(sorted(test))


def _choose_test_groups(split: Split, classes: Sequence[Int64Array], num_train: int, seed: int) -> BoolArray:
    """Return (n,) whether the group of each image is for testing: half of them, or a fifth if training needs more."""
    assert split.groups is not None
    numbers = number_groups(split.groups, seed)
    half, fifth = (hold_out_groups(classes, numbers, share) for share in (0.5, 0.2))
    return half if all((~half[members]).sum() >= num_train for members in classes) else fifth


def _too_small_error(split: Split, too_small: dict[str, int], num_train: int, num_test: int | None) -> DataError:
    """Return the error of classes with too few photographs, or groups; the smallest is named."""
    name, count = min(too_small.items(), key=lambda pair: pair[1])
    total = f" ({len(too_small)} classes have too few)" if len(too_small) > 1 else ""
    needed = f"{num_train} are needed for training" + ("" if num_test == 0 else ", and others for testing")
    if split.groups is not None:
        needed = f"{num_train} are needed for training, and some of other groups for testing"
    remedies = ["add photographs", *(["lower `num_train`"] if num_train > 1 else [])]
    remedies += ["give `num_test=0` to test nothing"] if num_test != 0 and count >= num_train else []
    found = f"{split.root} has {count_of(count, 'photograph')}{total}"
    return DataError(f"Class {name!r} of {found}, but {needed}; {join_choices(remedies)}.")


def few_of_each_class(split: Split, count: int, *, seed: int) -> Int64Array:
    """Return the images that the draw puts first, ``count`` of each class, in ascending order.

    Args:
        split: images with labels.
        count: number of images of each class; all if it has fewer.
        seed: of the draw.
    """
    return np.sort(np.concatenate([_order_by_hash(split, members, seed)[:count] for members in _classes(split)]))


def hold_out(split: Split, share: float, *, seed: int) -> tuple[Split, Split]:
    """Divide a split into training images and held-out images, a share of each class.

    Args:
        split: images with labels or relevance.
        share: of held-out images, in (0, 1); ``hold_out_rarest_first`` says how it is rounded, ``hold_out_groups``
            where the images have groups.
        seed: of the draw.
    """
    if split.groups is not None:
        held_out = hold_out_groups(list(_classes(split)), number_groups(split.groups, seed), share)
    else:
        held_out = hold_out_rarest_first(
            list(_classes(split)), len(split), share, lambda members: _order_by_hash(split, members, seed)
        )
    return split.subset(np.flatnonzero(~held_out).tolist()), split.subset(np.flatnonzero(held_out).tolist())


def _classes(split: Split) -> Iterator[Int64Array]:
    """Yield the images of each class."""
    for k in range(len(split.class_names)):
        if split.labels is not None:
            yield np.flatnonzero(split.labels == k)
        else:
            assert split.relevance is not None
            yield np.flatnonzero(split.relevance[:, k] > 0)


def _order_by_hash(split: Split, members: Int64Array, seed: int) -> Int64Array:
    keys = [f"{seed}:{split.files[i]}".encode("utf-8", "surrogateescape") for i in members]
    digests = [hashlib.sha256(key).digest() for key in keys]
    return members[sorted(range(len(members)), key=lambda i: (digests[i], i))]
