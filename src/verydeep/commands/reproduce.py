"""`verydeep reproduce`: the tables of the paper, each with one command."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.configs.ladder import LADDER
from verydeep.configs.networks import PAPER_CROP, PAPER_FC_WIDTH, NetSizes, check_crop
from verydeep.configs.paper import LOCALIZATION_TABLES, SHALLOW_TABLE, TABLES, PaperRow, PaperTable
from verydeep.configs.protocols import PaperNet
from verydeep.configs.transfer import TRANSFER_TABLES
from verydeep.errors import DataError, OptionError
from verydeep.options import (
    BadBoxesOption,
    CropOption,
    DataSource,
    DropoutAfterOption,
    FcWidthOption,
    JobOptions,
    Numbers,
    PathSource,
    RunsOption,
    SplitOption,
    TuneThresholdOption,
    WidthOption,
    decoding_of,
    number_text,
    refuse_unused,
    start_runtime,
)
from verydeep.parameters import Option, command, list_given, read_parameters

if TYPE_CHECKING:
    from verydeep.data.split import Split
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.runtime import Runtime
    from verydeep.engine.training.request import TrainRequest
    from verydeep.results.measured_table import MeasuredTable, MeasuredTables

TableName = Literal[
    "table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8", "table9", "table10", "table11",
    "table12", "shallow", "ladder",
]  # fmt: skip

DATA_EXAMPLES = {"table11": "VOC2007,101_ObjectCategories", "table12": "VOC2012"}
"""Folders of data sets whose tables take no other data."""


@command
def reproduce(
    table: Annotated[
        TableName,
        Option("table1 ... table12, shallow (section 4.1's 5x5 net), or ladder (tables 3-7).", metavar="TABLE"),
    ],
    *,
    data: Annotated[
        DataSource | None, Option("Data set (not for table1, table2); several for table11.", metavar="DATA,..")
    ] = None,
    runs: RunsOption = "runs",
    train: Annotated[
        bool,
        Option(
            "Train the nets that are missing, after printing the cost.",
            negative_help="Do not train missing nets; report those that exist.",
        ),
    ] = True,
    crop: CropOption = PAPER_CROP,
    width: WidthOption = 1.0,
    fc_width: FcWidthOption = PAPER_FC_WIDTH,
    seeds: Annotated[Numbers, Option("Seeds to train; a row gives the mean error over seeds.", metavar="N,N,..")] = "0",
    split: SplitOption = "val",
    out: Annotated[
        PathSource | None, Option("Folder for the tables, as JSON and Markdown.", "tables/ in `runs`", "DIR")
    ] = None,
    epochs: Annotated[
        int | None, Option("Epochs of each net.", "as in train", "N", heading="training", smallest=1)
    ] = None,
    batch_size: Annotated[
        int | None, Option("Images per step.", "as in train", "N", heading="training", smallest=1)
    ] = None,
    dropout_after: DropoutAfterOption = None,
    tune_threshold: TuneThresholdOption = False,
    bad_boxes: BadBoxesOption = "error",
    **options: Unpack[JobOptions],
) -> "MeasuredTables":
    """Measure a table of the paper on your data, next to the published figures.

    Missing nets are trained first, each from the net that it starts from in the paper. To continue a stopped job,
    run the same command again. For Tables 11 and 12 no nets are trained, only linear SVMs on descriptors of the
    nets in `runs`.

    Try:
        verydeep reproduce table1
        verydeep reproduce table3 --data photos --crop 64 --epochs 15
        verydeep reproduce table3 --data photos --crop 64 --epochs 15 --width 0.25 --fc-width 512
        verydeep reproduce table4 --data ilsvrc --runs oxford-vgg16,oxford-vgg19 --no-train
        verydeep reproduce table8 --data photos --crop 64 --epochs 15
        verydeep reproduce table11 --data VOC2007,101_ObjectCategories --runs oxford-vgg16,oxford-vgg19

    Raises:
        DataError: The data are missing, or have no labels or boxes.
        WeightsError: No net belongs to any row of the table.
        OptionError: An option does not fit the table.
    """
    values = {**locals(), **options}
    given = list_given(reproduce, values)

    from verydeep.engine.reporting.network_tables import network_table, parameter_table
    from verydeep.results.measured_table import MeasuredTables

    if table in ("table1", "table2"):
        names = [each.name for each in read_parameters(reproduce) if each.name not in ("table", "progress")]
        refuse_unused(f"For {table}, which is part of this package", {name: name in given for name in names})
        return MeasuredTables((network_table() if table == "table1" else parameter_table(),))
    if data is None:
        raise OptionError(
            f"{table} is measured on photographs: give `data={DATA_EXAMPLES.get(table, 'FOLDER')}`.", "data"
        )
    check_crop(crop)
    if out is not None:
        check_tables_folder(Path(out))
    if table not in LOCALIZATION_TABLES:
        boxes = ("tune_threshold", "bad_boxes")
        refuse_unused(f"For {table}, which has no boxes", {name: name in given for name in boxes})

    from verydeep.engine.nets.collection import Collection

    collection, seed_numbers = Collection.parse(str(runs)), parse_seeds(number_text(seeds))
    if table in TRANSFER_TABLES:
        unused = ("epochs", "batch_size", "dropout_after", "seeds", "split")
        reason = f"For {table}, which trains no nets on data sets that have their own splits"
        refuse_unused(reason, {name: name in given for name in unused})
        return measure_transfer(table, str(data), collection, NetSizes(crop, width, fc_width), out, options)

    from verydeep.engine.training.request import TrainRequest

    request = TrainRequest(
        data=str(data),
        crop=crop,
        width=width,
        fc_width=fc_width,
        epochs=epochs,
        batch_size=batch_size,
        dropout_after=dropout_after,
        split_seed=0,
        precision=options["precision"],
        device=options["device"],
        decoding=decoding_of(options),
        bad_boxes=bad_boxes,
        runs=collection,
    )
    return measure_errors(table, split, request, seed_numbers if train else (), tune_threshold, out, options)


def measure_errors(
    table: TableName,
    split: str,
    request: "TrainRequest",
    seeds: tuple[int, ...],
    tune_threshold: bool,
    out: PathSource | None,
    options: JobOptions,
) -> "MeasuredTables":
    """Train the nets of a table with these seeds where they are missing, and measure the table.

    Raises:
        DataError: The split has no labels or boxes.
        WeightsError: No net belongs to any row.
    """
    from verydeep.engine.classification.paper_tables import measure_classification_tables
    from verydeep.engine.classification.posterior_cache import describe_posterior_cache
    from verydeep.engine.classification.table_rows import TableConditions
    from verydeep.engine.datasets import choose_value_ranges, data_name
    from verydeep.engine.localization.boxed_split import open_table_splits
    from verydeep.engine.localization.paper_tables import measure_localization_table
    from verydeep.engine.localization.table_rows import LocalizationTableConditions
    from verydeep.engine.log import Log
    from verydeep.engine.nets.kernels import choose_kernels
    from verydeep.engine.reporting.remarks import count_images
    from verydeep.engine.training.ladder import train_missing
    from verydeep.engine.training.request import choose_sizes

    part, data, runs = open_labeled_split(request.data, split), request.data, request.runs
    sizes = choose_sizes(request)
    with start_runtime(options) as runtime:
        log = Log(silent=not runtime.is_main)
        log.info(f"Data: {part.root}: {part.layout}; tested on {count_images(len(part), split)}.")
        log.send_notes(part.notes)
        boxed_splits = None
        recorded = [ranges for net in runs.nets() for ranges in net.recorded_ranges]
        if table in LOCALIZATION_TABLES:  # before hours of training: there may be none
            (part,) = choose_value_ranges([part], recorded, runtime, log)
            boxed_splits = open_table_splits(part, data, request.bad_boxes, runtime, log, tune=tune_threshold)
        if seeds:
            train_missing(nets_of(table), seeds, request, runtime, log)
            recorded = [ranges for net in runs.nets() for ranges in net.recorded_ranges]
        (part,) = choose_value_ranges([part], recorded, runtime, log)
        testing = choose_kernels(runtime, runs.nets(), len(part))
        decoding = decoding_of(options)
        conditions = TableConditions(runs.nets(), data, part, sizes, testing, decoding)
        tables: Iterable[MeasuredTable] = (
            measure_classification_tables(tables_of(table), conditions)
            if boxed_splits is None
            else measure_localization_table(
                LOCALIZATION_TABLES[table], LocalizationTableConditions(conditions, *boxed_splits)
            )
        )
        name = f"{data_name(data)}-{split}-{sizes.label()}-{runtime.precision}{'-tuned' if tune_threshold else ''}"
        measured = write_tables(tables, Path(out or runs.folder / "tables" / name), runtime)
        if remark := describe_posterior_cache():
            log.info(remark)
        return measured


def measure_transfer(
    table: TableName,
    data: str,
    runs: "Collection",
    sizes: NetSizes,
    out: PathSource | None,
    options: JobOptions,
) -> "MeasuredTables":
    """Measure table 11 or 12 with the nets that exist.

    Args:
        table: Name of the table.
        data: Folders of the data sets, with commas between.
        runs: Nets, and the folder of runs.
        sizes: Crop, width and FC width of the nets.
        out: Folder for the table.
        options: Where and how to compute.

    Raises:
        DataError: A folder holds no data set of the table.
        WeightsError: No row of the table has all of its nets.
    """
    from verydeep.engine.log import Log
    from verydeep.engine.nets.kernels import choose_kernels
    from verydeep.engine.transfer.paper_tables import measure_transfer_table
    from verydeep.engine.transfer.svm_training import require_scikit_learn
    from verydeep.engine.transfer.table_cells import TransferConditions, find_transfer_nets, open_columns

    require_scikit_learn()
    paper = TRANSFER_TABLES[table]
    sets = open_columns(paper, [data] if Path(data).is_dir() else data.split(","))
    nets, unconverged = find_transfer_nets(paper, runs, sizes)
    with start_runtime(options) as runtime:
        log = Log(silent=not runtime.is_main)
        num_images = sum(len(each.train) for one in sets.values() for each in one.partitions)
        testing = choose_kernels(runtime, nets.values(), num_images)
        conditions = TransferConditions(sets, nets, unconverged, sizes.crop, testing, decoding_of(options))
        name = f"{'+'.join(sets)}-{sizes.label()}-{runtime.precision}".replace(" ", "-")
        tables = measure_transfer_table(paper, conditions, log)
        return write_tables(tables, Path(out or runs.folder / "tables" / name), runtime)


def check_tables_folder(folder: Path) -> None:
    """Refuse a folder that holds other files than tables.

    Raises:
        OptionError: It is a file, or holds other files.
    """
    from verydeep.files import check_output_folder

    is_table = re.compile(r"\..*|(table\d|shallow|ladder)[\w-]*\.(json|md)").fullmatch
    check_output_folder(folder, lambda name: is_table(name) is not None, "tables")


def write_tables(tables: "Iterable[MeasuredTable]", folder: Path, runtime: "Runtime") -> "MeasuredTables":
    """Write tables into a folder as they are measured; return them on all processes."""
    from verydeep.engine.reporting.measured_table import write_measured_table
    from verydeep.results.measured_table import MeasuredTables

    written = []
    for table in tables:
        write_measured_table(table, folder)
        written.append(replace(table, folder=folder))
    return runtime.from_main(MeasuredTables(tuple(written)))


def open_labeled_split(data: str, split: str) -> "Split":
    """Open the split to test on.

    Raises:
        DataError: It does not exist, or has no labels.
    """
    from verydeep.engine.datasets import open_data_split

    part = open_data_split(data, split)
    if part.labels is None:
        raise DataError(
            f"The {split} split of {data} has no labels, so errors cannot be measured: choose another `split`."
        )
    return part


def tables_of(name: str) -> list[PaperTable[PaperRow]]:
    """Return the paper's tables of classification errors that a name stands for."""
    if name == "ladder":
        return list(TABLES.values())
    return [SHALLOW_TABLE if name == "shallow" else TABLES[name]]


def nets_of(name: str) -> Sequence[PaperNet]:
    """Return the nets of a table."""
    if name == "ladder":
        return LADDER
    if name in LOCALIZATION_TABLES:
        return LOCALIZATION_TABLES[name].nets
    return [net for table in tables_of(name) for net in table.nets]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as "0,1,2".

    Raises:
        OptionError: These are not different whole numbers.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and len(part) < 10 for part in parts) or len(set(map(int, parts))) < len(parts):
        raise OptionError(f"`seeds={text}` is wrong: give distinct whole numbers, such as 0,1,2.", "seeds")
    return tuple(map(int, parts))
