"""Options that several commands share: one name for one thing, explained once."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from verydeep.configs.protocols import View
from verydeep.errors import VerydeepError


def option(text: str, default: str = "", metavar: str | None = None) -> Any:
    """Explain an option whose default is ``None`` in the signature: ``default`` says in words what that means."""
    return arg(help=text, metavar=metavar, help_behavior_hint=f"(default: {default})" if default else "")


def check_range(name: str, value: float | None, smallest: float, largest: float = math.inf) -> None:
    """Refuse a number outside [smallest, largest]; None is an option that was not given.

    Raises:
        VerydeepError: it is outside, or not a number.
    """
    if value is not None and not smallest <= value <= largest:
        limits = f"at least {smallest:g}" if largest == math.inf else f"from {smallest:g} to {largest:.10g}"
        raise VerydeepError(f"{name} {value:g} is out of range: give a number {limits}.")


Data = Annotated[str, Positional, arg(metavar="DATA", help="A folder of photographs, or the word generated.")]
Run = Annotated[
    Path,
    Positional,
    arg(metavar="RUN", help="What verydeep train left, a weight file, oxford-vgg16, hf-hub:OWNER/NAME."),
]
Photographs = Annotated[
    tuple[str, ...], Positional, arg(metavar="FILE", help='Photographs, folders of them, or patterns ("*.jpg").')
]
Format = Annotated[Literal["table", "json", "csv"], arg(help="json: one object a line.")]
Scales = Annotated[
    str | None,
    option("Test scales Q beside a crop of 224, as 256,384,512.", "S; jittered: Smin, middle, Smax", "Q,Q,.."),
]
VIEWS_HELP = "The whole image; 5x5 crops of it; the mean of both (each with mirror images); the central crop."
Views = Annotated[View, arg(help=VIEWS_HELP)]
Runs = Annotated[
    str,
    arg(help="Where a protocol's nets are: a folder of runs, and nets, as runs,oxford-vgg16.", metavar="FOLDER"),
]
Weights = Annotated[Literal["last", "best"], arg(help="best: by validation error, which it then has seen.")]
Precision = Annotated[Literal["auto", "bf16", "fp32"], arg(help="auto: bf16 where the hardware has it.")]
Device = Annotated[str, arg(help="auto, cpu, cuda or cuda:N.", metavar="NAME")]
Devices = Annotated[int, arg(help="Processes on this machine that share the work.", metavar="N")]
Workers = Annotated[int | None, option("Processes that decode images.", "chosen by the machine", "N")]
BadImages = Annotated[
    Literal["error", "skip"],
    arg(help="A file that cannot be decoded is an error, or is left out, counted and listed."),
]
Task = Annotated[Literal["classify", "localize"], arg(help="What the net says: classes, or boxes of them.")]
BadBoxes = Annotated[
    Literal["error", "clip", "skip"],
    arg(help="localize: a box that cannot be right is an error, or is mended, or left out; both are listed."),
]
Classes = Annotated[
    str | None,
    option(
        "localize: who names the classes of the boxes: a protocol of runs in --runs, or truth.",
        "the nets that RUN started from",
        "TEXT",
    ),
]
MergeThreshold = Annotated[float | None, option("localize: how far boxes may lie apart to become one.", "0.5", "X")]
TuneThreshold = Annotated[
    bool, arg(help="localize: choose that distance on val; on val itself each half's on the other half.")
]
DropoutAfter = Annotated[
    int | None, option("Epochs without dropout at first: small data leave the plateau at ln K sooner.", metavar="N")
]
FastDecode = Annotated[
    bool, arg(help="Decode large JPEGs at a lower resolution: twice as fast, slightly other pixels.")
]
