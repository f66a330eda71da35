"""`verydeep verify`: find the files that cannot be decoded before a training does."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.options import (
    ComputeOptions,
    DataOption,
    NetSource,
    PathSource,
    WeightsOption,
    refuse_unused,
    start_runtime,
)
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.data.split import Split
    from verydeep.engine.nets.net import Net
    from verydeep.engine.verification.inspection import InspectedPhotograph
    from verydeep.results.verified_data import Finding, LabelCheck, VerifiedData


@command
def verify(
    data: DataOption,
    *,
    net: Annotated[NetSource | None, Option("Net that looks for wrong labels.", "none", "RUN")] = None,
    weights: WeightsOption = "last",
    out: Annotated[PathSource | None, Option("Folder for tables and a page with thumbnails.", "none", "DIR")] = None,
    **options: Unpack[ComputeOptions],
) -> "VerifiedData":
    """Find bad files, odd photographs and near-duplicates in a data set.

    Every photograph is decoded once. The table lists files that cannot be decoded; photographs that are nearly
    uniform, too dark, too bright, blurred, tiny or elongated; and near-duplicates, even if mirrored or cropped.
    Near-duplicates with several labels, or in several splits, come first. Errors in labels.csv, boxes.csv and
    Annotations/ are listed, too. With `net`, photographs whose label is probably wrong are also listed, and more
    near-duplicates are found. The exit code is 1 if anything would stop `verydeep train`.

    Try:
        verydeep verify photos
        verydeep verify photos --out photos-verified
        verydeep verify photos --net oxford-vgg16
        verydeep verify photos --format csv > findings.csv

    Raises:
        DataError: The folder holds no data set.
        WeightsError: There is no such net.
        OptionError: `out` lies among the photographs, or holds other files.
        ResourceError: scikit-learn is missing, which `net` needs.
    """
    from verydeep.data.loading.value_survey import survey_values
    from verydeep.data.split import describe_classes
    from verydeep.engine.datasets import data_folder
    from verydeep.engine.log import Log
    from verydeep.engine.nets.checks import open_net
    from verydeep.engine.progress import run_with_progress
    from verydeep.engine.report_page.findings_page import check_findings_folder, write_findings
    from verydeep.engine.reporting.remarks import learned_labels_remark
    from verydeep.engine.transfer.svm_training import require_scikit_learn
    from verydeep.engine.verification.content import count_classes, count_short_sides
    from verydeep.engine.verification.inspection import inspect_splits
    from verydeep.results.verified_data import VerifiedData

    if net is None:
        refuse_unused("Without `net`", {"weights": weights != "last"})
    else:  # before the photographs are decoded
        require_scikit_learn()
    opened_net, root = None if net is None else open_net(net, weights), data_folder(os.fspath(data))
    if out is not None:
        check_findings_folder(Path(out), root)
    splits, problems = open_all_splits(root)
    num_files = sum(map(len, splits))
    classes = f"; {describe_classes(splits)}".removesuffix("; ")
    Log().info(f"{root}: {splits[0].layout}; {num_files:,} files{classes}.")
    surveyed = run_with_progress(survey_values(splits, {}), "Reading headers", num_files)
    splits = [replace(each, value_ranges={one.value_type: one.value_range for one in surveyed}) for each in splits]
    notes = [note for split in splits for note in split.notes]
    inspected = inspect_splits(splits, root, options["workers"])
    findings, label_check = find_all(root, splits, inspected.photographs, opened_net, options)
    if opened_net is not None and (remark := learned_labels_remark(opened_net, splits)):
        notes.append(remark)
    box_notes, bad_boxes, box_problems = inspect_boxes(root, splits)
    verified = VerifiedData(
        root,
        splits[0].layout,
        num_files,
        inspected.undecodable,
        inspected.unusual,
        (*dict.fromkeys([*notes, *map(str, surveyed)]), *box_notes),
        (*problems, *box_problems),
        tuple(bad_boxes),
        findings=tuple(findings),
        class_counts=count_classes(splits),
        short_sides=count_short_sides(inspected.photographs),
        num_unused=sum(split.num_unused for split in splits),
        label_check=label_check,
    )
    if out is None:
        return verified
    files = [split.path(index).relative_to(root).as_posix() for split in splits for index in range(len(split))]
    page = write_findings(verified, files, Path(out), camera_rotation=splits[0].camera_rotation)
    return replace(verified, page=page)


def find_all(
    root: Path,
    splits: "Sequence[Split]",
    photographs: "Sequence[InspectedPhotograph]",
    net: "Net | None",
    options: ComputeOptions,
) -> "tuple[list[Finding], LabelCheck | None]":
    """Return all findings about photographs that can be decoded, the most important first, and how labels were judged.

    Without a net, labels are not judged.
    """
    from verydeep.engine.progress import run_with_progress
    from verydeep.engine.verification.content import find_odd_photographs
    from verydeep.engine.verification.description import describe_photographs
    from verydeep.engine.verification.near_duplicates import find_duplicates
    from verydeep.engine.verification.wrong_labels import NUM_FOLDS, find_wrong_labels
    from verydeep.results.verified_data import order_findings

    described = None
    if net is not None and photographs:
        with start_runtime(options) as runtime:
            described = describe_photographs(net, splits, root, photographs, runtime)
    similar = () if described is None else described.find_similar()
    duplicates = run_with_progress(find_duplicates(photographs, root, similar), "Comparing", len(photographs))
    wrong_labels, label_check = list["Finding"](), None
    if described is not None:
        num_svms = NUM_FOLDS * len({photograph.label for photograph in described.photographs})
        steps = find_wrong_labels(described, duplicates)
        wrong_labels, label_check = run_with_progress(steps, "Linear SVMs", num_svms, images=0)
    return order_findings([*duplicates, *wrong_labels, *find_odd_photographs(photographs)]), label_check


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
    from verydeep.wording import count_of

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
    num_unused, num_files = sum(split.num_unused for split in splits), sum(map(len, splits))
    if splits and num_unused > num_files and splits[0].layout.startswith("class folders"):
        note = (
            f"{root} has {count_of(num_unused, 'image')} outside class folders and {num_files:,} inside: all are "
            "treated as photographs without classes. To train, put the images of each class into a folder of its own."
        )
        photographs = find_photographs(root)
        return [replace(photographs, notes=(note, *photographs.notes))], ()
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
        notes += dict.fromkeys(remark for survey in surveys for remark in survey.remarks)
    found = dict.fromkeys(refused for survey in surveys for refused in survey.refused)
    shortened = [(file.removeprefix(folder), finding.replace(folder, "")) for file, finding in found]
    return notes, [(file, finding.removeprefix(f"{file} ")) for file, finding in shortened], []
