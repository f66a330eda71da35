"""Recognize the layout of a data set, and read its splits."""

import os
from dataclasses import replace
from pathlib import Path

from verydeep.data.folders.class_folders import list_class_folders
from verydeep.data.folders.folder import folder_split_names, open_folder
from verydeep.data.folders.label_csv import (
    describe_unused_tables,
    find_labeled_folder,
    label_split_names,
    open_label_split,
)
from verydeep.data.folders.products import describe_product
from verydeep.data.folders.split_folders import find_split_folders
from verydeep.data.sets.generated_set import COUNTS, is_generated, open_generated
from verydeep.data.sets.imagenet import find_tars, is_kaggle, kaggle_split_names, open_kaggle
from verydeep.data.sets.tiny_imagenet import is_tiny_imagenet, open_tiny_imagenet, tiny_imagenet_split_names
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.paths import describe_read_error


def split_names(root: Path) -> tuple[str, ...]:
    """Return the names that ``open_split`` accepts for this folder.

    Raises:
        DataError: there is no such folder, or it holds ILSVRC's original tars, which must be prepared first.
    """
    _check(root)
    if is_generated(root):
        return tuple(COUNTS)
    if is_kaggle(root):
        return kaggle_split_names(root)
    if is_tiny_imagenet(root):
        return tiny_imagenet_split_names(root)
    if (labeled := find_labeled_folder(root)) is not None:
        return label_split_names(labeled)
    return folder_split_names(root)


def open_split(
    root: Path, name: str, *, seed: int = 0, val_fraction: float = 0.2, group_by: str | None = None, strict: bool = True
) -> Split:
    """Recognize the layout of ``root`` and read one split.

    Args:
        root: the generated set, Kaggle's ILSVRC, Tiny-ImageNet, photographs with a CSV file of labels, or class folders
            with or without train/, val/, test/.
        name: one of ``split_names(root)``.
        seed: chooses the images of flat class folders that belong to val.
        val_fraction: their share, in (0, 1).
        group_by: the groups of images that stay together, as ``groups.resolve_group_by`` returns it.
        strict: whether empty and unknown class folders are errors; otherwise they are the split's problems.

    Raises:
        DataError: the folder or the split does not exist, or its layout is damaged or not recognized.
    """
    if not 0 < val_fraction < 1:
        raise DataError(f"The share of images in val must lie between 0 and 1; {val_fraction:g} does not.")
    names = split_names(root)
    if name not in names:
        raise DataError(f"{root} has no split {name!r}; choose one of {', '.join(names)}.")
    if is_generated(root):
        return open_generated(root, name)
    if is_kaggle(root):
        return open_kaggle(root, name)
    if is_tiny_imagenet(root):
        return open_tiny_imagenet(root, name)
    if (labeled := find_labeled_folder(root)) is not None:
        return open_label_split(labeled, name, seed=seed, val_fraction=val_fraction, group_by=group_by, strict=strict)
    unused = describe_unused_tables(root)
    if unused and len(list_class_folders(find_split_folders(root).training)) < 2:
        raise DataError(unused)
    split = open_folder(root, name, seed=seed, val_fraction=val_fraction, group_by=group_by, strict=strict)
    if not unused:
        return split
    return replace(
        split, notes=(*split.notes, f"The labels are those of the class folders, so this table is not used: {unused}")
    )


def check_folder(root: Path) -> None:
    """Refuse what is no folder that can be read.

    Raises:
        DataError: there is no such folder, it is a file, it may not be read, or verydeep wrote it.
    """
    try:
        with os.scandir(root):
            (root / "..").stat()  # entering a folder and listing it are different permissions
    except FileNotFoundError:
        raise DataError(f"{root} does not exist; give a folder of photographs.") from None
    except NotADirectoryError:
        raise DataError(f"{root} is a file; give the folder that holds the photographs.") from None
    except OSError as error:
        raise DataError(describe_read_error(root, error)) from error
    if product := describe_product(root):
        raise DataError(f"{root} {product}; give a folder of photographs.")


def _check(root: Path) -> None:
    check_folder(root)
    if find_tars(root):
        raise DataError(
            f"{root} holds the original tars of ILSVRC-2012; run `verydeep prepare ilsvrc {root} DEST` first."
        )
