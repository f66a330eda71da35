"""`transfer`: a classifier from a few photographs of each class, without training a net."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.configs.transfer import SCALES, Coverage, MultiScale
from verydeep.errors import OptionError
from verydeep.options import (
    DataSource,
    GroupByOption,
    JobOptions,
    LayerOption,
    NetSources,
    Numbers,
    PathSource,
    SeedOption,
    WeightsOption,
    decoding_of,
    number_text,
    read_scales,
    several,
    start_runtime,
)
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.engine.descriptors.representation import Representation
    from verydeep.engine.nets.net import Net
    from verydeep.engine.transfer.task import TransferTask
    from verydeep.ops.descriptors import Aggregation
    from verydeep.results.transfer import TransferredClassifier


@command
def transfer(
    data: Annotated[DataSource, Option("Class folders, VOC, Caltech, or a folder with labels.csv.", metavar="DATA")],
    run: Annotated[NetSources, Option("One or more nets; their descriptors are stacked.", metavar="RUN")],
    *,
    num_train: Annotated[
        int | None, Option("Training photographs per class.", "the paper's; your own photographs: 4/5", "N", smallest=1)
    ] = None,
    num_test: Annotated[
        int | None, Option("At most N test photographs per class.", "all others; Caltech: the paper's", "N", smallest=0)
    ] = None,
    num_splits: Annotated[
        int | None, Option("Random draws of photographs.", "Caltech: 3, else 1", "N", smallest=1)
    ] = None,
    layer: LayerOption = None,
    scales: Annotated[
        Numbers | None,
        Option(
            "Test scales, stated for crop 224; 256 means 73 pixels at crop 64.",
            "256; VOC, Caltech: the paper's",
            "Q,Q,..",
        ),
    ] = None,
    weights: WeightsOption = "last",
    seed: SeedOption = 0,
    group_by: GroupByOption = None,
    out: Annotated[PathSource | None, Option("Folder of the classifier.", "a new one in runs/", "DIR")] = None,
    aggregate: Annotated[
        Literal["average", "stack", "max"] | None,
        Option("How test scales are combined: average, stack, max.", "average; Caltech: stack", "HOW"),
    ] = None,
    c: Annotated[Numbers | None, Option("C of the SVMs, or values to choose from.", "0.01 to 100", "X,X,..")] = None,
    balance: Annotated[Literal["none", "weights"], Option("Unequal classes: none or weights.", "", "HOW")] = "none",
    split: Annotated[
        Literal["val", "test"] | None, Option("Split to test on.", "test, if there is one", "NAME")
    ] = None,
    actions: Annotated[
        Literal["image", "image+box"] | None, Option("Classify VOC's actions, by image or image+box.", "", "HOW")
    ] = None,
    submission: Annotated[PathSource | None, Option("Folder for VOC's result files.", "none", "DIR")] = None,
    **options: Unpack[JobOptions],
) -> "TransferredClassifier":
    """Train a classifier (linear SVMs) on descriptors of photographs, and test it.

    The nets themselves are not trained, so a few photographs of each class are enough. To use the classifier, give
    its folder to `verydeep predict` as RUN. The score is the mean class recall, or the mean AP if images may have
    several classes or none. With several draws (`num_splits`), the classifier of the first draw is saved.

    Try:
        verydeep transfer photos oxford-vgg16
        verydeep transfer photos oxford-vgg16 --num-train 5 --num-splits 3
        verydeep transfer caltech oxford-vgg16 oxford-vgg19
        verydeep transfer VOC2012 oxford-vgg16 oxford-vgg19 --actions image+box --submission results

    Returns:
        The classifier, with its score. It can be used as the path of its folder.

    Raises:
        DataError: There are too few photographs, or a photograph cannot be decoded.
        WeightsError: There is no such net.
        OptionError: The options do not fit the data set, or `out` holds something other than a classifier.
        ResourceError: scikit-learn is missing, or the disk is full.
    """
    from verydeep.data.folders.groups import resolve_group_by
    from verydeep.data.transfer_sets import open_transfer_set
    from verydeep.engine.datasets import data_folder, data_name
    from verydeep.engine.nets.argument_order import check_data_first
    from verydeep.engine.nets.checks import open_net
    from verydeep.engine.nets.net import net_path
    from verydeep.engine.transfer.svm_training import COSTS, require_scikit_learn
    from verydeep.engine.transfer.task import TransferTask
    from verydeep.paths import shorten_name

    if num_test == 0 and num_splits is not None:
        raise OptionError("`num_test=0` tests nothing: omit `num_splits`.", "num_splits")
    sources = several(run)
    if not sources:
        raise OptionError("`run` is missing: give a net, such as oxford-vgg16.", "run")
    check_data_first("transfer DATA RUN", os.fspath(data), sources)
    require_scikit_learn()
    costs = COSTS if c is None else parse_costs(number_text(c))
    transfer_set = open_transfer_set(
        data_folder(os.fspath(data)),
        seed=seed,
        num_train=num_train,
        num_test=num_test,
        num_splits=num_splits,
        split=split,
        actions=actions is not None,
        group_by=None if group_by is None else resolve_group_by(group_by),
    )
    representation = choose_representation(
        [open_net(source, weights) for source in sources],
        SCALES[transfer_set.kind],
        layer=layer,
        scales=read_scales(scales),
        aggregate=aggregate,
        coverage=actions or "image",
    )
    task = TransferTask(transfer_set, representation, costs, seed, decoding_of(options), balance == "weights")
    subject = {None: "", "image": "-actions", "image+box": "-actions-boxes"}[actions]
    names = "+".join(net_path(source).name for source in sources)
    name = shorten_name(f"{data_name(os.fspath(data))}{subject}-transfer-{names}")
    folder = find_new_folder(Path("runs") / name) if out is None else Path(out)
    return run_task(task, folder, None if submission is None else Path(submission), options)


def find_new_folder(folder: Path) -> Path:
    """Return a folder of this name that does not exist; its number is the first that is free: "name-2"."""
    from verydeep.paths import number_paths

    return next(path for path in number_paths(folder) if not path.exists())


def choose_representation(
    nets: "Sequence[Net]",
    paper: MultiScale,
    *,
    layer: str | None,
    scales: tuple[int, ...] | None,
    aggregate: "Aggregation | None",
    coverage: Coverage,
) -> "Representation":
    """Return how samples are described: as the options say, else as ``SCALES`` says for such data."""
    from verydeep.engine.descriptors.activations import default_layer
    from verydeep.engine.descriptors.representation import Representation

    return Representation(
        nets=tuple(nets),
        layers=tuple(layer or default_layer(net.config) for net in nets),
        scales=scales or paper.scales,
        aggregation=aggregate or paper.aggregation,
        coverage=coverage,
    )


def run_task(
    task: "TransferTask", folder: Path, submission: Path | None, options: JobOptions
) -> "TransferredClassifier":
    """Describe the samples by all processes; train, test and report by the main process."""
    from verydeep.engine.log import Log
    from verydeep.engine.nets.kernels import choose_kernels
    from verydeep.engine.report_page.page import write_page_of_job
    from verydeep.engine.transfer.task import run_transfer
    from verydeep.engine.transfer.transfer_report import describe_data, write_transfer_result

    task.check(folder, submission)
    with start_runtime(options) as started:
        runtime = choose_kernels(started, task.representation.nets, len(task.split))
        log = Log(silent=not runtime.is_main)
        log.info(describe_data(task.transfer_set, task.split))
        log.send_notes(task.split.notes)
        task = task.with_value_ranges(runtime, log)
        skipped = task.compute_descriptors(runtime)
    if not runtime.is_main:  # the SVMs take long, and nobody uses what the other processes return
        return None  # type: ignore[return-value]
    result = run_transfer(task, skipped, runtime, with_curve=True)
    written = write_transfer_result(result, folder, submission, runtime)
    return replace(written, report=write_page_of_job(folder, runtime, log))


def parse_costs(text: str) -> tuple[float, ...]:
    """Read values of C such as "0.1,1,10".

    Raises:
        OptionError: These are not different numbers above 0.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < float("inf") for value in values) or len(set(values)) < len(values):
        raise OptionError(
            f"`c={text}` is not valid: give one or more different numbers above 0, such as 0.1,1,10.", "c"
        )
    return values
