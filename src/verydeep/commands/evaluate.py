"""``verydeep evaluate``: the errors of nets on a data set, by any protocol of the paper."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.protocols import EvalProtocol, View
from verydeep.configs.scales import parse_test_scales
from verydeep.errors import VerydeepError
from verydeep.options import (
    VIEWS_HELP,
    BadImages,
    Data,
    Device,
    Devices,
    FastDecode,
    Precision,
    Runs,
    Scales,
    Weights,
    Workers,
    check_range,
    option,
)

LONGEST_NAME = 120

if TYPE_CHECKING:
    from verydeep.data.split import Split
    from verydeep.engine.members import NetAtScales


def evaluate(
    data: Data,
    run: Annotated[
        tuple[Path, ...],
        Positional,
        arg(metavar="RUN", help="Folders that verydeep train left, or model folders; several are fused."),
    ] = (),
    /,
    *,
    scales: Scales = None,
    views: Annotated[View | None, option(VIEWS_HELP, "dense")] = None,
    protocol: Annotated[
        str | None,
        option('All of it in the paper\'s words, as "D/256-512/256,384,512 + E/384/384 : crops".', metavar="TEXT"),
    ] = None,
    runs: Runs = Path("runs"),
    crop: Annotated[int, arg(help="Which nets --protocol means: those of this crop.", metavar="PIXELS")] = PAPER_CROP,
    split: Annotated[str, arg(help="Which part of DATA: train, val, test, or all of a flat folder.")] = "val",
    submission: Annotated[
        Path | None,
        option("Write the ILSVRC test server's file: the five best classes of each image.", metavar="FILE"),
    ] = None,
    weights: Weights = "last",
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    bad_images: BadImages = "error",
    fast_decode: FastDecode = False,
    out: Annotated[
        Path | None, option("Where errors.json, the lists and the pictures go.", "beside RUN, in evaluations/", "DIR")
    ] = None,
) -> None:
    """Test nets on photographs: top-1 and top-5 error, mean class recall, 95% intervals; or write what they say.

    DATA is what `verydeep train` takes; RUN folders that it left, or model folders. Images are rescaled to the short
    side Q and seen whole, as 50 crops, both, or as the central crop; posteriors are averaged over the image and its
    mirror image, the scales and the nets. What was computed is kept, so that nothing is computed twice.

    Try:
        verydeep evaluate photos runs/photos-A-256-c64-s0
        verydeep evaluate photos runs/photos-D-256-512-c224-s0 --scales 256,384,512 --views dense+crops
        verydeep evaluate photos --protocol "D/256-512/256,384,512 + E/256-512/256,384,512" --runs runs
    """
    from verydeep.engine import runtime as engine
    from verydeep.engine.evaluation import evaluate as errors_of
    from verydeep.engine.evaluation import leave_submission, test_nets
    from verydeep.engine.report import Journal, leave_evaluation
    from verydeep.engine.source import short_name

    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    if (protocol is None) == (not run):
        raise VerydeepError("Say which nets to test: name their folders behind DATA, or give --protocol, not both.")
    if protocol is None:
        view: View = views or "dense"
        each_seed = [nets_of(run, scales, weights)]
        folder, name = place_for(run, each_seed[0], view, data)
    elif scales is not None or views is not None:
        raise VerydeepError(
            "--protocol says the scales and the view: write them there, and leave --scales, --views out."
        )
    else:
        asked = EvalProtocol.parse(protocol)
        each_seed = nets_for(asked, data, split, runs, crop, weights)
        view, folder, name = asked.view, runs, f"{short_name(data)}-c{crop}-{file_name(str(asked))}"
    if submission is not None and len(each_seed) > 1:
        raise VerydeepError(f"--submission holds one answer, and {len(each_seed)} seeds answer: name the runs of one.")
    parts = [part_for(nets, data, split, submission) for nets in each_seed]
    name = short_enough("-".join([split, name, *(["best"] if weights == "best" else [])]))
    if devices > 1 and not engine.in_group():
        engine.launch(devices, sys.argv[1:])
        return
    with engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime:
        journal = Journal(silent=not runtime.is_main)
        about: dict[str, object] = {"data": data, "view": view, "weights": weights, "fast_decode": fast_decode}
        about["precision"] = runtime.precision
        for nets, part in zip(each_seed, parts, strict=True):
            journal.say(f"Data: {part.root}: {part.layout}; {len(part):,} images of {split}.")
            tested = test_nets(nets, part, view, runtime, bad_images=bad_images, fast_decode=fast_decode)
            if runtime.is_main and submission is not None:
                leave_submission(submission, tested, part, view)
                journal.say(f"Written: {submission} ({len(part):,} lines)")
            if runtime.is_main and part.labels is not None:
                target = out or folder / "evaluations" / name
                target = target / f"s{nets[0].net.config.seed}" if len(each_seed) > 1 else target
                found = errors_of(tested, part, view)
                leave_evaluation(found, part, [each.net for each in nets], target, about, journal)


def part_for(nets: "list[NetAtScales]", data: str, split: str, submission: Path | None) -> "Split":
    """The part of DATA to test on, divided as for the first net's training.

    Raises:
        VerydeepError: a net has other classes, or labels are missing and nobody asks for a submission, or the classes
            are not those that the server takes.
    """
    from verydeep.data.submission import devkit_numbers
    from verydeep.engine.evaluation import check_classes
    from verydeep.engine.source import open_part

    part = open_part(data, split, dict(nets[0].net.config.split))
    for each in nets:
        check_classes(part, each.net.config, each.net.path)
    if submission is not None:
        devkit_numbers(part.class_names)
    elif part.labels is None:
        raise VerydeepError(
            f"The {split} part of {data} has no labels, so there is no error to compute: give --submission FILE to "
            "write what the nets say."
        )
    return part


def place_for(runs: tuple[Path, ...], nets: "list[NetAtScales]", view: str, data: str) -> tuple[Path, str]:
    """Where the evaluation of these folders goes unless the user says it: in the run, or beside the runs.

    Data other than what a net was trained on are part of the name.
    """
    from verydeep.engine.source import short_name

    scales = ",".join(map(str, sorted({scale for each in nets for scale in each.scales})))
    known = {Path(str(each.net.config.provenance.get("data", ""))).name for each in nets}
    name = "-".join([*([] if known == {short_name(data)} else [short_name(data)]), view, scales])
    if len(runs) == 1 and runs[0] == nets[0].net.folder:
        return runs[0].parent, f"{runs[0].name}-{name}" if runs[0].name == "best" else name
    if len(runs) == 1:
        return runs[0], name
    return runs[0].parent, f"{'+'.join(path.name for path in runs)}-{name}"


def short_enough(name: str) -> str:
    """A name that file systems take; of a long one the end is a hash (errors.json says it all)."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:8]}"


def nets_of(runs: tuple[Path, ...], scales: str | None, weights: Literal["last", "best"]) -> "list[NetAtScales]":
    """The nets in these folders, at the test scales asked for, or else each at its own.

    Raises:
        VerydeepError: a folder is named twice, or holds no net.
    """
    from verydeep.engine.members import Net, NetAtScales

    if len({path.resolve() for path in runs}) < len(runs):
        raise VerydeepError("A run is named twice: a fusion is the mean of different nets.")
    nets = [Net.open(path, weights) for path in runs]
    chosen = None if scales is None else parse_test_scales(scales)
    return [NetAtScales(net, chosen or net.config.test_scales) for net in nets]


def nets_for(
    protocol: EvalProtocol, data: str, split: str, runs: Path, crop: int, weights: Literal["last", "best"]
) -> "list[list[NetAtScales]]":
    """The nets that answer for a protocol, one list for each seed."""
    from verydeep.engine.members import required_by_seed
    from verydeep.engine.source import open_part

    return list(required_by_seed(protocol, runs, open_part(data, split).class_names, crop, weights).values())


def file_name(text: str) -> str:
    """A protocol as the name of a folder: "D_256_256+E_256_256-crops"."""
    return text.replace(" + ", "+").replace(" : ", "-").replace("/", "_")
