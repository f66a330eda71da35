"""Data sets as a user names them: a folder of photographs, or "generated"."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from verydeep.data.folders.division import are_held_out
from verydeep.data.folders.folder import WNID
from verydeep.data.folders.label_csv import find_labeled_folder
from verydeep.data.folders.listing import list_subfolders, normalize_name
from verydeep.data.folders.photographs import Photographs, find_photographs
from verydeep.data.folders.split_folders import find_split_folders
from verydeep.data.layout import open_split, split_names
from verydeep.data.loading.value_survey import survey_values
from verydeep.data.pixels.images import unpack_images
from verydeep.data.sets.generated_set import COUNTS, VERSION, generate, is_generated
from verydeep.data.split import Split
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.log import Log
from verydeep.engine.plotting import is_drawn
from verydeep.engine.progress import progress_bar, run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.errors import DataError, OptionError
from verydeep.files import check_output_folder, try_lock
from verydeep.models.weights.model_folder import SplitRecord
from verydeep.ops.value_ranges import RangeKeeper, RecordedRanges, ValueRange, ValueRanges, ValueType, name_values
from verydeep.paths import real_path, shorten_name

GENERATED = "generated"
VAL_FRACTION = 0.2


class Division(NamedTuple):
    """How a folder without val/ is divided at random."""

    seed: int = 0
    val_fraction: float = VAL_FRACTION
    """Share of the images that become validation images."""
    group_by: str | None = None
    """Groups of images that stay together; None: each image is on its own."""

    def __str__(self) -> str:
        groups = "" if self.group_by is None else f", groups by {self.group_by}"
        return f"{100 * self.val_fraction:g}% for validation, seed {self.seed}{groups}"

    @classmethod
    def of(cls, record: SplitRecord) -> "Division":
        """Return how a training divided its images."""
        return cls(record.seed, record.val_fraction, record.group_by)


DEFAULT_DIVISION = Division()


def data_folder(data: str) -> Path:
    """Return the folder of a data set; the generated set is made on its first use, in the cache.

    Raises:
        DataError: The generated set cannot be written.
    """
    if data != GENERATED:
        return Path(data)
    root = cache_folder() / f"{GENERATED}-{VERSION}"
    while not is_generated(root):
        with try_lock(root.with_name(f"{root.name}.lock")) as is_free:
            if is_free:
                _generate(root)
        if not is_free:  # another process makes it
            time.sleep(1)
    return root


def is_generated_folder(folder: str) -> bool:
    """Return whether a folder was one of the generated set, which may be of another version by now."""
    return Path(folder).parent.name.startswith(f"{GENERATED}-")


def _generate(root: Path) -> None:
    with progress_bar() as progress:
        task = progress.add_task("Making the generated set", total=sum(COUNTS.values()), note="")
        for done in generate(root):
            progress.update(task, completed=done)


def open_photographs(
    images: Photographs, recorded: Iterable[RecordedRanges], runtime: Runtime, pictures: Path | None = None
) -> Split:
    """Return the split of ``find_photographs`` with its value ranges, and send its notes.

    Args:
        images: photographs, as ``find_photographs`` takes them.
        recorded: ranges that a net or a classifier was trained with.
        runtime: of this process.
        pictures: a folder for pictures of them, whose files are left out.

    Raises:
        DataError: There are no such photographs.
        OptionError: The folder is one of the images, or holds other files than pictures.
    """
    if pictures is not None:
        check_outside_images(pictures, images)
    split, log = find_photographs(images, pictures), Log()
    log.send_notes(split.notes)
    if pictures is not None:
        check_picture_folder(pictures, split)
    (split,) = choose_value_ranges([split], recorded, runtime, log, by_call=True)
    return split


def data_name(data: str) -> str:
    """Return the name of a data set, as it stands in the names of runs; a link has a name of its own."""
    return GENERATED if data == GENERATED else shorten_name(os.path.basename(os.path.abspath(data)))  # noqa: PTH100, PTH119


def check_outside_data(folder: Path, split: Split) -> None:
    """Refuse a folder for results where the next command would take it for a class.

    Raises:
        OptionError: The folder lies in that of a split whose classes are folders.
    """
    root = real_path(split.root)
    places = (real_path(folder), Path(os.path.abspath(folder)))  # noqa: PTH100 - where a link lies counts, too
    if split.labels is not None and any(place.is_relative_to(root) for place in places):
        raise OptionError(
            f"{folder} is inside of the data set {split.root} and would be taken for a class: choose a folder outside "
            "of it as `out` (for reproduce, as `runs`).",
            "out",
        )


def check_outside_images(folder: Path, images: Photographs) -> None:
    """Refuse a folder for pictures that is one of the folders of images.

    Raises:
        OptionError: The folder is one of them.
    """
    paths = [Path(each) for each in unpack_images(images) if isinstance(each, str | os.PathLike)]
    if any(path.is_dir() and real_path(path) == real_path(folder) for path in paths):
        raise OptionError(f"{folder} is a folder of images: choose another `out` for the pictures.", "out")


def check_picture_folder(folder: Path, split: Split) -> None:
    """Refuse a folder for pictures of photographs that holds other files than such pictures and these photographs.

    Raises:
        OptionError: It is a file, or holds other files.
    """
    photographs = {real_path(split.path(index)) for index in range(len(split))}

    def is_ours(name: str) -> bool:
        return name.startswith(".") or is_drawn(folder / name) or real_path(folder / name) in photographs

    check_output_folder(folder, is_ours, "pictures by verydeep")


def fingerprint(split: Split, folder_name: str | None = None) -> str:
    """Return a hash of the list of files of a split: another split or a changed folder has another one.

    Args:
        split: the split.
        folder_name: name that its folder had before it was renamed.
    """
    names = normalize_name("\n".join((folder_name or split.root.name, *split.files)))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def open_data_split(data: str, name: str, division: Division = DEFAULT_DIVISION) -> Split:
    """Open a split of a data set.

    Raises:
        DataError: The folder or the split does not exist, or the layout is unknown.
    """
    return open_split(data_folder(data), name, **division._asdict())


def choose_value_ranges(
    splits: Sequence[Split],
    recorded: Iterable[RecordedRanges],
    runtime: Runtime,
    log: Log,
    *,
    by_call: bool = False,
) -> list[Split]:
    """Return splits of one data set with ranges for values that are not bytes; the main process reads the files.

    Args:
        splits: those that have ranges already keep them.
        recorded: ranges that nets or a classifier were trained with; for each type of values the first one holds.
        runtime: of this process.
        log: gets a line for each type of values.
        by_call: whether the images are those of one call, so that another call may have other ranges.
    """
    new = [split for split in splits if split.value_ranges is None]
    if not new:
        return list(splits)
    ranges = runtime.from_main(find_value_ranges(new, recorded, log, by_call=by_call) if runtime.is_main else {})
    return [split if split.value_ranges is not None else replace(split, value_ranges=ranges) for split in splits]


def find_value_ranges(
    splits: Sequence[Split], recorded: Iterable[RecordedRanges], log: Log, *, by_call: bool = False
) -> ValueRanges:
    """Return the ranges of splits of one data set, recorded or new; arguments as in ``choose_value_ranges``."""
    known: dict[ValueType, tuple[ValueRange, RangeKeeper]] = {}
    for ranges, keeper in recorded:
        for value_type, value_range in ranges.items():
            if known.setdefault(value_type, (value_range, keeper))[0] != value_range:
                name = name_values(value_type)
                log.info(f"The nets were trained with different ranges of {name}: the range of the first net is used.")
    found = run_with_progress(survey_values(splits, known), "Reading headers", sum(map(len, splits)))
    for values in found:
        send = log.warn if values.clippings or (by_call and values.keeper is None) else log.info
        send(str(values))
    return {values.value_type: values.value_range for values in found}


def open_test_part(data: str, name: str | None, records: Sequence[SplitRecord]) -> Split:
    """Open the images that nets are tested on.

    Args:
        data: Folder, or "generated".
        name: Name of the split. None: val. Of a folder without val/ that no net was trained on: test, or else all.
        records: Of the nets' trainings; a folder without val/ is divided as it was for them.

    Raises:
        DataError: The folder or the split does not exist, or the layout is unknown.
    """
    folder = data_folder(data)
    names = split_names(folder)
    if "all" not in names:
        return open_data_split(data, name or "val")
    has_labels = find_labeled_folder(folder) is not None
    if not has_labels and [each.lower() for each in list_subfolders(folder)] == ["test"]:  # of classes, not a class
        return open_test_part(str(folder / list_subfolders(folder)[0]), None if name == "test" else name, records)
    division = find_division(data, records)
    if name is None and division is None:
        has_test = "test" in names and open_data_split(data, "test").labels is not None
        return open_data_split(data, "test" if has_test else "all")
    if division is None:  # of other data: groups mean nothing here
        seeded = [Division(record.seed, record.val_fraction) for record in records if record.val_fraction]
        division = seeded[0] if seeded else DEFAULT_DIVISION
    split = open_data_split(data, name or "val", division)
    return split if split.name != "val" else _hold_out_as_before(split, data, division, records)


def _hold_out_as_before(split: Split, data: str, division: Division, records: Iterable[SplitRecord]) -> Split:
    """Return val without training images of a net, also after photographs were added to its folder, or removed."""
    for record in records:
        is_changed = record.data == str(real_path(split.root)) and record.val != fingerprint(split)
        if is_changed and record.last_ranks is not None and Division.of(record) == division:
            whole = open_data_split(data, "all")
            held_out = np.flatnonzero(are_held_out(whole, record.last_ranks, record.seed)).tolist()
            if held_out:
                return replace(whole.subset(held_out), name="val", layout=split.layout, notes=split.notes)
    return split


def find_division(data: str, records: Iterable[SplitRecord]) -> Division | None:
    """Return how a training divided a folder without val/; None if no training was on its images.

    Raises:
        DataError: The groups of the images cannot be read any more.
    """
    for record in dict.fromkeys(follow_folder(each, data) for each in records):
        division = Division.of(record)
        if not division.val_fraction:  # the images were drawn by number
            continue
        root = open_data_split(data, "train").root
        is_same_folder = record.data == str(real_path(root))
        if not is_same_folder and Path(record.data).name != root.name:
            continue
        try:
            train = open_data_split(data, "train", division)
        except DataError:
            if is_same_folder:
                raise
            continue
        old = Path(record.data)
        if is_same_folder or (record.train == fingerprint(train) and (not old.exists() or _has_sizes_of(train, old))):
            return division
    return None


def follow_folder(record: SplitRecord, data: str) -> SplitRecord:
    """Return the record of a random division with ``data`` as its folder, if its images are there: moved, or copied.

    If the folder of the training still exists, files of the same names are copies only if their sizes agree, too.
    """
    old = Path(record.data)
    if not record.val_fraction or (old.exists() and old.is_relative_to(real_path(data_folder(data)))):
        return record
    old_name, division = old.name, Division.of(record)
    with suppress(DataError):
        if old.exists() and list_subfolders(old) != list_subfolders(find_split_folders(data_folder(data)).training):
            return record  # other classes, so that no file need be listed
        train = open_data_split(data, "train", division)
        if fingerprint(train, old_name) == record.train and (not old.exists() or _has_sizes_of(train, old)):
            val = open_data_split(data, "val", division)
            is_val = fingerprint(val, old_name) == record.val
            return replace(
                record,
                data=str(real_path(train.root)),
                train=fingerprint(train),
                val=fingerprint(val) if is_val else record.val,
            )
    return record


def _has_sizes_of(split: Split, folder: Path) -> bool:
    """Return whether the files of a split have the sizes of those of the same names in another folder."""
    try:
        return all(split.path(i).stat().st_size == (folder / file).stat().st_size for i, file in enumerate(split.files))
    except OSError:
        return False


def open_training_images(record: SplitRecord) -> Split | None:
    """Return the images of a training, if they are a person's own; None otherwise, or if they are gone.

    If images were added or removed since then, these are the ones that are training images now.
    """
    root, division = Path(record.data), Division.of(record)._asdict()
    with suppress(DataError):
        if all(map(WNID.fullmatch, list_subfolders(root))):  # ImageNet: a million files
            return None
    splits: dict[str, Split] = {}
    for name in ("all", "train"):
        with suppress(DataError):
            split = splits[name] = open_split(root, name, **(division if name == "train" else {}))
            if fingerprint(split) == record.train:
                return split if split.camera_rotation else None
    changed = splits.get("train" if record.group_by else "all")
    if changed is None or not changed.camera_rotation:
        return None
    if record.last_ranks is None:
        return changed
    is_train = ~are_held_out(changed, record.last_ranks, record.seed)
    return changed.subset(np.flatnonzero(is_train).tolist())
