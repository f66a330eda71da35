"""`verydeep evaluate`: the errors of nets on a data set, by any protocol of the paper."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.configs.networks import PAPER_CROP, PAPER_FC_WIDTH, NetSizes
from verydeep.configs.protocols import EvaluationProtocol, parse_classes
from verydeep.errors import OptionError
from verydeep.options import (
    BadBoxesOption,
    CropOption,
    DataOption,
    FcWidthOption,
    JobOptions,
    MergeThresholdOption,
    NetsOption,
    NetSource,
    PathSource,
    RunsOption,
    ScalesOption,
    TaskOption,
    TuneThresholdOption,
    ViewOption,
    WeightsOption,
    WidthOption,
    decoding_of,
    read_scales,
    refuse_unused,
    several,
    start_runtime,
)
from verydeep.parameters import Option, command
from verydeep.wording import name_given

if TYPE_CHECKING:
    from verydeep.data.split import Split
    from verydeep.engine.evaluation_tasks import EvaluationOptions, EvaluationTask
    from verydeep.results.measured_table import EvaluationResult


@command
def evaluate(
    data: DataOption,
    run: NetsOption = (),
    *,
    scales: ScalesOption = None,
    views: ViewOption | None = None,
    protocol: Annotated[str | None, Option("Network/train scale/test scales + ... : view.", metavar="TEXT")] = None,
    runs: RunsOption = "runs",
    crop: CropOption = PAPER_CROP,
    width: WidthOption = 1.0,
    fc_width: FcWidthOption = PAPER_FC_WIDTH,
    split: Annotated[str | None, Option("Split: train, val, test or all.", "see above", "NAME")] = None,
    task: TaskOption = "classify",
    weights: WeightsOption = "last",
    submission: Annotated[PathSource | None, Option("Write the file for the ILSVRC test server.", "", "FILE")] = None,
    out: Annotated[PathSource | None, Option("Folder for the results.", "in RUN/evaluations", "DIR")] = None,
    classes: Annotated[
        str | None,
        Option("What guesses the classes of boxes: a protocol, or truth.", "RUN's source net", "TEXT", "box"),
    ] = None,
    merge_threshold: MergeThresholdOption = None,
    tune_threshold: TuneThresholdOption = False,
    bad_boxes: BadBoxesOption = "error",
    **options: Unpack[JobOptions],
) -> "EvaluationResult":
    """Test nets on photographs, and print their errors with 95% intervals.

    For each test scale Q, images are rescaled so that the short side is Q. Class probabilities are averaged over
    each image and its mirror image, then over test scales, then over nets. They are cached, so a stopped test
    continues where it stopped. The folder `out` gets errors.json, tables of the images and of the classes, the
    confusion matrix, and pictures.

    RUN may also be a classifier of `verydeep transfer`. Labels are matched with the nets' classes by name. Without
    `split`, the first of these is tested: val/, photographs held out in training, test/, all. A `protocol` takes
    its nets from `runs`; `crop`, `width` and `fc_width` say which.

    With `task=localize`, the nets predict boxes for the true class and for the five most probable classes.

    Try:
        verydeep evaluate photos runs/photos-A-256-c64-s0
        verydeep evaluate photos runs/photos-D-256-512-c224-s0 --scales 256,384,512 --views dense+crops
        verydeep evaluate photos --protocol "D/256-512/256,384,512 + E/256-512/256,384,512" --runs runs
        verydeep evaluate photos runs/photos-D-384pcr-c224-s0 --task localize --scales 352,384

    Raises:
        DataError: The split does not exist, has no labels or boxes, or a file cannot be decoded.
        WeightsError: A net cannot be read, or no net belongs to the protocol.
        OptionError: The options do not fit together.
    """
    from verydeep.engine.datasets import data_name, open_data_split
    from verydeep.engine.evaluation_folders import (
        check_evaluation_folder,
        check_results_folder,
        evaluation_folder,
        name_change,
        number_folder,
        protocol_name,
        seed_folder,
    )
    from verydeep.engine.evaluation_nets import open_named, open_protocol
    from verydeep.engine.evaluation_tasks import EvaluationOptions, open_evaluated_split
    from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
    from verydeep.engine.nets.argument_order import check_data_first
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.nets.net import NetShape
    from verydeep.files import check_new_file
    from verydeep.paths import shorten_name

    data, nets, collection = os.fspath(data), several(run), Collection.parse(str(runs))
    check_sources(nets, protocol, {"scales": scales, "views": views, "classes": classes})
    if protocol is None:
        given_sizes = {"crop": crop != PAPER_CROP, "width": width != 1, "fc_width": fc_width != PAPER_FC_WIDTH}
        refuse_unused("Without `protocol`", {**given_sizes, "runs": str(runs) != "runs" and classes in (None, "truth")})
    check_box_options(task, classes, merge_threshold, tune_threshold, bad_boxes)
    check_data_first("evaluate DATA RUN", data, nets)
    tasks: list[EvaluationTask]
    if protocol is None:
        box_classes = None if classes is None else parse_classes(classes)
        tasks = [open_named(task, nets, read_scales(scales), views, box_classes, collection, weights)]
        parent, name = evaluation_folder(nets, tasks[0], data)
    else:
        parsed = read_protocol(task, protocol)
        sizes = NetSizes(crop, width, fc_width)
        shape = NetShape(open_data_split(data, split or "val").class_names, *sizes)
        tasks = open_protocol(parsed, collection, shape, weights)
        name = f"{data_name(data)}-{sizes.label()}-{protocol_name(str(parsed))}"
        parent = collection.folder
    if submission is not None and len(tasks) > 1:
        message = f"`submission` takes one seed, but there are {len(tasks)} seeds: give the runs of one seed."
        raise OptionError(message, "submission")
    evaluation_options = EvaluationOptions(
        data=data,
        folder=Path(),
        weights=weights,
        decoding=decoding_of(options),
        submission=None if submission is None else Path(submission),
        bad_boxes=bad_boxes,
        merge_threshold=DEFAULT_THRESHOLD if merge_threshold is None else merge_threshold,
        tune_threshold=tune_threshold,
    )
    splits = [open_evaluated_split(each, evaluation_options, split) for each in tasks]
    merging = ["tuned"] if tune_threshold else [] if merge_threshold is None else [f"t{merge_threshold:g}"]
    best = ["best"] if weights == "best" else []
    name = shorten_name("-".join([splits[0].name, name, *merging, *best, *name_change(tasks[0], splits[0])]))
    folder = Path(out) if out else number_folder(parent / "evaluations" / name, splits[0].root)
    check_results_folder(folder, data, splits)
    if out is not None:
        for each in {folder, *(seed_folder(folder, each, tasks) for each in tasks)}:
            check_evaluation_folder(each)
    if submission is not None:
        check_new_file(Path(submission), "submission")
    return run_tasks(tasks, splits, replace(evaluation_options, folder=folder), options)


def run_tasks(
    tasks: "Sequence[EvaluationTask]",
    splits: "Sequence[Split]",
    evaluation_options: "EvaluationOptions",
    options: JobOptions,
) -> "EvaluationResult":
    """Test nets; with several seeds, each seed has a folder of its own."""
    from verydeep.data.split import describe_classes
    from verydeep.engine.evaluation_folders import seed_folder
    from verydeep.engine.evaluation_tasks import run_evaluation
    from verydeep.engine.log import Log
    from verydeep.engine.report_page.page import find_subject, write_page_of_job
    from verydeep.engine.reporting.remarks import count_images
    from verydeep.results.measured_table import EvaluationResult

    folder = evaluation_options.folder
    tables = []
    with start_runtime(options) as runtime:
        log = Log(silent=not runtime.is_main)
        log.send_notes(*(split.notes for split in splits))
        for task, split in zip(tasks, splits, strict=True):
            classes = f"; {describe_classes([split])}".removesuffix("; ")
            log.info(f"Data: {split.root}: {split.layout}; {count_images(len(split), split.name)}{classes}.")
            own_options = replace(evaluation_options, folder=seed_folder(folder, task, tasks))
            table = run_evaluation(task, split, own_options, runtime, log)
            if table is not None:
                subject = find_subject(own_options.folder)
                tables.append(replace(table, report=write_page_of_job(subject, runtime, log)))
        return runtime.from_main(EvaluationResult(tuple(tables), evaluation_options.submission))


def check_sources(nets: "list[NetSource]", protocol: str | None, parts: Mapping[str, object]) -> None:
    """Refuse nets and a protocol together, neither of them, and options that a protocol already contains.

    Args:
        nets: Nets that were named.
        protocol: Text of the protocol.
        parts: Value of each option that a protocol contains.

    Raises:
        OptionError: More than one of them is given, or none.
    """
    if protocol is None and not nets:
        raise OptionError("`run` is missing: give the nets to test, or `protocol`.", "run")
    if protocol is not None and nets:
        raise OptionError("`protocol` names the nets to test, and so does RUN: omit one of them.", "run")
    given = name_given({name: value is not None for name, value in parts.items()})
    if protocol is not None and given:
        raise OptionError(f"`protocol` already contains scales, view and classes: leave {given} out.", "protocol")


def check_box_options(
    task: str, classes: str | None, merge_threshold: float | None, tune_threshold: bool, bad_boxes: str
) -> None:
    """Refuse box options with nets that predict classes, and `tune_threshold` together with `merge_threshold`.

    Raises:
        OptionError: One is given.
    """
    is_given = {"classes": classes is not None, "merge_threshold": merge_threshold is not None}
    if task == "classify":
        is_given |= {"tune_threshold": tune_threshold, "bad_boxes": bad_boxes != "error"}
        refuse_unused("Without `task=localize`", is_given)
    if tune_threshold and merge_threshold is not None:
        message = "`tune_threshold` chooses the merge threshold: leave `merge_threshold` out."
        raise OptionError(message, "merge_threshold")


def read_protocol(task: Literal["classify", "localize"], text: str) -> EvaluationProtocol:
    """Read a protocol.

    Raises:
        OptionError: The text is not a protocol, or is one of the other task.
    """
    protocol = EvaluationProtocol.parse(text)
    if protocol.task != task:
        raise OptionError(f"`protocol` {text!r} is for another task: give `task={protocol.task}`.", "task")
    return protocol
