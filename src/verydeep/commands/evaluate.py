"""`verydeep evaluate`: the errors of nets on a data set, by any protocol of the paper."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.configs.networks import PAPER_CROP, PAPER_FC_WIDTH
from verydeep.configs.protocols import LOCALIZATION_VIEWS, EvaluationProtocol, View, parse_classes
from verydeep.configs.scales import parse_test_scales
from verydeep.errors import OptionError
from verydeep.files import real_path
from verydeep.options import (
    BadBoxesOption,
    CropOption,
    DataOption,
    FcWidthOption,
    JobOptions,
    MergeThresholdOption,
    NetsOption,
    NetSource,
    Numbers,
    PathSource,
    RunsOption,
    ScalesOption,
    TaskOption,
    TuneThresholdOption,
    ViewOption,
    WeightsOption,
    WidthOption,
    decoding_of,
    number_text,
    several,
    start_runtime,
)
from verydeep.parameters import Option, command
from verydeep.wording import join_choices, name_given

if TYPE_CHECKING:
    from verydeep.data.split import Split
    from verydeep.engine.evaluation_tasks import EvaluationOptions, EvaluationTask
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.transfer.classifier import Classifier
    from verydeep.results.measured_table import EvaluationResult


@command
def evaluate(
    data: DataOption,
    run: NetsOption = (),
    *,
    scales: ScalesOption = None,
    views: ViewOption | None = None,
    protocol: Annotated[
        str | None, Option('Nets/S/Q and view: "D/384/384 + E/384/384 : crops".', metavar="TEXT")
    ] = None,
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
        str | None, Option("Where boxes' classes come from: a protocol, or truth.", "RUN's source net", "TEXT", "box")
    ] = None,
    merge_threshold: MergeThresholdOption = None,
    tune_threshold: TuneThresholdOption = False,
    bad_boxes: BadBoxesOption = "error",
    **options: Unpack[JobOptions],
) -> "EvaluationResult":
    """Test nets on photographs: top-1 and top-5 error and mean class recall, with 95% intervals.

    Images are rescaled so that the short side is Q, for each test scale Q. Class probabilities are averaged over an
    image and its mirror image, then over scales, then over nets, and are cached.
    `out` receives errors.json, a table of the images, one of the classes, the confusion matrix, and pictures.

    Classes are matched by name; those without photographs are reported. RUN may also be a folder of
    `verydeep transfer`. Without `split`, val/ is tested; if it is missing, the validation images of a net trained on
    the folder, else test/, else all. `crop`, `width` and `fc_width` choose nets for `protocol`.

    With `task=localize` the nets predict boxes: of the true class, and of the five most probable classes.

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
        evaluation_folder,
        number_folder,
        protocol_name,
    )
    from verydeep.engine.evaluation_tasks import EvaluationOptions
    from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
    from verydeep.engine.nets.argument_order import check_data_first
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.training.plan import size_label
    from verydeep.files import check_new_file, shorten_name

    data, nets, collection = os.fspath(data), several(run), Collection.parse(str(runs))
    check_sources(nets, protocol, {"scales": scales, "views": views, "classes": classes})
    check_box_options(task, classes, merge_threshold, tune_threshold)
    check_data_first("evaluate DATA RUN", data, nets)
    tasks: list[EvaluationTask]
    if protocol is None:
        tasks = [open_task(task, nets, scales, views, classes, collection, weights)]
        parent, name = evaluation_folder(nets, tasks[0], data)
    else:
        parsed = read_protocol(task, protocol)
        class_names = open_data_split(data, split or "val").class_names
        tasks = open_protocol(parsed, collection, class_names, (crop, width, fc_width), weights)
        parent, name = (
            collection.folder,
            f"{data_name(data)}-{size_label(crop, width, fc_width)}-{protocol_name(str(parsed))}",
        )
    if submission is not None and len(tasks) > 1:
        message = f"`submission` takes one seed, and there are {len(tasks)}: name the runs of one."
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
    splits = [each.open(evaluation_options, split) for each in tasks]
    merging = ["tuned"] if tune_threshold else [] if merge_threshold is None else [f"t{merge_threshold:g}"]
    best = ["best"] if weights == "best" else []
    name = shorten_name("-".join([splits[0].name, name, *merging, *best, *name_change(tasks[0], splits[0])]))
    folder = Path(out) if out else number_folder(parent / "evaluations" / name, splits[0].root)
    check_results_folder(folder, data, splits)
    if out is not None:
        for each in {folder, *(own_folder(task, tasks, folder) for task in tasks)}:
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
            own_options = replace(evaluation_options, folder=own_folder(task, tasks, folder))
            table = task.run(split, own_options, runtime, log)
            if table is not None:
                subject = find_subject(own_options.folder)
                tables.append(replace(table, report=write_page_of_job(subject, runtime, log)))
        return runtime.from_main(EvaluationResult(tuple(tables), evaluation_options.submission))


def name_change(task: "EvaluationTask", split: "Split") -> list[str]:
    """Return a part of the evaluation's name if the images have changed since a training, whose evaluation stays."""
    from verydeep.engine.datasets import fingerprint
    from verydeep.engine.evaluation_tasks import ClassifierEvaluationTask, list_records
    from verydeep.engine.reporting.remarks import has_changed

    records = list_records([member.net for member in task.members])
    if isinstance(task, ClassifierEvaluationTask):
        records = [task.classifier.record]
    return [f"changed-{fingerprint(split)[:6]}"] if any(has_changed(each, split) for each in records) else []


def own_folder(task: "EvaluationTask", tasks: "Sequence[EvaluationTask]", folder: Path) -> Path:
    """Return the folder of one of several tests: one below `folder` for each seed."""
    return folder / f"s{task.members[0].net.config.seed}" if len(tasks) > 1 else folder


def check_results_folder(folder: Path, data: str, splits: "Sequence[Split]") -> None:
    """Refuse to write results among the photographs.

    Raises:
        OptionError: The folder is that of the data set, or lies among photographs of a class.
        ResourceError: The folder may not be written.
    """
    from verydeep.engine.datasets import check_outside_data, data_folder
    from verydeep.files import check_writable

    if real_path(folder) == real_path(data_folder(data)):
        raise OptionError(f"`out` {folder} is the folder of the data set: choose another one for the results.", "out")
    for split in splits:
        check_outside_data(folder, split)
    check_writable(folder)


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


def check_box_options(task: str, classes: str | None, merge_threshold: float | None, tune_threshold: bool) -> None:
    """Refuse options of boxes for nets that predict classes, and two merge thresholds.

    Raises:
        OptionError: One is given.
    """
    is_given = {"classes": classes is not None, "merge_threshold": merge_threshold is not None}
    if task == "classify" and (given := name_given(is_given | {"tune_threshold": tune_threshold})):
        raise OptionError(f"For boxes give `task=localize`; for classes omit {given}.", "task")
    if tune_threshold and merge_threshold is not None:
        message = "`tune_threshold` chooses the merge threshold: leave `merge_threshold` out."
        raise OptionError(message, "merge_threshold")


def open_task(
    task: Literal["classify", "localize"],
    sources: "list[NetSource]",
    scales: Numbers | None,
    views: View | None,
    classes: str | None,
    class_runs: "Collection",
    weights: Literal["last", "best"],
) -> "EvaluationTask":
    """Open nets for a test at these test scales, or at each net's own; or open a classifier.

    Raises:
        WeightsError: A net cannot be read, or no net predicts the classes of the boxes.
        OptionError: A net is named twice, or boxes are not predicted in this view.
    """
    from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask, ClassifierEvaluationTask
    from verydeep.engine.localization.box_ensemble import build_box_ensemble
    from verydeep.engine.nets.checks import open_net
    from verydeep.engine.nets.net import EnsembleMember, net_path

    classifier = find_classifier(sources)
    if classifier is not None:
        is_given = {"scales": scales is not None, "views": views is not None, "weights": weights != "last"}
        if given := name_given(is_given | {"task": task != "classify"}):
            raise OptionError(f"A classifier has its own test scales and view: omit {given}.", "run")
        return ClassifierEvaluationTask(classifier)
    if len({real_path(net_path(source)) for source in sources}) < len(sources):
        raise OptionError("A net is named twice: an ensemble is the mean of different nets.", "run")
    nets = [open_net(source, weights) for source in sources]
    chosen = None if scales is None else parse_test_scales(number_text(scales))
    members = tuple(EnsembleMember(net, chosen or net.config.test_scales) for net in nets)
    if task == "classify":
        return ClassEvaluationTask(members, views or "dense")
    if views not in (None, *LOCALIZATION_VIEWS):
        raise OptionError(
            f"`views={views}` does not work for boxes: choose {join_choices(LOCALIZATION_VIEWS)}.", "views"
        )
    protocol = None if classes is None else parse_classes(classes)
    return BoxEvaluationTask(
        build_box_ensemble(members, "center" if views == "center" else "dense", protocol, class_runs, weights)
    )


def find_classifier(sources: "list[NetSource]") -> "Classifier | None":
    """Return the classifier to test; None if nets are to be tested.

    Raises:
        OptionError: Other nets are named with the classifier.
        DataError: The classifier is damaged.
    """
    from verydeep.engine.nets.net import net_path
    from verydeep.engine.transfer.classifier import Classifier, is_classifier, load_classifier

    for source in sources:
        if isinstance(source, Classifier) or is_classifier(net_path(source)):
            classifier = source if isinstance(source, Classifier) else load_classifier(net_path(source))
            if len(sources) > 1:
                raise OptionError(f"{classifier.path} is a classifier, which is tested alone: name one run.", "run")
            return classifier
    return None


def read_protocol(task: Literal["classify", "localize"], text: str) -> EvaluationProtocol:
    """Read a protocol.

    Raises:
        OptionError: The text is not a protocol, or is one of the other task.
    """
    protocol = EvaluationProtocol.parse(text)
    if protocol.task != task:
        raise OptionError(f"`protocol` {text!r} is for another task: give `task={protocol.task}`.", "task")
    return protocol


def open_protocol(
    protocol: EvaluationProtocol,
    runs: "Collection",
    class_names: tuple[str, ...],
    sizes: tuple[int, float, int],
    weights: Literal["last", "best"],
) -> "list[EvaluationTask]":
    """Open the nets of a protocol, for one test with each seed.

    Args:
        protocol: The protocol.
        runs: Nets, and the folder of runs.
        class_names: Classes of the data; if no net has these, those nets are tested that know all of them.
        sizes: Crop, width and FC width of the nets.
        weights: Last or best weights.

    Raises:
        WeightsError: A net is missing, or two runs have the same seed.
    """
    from verydeep.data.folders.folder import WNID
    from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask
    from verydeep.engine.localization.box_ensemble import require_box_ensembles
    from verydeep.engine.nets.collection import required_ensembles
    from verydeep.engine.nets.net import NetShape

    names = {net.class_names for net in runs.nets(weights)}
    supersets = [each for each in names if set(class_names) < set(each)]
    if class_names not in names and len(supersets) == 1 and not all(map(WNID.fullmatch, class_names)):
        class_names = supersets[0]
    shape = NetShape(class_names, *sizes)
    if protocol.task == "localize":
        return [BoxEvaluationTask(each) for each in require_box_ensembles(protocol, runs, shape, weights)]
    ensembles = required_ensembles(protocol, runs, shape, weights)
    return [ClassEvaluationTask(tuple(members), protocol.view) for members in ensembles.values()]
