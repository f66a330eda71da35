"""``verydeep evaluate``: the errors of nets on a data set, by any protocol of the paper."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.protocols import LOCALIZATION_VIEWS, EvaluationProtocol, View, parse_classes
from verydeep.configs.scales import parse_test_scales
from verydeep.errors import OptionError, VerydeepError
from verydeep.options import (
    VIEWS_HELP,
    BadBoxes,
    BadImages,
    Classes,
    Data,
    Device,
    Devices,
    FastDecode,
    MergeThreshold,
    Precision,
    Runs,
    Scales,
    Task,
    TuneThreshold,
    Weights,
    Workers,
    check_range,
    option,
)

if TYPE_CHECKING:
    from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask
    from verydeep.engine.nets.collection import Collection


def evaluate(
    data: Data,
    run: Annotated[
        tuple[Path, ...],
        Positional,
        arg(metavar="RUN", help="Runs, weight files, oxford-vgg16, ...; several are fused."),
    ] = (),
    /,
    *,
    task: Task = "classify",
    scales: Scales = None,
    views: Annotated[View | None, option(VIEWS_HELP, "dense")] = None,
    protocol: Annotated[
        str | None,
        option('All of it in the paper\'s words, as "D/256-512/256,384,512 + E/384/384 : crops".', metavar="TEXT"),
    ] = None,
    runs: Runs = "runs",
    crop: Annotated[int, arg(help="Which nets --protocol means: those of this crop.", metavar="PIXELS")] = PAPER_CROP,
    split: Annotated[str, arg(help="Which part of DATA: train, val, test, or all of a flat folder.")] = "val",
    submission: Annotated[
        Path | None,
        option(
            "Write the ILSVRC test server's file: five classes of each image, localize: with boxes.", metavar="FILE"
        ),
    ] = None,
    classes: Classes = None,
    merge_threshold: MergeThreshold = None,
    tune_threshold: TuneThreshold = False,
    bad_boxes: BadBoxes = "error",
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

    DATA is what `verydeep train` takes; RUN what it left, a weight file, or a published net. Images are rescaled to the
    short side Q and seen whole, as 50 crops, both, or as the central crop; posteriors are averaged over the image and
    its mirror image, the scales and the nets. What was computed is kept, so that nothing is computed twice.

    With --task localize the nets predict boxes: of the true class, and of the five classes that their classification
    nets, or those of --classes, name.

    Try:
        verydeep evaluate photos runs/photos-A-256-c64-s0
        verydeep evaluate photos runs/photos-D-256-512-c224-s0 --scales 256,384,512 --views dense+crops
        verydeep evaluate photos --protocol "D/256-512/256,384,512 + E/256-512/256,384,512" --runs runs
        verydeep evaluate photos runs/photos-D-384pcr-c224-s0 --task localize --scales 352,384
    """
    from verydeep.data.decoding import Decoding
    from verydeep.engine import runtime as engine
    from verydeep.engine.datasets import data_name, open_data_split
    from verydeep.engine.evaluation_folders import evaluation_folder, protocol_name, shorten_name
    from verydeep.engine.evaluation_tasks import EvaluationOptions
    from verydeep.engine.launching import launched
    from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
    from verydeep.engine.log import Log
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.reporting.measured_table import log_measured_table

    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    check_range("--merge-threshold", merge_threshold, 0, 2)
    if (protocol is None) == (not run):
        raise VerydeepError("Say which nets to test: name their folders behind DATA, or give --protocol, not both.")
    if protocol is not None and (scales is not None or views is not None or classes is not None):
        raise VerydeepError(
            "--protocol says the scales, the view and the classes: write them there, and leave --scales, --views and "
            "--classes out."
        )
    if task == "classify" and (classes is not None or merge_threshold is not None or tune_threshold):
        raise VerydeepError(
            "--classes, --merge-threshold and --tune-threshold are of boxes: give --task localize, or leave them out."
        )
    if tune_threshold and merge_threshold is not None:
        raise VerydeepError("--tune-threshold chooses the threshold: leave --merge-threshold out.")
    order = EvaluationOptions(
        data=data,
        folder=Path(),
        weights=weights,
        decoding=Decoding(bad_images, fast_decode),
        submission=submission,
        bad_boxes=bad_boxes,
        merge_threshold=DEFAULT_THRESHOLD if merge_threshold is None else merge_threshold,
        tune_threshold=tune_threshold,
    )
    if protocol is None:
        tests = [test_of_runs(task, run, scales, views, classes, Collection.parse(runs), weights)]
        folder, name = evaluation_folder(run, tests[0], data)
    else:
        asked = read_protocol(task, protocol)
        collection = Collection.parse(runs)
        tests = tests_of_protocol(asked, collection, open_data_split(data, split).class_names, crop, weights)
        folder, name = collection.folder, f"{data_name(data)}-c{crop}-{protocol_name(str(asked))}"
    if submission is not None and len(tests) > 1:
        raise VerydeepError(f"--submission holds one answer, and {len(tests)} seeds answer: name the runs of one.")
    parts = [test.open(order, split) for test in tests]
    merging = ["tuned"] if tune_threshold else [] if merge_threshold is None else [f"t{merge_threshold:g}"]
    name = shorten_name("-".join([split, name, *merging, *(["best"] if weights == "best" else [])]))
    place = out or folder / "evaluations" / name
    if launched(devices):
        return
    with engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime:
        log = Log(silent=not runtime.is_main)
        for test, part in zip(tests, parts, strict=True):
            log.info(f"Data: {part.root}: {part.layout}; {len(part):,} images of {split}.")
            own = place / f"s{test.members[0].net.config.seed}" if len(tests) > 1 else place
            table = test.run(part, replace(order, folder=own), runtime, log)
            if table is not None:
                log_measured_table(table, log)


def test_of_runs(
    task: Literal["classify", "localize"],
    runs: tuple[Path, ...],
    scales: str | None,
    views: View | None,
    classes: str | None,
    class_runs: "Collection",
    weights: Literal["last", "best"],
) -> "ClassEvaluationTask | BoxEvaluationTask":
    """The nets in these folders, at the test scales asked for, or else each at its own.

    Raises:
        VerydeepError: a folder is named twice or holds no net, boxes are asked for in a view they have not, or nobody
            answers for the classes.
    """
    from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask
    from verydeep.engine.localization.box_ensemble import build_box_ensemble
    from verydeep.engine.nets.net import EnsembleMember, Net

    if len({path.resolve() for path in runs}) < len(runs):
        raise VerydeepError("A run is named twice: a fusion is the mean of different nets.")
    nets = [Net.open(path, weights) for path in runs]
    chosen = None if scales is None else parse_test_scales(scales)
    members = tuple(EnsembleMember(net, chosen or net.config.test_scales) for net in nets)
    if task == "classify":
        return ClassEvaluationTask(members, views or "dense")
    if views not in (None, *LOCALIZATION_VIEWS):
        raise VerydeepError(f"--views {views}: boxes are predicted in {' or '.join(LOCALIZATION_VIEWS)}.")
    source = None if classes is None else parse_classes(classes)
    return BoxEvaluationTask(
        build_box_ensemble(members, "center" if views == "center" else "dense", source, class_runs, weights)
    )


def read_protocol(task: Literal["classify", "localize"], text: str) -> EvaluationProtocol:
    """What --protocol says.

    Raises:
        VerydeepError: it is no protocol, or one of the other task.
    """
    protocol = EvaluationProtocol.parse(text)
    if protocol.task != task:
        raise OptionError(f"`protocol` {text!r} is for another task: give `task={protocol.task}`.", "task")
    return protocol


def tests_of_protocol(
    asked: EvaluationProtocol,
    runs: "Collection",
    class_names: tuple[str, ...],
    crop: int,
    weights: Literal["last", "best"],
) -> "list[ClassEvaluationTask | BoxEvaluationTask]":
    """The nets that answer for a protocol, one test for each seed.

    Raises:
        VerydeepError: nobody answers, or two runs of one seed do.
    """
    from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask
    from verydeep.engine.localization.box_ensemble import require_box_ensembles
    from verydeep.engine.nets.collection import required_ensembles
    from verydeep.engine.nets.net import NetShape

    shape = NetShape(class_names, crop)
    if asked.task == "localize":
        return [BoxEvaluationTask(each) for each in require_box_ensembles(asked, runs, shape, weights)]
    found = required_ensembles(asked, runs, shape, weights)
    return [ClassEvaluationTask(tuple(nets), asked.view) for nets in found.values()]
