"""The class folders of one split of a data set: their names, their images, and what is unusual about them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from verydeep.data.folders.listing import (
    find_similar_names,
    holds_files,
    holds_images,
    list_images,
    list_subfolders,
    normalize_name,
)
from verydeep.data.folders.products import describe_product
from verydeep.data.folders.split_folders import ANNOTATIONS, SPLIT_NAMES
from verydeep.errors import DataError

LabeledFile = tuple[str, int]
"""A file and its label; -1 where the class is unknown."""


def list_class_folders(folder: Path) -> list[str]:
    """Return the names of the folders that are classes: not empty ones, Annotations without images, nor verydeep's."""
    names = list_subfolders(folder)
    names = [name for name in names if (holds_images if name == ANNOTATIONS else holds_files)(folder / name)]
    return [name for name in names if describe_product(folder / name) is None]


def list_classes(folder: Path) -> tuple[list[str], list[str]]:
    """Return the classes, sorted, and notes about class folders that are easily confused.

    Raises:
        DataError: there are none.
    """
    names = list_class_folders(folder)
    if not names:
        contents = "images but no class folders" if list_images(folder) else "no class folders with images"
        raise DataError(f"{folder} holds {contents}; put the images of each class into a folder of its own there.")
    classes = sorted(set(map(normalize_name, names)))
    notes = []
    if len(classes) < len(names):
        notes.append(f"Some class folders of {folder} differ only in how their accents are stored; they are one class.")
    for one, other in find_similar_names(classes):
        difference = "case" if one.casefold() == other.casefold() else "case or spaces"
        notes.append(
            f"The class folders {one} and {other} of {folder} differ only in {difference}; they are two classes."
        )
    return classes, notes


def label_images(source: Path, images: Sequence[str], classes: list[str]) -> tuple[list[LabeledFile], list[str]]:
    """Return the images in class folders with their labels, and what is wrong with the folders."""
    label_of = {class_name: label for label, class_name in enumerate(classes)}
    folders = {name: label_of.get(normalize_name(name), -1) for name in list_class_folders(source)}
    problems = []
    if unknown := [name for name, label in folders.items() if label < 0]:
        problems.append(
            f"{source} has class folders that training lacks: {join_names(unknown)}; rename or remove them."
        )
    unreadable = folders.keys() & {image for image in images if "/" not in image}
    problems += [f"{source / name} may not be read: change its permissions." for name in sorted(unreadable)]
    files = [(image, folders[name]) for image in images if (name := image.partition("/")[0]) in folders]
    files = [(image, label) for image, label in files if image not in unreadable]
    without_images = folders.keys() - unreadable - {image.partition("/")[0] for image, _ in files}
    problems += [_describe_without_images(source / name) for name in sorted(without_images)]
    if not files and not problems:
        contents = "images but no class folders" if images else "no images"
        problems.append(f"{source} holds {contents}; put the images of each class into a folder of its own there.")
    return files, problems


def _describe_without_images(folder: Path) -> str:
    if holds_images(folder):  # in formats that are not read; a note names them and what to do
        return f"The class folder {folder} holds only images that are not read; convert or remove them."
    return f"The class folder {folder} holds no images; fill or remove it."


def list_strays(source: Path, images: Sequence[str]) -> list[str]:
    """Return the images that lie next to class folders, and so in no class."""
    folders = set(list_subfolders(source))
    return [image for image in images if "/" not in image and image not in folders]


def describe_unused(source: Path, images: Sequence[str]) -> list[str]:
    """Return notes about empty folders, and about images next to the class folders."""
    folders = list_subfolders(source)
    products = {name: product for name in folders if (product := describe_product(source / name))}
    notes = [f"Not used, because it {product}: {source / name}." for name, product in products.items()]
    if empty := sorted(set(folders) - set(list_class_folders(source)) - products.keys() - {ANNOTATIONS}):
        reason = "it is empty" if len(empty) == 1 else "they are empty"
        notes.append(f"Not used, because {reason}: {join_names([str(source / name) for name in empty])}.")
    if strays := list_strays(source, images):
        count = "1 image that lies" if len(strays) == 1 else f"{len(strays):,} images that lie"
        notes.append(f"Not used: {count} directly in {source} and not in a class folder ({strays[0]}).")
    return notes


def describe_nested(source: Path, files: Sequence[str]) -> list[str]:
    """Return a note about folders inside class folders: if most images lie there, these may be the classes.

    It is not an error, because people also keep the photographs of a class in folders, by day or by person. If every
    class keeps its images in a single folder, as in cat/images and dog/images, there is nothing to note.
    """
    inside: dict[str, Counter[str]] = {}  # class folder -> folder in it, or "" -> number of images
    is_deeper = False
    for file in files:
        folder, *folders, _ = file.split("/")
        inside.setdefault(folder, Counter())[folders[0] if folders else ""] += 1
        is_deeper |= len(folders) > 1
    nested = {name: counts for name, counts in inside.items() if _is_nested(counts)}
    if 2 * sum(counts.total() - counts[""] for counts in nested.values()) <= len(files):
        return _describe_mixed(inside)
    places = [f"{folder}/{min(filter(None, counts))}" for folder, counts in sorted(nested.items())]
    text = f"Most images of {source} are in folders inside class folders, such as "
    if len(nested) == len(inside) and not any("" in counts for counts in nested.values()):
        text = f"No class folder of {source} contains images directly: they are in folders such as "
        if not is_deeper and all({name.lower() for name in names} <= SPLIT_NAMES.keys() for names in nested.values()):
            first, second = places[0].split("/")
            return [f"{text}{places[0]}. Put the folders of the splits outside, as in {second}/{first}."]
    outer = join_names([str(source / folder) for folder in sorted(nested)], "or")
    return [f"{text}{join_names(places[:2])}. If these are the classes, give {outer} as data."]


def _is_nested(counts: Counter[str]) -> bool:
    """Whether most images of a class folder lie in several folders inside of it."""
    return len(counts) - ("" in counts) > 1 and 2 * counts[""] < counts.total()


def _describe_mixed(inside: Mapping[str, Counter[str]]) -> list[str]:
    """Return a note on folders inside class folders, if other images lie directly in class folders."""
    if not any("" in counts for counts in inside.values()):
        return []
    counted = ((f"{name}/{each}", counts[each]) for name, counts in sorted(inside.items()) for each in counts if each)
    folders = [f"{name} ({count:,})" for name, count in counted]
    if not folders:
        return []
    return [f"Folders inside class folders count as part of their class: {join_names(folders)}."]


def join_names(names: Sequence[str], last: str = "and") -> str:
    """Return "a, b and c"; of many names the first."""
    if len(names) > 5:
        return f"{', '.join(names[:4])} {last} {len(names) - 4} more"
    return f" {last} ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)
