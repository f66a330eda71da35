"""`verydeep verify`: find the files that cannot be decoded before a training does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.options import DataOption, ProgressOptions
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from verydeep.data.pixels.decoding import Inspection
    from verydeep.data.split import Split
    from verydeep.ops.value_ranges import ValueRanges
    from verydeep.results.data import VerifiedData

FILES_PER_WORKER = 500
"""Fewer files are decoded sooner than another process has started."""
FILES_PER_TURN = 32
"""Files that a process takes at once, and finishes after Ctrl-C."""


@command
def verify(
    data: DataOption,
    *,
    workers: Annotated[
        int | None, Option("Processes that decode images.", "by core count", "N", "compute", smallest=1)
    ] = None,
    **_options: Unpack[ProgressOptions],
) -> "VerifiedData":
    """Decode every photograph of a data set, and list those that cannot be decoded or have an unusual format.

    Wrong lines of labels.csv and boxes.csv, and wrong files in Annotations/, are listed too. The exit code is 1 if
    anything stops a training. With `bad_images=skip` other commands leave out files that cannot be decoded.

    Try:
        verydeep verify photos

    Raises:
        DataError: The folder holds no data set.
    """
    from verydeep.data.loading.value_survey import survey_values
    from verydeep.data.split import describe_classes
    from verydeep.engine.datasets import data_folder
    from verydeep.engine.log import Log
    from verydeep.engine.progress import run_with_progress, track
    from verydeep.machine import available_cores
    from verydeep.results.data import VerifiedData

    root = data_folder(str(data))
    splits, problems = open_all_splits(root)
    paths = [split.path(index) for split in splits for index in range(len(split))]
    classes = f"; {describe_classes(splits)}".removesuffix("; ")
    Log().info(f"{root}: {splits[0].layout}; {len(paths):,} files{classes}.")
    surveyed = run_with_progress(survey_values(splits, {}), "Reading headers", len(paths))
    ranges = {values.value_type: values.value_range for values in surveyed}
    notes = [note for split in splits for note in split.notes]
    notes = list(dict.fromkeys([*notes, *map(str, surveyed)]))
    workers = workers or min(available_cores(), 1 + len(paths) // FILES_PER_WORKER)
    undecodable: dict[str, str] = {}
    unusual: list[tuple[str, str]] = []
    for path, result in zip(paths, track(inspect_all(paths, workers, ranges), "Decoding", len(paths)), strict=True):
        file = path.relative_to(root).as_posix()
        if result.error is not None:
            undecodable[file] = result.error.removeprefix(f"{path} ")
        unusual += [(file, oddity) for oddity in result.oddities]
    box_notes, bad_boxes, box_problems = inspect_boxes(root, splits)
    return VerifiedData(
        root,
        splits[0].layout,
        len(paths),
        undecodable,
        tuple(unusual),
        (*notes, *box_notes),
        (*problems, *box_problems),
        tuple(bad_boxes),
    )


def open_all_splits(root: Path) -> "tuple[list[Split], tuple[str, ...]]":
    """Open each part of a data set once, even if it cannot be trained on, and return the reasons that stop a training.

    Raises:
        DataError: The folder cannot be read, or holds no photographs.
    """
    from verydeep.data.folders.label_csv import describe_unused_tables, find_labeled_folder
    from verydeep.data.folders.listing import has_own_images
    from verydeep.data.folders.photographs import find_photographs
    from verydeep.data.layout import open_split, split_names
    from verydeep.data.split import describe_single_class
    from verydeep.errors import DataError

    names = split_names(root)
    if "all" in names:  # train and val are made of it
        names = ("all", *(name for name in names if name == "test"))
    splits: list[Split] = []
    problems: list[str] = []
    for name in names:
        try:
            split = open_split(root, name, strict=False)
        except DataError as error:
            problems.append(str(error))
        else:
            splits.append(split)
            problems += split.problems
    if splits:
        return splits, tuple(filter(None, dict.fromkeys([*problems, describe_single_class(splits[0])])))
    photographs = find_photographs(root)
    if has_own_images(root) and not describe_unused_tables(root) and find_labeled_folder(root) is None:
        note = f"{root} has no class folders: a net can predict these photographs, but not learn from them."
        return [replace(photographs, notes=(note, *photographs.notes))], ()
    return [photographs], tuple(dict.fromkeys(problems))


def inspect_boxes(root: Path, splits: "Sequence[Split]") -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Return notes on the boxes, what a training refuses as (file, finding), and what is wrong with all of them.

    The notes say how many boxes can be used, and which files with boxes in their names are not read.
    """
    from verydeep.data.box_annotations import describe_similar_files, survey_boxes
    from verydeep.errors import DataError
    from verydeep.wording import count_of

    labeled = [split for split in splits if split.labels is not None and (split.labels >= 0).all()]
    notes = [] if any(split.boxes for split in splits) else list(filter(None, [describe_similar_files(root)]))
    try:
        surveys = [survey for split in labeled if (survey := survey_boxes(split, root)) is not None]
    except DataError as error:
        return notes, [], [str(error)]
    folder = f"{root}/"
    if surveys:
        boxes = count_of(sum(survey.num_boxes for survey in surveys), "box")
        photographs = count_of(sum(survey.num_boxed for survey in surveys), "photograph")
        places = sorted({str(survey.place).removeprefix(folder) for survey in surveys if survey.place is not None})
        notes.append(f"{' and '.join(places) or 'Boxes'}: {boxes} on {photographs}.")
    found = dict.fromkeys(refused for survey in surveys for refused in survey.refused)
    shortened = [(file.removeprefix(folder), finding.replace(folder, "")) for file, finding in found]
    return notes, [(file, finding.removeprefix(f"{file} ")) for file, finding in shortened], []


def inspect_all(paths: Sequence[Path], num_workers: int, value_ranges: "ValueRanges") -> "Iterator[Inspection]":
    """Inspect files in order, in several processes; a file that ends its process counts as impossible to decode."""
    from concurrent.futures.process import BrokenProcessPool

    from verydeep.data.pixels.decoding import Inspection, inspect_image

    inspect = partial(inspect_image, value_ranges=value_ranges)
    if num_workers == 1:
        yield from map(inspect, paths)
        return
    num_done, is_crashed = 0, False
    while num_done < len(paths):
        # After a crash one process takes one file after another, until it is known which one ends it.
        batch = paths[num_done : num_done + FILES_PER_TURN * num_workers] if is_crashed else paths[num_done:]
        with open_executor(1 if is_crashed else num_workers) as executor:
            try:
                for inspection in executor.map(inspect, batch, chunksize=1 if is_crashed else FILES_PER_TURN):
                    yield inspection
                    num_done += 1
            except BrokenProcessPool:
                if is_crashed:
                    yield Inspection(f"{paths[num_done]} crashes the decoder, or takes too much memory; remove it.")
                    num_done += 1
                is_crashed = not is_crashed
            else:
                is_crashed = False


@contextmanager
def open_executor(num_workers: int) -> "Iterator[ProcessPoolExecutor]":
    """Yield an executor whose processes end with the context, and leave Ctrl-C to this one."""
    import multiprocessing
    import signal
    from concurrent.futures import ProcessPoolExecutor

    executor = ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
