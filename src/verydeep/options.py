"""Options that several commands share: one name for one thing, explained once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypedDict

from verydeep.configs.networks import LARGEST_FC_WIDTH, LARGEST_WIDTH
from verydeep.configs.protocols import View
from verydeep.configs.scales import parse_test_scales
from verydeep.errors import OptionError
from verydeep.parameters import Option
from verydeep.signatures import IMAGES, NET, NETS, NUMBERS, PATH
from verydeep.wording import name_given

if TYPE_CHECKING:
    from os import PathLike

    from verydeep.data.folders.photographs import Photographs as Images
    from verydeep.data.pixels.decoding import Decoding
    from verydeep.engine.load import Predictor
    from verydeep.engine.runtime import Runtime
    from verydeep.results.descriptors import Descriptors

    PathSource = str | PathLike[str]
    DataSource = PathSource
    NetSource: TypeAlias = PathSource | Predictor
    """A path, the results of ``train`` and ``transfer``, which are ``PathLike``, or what ``load`` returned."""
    NetSources: TypeAlias = NetSource | Sequence[NetSource]
    PathSources = PathSource | Sequence[PathSource]
    Queries = Images | Descriptors
    Numbers = str | float | Sequence[float]
    """Numbers as they are typed, "256,384", or as a program has them, (256, 384)."""
else:  # as they are typed
    PathSource = Path
    NetSource = Annotated[Path, NET]
    NetSources = Annotated[tuple[Path, ...], NETS]
    Images = PathSources = Queries = Annotated[tuple[str, ...], IMAGES]
    DataSource = Annotated[str, PATH]
    Numbers = Annotated[str, NUMBERS]

DATA_HELP = 'Data set folder, or "generated".'
NET_HELP = "A run, a weight file, oxford-vgg16, hf-hub:OWNER/NAME."

IMAGES_HELP = 'Photographs, folders, "*.jpg", a list (.csv, .txt), or - for stdin.'


DataOption = Annotated[DataSource, Option(DATA_HELP, metavar="DATA")]
NetOption = Annotated[NetSource, Option(NET_HELP, metavar="RUN")]
PredictorOption = Annotated[
    NetSource, Option(f"{NET_HELP.removesuffix('.')}, or a folder of `verydeep transfer`.", metavar="RUN")
]
ImagesOption = Annotated[Images, Option(IMAGES_HELP, metavar="IMAGE")]
QueriesOption = Annotated[Queries, Option(IMAGES_HELP, metavar="IMAGE")]
NetsOption = Annotated[NetSources, Option("One or more nets; their posteriors are averaged.", metavar="RUN")]
ScalesOption = Annotated[
    Numbers | None,
    Option("Test scales, stated for crop 224; 256 means 73 pixels at crop 64.", "as in the paper", "Q,Q,.."),
]
ViewOption = Annotated[View, Option("dense, crops, dense+crops or center.", "dense", "VIEW")]
RunsOption = Annotated[DataSource, Option("A protocol's nets: folder, or RUN,RUN.", metavar="DIR")]
WeightsOption = Annotated[Literal["last", "best"], Option("Weights: last, or best on validation.", metavar="WHICH")]
LayerOption = Annotated[
    str | None,
    Option("Layer: relu7, fc7 (before ReLU), relu5_3, pool5, ...", "relu7, or pool5 without FC layers", "NAME"),
]
AggregateOption = Annotated[
    Literal["average", "stack", "max"] | None,
    Option("How test scales are combined: average, stack, max.", "average", "HOW"),
]
TaskOption = Annotated[Literal["classify", "localize"], Option("Task: classify or localize (boxes).", metavar="TASK")]
SplitOption = Annotated[str, Option("Split: train, val, test or all.", metavar="NAME")]
CropOption = Annotated[int, Option("Side of the nets' input in pixels.", metavar="PIXELS")]
WidthOption = Annotated[float, Option("Multiply channels by X.", metavar="X", smallest=1e-3, largest=LARGEST_WIDTH)]
FcWidthOption = Annotated[int, Option("Channels of fc6 and fc7.", metavar="N", smallest=1, largest=LARGEST_FC_WIDTH)]
GroupByOption = Annotated[
    str | None,
    Option(
        'Keep these together: "parent" (same folder), CSV of path,group, or regex.',
        metavar="HOW",
        heading="training",
    ),
]
SeedOption = Annotated[int, Option("Random seed.", metavar="N", smallest=0, largest=2**31 - 1)]

MergeThresholdOption = Annotated[
    float | None,
    Option(
        "Merge boxes up to X: center distance / diagonal + 1 - IoU.", "0.5", "X", heading="box", smallest=0, largest=2
    ),
]
TuneThresholdOption = Annotated[bool, Option("Choose the merge threshold on val.", heading="box")]
BadBoxesOption = Annotated[
    Literal["error", "clip", "skip"], Option("Impossible boxes: error, clip or skip.", metavar="ACTION", heading="box")
]
DropoutAfterOption = Annotated[
    int | None, Option("Use dropout only after N epochs, to learn sooner.", "", "N", heading="training", smallest=1)
]

DevicesOption = Annotated[
    int, Option("Number of devices, one process for each.", metavar="N", heading="compute", smallest=1)
]
FormatOption = Annotated[
    Literal["table", "json", "csv"], Option("Output format: table, csv or json.", metavar="FORMAT", heading="output")
]


class ProgressOptions(TypedDict, total=False):
    """Options of a command that runs no net."""

    progress: Annotated[
        bool, Option("Show progress.", negative_help="Hide progress bars.", heading="compute", value=True)
    ]


class DeviceOptions(ProgressOptions, total=False):
    """Options for the device and the processes of a net."""

    device: Annotated[
        str, Option("Device: auto, cpu, cuda or cuda:N.", metavar="NAME", heading="compute", value="auto")
    ]
    workers: Annotated[
        int | None,
        Option("Processes that decode images.", "by core count", "N", heading="compute", value=None, smallest=0),
    ]


class KernelOptions(DeviceOptions, total=False):
    """Options for the device and the kernels of a net."""

    kernels: Annotated[
        Literal["auto", "torch", "native"],
        Option("CPU kernels: native, torch or auto.", "", "NAME", heading="compute", value="auto"),
    ]


class ComputeOptions(KernelOptions, total=False):
    """Options for the device, the kernels and the precision of a net."""

    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        Option("Precision: fp32, bf16 or auto.", "", "FORMAT", heading="compute", value="auto"),
    ]


class BadImagesOptions(TypedDict, total=False):
    """Options for files that cannot be decoded."""

    bad_images: Annotated[
        Literal["error", "skip"],
        Option("Undecodable files: error or skip.", "", "ACTION", heading="decoding", value="error"),
    ]


class DecodingOptions(BadImagesOptions, total=False):
    """Options for the decoding of files."""

    fast_decode: Annotated[
        bool, Option("Decode large JPEGs faster, but less exactly.", heading="decoding", value=False)
    ]


class SearchOptions(KernelOptions, BadImagesOptions, total=False):
    """Options of a search, which decodes images as its archive's were."""


class JobOptions(ComputeOptions, DecodingOptions, total=False):
    """Options of a command that reads many images."""


@contextmanager
def start_runtime(
    options: ComputeOptions, *, bf16: bool | None = None, deterministic: bool = False
) -> Iterator["Runtime"]:
    """Choose the device and join the processes of the job.

    Args:
        options: Complete, as a public function gets them.
        bf16: Whether to compute in bf16; ``None``: as ``precision`` says.
        deterministic: Whether to repeat bit for bit.

    Raises:
        OptionError: The device is unknown, or the processes disagree about the precision.
        ResourceError: This machine has no such device.
        OtherProcessError: Another process ended.
    """
    from verydeep.engine.runtime import start, wants_bf16  # noqa: PLC0415 - takes a second

    if bf16 is None:
        bf16 = wants_bf16(options["precision"], options["device"])
    with start(
        device=options["device"],
        bf16=bf16,
        num_workers=options["workers"],
        kernels=options["kernels"],
        deterministic=deterministic,
    ) as runtime:
        yield runtime


def decoding_of(options: DecodingOptions) -> "Decoding":
    """Return how files become pixels; ``options`` are complete, as a public function gets them."""
    from verydeep.data.pixels.decoding import Decoding  # noqa: PLC0415 - takes half a second

    return Decoding(options["bad_images"], options["fast_decode"])


def lenient_decoding_of(options: DecodingOptions) -> "Decoding":
    """Return how files become pixels where one bad file must not lose the results of the others."""
    return replace(decoding_of(options), bad_images="skip")


def number_text(numbers: Numbers) -> str:
    """Return numbers as they are typed: "256,384" of (256, 384)."""
    if isinstance(numbers, str):
        return numbers
    return ",".join(map(str, numbers)) if isinstance(numbers, Sequence) else str(numbers)


def read_scales(scales: Numbers | None) -> tuple[int, ...] | None:
    """Return the test scales that were given; None where none were.

    Raises:
        OptionError: They cannot be read.
    """
    return None if scales is None else parse_test_scales(number_text(scales))


def several(sources: NetSources) -> "list[NetSource]":
    """Return nets as a list, whether one or several were given."""
    return list(sources) if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]


def refuse_unused(reason: str, is_given: Mapping[str, bool]) -> None:
    """Refuse options that would be ignored.

    Args:
        reason: why they have no effect: "With RUN".
        is_given: option -> whether it was given.

    Raises:
        OptionError: one was given.
    """
    if given := name_given(is_given):
        is_one = sum(is_given.values()) == 1
        first = next(name for name, value in is_given.items() if value)
        effect, them = ("has no effect", "it") if is_one else ("have no effect", "them")
        raise OptionError(f"{reason}, {given} {effect}: omit {them}.", first)


def check_new_folder(folder: Path) -> None:
    """Refuse a folder for `out` that is not empty.

    Raises:
        OptionError: Something is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"{folder} already exists: choose another `out`, or remove it.", "out")
