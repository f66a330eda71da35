"""``verydeep reproduce``: the tables of the paper, each as one command."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from verydeep.configs.ladder import LADDER
from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH, Conv, check_crop
from verydeep.configs.paper import LOCALIZATION_TABLES, SHALLOW_TABLE, TABLES, PaperRow, PaperTable
from verydeep.configs.protocols import PaperNet
from verydeep.configs.transfer import TRANSFER_TABLES, TransferTable
from verydeep.errors import VerydeepError
from verydeep.options import (
    BadBoxes,
    BadImages,
    Device,
    Devices,
    DropoutAfter,
    FastDecode,
    Precision,
    Runs,
    TuneThreshold,
    Workers,
    check_range,
    option,
)

if TYPE_CHECKING:
    from verydeep.data.decoding import Decoding
    from verydeep.data.split import Split
    from verydeep.engine.log import Log
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.runtime import Runtime
    from verydeep.results.measured_table import MeasuredTable

What = Literal[
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "table8",
    "table9",
    "table10",
    "table11",
    "table12",
    "shallow",
    "ladder",
]


MEASURED_ON = {"table11": "VOC2007,101_ObjectCategories", "table12": "VOC2012"}
"""Folders of sets whose tables take no other data."""


def reproduce(
    what: Annotated[
        What,
        Positional,
        arg(metavar="WHAT", help="table1 ... table12; shallow: section 4.1's 5x5 net; ladder: all nets of tables 3-7."),
    ],
    /,
    *,
    data: Annotated[
        str | None,
        option("A folder of photographs; table11: VOC, Caltech, with commas between; 1 and 2: none.", metavar="DATA"),
    ] = None,
    runs: Runs = "runs",
    train: Annotated[bool, arg(help="Train the nets that are missing, after telling what that costs.")] = True,
    crop: Annotated[
        int, arg(help="Side of the nets' input in pixels, a multiple of 32.", metavar="PIXELS")
    ] = PAPER_CROP,
    seeds: Annotated[
        str, arg(help="A net is trained once for each; a row is the mean over all that are there.", metavar="N,N,..")
    ] = "0",
    epochs: Annotated[int | None, option("As in train, of each net.", "74; generated: 8, localize 10", "N")] = None,
    batch_size: Annotated[
        int | None, option("As in train.", "256, or a 20th of the images if that is less", "N")
    ] = None,
    dropout_after: DropoutAfter = None,
    split: Annotated[str, arg(help="The part that the nets are tested on.")] = "val",
    tune_threshold: TuneThreshold = False,
    bad_boxes: BadBoxes = "error",
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    bad_images: BadImages = "error",
    fast_decode: FastDecode = False,
    out: Annotated[Path | None, option("Where the tables go, as JSON and Markdown.", "in RUNS/tables", "DIR")] = None,
) -> None:
    """Print a table of the paper with the errors of your own nets on your own data beside the published ones.

    What is missing is trained first, each net from the one that the paper started it from; stopped, the same command
    goes on where it was. Tables 11 and 12 train linear SVMs on descriptors of nets in --runs, and never a net: theirs
    learned from other data.

    Try:
        verydeep reproduce table1
        verydeep reproduce table3 --data photos --crop 64 --epochs 15
        verydeep reproduce table4 --data ilsvrc --runs oxford-vgg16,oxford-vgg19 --no-train
        verydeep reproduce table8 --data photos --crop 64 --epochs 15
        verydeep reproduce table11 --data VOC2007,101_ObjectCategories --runs oxford-vgg16,oxford-vgg19
    """
    if what in ("table1", "table2"):
        print_networks(parameters=what == "table2")
        return
    if data is None:
        raise VerydeepError(f"{what} is measured on photographs: give --data {MEASURED_ON.get(what, 'FOLDER')}.")
    check_crop(crop)
    check_range("--epochs", epochs, 1)
    check_range("--batch-size", batch_size, 1)
    check_range("--dropout-after", dropout_after, 1)
    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    chosen_seeds = parse_seeds(seeds)
    if tune_threshold and what not in LOCALIZATION_TABLES:
        raise VerydeepError(f"--tune-threshold is of boxes, and {what} is of classes: leave it out.")

    from verydeep.data.decoding import Decoding
    from verydeep.engine import runtime as engine
    from verydeep.engine.classification.posteriors import describe_posterior_cache
    from verydeep.engine.classification.table_report import measure_classification_tables
    from verydeep.engine.classification.tables import TableConditions
    from verydeep.engine.datasets import data_name
    from verydeep.engine.launching import launched
    from verydeep.engine.localization.boxed_split import open_table_splits
    from verydeep.engine.localization.table_report import measure_localization_table
    from verydeep.engine.localization.tables import LocalizationTableConditions
    from verydeep.engine.log import Log
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.training.ladder import train_missing
    from verydeep.engine.training.request import TrainRequest

    collection, decoding = Collection.parse(runs), Decoding(bad_images, fast_decode)
    start = partial(engine.start, device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers)
    if what in TRANSFER_TABLES:
        refuse_given(
            what,
            {
                "--epochs": epochs is not None,
                "--batch-size": batch_size is not None,
                "--dropout-after": dropout_after is not None,
                "--seeds": chosen_seeds != (0,),
                "--split": split != "val",
                "--bad-boxes": bad_boxes != "error",
            },
        )
        measure_transfer(TRANSFER_TABLES[what], data, collection, crop, out, devices, decoding, start)
        return
    part = open_labeled_split(data, split)
    if launched(devices):
        return
    with start() as runtime:
        log = Log(silent=not runtime.is_main)
        log.info(f"Data: {part.root}: {part.layout}; tested on {len(part):,} images of {split}.")
        about_boxes = None
        if what in LOCALIZATION_TABLES:  # before hours of training: there may be none
            about_boxes = open_table_splits(part, data, bad_boxes, runtime, log, tune=tune_threshold)
        if train:
            request = TrainRequest(
                data=data,
                crop=crop,
                width=1.0,  # whatever the data: other nets answer for no row
                fc_width=PAPER_FC_WIDTH,
                epochs=epochs,
                batch_size=batch_size,
                dropout_after=dropout_after,
                split_seed=0,
                precision=precision,
                device=device,
                decoding=decoding,
                bad_boxes=bad_boxes,
                runs=collection,
            )
            train_missing(nets_of(what), chosen_seeds, request, runtime, log)
        conditions = TableConditions(collection.nets(), data, part, crop, runtime, decoding)
        name = f"{data_name(data)}-{split}-c{crop}-{runtime.precision}{'-tuned' if tune_threshold else ''}"
        tables: Iterator[MeasuredTable] = (
            measure_classification_tables(tables_of(what), conditions)
            if about_boxes is None
            else measure_localization_table(
                LOCALIZATION_TABLES[what], LocalizationTableConditions(conditions, *about_boxes)
            )
        )
        for table in tables:
            report_table(table, out or collection.folder / "tables" / name, log)
        log.info(describe_posterior_cache())


def open_labeled_split(data: str, split: str) -> "Split":
    """The part to test on.

    Raises:
        VerydeepError: it is not there, or has no labels.
    """
    from verydeep.engine.datasets import open_data_split

    part = open_data_split(data, split)
    if part.labels is None:
        raise VerydeepError(
            f"The {split} part of {data} has no labels, so there is no error to compare: choose --split."
        )
    return part


def refuse_given(what: What, options: Mapping[str, bool]) -> None:
    """Refuse options that tables 11 and 12 have no use for.

    Args:
        what: the table.
        options: by name, whether each was given.

    Raises:
        VerydeepError: one was.
    """
    if given := [name for name, is_given in options.items() if is_given]:
        raise VerydeepError(
            f"{what} trains no nets, and its data sets say what is learned from and tested on: leave "
            f"{' and '.join(given)} out."
        )


def measure_transfer(
    table: TransferTable,
    data: str,
    runs: "Collection",
    crop: int,
    out: Path | None,
    devices: int,
    decoding: "Decoding",
    start: "Callable[[], AbstractContextManager[Runtime]]",
) -> None:
    """Table 11 or 12, of nets that are there."""
    from verydeep.engine.launching import launched
    from verydeep.engine.log import Log
    from verydeep.engine.transfer.svm import require_scikit_learn
    from verydeep.engine.transfer.table_report import as_table, measure_transfer_table
    from verydeep.engine.transfer.tables import TransferConditions, find_transfer_nets, open_columns

    require_scikit_learn()
    sets = open_columns(table, [data] if Path(data).is_dir() else data.split(","))
    find_answering_nets, unconverged = find_transfer_nets(table, runs, crop)
    if launched(devices):
        return
    with start() as runtime:
        log = Log(silent=not runtime.is_main)
        conditions = TransferConditions(sets, find_answering_nets, unconverged, crop, runtime, decoding)
        place = out or runs.folder / "tables" / f"{'+'.join(sets)}-c{crop}-{runtime.precision}".replace(" ", "-")
        for measured in measure_transfer_table(table, conditions, log):
            report_table(as_table(measured), place, log)


def report_table(table: "MeasuredTable", folder: Path, log: "Log") -> None:
    """Show a table with its remarks, and write it into a folder."""
    from verydeep.engine.reporting.measured_table import log_measured_table, write_measured_table

    log_measured_table(table, log)
    write_measured_table(table, folder)
    log.info(f"Written: {folder}/{table.name}.json and .md")


def tables_of(what: What) -> list[PaperTable[PaperRow]]:
    """The tables of errors of classes that a word asks for."""
    if what == "ladder":
        return list(TABLES.values())
    return [SHALLOW_TABLE if what == "shallow" else TABLES[what]]


def nets_of(what: What) -> Sequence[PaperNet]:
    """The nets that a word asks for."""
    if what == "ladder":
        return LADDER
    if what in LOCALIZATION_TABLES:
        return LOCALIZATION_TABLES[what].nets
    return [net for table in tables_of(what) for net in table.nets]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "0,1,2".

    Raises:
        VerydeepError: these are not different whole numbers.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and len(part) < 10 for part in parts) or len(set(map(int, parts))) < len(parts):
        raise VerydeepError(f"--seeds {text!r}: write different whole numbers, as 0,1,2.")
    return tuple(map(int, parts))


def print_networks(*, parameters: bool) -> None:
    """Table 1, the layers of each net, or Table 2, how many weights and biases they have."""
    from rich.console import Console
    from rich.table import Table

    networks = [network for name, network in NETWORKS.items() if name != "B-5x5"]
    if parameters:
        table = Table("net", "parameters", "millions", title="Table 2: number of parameters, 1000 classes", box=None)
        for network in networks:
            count = network.num_parameters()
            table.add_row(network.name, f"{count:,}", f"{count / 1e6:.0f}")
    else:
        names = [f"{network.name}\n{network.num_weight_layers} layers" for network in networks]
        table = Table(*names, title="Table 1: ConvNet configurations, input 224x224 RGB")
        for block in range(len(networks[0].blocks)):
            columns = ["\n".join(conv_in_words(conv) for conv in network.blocks[block]) for network in networks]
            table.add_row(*columns, end_section=True)
            table.add_row("maxpool", end_section=True)
        for layer in (f"FC-{PAPER_FC_WIDTH}", f"FC-{PAPER_FC_WIDTH}", "FC-1000", "soft-max"):
            table.add_row(layer)
    Console().print(table)


def conv_in_words(conv: Conv) -> str:
    """As Table 1 writes it: conv3-64; A-LRN's normalization below it."""
    return f"conv{conv.kernel}-{conv.channels}" + ("\nLRN" if conv.lrn else "")
